"""When and how a collection's graph is built: aside, from sealed rows, published by a manifest.

A graph covers exactly one segment, the collection's first. Where the rows lie in several segments, or many of them are
dead, they are first written together into one: the same rows in the same order, without those that had died. Commits
go on meanwhile; what they do to the rows is carried over when the result is published.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.catalog import CollectionState
from storage_engine.files import Disk
from storage_engine.graph_file import SegmentGraph
from storage_engine.manifest.manifest import GraphFile, Manifest, SealedCollection, SealedSegment
from storage_engine.metadata import pieces
from storage_engine.recovery import segment_columns
from storage_engine.sealed import SealedChunk
from storage_engine.segment.segment import Segment
from storage_engine.segment.writer import RowChunk, SegmentRows, write_segment
from storage_engine.staged_file import store_file
from storage_engine.vector_store import VectorStore

UNCOVERED_SHARE = 0.2
"""A new graph is due when more than this share of the slots is outside the old one."""

DEAD_SHARE = 0.2
"""A segment is written anew, without its dead rows, when more than this share of its rows is dead."""

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
    """Whether a new graph would help: enough rows, and too many of them outside the old one."""
    return state.live_count >= state.schema.graph.minimum_rows and (
        uncovered(state) > UNCOVERED_SHARE * state.slot_count
    )


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
        threads: For the builder; 1 gives the same graph each time.
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
    if replaced == 1 and not rewrite and len(kept) >= (1 - DEAD_SHARE) * covered:
        chunk, chosen = parts[0], None
    else:
        chunk, chosen = _joined(disk, state, parts, kept), kept
    graph = None
    if not rewrite or len(kept) >= state.schema.graph.minimum_rows:
        chunk.confirm(None)
        vectors, norms = chunk.segment.mapped_vectors, chunk.segment.norms
        links = build_graph(vectors, norms, state.schema.metric, state.schema.graph, threads, progress)
        file = store_file(disk, f"idx/{uuid.uuid4().hex}.graph", links.to_bytes())
        graph = SegmentGraph(disk, GraphFile(file, (chunk.reference.uuid,), chunk.count), state.schema.metric)
    return BuiltGraph(chunk, graph, chosen, replaced, covered, manifest.last_lsn)


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
    rows = SegmentRows(state.schema.dimension, _rows(state.rows, columns, kept), schema)
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
