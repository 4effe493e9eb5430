"""The recall that a collection promises to queries without a wish of their own."""

from __future__ import annotations

from storage_engine.schema import CollectionSchema

RECALL = "recall"
"""The attribute of a collection's schema that holds its promise."""


def promised_recall(schema: CollectionSchema) -> float | None:
    """What a collection promises, if it does."""
    promise = dict(schema.attributes).get(RECALL)
    return None if promise is None else float(promise)
