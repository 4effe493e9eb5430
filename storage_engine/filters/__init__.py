"""Predicates over metadata: a tree of values and its evaluation on Arrow columns."""
