"""The names of all system tables, known without loading any of them."""

from __future__ import annotations

RESERVED_TABLE_NAMES = frozenset(
    (
        *("collections", "datasets", "training_data", "models", "model_versions", "training_runs", "metrics"),
        *("checkpoints", "jobs", "backends", "states", "state_contexts", "entanglement_groups", "measurements"),
        *("procedures", "syncs", "versions", "studies", "trials"),
    )
)
"""Names of system tables, now and later: no collection may have one of them, in upper or lower case."""
