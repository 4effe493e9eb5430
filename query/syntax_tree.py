"""What a query refers to, read from the syntax tree that DuckDB's own parser gives as JSON.

Pure functions over that tree. A kind of node that is not known here never leads to a guess: it makes the query read all
columns, or be refused where it could write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Node: TypeAlias = dict[str, Any]

_QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_NAMING_EXPRESSIONS = frozenset(
    (
        *("BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION"),
        *("LAMBDA", "OPERATOR", "PARAMETER", "SUBQUERY", "TYPE", "WINDOW"),
    )
)
_NAMING_TABLES = frozenset({"BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "SUBQUERY", "TABLE_FUNCTION"})
_OWN_SCHEMAS = frozenset({(), ("main",), ("temp",), ("temp", "main"), ("memory", "main")})


@dataclass(frozen=True, slots=True)
class TableReference:
    """A table's name in a query.

    Args:
        name: As written, without quotes.
        alias: What the query calls it; its name where there is no alias.
        foreign: Whether a schema stands in front that is DuckDB's own, such as ``information_schema``.
        node: Its node, for its place.
    """

    name: str
    alias: str
    foreign: bool
    node: Node


@dataclass(frozen=True, slots=True)
class References:
    """All names in a query.

    Args:
        tables: Each mention, in order.
        local_tables: Names that ``WITH`` defines, lower case.
        columns: Every part of every column's name, lower case; ``None`` where all columns may be read.
        functions: Scalar, aggregate and window functions, lower case.
        table_functions: Functions that stand as a table, lower case, with their nodes.
        parameters: Names after ``$``; ``"1"`` and so on for ``?``.
        unreadable: Kinds of query nodes that are no reading.
        has_default: Whether the bare word DEFAULT stands as an expression.
        shows: Whether it lists tables, as ``SHOW TABLES`` does.
    """

    tables: tuple[TableReference, ...]
    local_tables: frozenset[str]
    columns: frozenset[str] | None
    functions: frozenset[str]
    table_functions: tuple[tuple[str, Node], ...]
    parameters: tuple[str, ...]
    unreadable: tuple[str, ...]
    has_default: bool
    shows: bool


def references(statement: Node) -> References:
    """Collect the names in one statement of the tree."""
    nodes = list(walk(statement["node"]))
    tables = tuple(_table(node) for node in nodes if _names_table(node))
    qualifiers = {name.lower() for table in tables for name in (table.name, table.alias)}
    return References(
        tables=tables,
        local_tables=frozenset(_local_tables(nodes)),
        columns=columns_in(nodes, qualifiers),
        functions=frozenset(
            str(node["function_name"]).lower()
            for node in nodes
            if node.get("class") in {"FUNCTION", "WINDOW"} and "function_name" in node
        ),
        table_functions=tuple(
            (str(node.get("function", {}).get("function_name", "")).lower(), node)
            for node in nodes
            if _kind(node) == "TABLE_FUNCTION"
        ),
        parameters=tuple(entry["key"] for entry in statement.get("named_param_map", ())),
        unreadable=tuple(
            _kind(node) for node in nodes if _kind(node).endswith("_NODE") and _kind(node) not in _QUERY_NODES
        ),
        has_default=any(node.get("class") == "DEFAULT" for node in nodes),
        shows=any(node.get("show_type") == "SHOW_SPECIAL" for node in nodes),
    )


def walk(node: Any) -> Iterator[Node]:
    """Every object in the tree, from the top, without recursion."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            yield current
            waiting.extend(reversed(list(current.values())))
        elif isinstance(current, list):
            waiting.extend(reversed(current))


def without_places(node: Any) -> Any:
    """The tree without positions, for comparing two texts."""
    if isinstance(node, dict):
        return {key: without_places(value) for key, value in node.items() if not key.startswith("query_location")}
    if isinstance(node, list):
        return [without_places(item) for item in node]
    return node


def column_names(node: Any) -> set[str]:
    """Every part of every column's name below a node, lower case."""
    return {part.lower() for item in walk(node) for part in item.get("column_names", ())}


def _kind(node: Node) -> str:
    """What kind of node it is; empty for a constant's value, whose type is an object."""
    kind = node.get("type")
    return kind if isinstance(kind, str) else ""


def _names_table(node: Node) -> bool:
    if _kind(node) == "SHOW_REF":
        return bool(node.get("table_name")) and node.get("show_type") != "SHOW_SPECIAL"
    return _kind(node) == "BASE_TABLE"


def _table(node: Node) -> TableReference:
    name = str(node["table_name"])
    schema = tuple(str(node[key]).lower() for key in ("catalog_name", "schema_name") if node.get(key))
    return TableReference(name, str(node.get("alias", name)), schema not in _OWN_SCHEMAS, node)


def _local_tables(nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        for entry in node.get("cte_map", {}).get("map", ()):
            yield str(entry["key"]).lower()
        if _kind(node) in {"RECURSIVE_CTE_NODE", "CTE_NODE"} and "cte_name" in node:
            yield str(node["cte_name"]).lower()


def columns_in(nodes: Iterable[Node], qualifiers: Collection[str]) -> frozenset[str] | None:
    """Every part of every column's name in some nodes, lower case; ``None`` where all columns may be read.

    Args:
        nodes: All nodes below something, as :func:`walk` gives them.
        qualifiers: Names and aliases of the tables, lower case: alone, they mean a whole row.
    """
    names: set[str] = set()
    for node in nodes:
        kind = node.get("class")
        if kind is not None and kind not in _NAMING_EXPRESSIONS:
            return None
        table_kind = _kind(node)
        if kind is None and _is_table(node) and table_kind not in _NAMING_TABLES:
            return None
        if table_kind == "JOIN" and node.get("ref_type") == "NATURAL":
            return None
        if "column_name_alias" in node:
            return None
        parts = [str(part).lower() for part in node.get("column_names", ())]
        if len(parts) == 1 and parts[0] in qualifiers:
            return None  # the name of a table as a value is a struct of all its columns
        names.update(parts)
        names.update(str(part).lower() for part in node.get("using_columns", ()))
    return frozenset(names)


def _is_table(node: Node) -> bool:
    return _kind(node) in {"SHOW_REF", "PIVOT", "UNPIVOT", "COLUMN_DATA", "DELIM_GET", "BOUND_TABLE_REF"}
