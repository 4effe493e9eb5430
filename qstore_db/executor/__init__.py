"""Runs many circuits at once on named backends: queue, batches, caches, retries. Knows no database."""
