"""Answers the nearest-rows shape through the index: the condition becomes a slot mask, the index finds the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from query.plan import Condition, NearestShape
from query.relations import CollectionRelation, Relation, chosen
from storage_engine.filters.selection import Selection
from storage_engine.schema import MAX_TOP_K, Metric

Select = Callable[[CollectionRelation, Condition], Selection]


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """What the index gave.

    Args:
        rows: The rows that answer the query; ``None`` where all rows must be compared.
        plan: How, or why not; empty where there is nothing to say.
    """

    rows: pa.Table | None
    plan: str


def nearest(
    shape: NearestShape,
    relation: Relation,
    columns: frozenset[str] | None,
    values: Mapping[str, object],
    select: Select,
) -> Nearest:
    """The ``limit + offset`` nearest rows of a relation that satisfy the shape's condition.

    Args:
        shape: What is asked.
        relation: Where.
        columns: Columns that the query names, lower case; ``None`` for all.
        values: Bound values; vectors as float32.
        select: Evaluates the condition.

    Raises:
        DimensionMismatchError, InvalidVectorError: The vector asked for is unusable.
    """
    if not isinstance(relation, CollectionRelation):
        return Nearest(None, "the data set is not fixed by WHERE dataset = 'name'")
    if relation.metric is not shape.metric:
        return Nearest(None, f"{shape.operator} is not what the index compares by ({relation.metric.value})")
    limit, offset = (bound if isinstance(bound, int) else values.get(bound) for bound in (shape.limit, shape.offset))
    if not _is_count(limit) or not _is_count(offset):
        return Nearest(None, "LIMIT or OFFSET is no whole number")
    wanted = int(limit) + int(offset)  # type: ignore[call-overload]
    if not 1 <= wanted <= MAX_TOP_K:
        return Nearest(None, f"LIMIT and OFFSET ask for {wanted} rows; an index gives 1 to {MAX_TOP_K}")
    query = values[shape.query] if isinstance(shape.query, str) else np.array(shape.query, np.float32)
    if not isinstance(query, np.ndarray):
        return Nearest(None, "the vector is NULL")
    if shape.metric is Metric.COSINE and not relation.cache.norms_are_plain(relation.view):
        return Nearest(None, "some rows are scored by another norm than their length")
    allowed = None if shape.condition is None else select(relation, shape.condition)
    found = relation.view.search(query, wanted, mask=allowed)
    rows = relation.read_slots(found.slots, chosen(relation, columns))
    matching = "" if allowed is None else f", {allowed.count} of them match"
    of_all = f"{len(found.slots)} of {len(relation.view)} rows of {relation.view.schema.name!r}"
    return Nearest(rows, f"nearest {of_all} by {shape.operator}: {found.strategy}{matching} ({found.reason})")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
