"""The hardened DuckDB: in memory, without files, network, extensions, settings or Python variables.

Every setting is read back when the connection is made, and two probes must be refused; if one is not as it should be,
there is no connection at all. DuckDB is not a full sandbox all the same: text from people you do not trust belongs into
a process of its own.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from query.deadlines import Deadlines
from query.dialect import NEGATIVE_INNER_PRODUCT
from query.duckdb_types import readable
from query.errors import QueryError, ResultTooLargeError, StatementTimeoutError
from storage_engine.errors import DatabaseClosedError

_BATCH_ROWS = 100_000
_PROBES = ("FROM glob('*')", "SET threads = 1")

# Table functions that neither read files nor take addresses, change settings, or run text as SQL.
ALLOWED_TABLE_FUNCTIONS = frozenset(
    (
        *("duckdb_columns", "duckdb_functions", "duckdb_keywords", "duckdb_tables", "duckdb_types", "duckdb_views"),
        *("generate_series", "histogram", "histogram_values", "icu_calendar_names", "json_each", "json_tree"),
        *(
            "pg_timezone_names",
            "pragma_version",
            "range",
            "repeat",
            "repeat_row",
            "summary",
            "test_all_types",
            "unnest",
        ),
    )
)
# Scalar functions that write, wait, or keep state beyond a statement.
REFUSED_FUNCTIONS = frozenset({"currval", "nextval", "pg_sleep", "setseed", "setval", "sleep_ms", "write_log"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one statement may use.

    Args:
        seconds: It is interrupted after this long.
        rows: A result with more rows is refused.
        memory_mib: DuckDB's memory limit for all statements together. Not a wall: a single text of 1.5 GB passed it.
        threads: DuckDB's worker threads; 0 means one per core.
    """

    seconds: float = 300.0
    rows: int = 1_000_000
    memory_mib: int = 4096
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Words:
    """What DuckDB's own catalog says about names.

    Args:
        reserved: Words that are no identifier unless quoted, lower case.
        plain_functions: Functions that give one value per row and the same value for the same arguments.
        views: Built-in views that need no schema in front.
    """

    reserved: frozenset[str]
    plain_functions: frozenset[str]
    views: frozenset[str]


class HardenedConnection:
    """One in-memory database shared by all statements of a session; each statement runs on a cursor of its own.

    Safe to use from any number of threads. Nothing registered for one statement is visible to another.

    Raises:
        QueryError: A setting could not be made or read back; no statement can be run.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._deadlines = Deadlines(limits.seconds)
        self._root: Any = duckdb.connect(":memory:", config={"python_enable_replacements": False})
        self._closed = False
        _harden(self._root, limits)
        self._parser: Any = self._root.cursor()
        # Also at exit: DuckDB's binding complains aloud about connections that outlive the interpreter's last steps.
        self._finish = weakref.finalize(self, _close, self._deadlines, self._parser, self._root)
        self.words = _words(self._root)

    def create_function(self, name: str, function: Any, arguments: Sequence[str], result: str) -> None:
        """Make a Python function over Arrow arrays known to SQL, for all later statements."""
        with self._lock:
            self._root.create_function(name, function, list(arguments), result, type="arrow", null_handling="special")

    def create_macro(self, name: str, arguments: Sequence[str], body: str) -> None:
        """Make an expression over ``arguments`` known under a (quoted) name, for all later statements."""
        with self._lock:
            self._root.execute(f"CREATE MACRO {name}({', '.join(arguments)}) AS {body}")

    def serialize(self, text: str) -> dict[str, Any]:
        """The syntax tree of a query as DuckDB's own parser reads it, or its error with a byte position.

        Returns:
            ``{"error": false, "statements": […]}``, or ``{"error": true, "error_message": …, "position": …}``.
        """
        with self._lock:
            self._check_open()
            rows = self._parser.execute(
                "SELECT json_serialize_sql($text::VARCHAR, skip_null := true, skip_empty := true, "
                "skip_default := true)",
                {"text": text},
            ).fetchall()
        tree: dict[str, Any] = json.loads(rows[0][0])
        return tree

    def statement_kinds(self, text: str) -> list[str]:
        """Kinds of the statements in a text, as DuckDB names them, such as ``INSERT``; empty if it cannot tell."""
        with self._lock:
            self._check_open()
            try:
                return [str(item.type).rsplit(".", 1)[-1] for item in self._parser.extract_statements(text)]
            except duckdb.Error:
                return []

    def run(self, text: str, tables: Mapping[str, pa.Table], parameters: Mapping[str, object]) -> pa.Table:
        """Run one query over Arrow tables and return all its rows.

        Args:
            text: A query that has been checked.
            tables: What its table names refer to; not copied.
            parameters: Values for its ``$names``.

        Raises:
            duckdb.Error, OSError, pyarrow.ArrowException: As DuckDB and Arrow raise them; see
                :mod:`query.duckdb_errors`.
            StatementTimeoutError: The deadline passed.
            ResultTooLargeError: More rows than allowed.
        """
        with self._cursor() as cursor, self._deadlines.limit(cursor.interrupt) as deadline:
            try:
                return self._run(cursor, text, tables, dict(parameters))
            except (duckdb.Error, OSError) as error:
                if not deadline.passed:
                    raise
                seconds = self._limits.seconds
                raise StatementTimeoutError(
                    f"The statement ran longer than {seconds:g} seconds and was stopped",
                    fix="Ask for less at once, or raise the limit.",
                    value=seconds,
                ) from error

    def close(self) -> None:
        """Free the in-memory database; later calls raise DatabaseClosedError. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._finish()

    def _run(self, cursor: Any, text: str, tables: Mapping[str, pa.Table], parameters: dict[str, object]) -> pa.Table:
        for name, table in tables.items():
            cursor.register(name, readable(table))
        try:
            relation = cursor.sql(text, params=parameters) if parameters else cursor.sql(text)
        except duckdb.Error:
            # This way of binding loses the place of an error; the other one raises it with the place.
            cursor.execute(text, parameters).fetchall()
            raise
        return _read(relation.to_arrow_reader(_BATCH_ROWS), self._limits.rows)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with self._lock:
            self._check_open()
            cursor = self._root.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosedError("The session is closed", fix="Open the database again.")


