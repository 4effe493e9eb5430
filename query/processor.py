"""Runs one query: bind, ask the index where it can answer, and let DuckDB do the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa

from query.binder import Catalog, bind, empty_tables
from query.dialect import NEGATIVE_INNER_PRODUCT
from query.duckdb_connection import HardenedConnection
from query.duckdb_errors import translate
from query.functions import Functions
from query.nearest import Nearest, nearest
from query.parameters import bindable, typed_vector, vector
from query.parser import Parsed
from query.plan import Condition, NearestShape
from query.relations import CollectionRelation, Relation, chosen
from query.result import QueryResult
from query.row_scores import ScoreCall, score_tables, with_written_calls
from query.where_text import slot_selection
from query.within import rows_within
from storage_engine.errors import DimensionMismatchError
from storage_engine.filters.selection import Selection
from storage_engine.snapshot import CollectionView


class Processor:
    """Runs queries and conditions on one hardened connection. Safe to use from any number of threads."""

    def __init__(self, connection: HardenedConnection, functions: Functions) -> None:
        self._connection = connection
        self._functions = functions

    def run(self, parsed: Parsed, catalog: Catalog, parameters: Mapping[str, object]) -> QueryResult:
        """All rows of a query at a snapshot.

        Args:
            parsed: The query.
            catalog: Its tables.
            parameters: Values by name, at least one for each of its parameters.

        Raises:
            QStoreError: A name is unknown, a value is unusable, or DuckDB could not compute the result.
        """
        values = bound_values(parsed, parameters)
        words = self._connection.words
        relations = bind(parsed.statement, parsed.names, catalog, words, parsed.source, values)
        execution = _Execution(self._connection, self._functions, parsed, catalog, relations, values)
        scores = score_tables(parsed.scores, relations, parameters)
        found = execution.nearest()
        tables = execution.tables() if found.rows is None else {next(iter(relations)): found.rows}
        rows = execution.run(
            parsed.query.source.text, {**empty_tables(parsed.names, catalog, relations), **tables, **scores}, values
        )
        if parsed.query.explains and found.plan and rows.num_columns == 2:
            rows = pa.concat_tables([pa.table([["index"], [found.plan]], names=rows.column_names), rows])
        return QueryResult(_with_written_names(rows, parsed.scores), found.plan or None)

    def selection(
        self,
        parsed: Parsed,
        condition: Condition,
        view: CollectionView,
        catalog: Catalog,
        parameters: Mapping[str, object],
    ) -> Selection:
        """Which live slots of a collection satisfy a condition.

        Raises:
            QStoreError: As :meth:`run`.
        """
        name = view.schema.name
        values = bound_values(parsed, parameters)
        # The first table is the collection itself, which may be hidden; the others stand in subqueries.
        inner = replace(parsed.names, tables=parsed.names.tables[1:])
        relations = bind(parsed.statement, inner, catalog, self._connection.words, parsed.source, values)
        relations[name.lower()] = CollectionRelation(view, catalog.cache)
        execution = _Execution(self._connection, self._functions, parsed, catalog, relations, values)
        return execution.selection(CollectionRelation(view, catalog.cache), condition, name, name)


def bound_values(parsed: Parsed, parameters: Mapping[str, object]) -> dict[str, object]:
    """The values of a query's parameters: vectors as float32 arrays, the rest as DuckDB takes it."""
    return {
        name: vector(name, parameters[name]) if name in parsed.vectors else bindable(name, parameters[name])
        for name in parsed.names.parameters
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Execution:
    """One query with everything that its names mean."""

    connection: HardenedConnection
    functions: Functions
    parsed: Parsed
    catalog: Catalog
    relations: Mapping[str, Relation]
    values: Mapping[str, object]

    def __post_init__(self) -> None:
        self._check_dimensions()

    def nearest(self) -> Nearest:
        """The rows from the index, or why all rows must be compared."""
        shape = self.parsed.shape
        within = None if isinstance(shape, NearestShape) else self._within()
        if within is not None:
            return within
        if not isinstance(shape, NearestShape):
            found = Nearest(None, shape.reason if self.relations else "")
        elif shape.table.name.lower() in self.relations:
            found = nearest(
                shape,
                self.relations[shape.table.name.lower()],
                self.parsed.names.columns,
                self.values,
                lambda relation, condition: self.selection(relation, condition, shape.table.name, shape.table.alias),
            )
        else:
            found = Nearest(None, "")
        if found.rows is None and found.plan:
            return Nearest(None, f"every row is compared: {found.plan}")
        return found

    def _within(self) -> Nearest | None:
        """The rows within a distance that the query asks for, if it does and the index knows them."""
        shape = self.parsed.within
        relation = None if shape is None else self.relations.get(shape.table.name.lower())
        if shape is None or relation is None:
            return None
        return rows_within(shape, relation, self.parsed.names.columns, self.values)

    def tables(self) -> dict[str, pa.Table]:
        """All rows of all tables, with the columns that the query names."""
        columns = self.parsed.names.columns
        return {name: item.read(chosen(item, columns)) for name, item in self.relations.items()}

    def selection(self, relation: CollectionRelation, condition: Condition, name: str, alias: str) -> Selection:
        """Which live slots satisfy a condition of this query."""
        columns = self.parsed.names.columns
        others = {
            other: item.read(chosen(item, columns)) for other, item in self.relations.items() if other != name.lower()
        }
        plain = self.parsed.names.functions <= self.connection.words.plain_functions
        return slot_selection(relation, condition, name, alias, self.values, others, plain, self.run)

    def run(self, text: str, tables: Mapping[str, pa.Table], values: Mapping[str, object]) -> pa.Table:
        """Run a text in DuckDB; its errors become ours, with places in the query's text."""
        bound = {
            name: typed_vector(value) if isinstance(value, np.ndarray) else value for name, value in values.items()
        }
        try:
            return self.connection.run(text, tables, bound)
        except (duckdb.Error, OSError, pa.ArrowException, OverflowError) as error:
            raised = self.functions.raised_by(error)
            if raised is not None:
                raise raised from error
            columns = {name for relation in self.relations.values() for name in relation.schema.names}
            source = self.parsed.query.source
            places = source if text == source.text else None
            raise translate(error, places, columns, self.catalog.names()) from error

    def _check_dimensions(self) -> None:
        """A vector of the wrong length is an error even where no row would be compared with it."""
        relation = next(iter(self.relations.values()), None)
        if len(self.relations) != 1 or not isinstance(relation, CollectionRelation):
            return
        schema = relation.view.schema
        for name in sorted(self.parsed.partners):
            value = self.values.get(name)
            if isinstance(value, np.ndarray) and len(value) != schema.dimension:
                raise DimensionMismatchError(
                    f"Parameter ${name} has {len(value)} numbers; the vectors of {schema.name!r} have "
                    f"{schema.dimension}",
                    fix=f"Give a vector of {schema.dimension} numbers.",
                    value=len(value),
                )


def _with_written_names(rows: pa.Table, calls: Sequence[ScoreCall]) -> pa.Table:
    """Columns without a name of their own are called by their text: with operators and calls as the user wrote them."""
    names = [with_written_calls(name.replace(NEGATIVE_INNER_PRODUCT, "<#>"), calls) for name in rows.column_names]
    return rows if names == rows.column_names else rows.rename_columns(names)
