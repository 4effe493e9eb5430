"""The best records, where a record is all rows that share a value of a column: exact, from sorted answers.

The score of a record is a sum over the vectors asked: weight times the score of the record's best row for that vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage_engine.filters.selection import Selection
from storage_engine.schema import Metric
from storage_engine.snapshot import Candidates, CollectionView

_FIRST_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One vector of a question.

    Args:
        query: Real numbers, shape (dimension,).
        weight: At least 0.
        rows: bool of shape (slot_count,): the rows that may answer it.
    """

    query: NDArray[np.float32]
    weight: float
    rows: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class RecordCandidates:
    """Records found, best first.

    Args:
        records: int64, their numbers.
        scores: float64, in the sense of the collection's metric.
        slots: int64, the row of each that is best for the first vector asked.
    """

    records: NDArray[np.int64]
    scores: NDArray[np.float64]
    slots: NDArray[np.int64]


def best_records(
    view: CollectionView, record_of: NDArray[np.int32], count: int, asked: Sequence[Asked], top_k: int
) -> RecordCandidates:
    """The ``top_k`` records with the best Σ w · s, s being the score of the record's best row for a vector.

    Scores of rows are taken as they are reported, float32, and added in float64 in the order of ``asked``. A record
    appears if every vector asked finds a row of it. Equal scores stand in the order of the records' first rows among
    those that may answer.

    How: Fagin's threshold algorithm (Fagin, Lotem and Naor, "Optimal aggregation algorithms for middleware", 2003).
    The best rows for each vector are found exactly; every record among them is scored in full; a record that was not
    among them can at most have the sum of the last scores seen. If that sum could still be among the best, more rows
    are looked at. Rounding keeps the order of sums, so the bound holds in floating point as well.

    Args:
        view: The rows.
        record_of: int32 of shape (slot_count,): the record of each slot, -1 for none.
        count: How many records there are.
        asked: At least one vector.
        top_k: How many records, at least 1.

    Raises:
        InvalidVectorError, DimensionMismatchError: A vector is unusable.
    """
    ascending = view.schema.metric is Metric.L2
    sign, anything = (1.0, np.inf) if ascending else (-1.0, -np.inf)
    usable = [one.rows & view.live() & (record_of >= 0) for one in asked]
    rows = max(_FIRST_ROWS, 4 * top_k)
    while True:
        found = [
            view.search_within(one.query, anything, mask=Selection(mask), limit=rows)
            for one, mask in zip(asked, usable, strict=True)
        ]
        records = np.unique(record_of[np.concatenate([one.slots for one in found])]).astype(np.int64)
        keys, slots = _scored(view, record_of, count, asked, usable, records, sign)
        order = np.lexsort((_first_rows(record_of, usable, count)[records], keys))
        order = order[np.isfinite(keys[order])][:top_k]
        # where all rows for one vector are known, so are all records that have one
        complete = any(len(one.slots) < rows for one in found)
        unseen = np.inf if complete else _unseen(asked, found, sign)
        if complete or (len(order) == top_k and keys[order[-1]] < unseen):
            return RecordCandidates(records[order], sign * keys[order], slots[order])
        rows *= 4


def _scored(
    view: CollectionView,
    record_of: NDArray[np.int32],
    count: int,
    asked: Sequence[Asked],
    usable: Sequence[NDArray[np.bool_]],
    records: NDArray[np.int64],
    sign: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each record its sum as a number of which less is better, infinite without a row, and its first best row."""
    chosen = np.zeros(count + 1, np.bool_)
    chosen[records] = True
    among = chosen[record_of]
    anything = np.inf if sign > 0 else -np.inf
    totals, slots = np.zeros(len(records)), np.zeros(len(records), np.int64)
    for number, (one, mask) in enumerate(zip(asked, usable, strict=True)):
        rows = view.search_within(one.query, anything, mask=Selection(mask & among))
        of_row = record_of[rows.slots]
        first = np.full(count, -1, np.int64)
        first[of_row[::-1]] = np.arange(len(of_row))[::-1]  # the best row comes first, and is written last
        best = first[records]
        there = best >= 0
        weighed = sign * one.weight * rows.scores[best[there]].astype(np.float64)
        totals[there] += weighed
        totals[~there] = np.inf
        if number == 0:
            slots[there] = rows.slots[best[there]]
    return totals, slots


def _unseen(asked: Sequence[Asked], found: Sequence[Candidates], sign: float) -> float:
    """The least sum that a record none of whose rows was found can have."""
    least = 0.0
    for one, rows in zip(asked, found, strict=True):
        least += sign * one.weight * float(rows.scores[-1])
    return least


def _first_rows(record_of: NDArray[np.int32], usable: Sequence[NDArray[np.bool_]], count: int) -> NDArray[np.int64]:
    """The first slot of each record among the rows that may answer; ``slot_count`` for records without one."""
    slots = np.flatnonzero(np.logical_or.reduce(usable))
    first = np.full(count, len(record_of), np.int64)
    first[record_of[slots][::-1]] = slots[::-1]
    return first
