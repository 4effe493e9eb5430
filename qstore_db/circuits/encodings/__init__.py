"""Encodings: how classical numbers enter a circuit."""
