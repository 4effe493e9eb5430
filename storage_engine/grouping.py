"""The best rows of each of the best groups of a metadata column: exact, and never a group short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.errors import InvalidArgumentError
from storage_engine.filters.selection import Selection
from storage_engine.schema import MAX_TOP_K
from storage_engine.snapshot import CollectionView

_AT_LEAST = 64  # rows that a round looks for: a few groups seldom hide behind fewer


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Rows that share a value.

    Args:
        value: What they share; ``None`` is the group of rows without a value.
        slots: int64, best first.
        scores: float32, as the collection's metric defines them.
    """

    value: object
    slots: NDArray[np.int64]
    scores: NDArray[np.float32]


def best_groups(
    view: CollectionView,
    query: NDArray[np.float32],
    column: str,
    top_k: int,
    per_group: int,
    selection: Selection | None = None,
) -> list[Group]:
    """The best ``per_group`` rows of each of the ``top_k`` groups whose best row is best.

    Rows whose values of the column are equal make a group; rows without a value make one together, as GROUP BY in SQL
    does, and so do NaN. A group stands where its best row stands: by score, equal scores by slot, and so do the rows in
    it. Rounds of exact searches find the groups, each among the rows of groups not found yet.

    Args:
        view: The rows.
        query: Real numbers, shape (dimension,).
        column: A metadata column with single values (not lists).
        top_k: How many groups, 1 to ``MAX_TOP_K``; as many as there are if there are fewer.
        per_group: How many rows of each, 1 to ``MAX_TOP_K``; as many as it has if it has fewer.
        selection: Which rows may appear; ``None`` means all.

    Raises:
        UnknownColumnError: The column does not exist.
        InvalidArgumentError: ``top_k`` or ``per_group`` is out of range, or the column holds lists.
        InvalidVectorError, DimensionMismatchError: The query is unusable.
    """
    for name, value in (("top_k", top_k), ("per_group", per_group)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= MAX_TOP_K:
            raise InvalidArgumentError(
                f"{name} is {value!r}", fix=f"Give a whole number from 1 to {MAX_TOP_K}.", value=value
            )
    values, codes = encoded(view, column)
    allowed = view.live() if selection is None else view.live() & selection.mask
    found = _by_first_row(view, query, codes, len(values), allowed, top_k, per_group)
    groups = []
    for code, seen in found.items():
        rows = seen
        if len(seen[0]) < per_group:
            all_of_it = view.search(query, per_group, mask=allowed & (codes == code), exact=True)
            rows = all_of_it.slots, all_of_it.scores
        groups.append(Group(values[code].as_py(), *rows))
    return groups


def _by_first_row(
    view: CollectionView,
    query: NDArray[np.float32],
    codes: NDArray[np.int32],
    count: int,
    allowed: NDArray[np.bool_],
    top_k: int,
    per_group: int,
) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The codes of the best groups in order, each with those of its best rows, up to ``per_group``, seen so far."""
    wanted = min(MAX_TOP_K, max(_AT_LEAST, 2 * top_k * per_group))
    found: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
    known = np.zeros(count, np.bool_)
    while len(found) < top_k:
        rows = view.search(query, wanted, mask=allowed & ~known[codes], exact=True)
        if not len(rows.slots):
            break
        of_row = codes[rows.slots]
        new, first = np.unique(of_row, return_index=True)
        for code in new[np.argsort(first)][: top_k - len(found)].tolist():
            places = np.flatnonzero(of_row == code)[:per_group]
            found[code] = (rows.slots[places], rows.scores[places])
        known[new] = True
    return found


def encoded(view: CollectionView, column: str) -> tuple[pa.Array, NDArray[np.int32]]:
    """The distinct values of a column and, for each slot, which of them it has; kept with the state of the rows.

    Null is one of the values; 0 and -0 are the same one, and so are all NaN.

    Raises:
        UnknownColumnError: The column does not exist.
        InvalidArgumentError: It holds lists or other values that are not single.
    """
    return view.kept(f"encoded {column}", lambda: _encoded(view, column))


def _encoded(view: CollectionView, column: str) -> tuple[pa.Array, NDArray[np.int32]]:
    """The distinct values of a column and, for each slot, which of them it has."""
    stored = view.column(column)
    if pa.types.is_floating(stored.type):  # 0 and -0 are equal, and so must their groups be
        plain = stored.to_numpy()
        mask = np.asarray(stored.is_null())
        stored = pa.chunked_array([pa.array(plain + plain.dtype.type(0), stored.type, mask=mask)])
    try:
        chunks = stored.dictionary_encode(null_encoding="encode").chunks  # of one dictionary
    except pa.ArrowNotImplementedError as error:
        raise InvalidArgumentError(
            f"rows cannot be grouped by {column!r}, which holds {stored.type}",
            fix="Group by a column of single values.",
            value=column,
        ) from error
    if not chunks:
        return pa.nulls(0), np.empty(0, np.int32)
    return chunks[-1].dictionary, np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
