"""From text to a checked syntax tree; nothing is looked up and nothing runs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from query.binder import check_readable
from query.dialect import quote_reserved
from query.duckdb_connection import HardenedConnection
from query.duckdb_errors import syntax_error
from query.errors import SqlSyntaxError, UnsupportedStatementError
from query.functions import Functions
from query.plan import Condition, NearestShape, NotNearest, WithinShape
from query.planner import VECTOR_FUNCTIONS, nearest_shape, vector_parameters, vector_partners
from query.ports import RowScores
from query.row_scores import ScoreCall, with_looked_up_scores
from query.source import Source
from query.statements import Query
from query.syntax_tree import Node, References, references
from query.where_text import condition_of, wrap
from query.within import within_shape
from storage_engine.errors import QStoreError

_Kept = TypeVar("_Kept")

_KEPT_TEXTS = 256
_KEPT_LENGTH = 10_000
_READING = (
    "SQL here reads (SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN) and knows CREATE and DROP of "
    "models and procedures, CALL and VACUUM."
)
_FIXES = {
    "INSERT": "Use insert or upsert of a collection.",
    "UPDATE": "Use update or upsert of a collection.",
    "DELETE": "Use delete of a collection.",
    "CREATE": "Use create_collection; in SQL only CREATE MODEL and CREATE PROCEDURE are possible.",
    "DROP": "Use drop_collection; in SQL only DROP MODEL and DROP PROCEDURE are possible.",
    "MULTI": "Write PIVOT … ON column IN (…), so that the columns of the result are known.",
    "COPY": "Use to_parquet of a result.",
}


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """A query that may run.

    Args:
        query: Its text, with reserved words quoted where that was needed.
        statement: DuckDB's syntax tree of the body.
        names: Its names.
        shape: Whether an index can answer it.
        within: A distance that all rows of the answer keep, where an index can find those that do.
        vectors: Parameters that stand where a vector is expected.
        partners: Those of them that are compared with the column ``vector``.
        scores: Calls whose scores must be worked out before the query runs.
    """

    query: Query
    statement: Node
    names: References
    shape: NearestShape | NotNearest
    within: WithinShape | None
    vectors: frozenset[str]
    partners: frozenset[str]
    scores: tuple[ScoreCall, ...] = ()

    @property
    def parameters(self) -> frozenset[str]:
        """All parameters: those that DuckDB sees, and those of calls that are worked out before."""
        return frozenset(self.names.parameters).union(*(call.parameters for call in self.scores))

    @property
    def source(self) -> Source:
        """The text without EXPLAIN, whose places the tree counts."""
        return self.query.body


class Parser:
    """Reads texts with DuckDB's parser and remembers the last 256. Safe to use from several threads."""

    def __init__(
        self, connection: HardenedConnection, functions: Functions, row_scores: Sequence[RowScores] = ()
    ) -> None:
        self._connection = connection
        self._functions = functions
        self._row_scores = {function.name: function for function in row_scores}
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Parsed] = OrderedDict()
        self._kept_conditions: OrderedDict[tuple[str, str], tuple[Parsed, Condition]] = OrderedDict()

    def query(self, query: Query, tables: Collection[str]) -> Parsed:
        """Read a query.

        Args:
            query: As the dialect found it.
            tables: All tables, for names that are reserved words, such as ``default``.

        Raises:
            SqlSyntaxError: With line and column.
            UnsupportedStatementError: It is no query, or calls what is not allowed.
        """
        key = (query.source.whole, f"{query.source.start} {query.source.stop}")
        kept = self._recall(self._kept, key)
        if kept is None:
            kept, depends_on_tables = self._read(query, tables)
            if not depends_on_tables:
                self._keep(self._kept, key, kept)
        return kept

    def condition(self, text: str, table: str) -> tuple[Parsed, Condition]:
        """Read a text that would stand after WHERE.

        Raises:
            SqlSyntaxError: It is no single condition; with line and column.
            UnsupportedStatementError: It calls what is not allowed.
        """
        kept = self._recall(self._kept_conditions, (text, table))
        if kept is None:
            source = wrap(text, table)
            tree = self._connection.serialize(source.text)
            if tree.get("error"):
                raise self._refusal(tree, source)
            condition = condition_of(tree, source)
            kept = (self._checked(Query(source, source), tree), condition)
            for name in sorted(kept[0].names.functions & set(self._row_scores)):
                raise UnsupportedStatementError(
                    f"{name} scores rows in SQL statements, not in a condition alone",
                    fix="Write it in a SELECT, or search by words and give the rest of the condition there.",
                    value=name,
                )
            self._keep(self._kept_conditions, (text, table), kept)
        return kept

    def _recall(self, kept: OrderedDict[tuple[str, str], _Kept], key: tuple[str, str]) -> _Kept | None:
        with self._lock:
            if key in kept:
                kept.move_to_end(key)
            return kept.get(key)

    def _keep(self, kept: OrderedDict[tuple[str, str], _Kept], key: tuple[str, str], value: _Kept) -> None:
        if len(key[0]) > _KEPT_LENGTH:
            return
        with self._lock:
            kept[key] = value
            while len(kept) > _KEPT_TEXTS:
                kept.popitem(last=False)

    def _read(self, query: Query, tables: Collection[str]) -> tuple[Parsed, bool]:
        tree = self._connection.serialize(query.body.text)
        quoted = None
        if tree.get("error") or any(references(item).has_default for item in tree["statements"]):
            quoted = quote_reserved(query, tables, self._connection.words.reserved)
            if quoted is not None:
                query, tree = quoted, self._connection.serialize(quoted.body.text)
        if tree.get("error"):
            raise self._refusal(tree, query.body)
        if len(tree["statements"]) != 1:
            raise SqlSyntaxError("The text holds more than one statement", line=1, column=1, fix="Write one.")
        statement = tree["statements"][0]
        names = references(statement)
        check_readable(names, query.body)
        scored = with_looked_up_scores(query, statement, names, self._row_scores)
        if not scored.calls:
            return self._checked(query, tree), quoted is not None
        parsed = self._checked(scored.query, self._connection.serialize(scored.query.body.text))
        looked_up = parsed.names.local_tables | {call.name for call in scored.calls}
        names = replace(parsed.names, local_tables=looked_up)
        shape = NotNearest("words score the rows of the whole table") if names.functions & VECTOR_FUNCTIONS else None
        return replace(parsed, names=names, scores=scored.calls, shape=shape or parsed.shape), quoted is not None

    def _checked(self, query: Query, tree: Mapping[str, Any]) -> Parsed:
        statement: Node = tree["statements"][0]
        names = references(statement)
        check_readable(names, query.body)
        plain = self._connection.words.plain_functions | self._functions.names
        shape = nearest_shape(statement, names, query.body.text, plain, self._connection.serialize)
        return Parsed(
            query,
            statement,
            names,
            shape,
            within_shape(statement, names),
            frozenset(vector_parameters(statement, self._functions.vector_arguments)),
            frozenset(vector_partners(statement)),
        )

    def _refusal(self, tree: Mapping[str, Any], source: Source) -> QStoreError:
        """The error for a text that is no query, or that DuckDB cannot read at all."""
        if tree.get("error_type") == "parser":
            return syntax_error(tree, source)
        kinds = self._connection.statement_kinds(source.text)
        words = source.written.split(None, 1)
        word = words[0].upper() if words else ""
        return UnsupportedStatementError(
            f"{word} is not possible in SQL here", fix=_FIXES.get(kinds[0] if kinds else "", _READING), value=word
        )
