"""Recognises the one shape of query that an index can answer, and says of all others why not.

The rule is conservative: what is not certainly of the shape is answered exactly by DuckDB over all rows, which is
slower and never different.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from query.dialect import NEGATIVE_INNER_PRODUCT
from query.plan import Condition, NearestShape, NotNearest
from query.relations import VECTOR
from query.syntax_tree import Node, References, TableReference, column_names, walk, without_places
from storage_engine.schema import Metric

OPERATORS = {
    "<->": ("<->", Metric.L2),
    "array_distance": ("<->", Metric.L2),
    "list_distance": ("<->", Metric.L2),
    "<=>": ("<=>", Metric.COSINE),
    "array_cosine_distance": ("<=>", Metric.COSINE),
    "list_cosine_distance": ("<=>", Metric.COSINE),
    NEGATIVE_INNER_PRODUCT: ("<#>", Metric.IP),
    "array_negative_inner_product": ("<#>", Metric.IP),
    "list_negative_inner_product": ("<#>", Metric.IP),
}
"""Functions that order rows as an index does, with the operator that means the same."""

VECTOR_FUNCTIONS = frozenset(OPERATORS) | {
    f"{kind}_{name}"
    for kind in ("array", "list")
    for name in (
        "cosine_similarity",
        "dot_product",
        "inner_product",
        "negative_dot_product",
        "cross_product",
    )
}
"""Functions whose parameters are vectors."""

_SELECT_KEYS = frozenset(
    {"type", "modifiers", "cte_map", "select_list", "from_table", "where_clause", "aggregate_handling"}
)
_LATER_KEYS = frozenset({"group_expressions", "group_sets", "having", "qualify"})
"""What a SELECT may do with the rows that WHERE leaves."""

_TABLE_KEYS = frozenset(
    {
        "type",
        "alias",
        "table_name",
        "qualified_name",
        "schema_name",
        "catalog_name",
        "query_location",
        "query_location_length",
    }
)
_PLAIN_EXPRESSIONS = frozenset(
    (
        *("BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION"),
        *("LAMBDA", "OPERATOR", "PARAMETER", "STAR", "TYPE"),
    )
)
_ASCENDING = frozenset({"ORDER_DEFAULT", "ASCENDING"})


def nearest_shape(
    statement: Node,
    references: References,
    text: str,
    plain_functions: Collection[str],
    parse: Callable[[str], Node],
) -> NearestShape | NotNearest:
    """The shape of a query, or why it is not one for an index.

    Args:
        statement: Its syntax tree.
        references: Its names.
        text: The text of the tree, whose bytes the tree's places count.
        plain_functions: Functions that give one value per row, and the same for the same arguments.
        parse: Gives the syntax tree of a text.
    """
    if not references.functions & VECTOR_FUNCTIONS:
        return NotNearest("")
    select = statement["node"]
    reason = _other_shape(select, references, plain_functions)
    if reason:
        return NotNearest(reason)
    order, limit = _modifiers(select)
    if order is None or limit is None:
        return NotNearest("there is no ORDER BY with LIMIT")
    table = references.tables[0]
    if order.get("type") not in _ASCENDING:
        return NotNearest("the order is descending")
    distance = _distance(order["expression"], select["select_list"], table)
    if distance is None:
        return NotNearest("the first key of ORDER BY does not compare the vector column with a given vector")
    operator, metric, query = distance
    bounds = _bounds(limit)
    if bounds is None:
        return NotNearest("LIMIT or OFFSET is no whole number")
    condition = None
    if "where_clause" in select:
        condition = _condition(select, text, parse)
        if condition is None:
            return NotNearest("the text after WHERE could not be set apart")
    return NearestShape(table, operator, metric, query, condition, *bounds)


def vector_parameters(statement: Node, vector_arguments: Collection[tuple[str, int]]) -> set[str]:
    """Names of parameters that stand where a vector is expected.

    Args:
        statement: A syntax tree.
        vector_arguments: Further functions with the position of an argument that is a vector.
    """
    found = set()
    for node in walk(statement):
        if node.get("class") != "FUNCTION":
            continue
        name = str(node.get("function_name", "")).lower()
        for position, argument in enumerate(_arguments(node)):
            if name in VECTOR_FUNCTIONS or (name, position) in vector_arguments:
                inner = _without_cast(argument)
                if inner.get("class") == "PARAMETER":
                    found.add(str(inner["identifier"]))
    return found


def vector_partners(statement: Node) -> set[str]:
    """Names of parameters that a vector function compares with the column ``vector``."""
    found = set()
    for node in walk(statement):
        if node.get("class") == "FUNCTION" and str(node.get("function_name", "")).lower() in VECTOR_FUNCTIONS:
            arguments = _arguments(node)
            if any(str(item.get("column_names", [""])[-1]).lower() == VECTOR for item in arguments):
                found |= {str(item["identifier"]) for item in arguments if item.get("class") == "PARAMETER"}
    return found


def reads_one_table(select: Node, references: References) -> bool:
    """Whether a statement is one SELECT that names one table once, under its own columns, and takes all its rows."""
    table = select.get("from_table", {})
    aliases = {str(item.get("alias", "")).lower() for item in select.get("select_list", ())}
    return (
        select.get("type") == "SELECT_NODE"
        and not select.get("cte_map")
        and set(select) <= _SELECT_KEYS | _LATER_KEYS
        and table.get("type") == "BASE_TABLE"
        and set(table) <= _TABLE_KEYS
        and len(references.tables) == 1
        and not references.tables[0].foreign
        and VECTOR not in aliases | {references.tables[0].alias.lower()}
        and not _replaces_vector(select)
    )


def piece_of(node: Node, text: str, parse: Callable[[str], Node]) -> str | None:
    """The piece of a text that a condition was read from; ``None`` unless it reads as the same condition again."""
    start = node.get("query_location")
    length = node.get("query_location_length")
    if start is None or length is None:
        return None
    piece = text.encode()[int(start) : int(start) + int(length)].decode(errors="replace")
    again = parse(f"SELECT 1 WHERE (\n{piece}\n)")
    if again.get("error") or len(again["statements"]) != 1:
        return None
    same = without_places(again["statements"][0]["node"].get("where_clause")) == without_places(node)
    return piece if same else None


def _other_shape(select: Node, references: References, plain_functions: Collection[str]) -> str:
    """Why a statement has another shape; empty if it has not."""
    if select.get("type") != "SELECT_NODE" or select.get("cte_map"):
        return "it is more than one SELECT"
    if not set(select) <= _SELECT_KEYS or select.get("aggregate_handling") != "STANDARD_HANDLING":
        return "it groups, samples or filters after the selection"
    table = select.get("from_table", {})
    if table.get("type") != "BASE_TABLE" or len(references.tables) != 1:
        return "it reads something else than one table"
    if not set(table) <= _TABLE_KEYS or references.tables[0].foreign:
        return "the table is sampled or its columns are renamed"
    for node in walk(select):
        if node.get("class") is not None and node["class"] not in _PLAIN_EXPRESSIONS:
            return f"it holds a {str(node['class']).lower()}"
    for name in sorted(references.functions):
        if name not in plain_functions:
            return f"{name} is no plain function of one row"
    if any(node.get("class") == "STAR" for node in walk([select.get("where_clause"), select.get("modifiers")])):
        return "WHERE or ORDER BY names columns by a pattern"
    aliases = {str(item["alias"]).lower() for item in select["select_list"] if "alias" in item}
    if VECTOR in aliases or references.tables[0].alias.lower() == VECTOR or _replaces_vector(select):
        return "another column is called vector"
    if aliases & column_names(select.get("where_clause")):
        return "WHERE names a column of the selection"
    return ""


def _replaces_vector(select: Node) -> bool:
    """Whether ``* REPLACE`` or ``* RENAME`` makes another column called vector."""
    return any(
        node.get("class") == "STAR" and ({"replace_list", "rename_list", "rename"} & set(node))
        for node in walk(select["select_list"])
    )


def _modifiers(select: Node) -> tuple[Node | None, Node | None]:
    """The first key of ORDER BY, and LIMIT; ``None`` for both where there is anything else."""
    order = limit = None
    for modifier in select.get("modifiers", ()):
        if modifier.get("type") == "ORDER_MODIFIER" and modifier.get("orders"):
            order = modifier["orders"][0]
        elif modifier.get("type") == "LIMIT_MODIFIER" and "limit_type" not in modifier:
            limit = modifier
        else:
            return None, None
    return order, limit


def _distance(
    key: Node, selected: Sequence[Node], table: TableReference
) -> tuple[str, Metric, str | tuple[float, ...]] | None:
    """Operator, metric and query vector of an order key, which may be the name or the number of a selected column."""
    if key.get("class") == "COLUMN_REF" and len(key["column_names"]) == 1:
        name = str(key["column_names"][0]).lower()
        named = [item for item in selected if str(item.get("alias", "")).lower() == name]
        if len(named) != 1:
            return None
        key = named[0]
    elif key.get("class") == "CONSTANT" and not any(item.get("class") == "STAR" for item in selected):
        number = _whole_number(key)
        if not isinstance(number, int) or not 1 <= number <= len(selected):
            return None
        key = selected[number - 1]
    return compared_vectors(key, table)


def compared_vectors(key: Node, table: TableReference) -> tuple[str, Metric, str | tuple[float, ...]] | None:
    """Operator, metric and query vector of an expression that compares the table's vectors with a given one."""
    function = str(key.get("function_name", "")).lower()
    arguments = _arguments(key)
    if key.get("class") != "FUNCTION" or function not in OPERATORS or len(arguments) != 2:
        return None
    for column, other in (arguments, reversed(arguments)):
        query = _query(other)
        if query is not None and _is_vector_column(column, table):
            return (*OPERATORS[function], query)
    return None


