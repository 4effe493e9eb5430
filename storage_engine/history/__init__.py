"""Versions: which commits of the past can still be read, how long they are kept, and reading them."""
