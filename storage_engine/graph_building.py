"""When and how a collection's graph is built: aside, from sealed rows, published by a manifest.

A graph covers exactly one segment, the collection's first. Where the rows lie in several segments, or many of them are
dead, they are first written together into one: the same rows in the same order, without those that had died. Commits
go on meanwhile; what they do to the rows is carried over when the result is published.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.catalog import CollectionState
from storage_engine.errors import InvalidArgumentError, UnknownColumnError
from storage_engine.files import Disk
from storage_engine.graph_file import SegmentGraph
from storage_engine.manifest.manifest import GraphFile, Manifest, SealedCollection, SealedSegment
from storage_engine.metadata import pieces
from storage_engine.recovery import segment_columns
from storage_engine.schema import CODES, CollectionSchema
from storage_engine.sealed import SealedChunk
from storage_engine.segment.segment import Segment
from storage_engine.segment.writer import RowChunk, SegmentRows, write_segment
from storage_engine.staged_file import store_file
from storage_engine.vector_store import VectorStore

UNCOVERED_SHARE = 0.2
"""A new graph is due when more than this share of the slots is outside the old one."""

DEAD_SHARE = 0.2
"""A new graph is due, and its segment is written anew without dead rows, when more than this share of them is dead."""

_ROWS_A_STEP = 4_096


@dataclass(frozen=True, slots=True, eq=False)
class BuiltGraph:
    """A segment with its graph, ready to be published.

    Args:
        chunk: The segment, from slot 0 on, as of ``lsn``; ``None`` if no row is left.
        graph: Its graph, if it has one.
        kept: Which slots of the state it was built from are its rows, ascending; ``None`` if it is the first segment
            of that state itself.
        replaced: How many segments it stands for.
        covered: How many slots that were.
        lsn: Rows that had died by then are left out.
    """

    chunk: SealedChunk | None
    graph: SegmentGraph | None
    kept: NDArray[np.int64] | None
    replaced: int
    covered: int
    lsn: int


def uncovered(state: CollectionState) -> int:
    """Slots outside the collection's graph."""
    first = state.rows.layout.chunks[0] if state.rows.layout.chunks else None
    usable = isinstance(first, SealedChunk) and first.graph is not None and first.graph.damage is None
    return state.slot_count - (first.count if usable and first is not None else 0)


def is_due(state: CollectionState) -> bool:
    """Whether a new graph would help: enough rows, and too many of them outside the old one or dead inside it."""
    if state.live_count < state.schema.graph.minimum_rows:
        return False
    if uncovered(state) > UNCOVERED_SHARE * state.slot_count:
        return True
    first = state.rows.layout.chunks[0]
    return isinstance(first, SealedChunk) and too_dead(first.dead_count, first.count)


def too_dead(dead: int, rows: int) -> bool:
    """Whether so many rows of a segment are dead that it is written anew: every walk passes through them."""
    return dead > DEAD_SHARE * rows


def build(
    disk: Disk,
    state: CollectionState,
    manifest: Manifest,
    threads: int,
    progress: Callable[[int, int], None],
    *,
    rewrite: bool = False,
) -> BuiltGraph | None:
    """Build the graph of the rows that the newest manifest has of a collection.

    Args:
        disk: Where.
        state: The collection now; its first segments are those of the manifest.
        manifest: The newest one.
        threads: For the builder.
        progress: See :func:`storage_engine.index.builder.build_graph`; what it raises ends the work.
        rewrite: Leave every dead row out, and build the graph only where the collection is large enough for one.

    Returns:
        ``None`` if the manifest has no live row of the collection, unless ``rewrite`` is set and it has dead ones.

    Raises:
        DiskError, DamagedError: Nothing names what was written so far.
    """
    from storage_engine.index.builder import build_graph

    replaced = next((len(one.segments) for one in manifest.collections if one.schema.uuid == state.schema.uuid), 0)
    parts = [chunk for chunk in state.rows.layout.chunks[:replaced] if isinstance(chunk, SealedChunk)]
    covered = sum(chunk.count for chunk in parts)
    kept = np.flatnonzero(state.rows.died_in(0, covered) > manifest.last_lsn)
    if not len(kept):
        return BuiltGraph(None, None, kept, replaced, covered, manifest.last_lsn) if rewrite and covered else None
    if replaced == 1 and not rewrite and not too_dead(covered - len(kept), covered):
        chunk, chosen = parts[0], None
    else:
        chunk, chosen = _joined(disk, state, parts, kept), kept
    graph = None
    if not rewrite or len(kept) >= state.schema.graph.minimum_rows:
        chunk.confirm(None)
        vectors, norms = chunk.segment.mapped_vectors, chunk.segment.norms
        links = build_graph(vectors, norms, state.schema.metric, state.schema.graph, threads, progress)
        stored = (CODES, "computed") not in state.schema.attributes
        file = store_file(disk, f"idx/{uuid.uuid4().hex}.graph", links.to_bytes(with_codes=stored))
        graph = SegmentGraph(disk, GraphFile(file, (chunk.reference.uuid,), chunk.count), state.schema.metric)
        for column in filter_columns(manifest, state.schema.uuid):
            # A column that has come to have too many values loses its graphs; searches do without.
            with contextlib.suppress(InvalidArgumentError):
                graph = _with_filter(disk, chunk, graph, column, state.schema, threads, progress)
    return BuiltGraph(chunk, graph, chosen, replaced, covered, manifest.last_lsn)


