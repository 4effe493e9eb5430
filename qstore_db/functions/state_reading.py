"""Where states lie in a database, and how they are read back.

A state of record ``r`` in the cosine collection ``items`` is kept in three places that every write changes together:

- the row ``r`` of ``items``: vector Σ_c p_c v_c/‖v_c‖ with norm 1, so that plain search ranks the expected similarity;
- one row per context in the hidden collection ``items$branches``: the branch vector as given, with the columns
  ``record``, ``context``, ``probability``, ``initial_coherence``, ``coherence_time`` (infinite where nothing dephases)
  and ``written_at``;
- one record in the keyed table ``states``: contexts in order, probabilities, norms, coherence time, time of writing.

A vector shared by several contexts is repeated, one row per context: then "the branches of a context" is one mask, and
a branch is one thing whether or not its vector is shared. It costs a vector per further context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qstore_db.errors import DamagedError, InvalidStateError, UnknownContextError
from qstore_db.states.state_record import StateRecord, from_json
from storage_engine.schema import CollectionSchema, Metric
from storage_engine.snapshot import CollectionView, Snapshot

STATES = "states"
MEASUREMENTS = "measurements"

BRANCH_COLUMNS = pa.schema(
    [
        ("record", pa.string()),
        ("context", pa.string()),
        ("probability", pa.float64()),
        ("initial_coherence", pa.float64()),
        ("coherence_time", pa.float64()),
        ("written_at", pa.float64()),
    ]
)


def branches_name(collection: str) -> str:
    """Name of the hidden collection that holds the branches of a collection's states."""
    return f"{collection}$branches"


def state_key(collection: str, record_id: str) -> str:
    """Key in the table ``states``; injective, because collection names hold no slash."""
    return f"{collection}/{record_id}"


def branch_id(record_id: str, context: str) -> str:
    """Id of a branch row; injective, because it begins with the context's length."""
    return f"{len(context)}:{context}{record_id}"


def require_cosine(schema: CollectionSchema) -> None:
    """Refuse a collection that cannot hold states.

    Raises:
        InvalidStateError: Its metric is not cosine.
    """
    if schema.metric is not Metric.COSINE:
        raise InvalidStateError(
            f"collection {schema.name!r} compares by {schema.metric}, and states need unit vectors",
            fix="create the collection with metric='cosine'",
            value=schema.name,
        )


def read_states(snapshot: Snapshot, collection: str, ids: Sequence[str]) -> dict[str, StateRecord]:
    """Those of the records that are states, by id, in the order given; ordinary and unknown ids are left out.

    Branch vectors are bit-equal to what was written. Cost: one look-up per id, one read of their branches.

    Raises:
        UnknownCollectionError: There is no such collection.
        DamagedError: A branch of a state is missing.
    """
    snapshot.collection(collection)
    if not snapshot.has_collection(branches_name(collection)):
        return {}
    branches = snapshot.collection(branches_name(collection))
    table = snapshot.table(STATES)
    found: dict[str, StateRecord] = {}
    for record_id in ids:
        value = table.get(state_key(collection, record_id))
        if value is None:
            continue
        contexts: list[str] = value["contexts"]  # type: ignore[assignment]
        slots = branches.slots_of([branch_id(record_id, context) for context in contexts])
        if (slots < 0).any():
            raise DamagedError(
                f"a branch of state {record_id!r} in {collection!r} is missing",
                fix="check the database with `qstore doctor`",
                value=record_id,
            )
        found[record_id] = from_json(value, branches.vectors_at(slots))
    return found


def read_state(snapshot: Snapshot, collection: str, record_id: str) -> StateRecord | None:
    """The record's state, or ``None`` if it is an ordinary or an unknown row. See :func:`read_states`."""
    return read_states(snapshot, collection, [record_id]).get(record_id)


def known_contexts(snapshot: Snapshot, collection: str) -> tuple[str, ...]:
    """Every context that some state of the collection has, sorted."""
    import pyarrow.compute as pc

    if not snapshot.has_collection(branches_name(collection)):
        return ()
    view = snapshot.collection(branches_name(collection))
    live = view.column("context").filter(pa.array(view.live()))
    return tuple(sorted(pc.unique(live).to_pylist()))


