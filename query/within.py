"""Rows within a distance for SQL: recognises ``WHERE vector <-> $q < r``, leaves out rows that cannot satisfy it.

The index answers with a few rows too many rather than one too few, because DuckDB computes distances in float32 in an
order of its own; DuckDB then runs the text as written on what is left. So the answer is the same, and exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from query.nearest import Nearest
from query.plan import WithinShape
from query.planner import compared_vectors, literal_number, reads_one_table
from query.relations import CollectionRelation, Relation, chosen
from query.syntax_tree import Node, References, TableReference
from storage_engine.schema import Metric
from storage_engine.snapshot import CollectionView
from storage_engine.vectors.distance import error_factor, tiny

_LARGEST = 1e9  # lengths from 1e-9 to 1e9 leave float32 neither as squares nor as products of squares
_BELOW = frozenset({"COMPARE_LESSTHAN", "COMPARE_LESSTHANOREQUALTO"})
_ABOVE = frozenset({"COMPARE_GREATERTHAN", "COMPARE_GREATERTHANOREQUALTO"})


def within_shape(statement: Node, references: References) -> WithinShape | None:
    """The bound on the distance that every row of a query's answer has to keep, if it is one the index knows.

    Everything that a SELECT does after WHERE (grouping, windows, ordering, limits) sees the same rows either way.
    """
    select = statement["node"]
    if not reads_one_table(select, references):
        return None
    table = references.tables[0]
    for condition in _conjuncts(select.get("where_clause", {})):
        shape = _bound(condition, table)
        if shape is not None:
            return shape
    return None


def rows_within(
    shape: WithinShape, relation: Relation, columns: frozenset[str] | None, values: Mapping[str, object]
) -> Nearest | None:
    """The rows of a relation that may satisfy a shape; ``None`` where all rows must be compared.

    Args:
        shape: What is asked.
        relation: Where.
        columns: Columns that the query names, lower case; ``None`` for all.
        values: Bound values; vectors as float32.

    Raises:
        DimensionMismatchError, InvalidVectorError: The vector asked for is unusable.
    """
    bound = values.get(shape.bound) if isinstance(shape.bound, str) else shape.bound
    query = values.get(shape.query) if isinstance(shape.query, str) else np.array(shape.query, np.float32)
    if not isinstance(relation, CollectionRelation) or relation.metric is not shape.metric:
        return None
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
        return None
    if not isinstance(query, np.ndarray):
        return None
    with_room = _with_room(float(bound), query, relation)
    if with_room is None:
        return None
    found = relation.view.search_within(query, with_room)
    rows = relation.read_slots(np.sort(found.slots), chosen(relation, columns))
    of_all = f"{len(found.slots)} of {len(relation.view)} rows of {relation.view.schema.name!r}"
    plan = f"within {float(bound):g} by {shape.operator}: {of_all} can be: {found.strategy} (all are wanted)"
    return Nearest(rows, plan)


def _with_room(bound: float, query: NDArray[np.float32], relation: CollectionRelation) -> float | None:
    """A bound on true scores that holds wherever the operator's value, in float32, is below the given one.

    Errors of float32 sums are those of :mod:`storage_engine.vectors.distance`; a query written out has been rounded to
    float32 as well. ``None`` where they cannot be bounded: sums that leave float32, other norms than lengths.
    """
    dimension = query.shape[0]
    gamma = error_factor(dimension) + 2.0**-22
    length = math.sqrt(float(np.square(query, dtype=np.float64).sum()))
    if relation.metric is Metric.L2:
        return bound * (1.0 + 2.0 * gamma) + 2.0**-23 * length + math.sqrt(tiny(dimension))
    shortest, longest = relation.view.kept("lengths", lambda: _lengths(relation.view))
    if relation.metric is Metric.IP:
        if not longest * length < _LARGEST**2:
            return None
        return -bound - abs(bound) * gamma - gamma * longest * length - tiny(dimension)
    if not (min(shortest, length) > 1.0 / _LARGEST and max(longest, length) < _LARGEST):
        return None
    if not relation.cache.norms_are_plain(relation.view):
        return None
    return 1.0 - bound - abs(bound) * gamma - 4.0 * gamma


def _lengths(view: CollectionView) -> tuple[float, float]:
    """The least and the largest norm of live rows; 1 and 1 without any."""
    norms = view.norms_at(np.flatnonzero(view.live()))
    return (float(norms.min()), float(norms.max())) if len(norms) else (1.0, 1.0)


def _conjuncts(condition: Node) -> Iterator[Node]:
    if condition.get("type") == "CONJUNCTION_AND":
        for child in condition["children"]:
            yield from _conjuncts(child)
    else:
        yield condition


def _bound(condition: Node, table: TableReference) -> WithinShape | None:
    if condition.get("class") == "BETWEEN" and condition.get("type") == "COMPARE_BETWEEN":
        distance, limit = condition["input"], condition["upper"]
    elif condition.get("type") in _BELOW:
        distance, limit = condition["left"], condition["right"]
    elif condition.get("type") in _ABOVE:
        distance, limit = condition["right"], condition["left"]
    else:
        return None
    compared = compared_vectors(distance, table)
    if compared is None:
        return None
    bound = str(limit["identifier"]) if limit.get("class") == "PARAMETER" else literal_number(limit)
    return None if bound is None else WithinShape(table, *compared, bound)
