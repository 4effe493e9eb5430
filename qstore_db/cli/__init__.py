"""The command ``qstore``. Nobody imports this room."""
