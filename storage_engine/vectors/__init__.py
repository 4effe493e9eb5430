"""Rows of float32 and how far they are from a query."""
