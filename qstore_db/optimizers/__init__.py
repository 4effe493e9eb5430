"""Optimizers as pairs of pure functions: ``init`` makes a state, ``update`` one step."""