@dataclass(frozen=True, slots=True, eq=False)
class ContextBranches:
    """The branches of some contexts, one entry each, in slot order.

    Args:
        view: The hidden collection.
        slots: int64 (branches,): where in it.
        contexts: int64 (branches,): which of the contexts asked for.
        records: int64 (branches,): slot of the record in the visible collection.
    """

    view: CollectionView
    slots: NDArray[np.int64]
    contexts: NDArray[np.int64]
    records: NDArray[np.int64]

    def where(self, keep: NDArray[np.bool_]) -> ContextBranches:
        """Those with ``keep``, bool (branches,)."""
        return ContextBranches(self.view, self.slots[keep], self.contexts[keep], self.records[keep])

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A numeric column of the branches, float64 (branches,)."""
        values = self.view.metadata_at(self.slots, [column]).column(column).to_numpy()
        return np.asarray(values, dtype=np.float64)


def all_branches(snapshot: Snapshot, collection: str) -> ContextBranches | None:
    """Every branch of the collection, all under context 0; ``None`` where there never was a state.

    Raises:
        DamagedError: A branch's record is missing.
    """
    if not snapshot.has_collection(branches_name(collection)):
        return None
    view = snapshot.collection(branches_name(collection))
    slots = np.flatnonzero(view.live())
    return _with_records(snapshot, collection, view, slots, np.zeros(len(slots), np.int64))


def branches_of(snapshot: Snapshot, collection: str, contexts: Sequence[str]) -> ContextBranches:
    """Branches of the contexts named. Cost: one pass over all branches' contexts, one look-up per branch found.

    Raises:
        UnknownContextError: A context that no state of the collection has; the message names those there are.
        DamagedError: A branch's record is missing.
    """
    import pyarrow.compute as pc

    if not snapshot.has_collection(branches_name(collection)):
        raise _unknown_context(snapshot, collection, contexts[0])
    view = snapshot.collection(branches_name(collection))
    found = pc.index_in(view.column("context"), value_set=pa.array(list(contexts), pa.string()))
    codes = found.fill_null(-1).to_numpy().astype(np.int64)
    slots = np.flatnonzero((codes >= 0) & view.live())
    codes = codes[slots]
    present = np.bincount(codes, minlength=len(contexts))
    for context, count in zip(contexts, present.tolist(), strict=True):
        if not count:
            raise _unknown_context(snapshot, collection, context)
    return _with_records(snapshot, collection, view, slots, codes)


def _with_records(
    snapshot: Snapshot, collection: str, view: CollectionView, slots: NDArray[np.int64], codes: NDArray[np.int64]
) -> ContextBranches:
    names = view.metadata_at(slots, ["record"]).column("record").to_pylist()
    records = snapshot.collection(collection).slots_of(names)
    if (records < 0).any():
        raise DamagedError(
            f"{branches_name(collection)!r} holds a branch of a record that is not in {collection!r}",
            fix="check the database with `qstore doctor`",
            value=collection,
        )
    return ContextBranches(view, slots, codes, records)


def require_known_contexts(snapshot: Snapshot, collection: str, contexts: Sequence[str]) -> None:
    """Refuse contexts that no state of the collection has.

    Raises:
        UnknownContextError: The message names the contexts there are.
    """
    known = known_contexts(snapshot, collection)
    for context in contexts:
        if context not in known:
            raise _unknown_context(snapshot, collection, context)


def _unknown_context(snapshot: Snapshot, collection: str, context: str) -> UnknownContextError:
    known = known_contexts(snapshot, collection)
    shown = ", ".join(map(repr, known[:20])) + (" …" if len(known) > 20 else "")
    return UnknownContextError(
        f"no state in {collection!r} has the context {context!r}",
        fix=f"known contexts: {shown}" if known else "insert a record with contexts=… first",
        value=context,
    )