def filter_columns(manifest: Manifest, uuid: str) -> tuple[str, ...]:
    """Columns whose values have graphs of their own, by the collection's uuid."""
    graphs = [one.graph for one in manifest.collections if one.schema.uuid == uuid and one.graph is not None]
    return tuple(column for graph in graphs for column, _ in graph.filters)


def build_filter(
    disk: Disk,
    state: CollectionState,
    manifest: Manifest,
    column: str,
    threads: int,
    progress: Callable[[int, int], None],
) -> BuiltGraph:
    """The collection's graph with graphs for the values of a column beside it.

    Args:
        disk: Where.
        state: The collection now.
        manifest: The newest one.
        column: A metadata column.
        threads: As for :func:`build`.
        progress: As for :func:`build`.

    Raises:
        UnknownColumnError: No row has the column.
        InvalidArgumentError: There is no row to connect, or the column's values are too many, or lists.
        DiskError, DamagedError: Nothing names what was written so far.
    """
    if column not in state.columns:
        known = ", ".join(state.columns) or "none yet"
        raise UnknownColumnError(
            f"collection {state.schema.name!r} has no metadata column {column!r}",
            fix=f"Use one of: {known}.",
            value=column,
        )
    chunk = state.rows.layout.chunks[0] if state.rows.layout.chunks else None
    if not isinstance(chunk, SealedChunk) or chunk.graph is None:
        raise InvalidArgumentError(
            f"collection {state.schema.name!r} has no rows to connect",
            fix="Insert some first.",
            value=state.schema.name,
        )
    graph = _with_filter(disk, chunk, chunk.graph, column, state.schema, threads, progress)
    return BuiltGraph(chunk, graph, None, 1, chunk.count, manifest.last_lsn)


def without_filter(disk: Disk, state: CollectionState, manifest: Manifest, column: str) -> BuiltGraph | None:
    """The collection's graph without the graphs of a column's values; ``None`` if there are none."""
    chunk = state.rows.layout.chunks[0] if state.rows.layout.chunks else None
    if not isinstance(chunk, SealedChunk) or chunk.graph is None:
        return None
    file = chunk.graph.file
    kept = tuple(one for one in file.filters if one[0] != column)
    if len(kept) == len(file.filters):
        return None
    graph = SegmentGraph(disk, dataclasses.replace(file, filters=kept), state.schema.metric)
    return BuiltGraph(chunk, graph, None, 1, chunk.count, manifest.last_lsn)


