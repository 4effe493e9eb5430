"""Whether a collection and an index go together at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qstore_db.errors import DimensionMismatchError, InvalidStateError, SyncRefusedError, UnknownCollectionError
from qstore_db.functions.state_reading import branches_name
from qstore_db.sync.pinecone_index import PineconeIndex
from storage_engine.schema import CollectionSchema, Metric, Role
from storage_engine.snapshot import Snapshot

PINECONE_METRIC: Final[Mapping[Metric, str]] = {
    Metric.COSINE: "cosine",
    Metric.L2: "euclidean",
    Metric.IP: "dotproduct",
}
"""How Pinecone calls the same comparison. Its score for ``euclidean`` is the square of our distance."""


def require_match(schema: CollectionSchema, index: PineconeIndex) -> None:
    """Refuse an index whose vectors or scores mean something else.

    Raises:
        UnknownCollectionError: The collection is kept for another one, and none of the user's.
        SyncRefusedError: It is sparse, or compares by another metric.
        DimensionMismatchError: Its vectors have another length.
    """
    if schema.role is Role.HIDDEN:
        raise UnknownCollectionError(
            f"no collection {schema.name!r}", fix="db.collections() lists them", value=schema.name
        )
    facts = index.facts
    if facts.vector_type != "dense" or facts.metric != PINECONE_METRIC[schema.metric]:
        raise SyncRefusedError(
            f"collection {schema.name!r} compares by {schema.metric}, index {facts.name!r} holds {facts.vector_type} "
            f"vectors and compares by {facts.metric}",
            fix=f"Sync with an index of dense vectors and metric {PINECONE_METRIC[schema.metric]}.",
            value=facts.metric,
        )
    if facts.dimension != schema.dimension:
        raise DimensionMismatchError(
            f"collection {schema.name!r} has dimension {schema.dimension}, index {facts.name!r} {facts.dimension}",
            fix=f"Sync with an index of dimension {schema.dimension}.",
            value=facts.dimension,
        )


def require_no_states(snapshot: Snapshot, collection: str) -> None:
    """Refuse a collection with superposed records: a row of Pinecone has one vector.

    Raises:
        InvalidStateError: It holds one.
    """
    name = branches_name(collection)
    if snapshot.has_collection(name) and len(snapshot.collection(name)):
        raise InvalidStateError(
            f"collection {collection!r} holds states, which a row of Pinecone has no place for",
            fix="Keep states in a collection of their own.",
            value=collection,
        )
