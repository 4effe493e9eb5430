"""Conditions as slot masks: by the predicate tree where it means the same, otherwise by DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from query.dialect import NEGATIVE_INNER_PRODUCT, quote_identifier, tokenize
from query.errors import SqlSyntaxError
from query.plan import Condition
from query.predicates import to_predicate
from query.relations import CollectionRelation, chosen
from query.source import Replacement, Source
from query.syntax_tree import Node, columns_in, walk
from storage_engine.filters.evaluate import evaluate

_SLOT = "_slot"  # no column can have this name: a leading underscore is reserved
_WRAPPED_KEYS = frozenset({"type", "cte_map", "select_list", "from_table", "where_clause", "aggregate_handling"})

Run = Callable[[str, Mapping[str, pa.Table], Mapping[str, object]], pa.Table]


def wrap(text: str, table: str) -> Source:
    """A condition as the query ``SELECT 1 FROM table WHERE (text)``, with places counted in the condition.

    Raises:
        SqlSyntaxError: It is empty, or :func:`query.dialect.tokenize` refuses it.
    """
    tokens = tokenize(text)
    if not tokens:
        raise SqlSyntaxError("The condition is empty", fix="Leave it out, or write one such as label = 3.")
    if tokens[0].is_word("SELECT", "FROM", "WITH", "VALUES", "TABLE"):
        # In the brackets around it, it would be read as a subquery.
        raise SqlSyntaxError("The text is a query", line=1, column=1, fix="Write only what would stand after WHERE.")
    operators = [Replacement(item.start, item.stop, NEGATIVE_INNER_PRODUCT) for item in tokens if item.is_sign("<#>")]
    return Source(
        text,
        0,
        len(text),
        (
            Replacement(0, 0, f"SELECT 1 FROM {quote_identifier(table)} WHERE (\n"),  # noqa: S608 - quoted
            *operators,
            Replacement(len(text), len(text), "\n)"),
        ),
    )


def condition_of(tree: Mapping[str, Any], source: Source) -> Condition:
    """The condition inside a wrapped one, if the text holds exactly one.

    Raises:
        SqlSyntaxError: The text closes the bracket around it, goes on after the condition, or names columns by a
            pattern.
    """
    statements = tree["statements"]
    select: Node = statements[0]["node"]
    if (
        len(statements) != 1
        or select.get("type") != "SELECT_NODE"
        or not set(select) <= _WRAPPED_KEYS
        or select.get("cte_map")
        or "where_clause" not in select
        or len(select["select_list"]) != 1
    ):
        raise SqlSyntaxError(
            "The text is more than one condition", line=1, column=1, fix="Write only what would stand after WHERE."
        )
    if has_pattern(select["where_clause"]):
        raise SqlSyntaxError(
            "A condition cannot name columns by a pattern", line=1, column=1, fix="Write out the columns."
        )
    return Condition(select["where_clause"], Source(source.whole, 0, source.stop, source.replacements[1:-1]).text)


def has_pattern(node: Node) -> bool:
    """Whether ``*`` or ``COLUMNS(…)`` stands outside of a subquery of its own."""
    return any(item.get("class") == "STAR" for item in walk(node))


def slot_mask(
    relation: CollectionRelation,
    condition: Condition,
    name: str,
    alias: str,
    parameters: Mapping[str, object],
    others: Mapping[str, pa.Table],
    run: Run,
) -> NDArray[np.bool_]:
    """Which slots satisfy a condition: shape (slot_count,); false for dead slots where DuckDB decided.

    Args:
        relation: The rows.
        condition: What they must satisfy.
        name: What the table is called.
        alias: What the query calls it.
        parameters: Bound values, of the whole query.
        others: Further tables that the condition reads.
        run: Runs a query in DuckDB.

    Raises:
        duckdb.Error: The condition cannot be evaluated; see :mod:`query.duckdb_errors`.
    """
    count = relation.view.slot_count
    predicate = to_predicate(condition.node, relation.schema, {name.lower(), alias.lower()}, parameters)
    if predicate is not None:
        return evaluate(predicate, relation.column_over_slots, count)
    slots = np.flatnonzero(relation.view.live())
    columns = columns_in(walk(condition.node), {name.lower(), alias.lower()})
    table = relation.read(chosen(relation, columns)).append_column(_SLOT, pa.array(slots))
    wanted = {str(node["identifier"]) for node in walk(condition.node) if node.get("class") == "PARAMETER"}
    rows = f"{quote_identifier(name)} AS {quote_identifier(alias)}"
    found = run(
        f'SELECT "{_SLOT}" FROM {rows} WHERE (\n{condition.text}\n)',  # noqa: S608 - parsed before
        {**others, name: table},
        {key: value for key, value in parameters.items() if key in wanted},
    )
    mask = np.zeros(count, np.bool_)
    mask[found.column(0).to_numpy()] = True
    return mask
