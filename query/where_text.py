"""Conditions as selections of slots: by the predicate tree where it means the same, otherwise by DuckDB.

What a condition selects is kept with the state of the rows, wherever it depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
from storage_engine.filters.expression import Predicate, canonical_text
from storage_engine.filters.selection import Selection

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


def slot_selection(
    relation: CollectionRelation,
    condition: Condition,
    name: str,
    alias: str,
    parameters: Mapping[str, object],
    others: Mapping[str, pa.Table],
    plain: bool,
    run: Run,
) -> Selection:
    """Which live slots satisfy a condition.

    Args:
        relation: The rows.
        condition: What they must satisfy.
        name: What the table is called.
        alias: What the query calls it.
        parameters: Bound values, of the whole query.
        others: Further tables that the condition reads.
        plain: Whether the condition calls only functions that give the same for the same arguments.
        run: Runs a query in DuckDB.

    Raises:
        duckdb.Error: The condition cannot be evaluated; see :mod:`query.duckdb_errors`.
    """
    qualifiers = {name.lower(), alias.lower()}
    predicate = to_predicate(condition.node, relation.schema, qualifiers, parameters)
    if predicate is not None:
        return selection_of(relation, predicate)

    def make() -> NDArray[np.bool_]:
        return _by_duckdb(relation, condition, name, alias, parameters, others, run)

    if plain and not others and _reads_rows_only(condition.node, relation, qualifiers):
        return relation.view.selection(f"sql {name} {alias} {condition.text}", make)
    return Selection(make())


def selection_of(relation: CollectionRelation, predicate: Predicate) -> Selection:
    """Which live slots satisfy a predicate.

    Raises:
        UnknownColumnError, InvalidArgumentError: See :func:`storage_engine.filters.evaluate.evaluate`.
    """

    def make() -> NDArray[np.bool_]:
        return evaluate(predicate, relation.column_over_slots, relation.view.slot_count)

    if relation.constants or relation.absent:  # columns of their own: the same text may select other rows
        return Selection(make(), relation.view.live())
    return relation.view.selection(f"predicate {canonical_text(predicate)}", make)


def _reads_rows_only(node: Node, relation: CollectionRelation, qualifiers: Collection[str]) -> bool:
    """Whether a condition depends on stored columns alone: on no parameter, and on no name that means the time."""
    nodes = list(walk(node))
    columns = {field.name.lower() for field in relation.schema}
    named = [str(item["column_names"][-1]).lower() for item in nodes if item.get("column_names")]
    return (
        not (relation.constants or relation.absent)
        and columns_in(nodes, qualifiers) is not None
        and columns.issuperset(named)
        and all(item.get("class") not in {"PARAMETER", "SUBQUERY"} for item in nodes)
    )


def _by_duckdb(
    relation: CollectionRelation,
    condition: Condition,
    name: str,
    alias: str,
    parameters: Mapping[str, object],
    others: Mapping[str, pa.Table],
    run: Run,
) -> NDArray[np.bool_]:
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
    mask = np.zeros(relation.view.slot_count, np.bool_)
    mask[found.column(0).to_numpy()] = True
    return mask
