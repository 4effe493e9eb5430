"""A collection's live rows as an Arrow table, without copying vectors where that can be avoided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.catalog import CollectionState
from storage_engine.metadata import pieces


def live_rows(
    state: CollectionState,
    live: NDArray[np.bool_] | None,
    names: Sequence[str],
    metadata: Mapping[str, pa.DataType],
) -> pa.Table:
    """Columns of the live rows in slot order.

    Args:
        state: The collection at a version.
        live: Shape (slot_count,), or ``None`` if all slots are live.
        names: Columns in the order wanted; ``id`` and ``vector`` stand for themselves.
        metadata: Types of the other names.
    """
    keep = None if live is None else pa.array(np.flatnonzero(live))
    columns: list[pa.ChunkedArray] = []
    for name in names:
        if name == "id":
            columns.append(_ids(state, live))
        elif name == "vector":
            columns.append(_vectors(state, live))
        else:
            whole = pieces.column(state.rows.pieces, name, metadata[name], state.slot_count)
            columns.append(whole if keep is None else whole.take(keep))
    if not columns:
        return pa.table({"_": pa.nulls(state.live_count)}).select([])
    return pa.Table.from_arrays(columns, names=list(names))


def _ids(state: CollectionState, live: NDArray[np.bool_] | None) -> pa.ChunkedArray:
    chunks = []
    for chunk, rows in state.rows.parts(state.slot_count):
        ids = chunk.id_array(rows)
        alive = None if live is None else live[chunk.start : chunk.start + rows]
        chunks.append(ids if alive is None or alive.all() else ids.filter(pa.array(alive)))
    return pa.chunked_array(chunks, type=pa.string())


def _vectors(state: CollectionState, live: NDArray[np.bool_] | None) -> pa.ChunkedArray:
    dimension = state.schema.dimension
    kind = pa.list_(pa.float32(), dimension)
    chunks = []
    for chunk, rows in state.rows.parts(state.slot_count):
        vectors = chunk.vectors[:rows]
        alive = None if live is None else live[chunk.start : chunk.start + rows]
        if alive is not None and not alive.all():
            vectors = vectors[alive]
        flat = pa.array(vectors.reshape(-1), pa.float32())
        chunks.append(pa.FixedSizeListArray.from_arrays(flat, type=kind))
    return pa.chunked_array(chunks, type=kind)
