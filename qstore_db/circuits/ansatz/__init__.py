"""Ansätze: families of circuits with trainable angles."""
