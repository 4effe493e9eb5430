"""The operations that write rows and states, so that a record, its branches and its entry in ``states`` never part.

Pure: from the newest snapshot and checked values to the operations of one :class:`~storage_engine.batch.WriteBatch`.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import DimensionMismatchError, InvalidStateError, UnknownIdError
from qstore_db.functions.state_reading import (
    BRANCH_COLUMNS,
    STATES,
    branch_id,
    branches_name,
    read_state,
    read_states,
    require_cosine,
    state_key,
)
from qstore_db.states.contexts import ContextsInput, parse_weighted_names
from qstore_db.states.state_record import StateRecord, to_json
from qstore_db.states.superposition import (
    Superposition,
    VectorsInput,
    expected_vector,
    parse_branch_vector,
    parse_superposition,
)
from storage_engine.batch import (
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DropCollection,
    Operation,
    PutMode,
    PutRecord,
    PutRows,
)
from storage_engine.schema import CollectionSchema, Metric, Role, VectorType
from storage_engine.snapshot import Snapshot


class Unchanged(enum.Enum):
    """Marks an argument of :func:`updated_state` that was left out, where ``None`` has a meaning of its own."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED

_MAX_NAME = 128  # of any collection, as the storage floor counts


def row_operations(
    snapshot: Snapshot,
    collection: str,
    ids: Sequence[str],
    vectors: NDArray[np.float32] | None,
    metadata: pa.Table | None,
    mode: PutMode,
    *,
    now: float,
    new: CollectionSchema | None = None,
) -> list[Operation]:
    """Operations that write rows without contexts.

    Args:
        snapshot: The newest one.
        collection: Its name.
        ids: One per row, distinct.
        vectors: float32 (rows, dimension), or ``None`` with ``update`` to keep vectors and states as they are.
        metadata: One row per id, or ``None``.
        mode: ``upsert`` replaces whole records: one that was a state becomes an ordinary row. ``update`` of a vector
            keeps a state's contexts and probabilities: all of them get the new vector.
        now: When a state that is updated counts as written.
        new: The collection's schema, if it is to be created where there is none of that name.

    Raises:
        InvalidStateError: ``update`` with one vector for a state that has a vector per context.
    """
    plain: list[Operation] = [PutRows(collection, ids, vectors, None, metadata, mode)]
    if new is not None and not snapshot.has_collection(collection):
        return [CreateCollection(new), *plain]
    if mode == "insert" or vectors is None:
        return plain
    stored = read_states(snapshot, collection, ids)
    if not stored:
        return plain
    if mode == "upsert":
        return plain + _forget_operations(collection, stored)
    if vectors.ndim != 2 or len(vectors) != len(ids) or (metadata is not None and metadata.num_rows != len(ids)):
        return plain  # refused by the storage floor, which says what is wrong
    rows = [row for row, record_id in enumerate(ids) if record_id not in stored]
    states = [row for row, record_id in enumerate(ids) if record_id in stored]
    changed = [_with_vector(stored[ids[row]], parse_branch_vector(vectors[row])) for row in states]
    operations = state_operations(
        snapshot,
        collection,
        [ids[row] for row in states],
        changed,
        None if metadata is None else metadata.take(states),
        "update",
        now=now,
    )
    if rows:
        rest = None if metadata is None else metadata.take(rows)
        operations.append(PutRows(collection, [ids[row] for row in rows], vectors[rows], None, rest, "update"))
    return operations