def _with_filter(
    disk: Disk,
    chunk: SealedChunk,
    graph: SegmentGraph,
    column: str,
    schema: CollectionSchema,
    threads: int,
    progress: Callable[[int, int], None],
) -> SegmentGraph:
    """A graph file with the graphs of a column's values beside it; the same if they cannot be built any more."""
    from storage_engine import compiled_code
    from storage_engine.index.filter_building import build_filter_graph

    compiled_code.process.load()
    found = graph.walker(chunk.segment)
    walker = None if found is None else found.compiled
    if walker is None:
        raise InvalidArgumentError(
            "graphs of values need compiled code, which cannot be loaded here", fix="Install numba.", value=column
        )
    chunk.confirm(None)
    value = values_of(chunk.segment, column)
    vectors, norms = chunk.segment.mapped_vectors, chunk.segment.norms
    built = build_filter_graph(column, value, walker, vectors, norms, schema.graph, threads, progress)
    stored = store_file(disk, f"idx/{uuid.uuid4().hex}.filter", built.to_bytes())
    others = tuple(one for one in graph.file.filters if one[0] != column)
    return SegmentGraph(disk, dataclasses.replace(graph.file, filters=(*others, (column, stored))), schema.metric)


def values_of(segment: Segment, column: str) -> NDArray[np.int32]:
    """The number of each row's value, from 0 on in the order of first appearance; null is a value too.

    Raises:
        InvalidArgumentError: More than ``MAX_VALUES`` values, or values that cannot be compared.
    """
    from storage_engine.index.filter_graph import MAX_VALUES

    table = segment.metadata([column]) if column in segment.metadata_schema().names else None
    if table is None:
        return np.zeros(len(segment), np.int32)
    try:
        coded = table.column(column).combine_chunks().dictionary_encode(null_encoding="encode")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise InvalidArgumentError(
            f"values of column {column!r} ({table.column(column).type}) cannot be told apart",
            fix="Use a column of numbers, text, dates or booleans.",
            value=column,
        ) from error
    if len(coded.dictionary) > MAX_VALUES:
        raise InvalidArgumentError(
            f"column {column!r} has {len(coded.dictionary)} values",
            fix=f"Use one with at most {MAX_VALUES}.",
            value=column,
        )
    numbers: NDArray[np.int32] = coded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    return numbers


def succeed(current: CollectionState, built: BuiltGraph) -> CollectionState:
    """The collection's newest state with the built segment in place of its first slots. Under the write lock."""
    if built.kept is None:
        first = current.rows.layout.chunks[0]
        if not isinstance(first, SealedChunk):
            raise TypeError("the first rows are not sealed")
        chunk = first.moved(0)
        chunk.graph = built.graph
    elif built.chunk is None:
        chunk = None
    else:
        chunk = built.chunk
        chunk.take_over(current.rows.died_in(0, built.covered)[built.kept])
        chunk.dirty = chunk.died_after(built.lsn)
        chunk.graph = built.graph
    store = current.rows.succeeded([] if chunk is None else [chunk], built.covered)
    return dataclasses.replace(current, rows=store, slot_count=store.slot_count, cache={})


def manifest_with(before: Manifest, uuid: str, built: BuiltGraph) -> Manifest:
    """The next manifest: the built segment and its graph in place of the collection's first segments."""
    collections = []
    for one in before.collections:
        if one.schema.uuid == uuid:
            deletes = one.segments[0].deletes if built.kept is None else None
            first = () if built.chunk is None else (SealedSegment(built.chunk.reference, deletes),)
            segments = (*first, *one.segments[built.replaced :])
            graph = None if built.graph is None else built.graph.file
            collections.append(SealedCollection(one.schema, segments, graph))
        else:
            collections.append(one)
    return dataclasses.replace(before, number=before.number + 1, collections=tuple(collections))


def _joined(disk: Disk, state: CollectionState, parts: list[SealedChunk], kept: NDArray[np.int64]) -> SealedChunk:
    columns = segment_columns(parts)
    schema = pa.schema(list(columns.items())) if columns else None
    rows = SegmentRows(state.schema.dimension, _rows(state.rows, columns, kept), schema, state.schema.dtype)
    reference = write_segment(disk, state.schema.uuid, rows, uuid=uuid.uuid4().hex)
    return SealedChunk(Segment.open(disk, reference), 0)


def _rows(store: VectorStore, columns: Mapping[str, pa.DataType], kept: NDArray[np.int64]) -> Iterator[RowChunk]:
    for start in range(0, len(kept), _ROWS_A_STEP):
        slots = kept[start : start + _ROWS_A_STEP]
        yield RowChunk(
            store.ids_at(slots),
            store.vectors_at(slots),
            store.norms_at(slots),
            store.born_at(slots).astype(np.uint64),
            pieces.rows(store.pieces, columns, slots) if columns else None,
        )
