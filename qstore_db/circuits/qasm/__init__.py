"""OpenQASM 2 and 3: text to circuit and back."""