def state_operations(
    snapshot: Snapshot,
    collection: str,
    ids: Sequence[str],
    states: Sequence[Superposition],
    metadata: pa.Table | None,
    mode: PutMode,
    *,
    now: float,
    new: CollectionSchema | None = None,
) -> list[Operation]:
    """Operations that write states: visible rows, branches and entries in ``states``.

    The first state of a collection creates the hidden one beside it.

    Args:
        snapshot: The newest one.
        collection: A cosine collection.
        ids: One per state, distinct.
        states: What each record becomes; whatever branches it had are gone.
        metadata: One row per id, or ``None``; under ``update`` only its columns change.
        mode: As for rows.
        now: When the states count as written.
        new: The collection's schema, if it is to be created where there is none of that name.

    Raises:
        InvalidStateError: The collection is not a cosine one.
        DimensionMismatchError: Branch vectors of another length than the collection's.
    """
    created = new if new is not None and not snapshot.has_collection(collection) else None
    schema = snapshot.collection(collection).schema if created is None else created
    require_cosine(schema)
    if schema.dtype is not VectorType.FLOAT32:
        raise InvalidStateError(
            f"collection {schema.name!r} keeps {schema.dtype}, which is too coarse for superposed records",
            fix="keep them in a collection of dtype float32",
            value=schema.dtype.value,
        )
    for state in states:
        if state.vectors.shape[1] != schema.dimension:
            raise DimensionMismatchError(
                f"branch vectors have length {state.vectors.shape[1]}, the collection's {schema.dimension}",
                fix=f"give {schema.dimension} numbers per vector",
                value=state.vectors.shape[1],
            )
    expected = np.stack([expected_vector(state) for state in states])
    operations: list[Operation] = [] if created is None else [CreateCollection(created)]
    operations.append(PutRows(collection, ids, expected, np.ones(len(ids), np.float32), metadata, mode))
    if not snapshot.has_collection(branches_name(collection)):
        operations.append(CreateCollection(_branches_schema(schema, now)))
    elif mode != "insert":
        operations += _gone_branches(
            collection, read_states(snapshot, collection, ids), dict(zip(ids, states, strict=True))
        )
    operations.append(_put_branches(collection, ids, states, now))
    operations += [
        PutRecord(STATES, state_key(collection, record_id), to_json(record_id, state, collection, now))
        for record_id, state in zip(ids, states, strict=True)
    ]
    return operations


def update_operations(
    snapshot: Snapshot,
    collection: str,
    record_id: str,
    changed: Superposition | None,
    metadata: pa.Table | None,
    *,
    now: float,
) -> list[Operation]:
    """Operations that write what :func:`updated_state` gave.

    Args:
        snapshot: The one it was worked out from.
        collection: A cosine collection, if the state changes.
        record_id: A stored record.
        changed: The record's state from now on, whose age starts again; ``None`` leaves state and age as they are.
        metadata: One row, or ``None``; only its columns change.
        now: When the state counts as written.
    """
    if changed is None:
        return [PutRows(collection, [record_id], None, None, metadata, "update")]
    return state_operations(snapshot, collection, [record_id], [changed], metadata, "update", now=now)


def updated_state(
    snapshot: Snapshot,
    collection: str,
    record_id: str,
    *,
    vector: ArrayLike | None = None,
    vectors: VectorsInput | None = None,
    contexts: ContextsInput | None = None,
    weights: Sequence[float] | None = None,
    coherence_time: float | None | Unchanged = UNCHANGED,
) -> Superposition | None:
    """What is given of a record's state changed, and the rest kept.

    Args:
        snapshot: The newest one.
        collection: A cosine collection.
        record_id: A stored record; an ordinary row becomes a state if ``contexts`` are given.
        vector: A new vector for all contexts.
        vectors: New vectors by context, or parallel to ``contexts``.
        contexts: New contexts and weights. Without new vectors each takes the vector it has; a record that has one
            vector for all contexts may be given any.
        weights: Parallel to bare names in ``contexts``.
        coherence_time: Seconds above 0, ``None`` for no dephasing.

    Returns:
        The state to write; ``None`` where nothing of it is given.

    Raises:
        UnknownIdError: No such record.
        InvalidStateError: As in :func:`~qstore_db.states.superposition.parse_superposition`; the record is no state and
            no contexts are given; a context without a vector; the collection is not a cosine one.
    """
    view = snapshot.collection(collection)
    slots = view.slots_of([record_id])
    if slots[0] < 0:
        raise UnknownIdError(f"no record {record_id!r} in {collection!r}", fix="insert it first", value=record_id)
    untouched = all(part is None for part in (vector, vectors, contexts, weights))
    if untouched and isinstance(coherence_time, Unchanged):
        return None
    require_cosine(view.schema)
    stored = read_state(snapshot, collection, record_id)
    return _changed(
        record_id,
        None if stored is None else stored.superposition,
        view.vectors_at(slots)[0],
        vector=vector,
        vectors=vectors,
        contexts=contexts,
        weights=weights,
        coherence_time=coherence_time,
    )


def delete_operations(
    snapshot: Snapshot, collection: str, ids: Sequence[str], *, missing_ok: bool = False
) -> list[Operation]:
    """Operations that delete rows together with their branches and entries in ``states``."""
    stored = read_states(snapshot, collection, list(dict.fromkeys(ids)))
    return [DeleteRows(collection, ids, missing_ok), *_forget_operations(collection, stored)]


def drop_operations(snapshot: Snapshot, collection: str) -> list[Operation]:
    """Operations that drop a collection, its branches and its entries in ``states``. Cost: one pass over ``states``."""
    operations: list[Operation] = [DropCollection(collection)]
    if snapshot.has_collection(branches_name(collection)):
        prefix = state_key(collection, "")
        operations.append(DropCollection(branches_name(collection)))
        operations += [DeleteRecord(STATES, key) for key in snapshot.table(STATES) if key.startswith(prefix)]
    return operations