def _is_vector_column(node: Node, table: TableReference) -> bool:
    if node.get("class") != "COLUMN_REF":
        return False
    parts = [str(part).lower() for part in node["column_names"]]
    return parts == [VECTOR] or parts == [table.alias.lower(), VECTOR]


def _query(node: Node) -> str | tuple[float, ...] | None:
    """A parameter's name or a literal's numbers, with or without a cast to floats."""
    inner = _without_cast(node)
    if inner is not node and not _casts_to_floats(node):
        return None
    if inner.get("class") == "PARAMETER":
        return str(inner["identifier"])
    if inner.get("class") == "FUNCTION" and inner.get("function_name") in {"list_value", "array_value"}:
        numbers = [literal_number(item) for item in _arguments(inner)]
        if numbers and all(number is not None for number in numbers):
            return tuple(number for number in numbers if number is not None)
    return None


def _without_cast(node: Node) -> Node:
    if node.get("class") == "CAST" and node.get("type") == "OPERATOR_CAST" and "try_cast" not in node:
        child: Node = node["child"]
        return child
    return node


def _casts_to_floats(node: Node) -> bool:
    """Whether a cast is to FLOAT[], FLOAT[d], DOUBLE[] or DOUBLE[d], which keep every float32 as it is."""
    kind = node.get("type_expr", {})
    children = kind.get("children", [{}])
    inner = str(children[0].get("type_name", "")).upper()
    return str(kind.get("type_name", "")).lower() in {"array", "list"} and inner in {
        "FLOAT",
        "DOUBLE",
        "REAL",
        "FLOAT4",
    }