def _close(*parts: Any) -> None:
    for part in parts:
        part.close()


def _read(reader: pa.RecordBatchReader, limit: int) -> pa.Table:
    batches = []
    rows = 0
    for batch in reader:
        rows += batch.num_rows
        if rows > limit:
            raise ResultTooLargeError(
                f"The result has more than {limit} rows",
                fix="Add LIMIT, aggregate, or read it in parts with WHERE.",
                value=limit,
            )
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


def _harden(root: Any, limits: Limits) -> None:
    """Set, read back, lock and probe. The order matters: the directory for spilling is refused later on."""
    settings: list[tuple[str, object, object]] = [
        ("temp_directory", "''", ""),
        ("enable_external_access", "false", False),
        ("autoinstall_known_extensions", "false", False),
        ("autoload_known_extensions", "false", False),
        ("allow_community_extensions", "false", False),
        ("allow_unsigned_extensions", "false", False),
        ("allow_extension_repositories", "'forbidden'", "forbidden"),
        ("allow_persistent_secrets", "false", False),
        ("allow_unredacted_secrets", "false", False),
        ("python_enable_replacements", "false", False),
        ("max_temp_directory_size", "'0GB'", "0 bytes"),
        ("errors_as_json", "true", True),
        ("TimeZone", "'UTC'", "UTC"),
        ("memory_limit", f"'{limits.memory_mib}MiB'", None),
    ]
    if limits.threads:
        settings.append(("threads", str(limits.threads), limits.threads))
    root.execute(f'CREATE MACRO "{NEGATIVE_INNER_PRODUCT}"(a, b) AS list_negative_inner_product(a, b)')
    for name, value, _ in settings:
        root.execute(f"SET GLOBAL {name} = {value}")
    root.execute("SET GLOBAL disabled_filesystems = 'LocalFileSystem'")
    root.execute("SET GLOBAL lock_configuration = true")
    cursor = root.cursor()
    for name, _, expected in [*settings, ("lock_configuration", None, True)]:
        [(actual,)] = cursor.execute("SELECT current_setting($name)", {"name": name}).fetchall()
        if expected is not None and actual != expected:
            raise QueryError(
                f"DuckDB's setting {name} is {actual!r} instead of {expected!r}",
                fix="Use the DuckDB version that Q-Store asks for.",
                value=name,
            )
    for probe in _PROBES:
        try:
            cursor.execute(probe).fetchall()
        except duckdb.Error:
            continue
        raise QueryError(
            f"DuckDB allows {probe!r} although it was forbidden",
            fix="Use the DuckDB version that Q-Store asks for.",
            value=probe,
        )
    cursor.close()


def _words(root: Any) -> Words:
    cursor = root.cursor()
    reserved = cursor.execute(
        "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
    ).fetchall()
    plain = cursor.execute(
        "SELECT function_name FROM duckdb_functions() GROUP BY function_name "
        "HAVING bool_and(function_type = 'scalar' AND coalesce(stability = 'CONSISTENT', false))"
    ).fetchall()
    views = cursor.execute(
        "SELECT view_name FROM duckdb_views() WHERE internal AND schema_name <> 'information_schema'"
    ).fetchall()
    cursor.close()
    return Words(
        frozenset(name.lower() for (name,) in reserved),
        frozenset(name.lower() for (name,) in plain) | {NEGATIVE_INNER_PRODUCT},
        frozenset(name.lower() for (name,) in views),
    )