def _branches_schema(visible: CollectionSchema, now: float) -> CollectionSchema:
    if len(branches_name(visible.name)) > _MAX_NAME:
        raise InvalidStateError(
            f"the name of collection {visible.name!r} leaves no room for the hidden one of its branches",
            fix=f"states need a collection name of at most {_MAX_NAME - len(branches_name(''))} characters",
            value=visible.name,
        )
    return CollectionSchema(
        name=branches_name(visible.name),
        uuid=uuid.uuid4().hex,
        dimension=visible.dimension,
        metric=Metric.COSINE,
        role=Role.HIDDEN,
        created_at=now,
        graph=visible.graph,
    )


def _put_branches(collection: str, ids: Sequence[str], states: Sequence[Superposition], now: float) -> PutRows:
    rows = [
        (record_id, context, probability, state.initial_coherence, state.coherence_time, now)
        for record_id, state in zip(ids, states, strict=True)
        for context, probability in zip(state.contexts, state.probabilities, strict=True)
    ]
    columns = [
        pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), BRANCH_COLUMNS, strict=True)
    ]
    return PutRows(
        branches_name(collection),
        [branch_id(row[0], row[1]) for row in rows],
        np.concatenate([state.vectors for state in states]),
        np.concatenate([state.norms for state in states]).astype(np.float32),
        pa.table(columns, schema=BRANCH_COLUMNS),
        "upsert",
    )


def _gone_branches(
    collection: str, stored: Mapping[str, StateRecord], changed: Mapping[str, Superposition]
) -> list[Operation]:
    """Deletes the branches of contexts that a record no longer has; those it keeps are overwritten."""
    gone = [
        branch_id(record_id, context)
        for record_id, record in stored.items()
        for context in record.superposition.contexts
        if context not in changed[record_id].contexts
    ]
    return [DeleteRows(branches_name(collection), gone)] if gone else []


def _forget_operations(collection: str, stored: Mapping[str, StateRecord]) -> list[Operation]:
    if not stored:
        return []
    gone = [
        branch_id(record_id, context)
        for record_id, record in stored.items()
        for context in record.superposition.contexts
    ]
    records: list[Operation] = [DeleteRecord(STATES, state_key(collection, record_id)) for record_id in stored]
    return [DeleteRows(branches_name(collection), gone), *records]


def _with_vector(record: StateRecord, vector: NDArray[np.float32]) -> Superposition:
    """The state with a new vector for all its contexts."""
    before = record.superposition
    if not before.shared:
        raise InvalidStateError(
            f"state {record.id!r} has a vector per context, and one vector was given",
            fix="update it with vectors={context: vector}, or upsert it to make it an ordinary row",
            value=record.id,
        )
    return parse_superposition(vector=vector, contexts=_weighted(before), coherence_time=before.coherence_time)


def _weighted(state: Superposition) -> list[tuple[str, float]]:
    return list(zip(state.contexts, state.probabilities, strict=True))


def _changed(
    record_id: str,
    before: Superposition | None,
    row: NDArray[np.float32],
    *,
    vector: ArrayLike | None,
    vectors: VectorsInput | None,
    contexts: ContextsInput | None,
    weights: Sequence[float] | None,
    coherence_time: float | None | Unchanged,
) -> Superposition:
    """The state that a record becomes. ``row`` is its visible vector: the user's own if it is no state yet."""
    if contexts is None and before is None and not isinstance(vectors, Mapping):
        raise InvalidStateError(
            f"record {record_id!r} has no contexts", fix="give contexts=[('technical', 0.6), …]", value=record_id
        )
    if contexts is None and before is not None:
        contexts = _weighted(before) if weights is None else list(before.contexts)
    if contexts is not None:
        names, raw = parse_weighted_names(contexts, weights)
        contexts, weights = list(zip(names, raw, strict=True)), None
        if vector is None and (vectors is None or isinstance(vectors, Mapping)):
            if vectors is None and (before is None or before.shared):
                vector = row if before is None else before.vectors[0]
            else:
                kept = {} if before is None else before.branches()
                vectors = {**{name: kept[name] for name in names if name in kept}, **(vectors or {})}
    if isinstance(coherence_time, Unchanged):
        coherence_time = None if before is None else before.coherence_time
    return parse_superposition(
        vector=vector, vectors=vectors, contexts=contexts, weights=weights, coherence_time=coherence_time
    )
