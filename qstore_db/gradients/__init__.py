"""Gradients of expectation values as circuit → (circuits, combine)."""
