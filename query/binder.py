"""Gives the names in a query their meaning at a snapshot: which rows each table stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from query.duckdb_connection import ALLOWED_TABLE_FUNCTIONS, REFUSED_FUNCTIONS, Words
from query.duckdb_errors import place_of, unknown_table
from query.errors import QueryError, UnknownTableError, UnsupportedStatementError
from query.ports import SystemTable
from query.relations import CollectionRelation, ColumnCache, Relation, SystemRelation
from query.source import Source
from query.syntax_tree import Node, References, TableReference, walk
from query.system import training_data
from query.system.collections import visible
from query.system.training_data import TrainingData
from query.time_travel import Reader, split_name
from storage_engine.snapshot import Snapshot

_INTROSPECTING_FUNCTIONS = frozenset({"duckdb_columns", "duckdb_tables", "duckdb_views"})
# Joins that look at each pair of rows alone, so that rows which WHERE drops can be left out before.
_PAIRWISE_JOINS = frozenset({"REGULAR", "CROSS", "NATURAL"})


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """All tables at a snapshot.

    Args:
        snapshot: Where their rows come from.
        system: System tables by name.
        cache: Where read columns are kept.
        past: Gives the snapshots of tables that are read at a version of their own.
    """

    snapshot: Snapshot
    system: Mapping[str, SystemTable]
    cache: ColumnCache
    past: Reader | None = None

    def names(self) -> list[str]:
        """Names of all tables: collections, then system tables."""
        return [schema.name for schema in visible(self.snapshot)] + [training_data.NAME, *self.system]

    def find(self, name: str) -> tuple[str, Relation] | None:
        """The table of a name, with its true name; system tables first, then case matters before it does not."""
        at_version = split_name(name)
        if at_version is not None and self.past is not None:
            then = replace(self, snapshot=self.past(at_version[1]))
            found = then.find(at_version[0])
            if found is None:
                raise UnknownTableError(
                    f"There was no table {at_version[0]!r} at version {then.snapshot.version}",
                    fix="SELECT version, time, changes FROM versions shows when it came.",
                    value=at_version[0],
                )
            return name, found[1]
        lower = name.lower()
        if lower == training_data.NAME:
            return lower, TrainingData(self.snapshot, self.cache)
        if lower in self.system:
            return lower, SystemRelation(self.system[lower], self.snapshot)
        names = [schema.name for schema in visible(self.snapshot)]
        same = [item for item in names if item == name] or [item for item in names if item.lower() == lower]
        if not same:
            return None
        if len(same) > 1:
            raise QueryError(
                f"The table {name!r} could be any of {', '.join(same)}",
                fix="SQL does not tell upper from lower case; write one of them exactly.",
                value=name,
            )
        return same[0], CollectionRelation(self.snapshot.collection(same[0]), self.cache)


def check_readable(references: References, source: Source) -> None:
    """Refuse what could write, reach outside, or hide text from this check.

    Raises:
        UnsupportedStatementError: A function or statement is not among those allowed.
    """
    for kind in references.unreadable:
        raise UnsupportedStatementError(
            f"{kind.removesuffix('_QUERY_NODE').replace('_', ' ')} is not possible in SQL here",
            fix="SQL reads; to write use the methods of a collection.",
            value=kind,
        )
    for name, node in references.table_functions:
        if name not in ALLOWED_TABLE_FUNCTIONS:
            line, column = place_of(source, node)
            raise UnsupportedStatementError(
                f"The table function {name!r} is not allowed (line {line}, column {column})",
                fix="SQL reads only the tables of this database; import data with the methods of a collection.",
                value=name,
            )
    for name in sorted(references.functions & REFUSED_FUNCTIONS):
        raise UnsupportedStatementError(f"The function {name!r} is not allowed", fix="Leave it out.", value=name)
    for table in references.tables:
        if "at_clause" in table.node:
            raise UnsupportedStatementError(
                f"AT is not possible in this form behind the table {table.name!r}",
                fix="Write AT (VERSION => 12), AT (TAG => 'name') or AT (TIMESTAMP => '2026-11-20 08:30:00').",
                value=table.name,
            )


def bind(
    statement: Node,
    references: References,
    catalog: Catalog,
    words: Words,
    source: Source,
    parameters: Mapping[str, object],
) -> dict[str, Relation]:
    """The relation of each table that a query names, by the name to register it under.

    Raises:
        UnknownTableError: A name is no table; the message names near ones.
        QueryError: A name is ambiguous because SQL does not tell upper from lower case.
    """
    relations: dict[str, Relation] = {}
    meant: dict[str, str] = {}
    for table in references.tables:
        if table.foreign:
            continue
        found = catalog.find(table.name)
        if found is None:
            if table.name.lower() in references.local_tables | words.views:
                continue
            raise unknown_table(
                (split_name(table.name) or (table.name,))[0], catalog.names(), place_of(source, table.node)
            )
        true_name, relation = found
        if meant.setdefault(table.name.lower(), true_name) != true_name:
            raise QueryError(
                f"{true_name} and {meant[table.name.lower()]} differ only in case and cannot be used together",
                fix="Use them in two statements.",
                value=true_name,
            )
        if isinstance(relation, TrainingData):
            name = _resolved_dataset(statement, references, parameters)
            relation = (relation.of(name) if name is not None else None) or relation
        relations[table.name.lower()] = relation
    return relations


def empty_tables(references: References, catalog: Catalog, relations: Mapping[str, Relation]) -> dict[str, pa.Table]:
    """Tables without rows for queries that list tables or columns, such as ``SHOW TABLES``; else none."""
    if not _introspects(references):
        return {}
    tables = {}
    for name in catalog.names():
        found = catalog.find(name)
        if found is not None and name.lower() not in relations:
            tables[name] = found[1].schema.empty_table()
    return tables


def _introspects(references: References) -> bool:
    functions = {name for name, _ in references.table_functions}
    return (
        references.shows
        or bool(functions & _INTROSPECTING_FUNCTIONS)
        or any(
            table.foreign or table.name.lower().startswith(("duckdb_", "pg_", "sqlite_")) for table in references.tables
        )
    )


def _resolved_dataset(statement: Node, references: References, parameters: Mapping[str, object]) -> str | None:
    """The data set to which ``WHERE dataset = 'name' AND …`` restricts the only mention of training_data."""
    mentions = [table for table in references.tables if _plain_name(table) == training_data.NAME]
    if len(mentions) != 1 or training_data.NAME in references.local_tables:
        return None
    table = mentions[0]
    if "sample" in table.node or "column_name_alias" in table.node:
        return None
    for select in walk(statement["node"]):
        if select.get("type") == "SELECT_NODE" and "where_clause" in select:
            alone = select.get("from_table") is table.node
            if alone or _joined_pairwise(select.get("from_table"), table.node):
                aliases = {str(item["alias"]).lower() for item in select["select_list"] if "alias" in item}
                if training_data.DATASET in aliases:
                    return None
                return _equal_to(select["where_clause"], table, parameters, qualified=not alone)
    return None


def _plain_name(table: TableReference) -> str:
    return (split_name(table.name) or (table.name,))[0].lower()


def _joined_pairwise(node: Node | None, wanted: Node) -> bool:
    if node is wanted:
        return True
    if not node or node.get("type") != "JOIN" or node.get("ref_type") not in _PAIRWISE_JOINS:
        return False
    return _joined_pairwise(node.get("left"), wanted) or _joined_pairwise(node.get("right"), wanted)


def _equal_to(
    condition: Node, table: TableReference, parameters: Mapping[str, object], *, qualified: bool
) -> str | None:
    """The text that the column ``dataset`` must equal for the whole condition to hold."""
    if condition.get("type") == "CONJUNCTION_AND":
        found = [_equal_to(child, table, parameters, qualified=qualified) for child in condition["children"]]
        return next((name for name in found if name is not None), None)
    if condition.get("type") != "COMPARE_EQUAL":
        return None
    for column, value in (
        (condition["left"], condition["right"]),
        (condition["right"], condition["left"]),
    ):
        parts = [str(part).lower() for part in column.get("column_names", ())]
        if parts == [table.alias.lower(), training_data.DATASET] or (
            parts == [training_data.DATASET] and not qualified
        ):
            text = _text(value, parameters)
            if text is not None:
                return text
    return None


def _text(node: Node, parameters: Mapping[str, object]) -> str | None:
    if node.get("class") == "PARAMETER":
        value = parameters.get(str(node["identifier"]))
        return value if isinstance(value, str) else None
    literal = node.get("literal", {})
    return str(literal["text"]) if node.get("class") == "CONSTANT" and literal.get("kind") == "STRING" else None
