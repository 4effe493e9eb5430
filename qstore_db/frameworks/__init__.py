"""Circuits as differentiable layers of PyTorch, Keras and JAX; each library is imported by its own files only."""
