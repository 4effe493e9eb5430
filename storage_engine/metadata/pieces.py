"""Where the metadata of a collection's rows lies: a short list of immutable pieces in slot order.

A piece covers a range of slots with one Arrow table (or none, where the rows came without metadata). Sealed segments
give one piece each and are read when first asked for. Fresh rows come in pieces as small as one row; whenever sixteen
of one size class stand side by side they are joined, so that the list stays short and each row is copied a logarithmic
number of times. Readers take the whole tuple at once; it is never changed, only replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.metadata.types import cast_column, unify

SEALED = -1
"""Level of a piece that belongs to a segment and is never joined with others."""

_FAN_IN = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """Metadata of ``count`` rows from slot ``start`` on; ``load`` gives the table, or ``None`` for no columns."""

    start: int
    count: int
    load: Callable[[], pa.Table | None] = field(repr=False)
    level: int = 0  # size class of fresh pieces

    @classmethod
    def of(cls, start: int, count: int, table: pa.Table | None, level: int = 0) -> Piece:
        """A piece over a table in memory."""
        return cls(start, count, lambda: table, level)


def appended(pieces: tuple[Piece, ...], piece: Piece) -> tuple[Piece, ...]:
    """Return the list with one more piece at its end, joined where sixteen of one size class meet."""
    result = [*pieces, piece]
    while len(result) >= _FAN_IN and piece.level != SEALED:
        tail = result[-_FAN_IN:]
        if any(entry.level != tail[0].level for entry in tail):
            break
        result[-_FAN_IN:] = [_joined(tail)]
    return tuple(result)


def pieces_from(pieces: Sequence[Piece], first: int, shift: int) -> tuple[Piece, ...]:
    """The pieces of the slots from ``first`` on, renumbered by ``shift``."""
    result = []
    for piece in pieces:
        skip = max(0, first - piece.start)
        if skip >= piece.count:
            continue
        if skip:
            table = piece.load()
            rest = None if table is None else table.slice(skip)
            result.append(Piece.of(first + shift, piece.count - skip, rest, piece.level))
        else:
            result.append(Piece(piece.start + shift, piece.count, piece.load, piece.level))
    return tuple(result)


def pieces_until(pieces: Sequence[Piece], stop: int) -> tuple[Piece, ...]:
    """The pieces of the slots below ``stop``; one that goes on beyond is cut."""
    result = []
    for piece in pieces:
        count = min(piece.count, stop - piece.start)
        if count <= 0:
            break
        if count == piece.count:
            result.append(piece)
        else:
            table = piece.load()
            result.append(Piece.of(piece.start, count, None if table is None else table.slice(0, count)))
    return tuple(result)


def _joined(parts: Sequence[Piece]) -> Piece:
    tables = [part.load() for part in parts]
    count = sum(part.count for part in parts)
    level = parts[0].level + 1
    columns: dict[str, pa.DataType] = {}
    for table in tables:
        for entry in table.schema if table is not None else ():
            unified = unify(columns.get(entry.name, pa.null()), entry.type)
            if unified is None:  # every type a column has had grows into the next one
                raise TypeError(f"column {entry.name!r} cannot be {columns[entry.name]} and {entry.type}")
            columns[entry.name] = unified
    if not columns:
        return Piece.of(parts[0].start, count, None, level)
    whole = pa.table(
        {
            name: pa.chunked_array(
                [
                    chunk
                    for part, table in zip(parts, tables, strict=True)
                    for chunk in _one_column(table, name, kind, part.count).chunks
                ],
                type=kind,
            )
            for name, kind in columns.items()
        }
    ).combine_chunks()
    return Piece.of(parts[0].start, count, whole, level)


def _one_column(table: pa.Table | None, name: str, kind: pa.DataType, count: int) -> pa.ChunkedArray:
    if table is None or name not in table.column_names:
        return pa.chunked_array([pa.nulls(count, kind)])
    return cast_column(table.column(name), kind)


def column(pieces: Sequence[Piece], name: str, kind: pa.DataType, slot_count: int) -> pa.ChunkedArray:
    """Return one column over slots 0..slot_count-1; null where a row lacks it. Cost: O(pieces) once they are loaded."""
    chunks: list[pa.Array] = []
    for piece in pieces:
        take = min(piece.count, slot_count - piece.start)
        if take <= 0:
            break
        table = piece.load()
        if table is not None and name in table.column_names:
            # Cut before casting: rows past slot_count may already have a type that these rows never had.
            chunks.extend(cast_column(table.column(name).slice(0, take), kind).chunks)
        else:
            chunks.append(pa.nulls(take, kind))
    return pa.chunked_array(chunks, type=kind)


def rows(pieces: Sequence[Piece], columns: Mapping[str, pa.DataType], slots: NDArray[np.int64]) -> pa.Table:
    """Return the given columns of the given slots, in the order given. Cost: O(slots + pieces touched)."""
    schema = pa.schema(list(columns.items()))
    if not columns or not len(slots):
        # A table without columns still has to say how many rows it stands for.
        return schema.empty_table() if columns else pa.table({"_": pa.nulls(len(slots))}).select([])
    starts = np.fromiter((piece.start for piece in pieces), np.int64, len(pieces))
    owner = np.searchsorted(starts, slots, side="right") - 1
    touched: list[int] = np.flatnonzero(np.bincount(owner)).tolist()
    parts, positions = [], []
    for index in touched:
        piece = pieces[index]
        where = np.nonzero(owner == index)[0]
        local = pa.array(slots[where] - piece.start)
        table = piece.load()
        taken = None if table is None else table.select([n for n in columns if n in table.column_names]).take(local)
        parts.append(
            pa.Table.from_arrays(
                [_one_column(taken, name, kind, len(where)) for name, kind in columns.items()], schema=schema
            )
        )
        positions.append(where)
    if len(parts) == 1:
        return parts[0]
    order = np.empty(len(slots), np.int64)
    order[np.concatenate(positions)] = np.arange(len(slots))
    return pa.concat_tables(parts).combine_chunks().take(pa.array(order))
