"""Writing rows and states to a database: each call is one commit.

Reading, then writing, must not be interleaved with another writer of the same engine: these functions hold its lock
from :func:`writing`, and whoever commits operations of :mod:`qstore_db.functions.state_operations` must hold it too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from qstore_db.functions.group_operations import changed_operations, leaving_operations, stored_groups
from qstore_db.functions.state_operations import (
    UNCHANGED,
    Unchanged,
    delete_operations,
    drop_operations,
    row_operations,
    state_operations,
    update_operations,
    updated_state,
)
from qstore_db.states.contexts import ContextsInput
from qstore_db.states.superposition import Superposition, VectorsInput
from storage_engine.batch import Operation, PutMode, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema
from storage_engine.snapshot import Snapshot

_LOCKS: WeakKeyDictionary[Engine, threading.RLock] = WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


@contextmanager
def writing(engine: Engine) -> Iterator[Snapshot]:
    """Hold the engine's lock for reading and then writing; gives the newest snapshot. The lock is re-entrant."""
    with _LOCKS_LOCK:
        lock = _LOCKS.setdefault(engine, threading.RLock())
    with lock:
        yield engine.snapshot()


def write_rows(
    engine: Engine,
    collection: str,
    ids: Sequence[str],
    vectors: NDArray[np.float32] | None,
    metadata: pa.Table | None = None,
    mode: PutMode = "upsert",
    *,
    new: CollectionSchema | None = None,
) -> int:
    """Write ordinary rows in one commit; see :func:`row_operations`. Returns the version."""
    if mode == "insert" and (new is None or engine.snapshot().has_collection(collection)):
        # New ids have no state that would have to be read before: threads that insert share one sync.
        return engine.commit(WriteBatch([PutRows(collection, ids, vectors, None, metadata, mode)]))
    with writing(engine) as snapshot:
        operations = row_operations(snapshot, collection, ids, vectors, metadata, mode, now=engine.clock(), new=new)
        if mode == "upsert":
            operations += leaving_operations(snapshot, collection, ids)
        return engine.commit(WriteBatch(operations))


def write_states(
    engine: Engine,
    collection: str,
    ids: Sequence[str],
    states: Sequence[Superposition],
    metadata: pa.Table | None = None,
    mode: PutMode = "insert",
    *,
    new: CollectionSchema | None = None,
) -> int:
    """Write states in one commit, aged from now; see :func:`state_operations`. Returns the version."""
    with writing(engine) as snapshot:
        operations = state_operations(snapshot, collection, ids, states, metadata, mode, now=engine.clock(), new=new)
        if mode == "upsert":
            operations += leaving_operations(snapshot, collection, ids)
        return engine.commit(WriteBatch(operations))


def update_state(
    engine: Engine,
    collection: str,
    record_id: str,
    *,
    vector: ArrayLike | None = None,
    vectors: VectorsInput | None = None,
    contexts: ContextsInput | None = None,
    weights: Sequence[float] | None = None,
    coherence_time: float | None | Unchanged = UNCHANGED,
    metadata: pa.Table | None = None,
) -> int:
    """Change what is given of a record's state in one commit; see :func:`updated_state`. Returns the version."""
    with writing(engine) as snapshot:
        changed = updated_state(
            snapshot,
            collection,
            record_id,
            vector=vector,
            vectors=vectors,
            contexts=contexts,
            weights=weights,
            coherence_time=coherence_time,
        )
        operations = update_operations(snapshot, collection, record_id, changed, metadata, now=engine.clock())
        if changed is not None:
            operations += changed_operations(snapshot, collection, record_id, changed)
        return engine.commit(WriteBatch(operations))


def delete_rows(engine: Engine, collection: str, ids: Sequence[str], *, missing_ok: bool = False) -> int:
    """Delete rows of either kind in one commit; see :func:`delete_operations`. Returns the version."""
    with writing(engine) as snapshot:
        operations = delete_operations(snapshot, collection, ids, missing_ok=missing_ok)
        operations += leaving_operations(snapshot, collection, ids)
        return engine.commit(WriteBatch(operations))


def drop_collection(
    engine: Engine, collection: str, also: Callable[[Snapshot, str], Sequence[Operation]] = lambda _snapshot, _name: ()
) -> int:
    """Drop a collection with its states in one commit; its rows in ``measurements`` stay. Returns the version.

    Args:
        engine: The database.
        collection: Its name.
        also: Gives what else goes with it.
    """
    with writing(engine) as snapshot:
        groups = [group.remove() for group in stored_groups(snapshot, collection)]
        rest = also(snapshot, collection)
        return engine.commit(WriteBatch([*drop_operations(snapshot, collection), *groups, *rest]))