def literal_number(node: Node) -> float | None:
    """The value of a literal."""
    if node.get("class") != "CONSTANT" or node.get("literal", {}).get("kind") not in {"INTEGER", "NUMERIC"}:
        return None
    try:
        return float(str(node["literal"]["text"]).replace("_", ""))
    except ValueError:
        return None


def _bounds(limit: Node) -> tuple[int | str, int | str] | None:
    if "limit" not in limit:
        return None
    first = _whole_number(limit["limit"])
    second = _whole_number(limit["offset"]) if "offset" in limit else 0
    return None if first is None or second is None else (first, second)


def _whole_number(node: Node) -> int | str | None:
    if node.get("class") == "PARAMETER":
        return str(node["identifier"])
    literal: dict[str, Any] = node.get("literal", {})
    if node.get("class") == "CONSTANT" and literal.get("kind") == "INTEGER" and str(literal["text"]).isdecimal():
        return int(literal["text"])
    return None


def _condition(select: Node, text: str, parse: Callable[[str], Node]) -> Condition | None:
    node = select["where_clause"]
    piece = piece_of(node, text, parse)
    return None if piece is None else Condition(node, piece)


def _arguments(node: Node) -> list[Node]:
    """The arguments of a function, if none of them is named."""
    arguments = node.get("arguments", [])
    return [] if any("name" in item for item in arguments) else [item["expression"] for item in arguments]
