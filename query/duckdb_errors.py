"""The one border where DuckDB's errors become ours, with the place in the text that the user wrote."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from query.errors import QueryError, SqlSyntaxError, UnknownTableError
from query.source import Source, line_and_column
from storage_engine.errors import DimensionMismatchError, QStoreError, UnknownColumnError

_ARRAY_SIZES = re.compile(
    r"dimensions must be equal|arguments must be of the same size|array.* of different sizes", re.I
)
_NO_COLUMN = re.compile(r'does not have a column named "([^"]*)"|Referenced column "([^"]*)"')


def details(error: BaseException) -> dict[str, Any]:
    """What DuckDB says about an error; it writes JSON after the kind of the error."""
    text = str(error)
    start = text.find("{")
    if start >= 0:
        try:
            found = json.loads(text[start:])
        except ValueError:
            found = None
        if isinstance(found, dict) and "exception_message" in found:
            return found
    return {"exception_type": "", "exception_message": text}


def translate(
    error: BaseException, source: Source | None, columns: Collection[str], tables: Collection[str]
) -> QStoreError:
    """Our error for one that DuckDB or Arrow raised while it ran a statement.

    Args:
        error: Theirs.
        source: The statement, if it is what DuckDB read; without it the error names no place.
        columns: Columns of the tables that the statement names, for suggestions.
        tables: All tables there are, for suggestions.
    """
    found = details(error)
    message = str(found["exception_message"]).split("\nCandidate bindings:")[0].strip()
    kind = found.get("exception_type")
    position = found.get("position")
    line, column = source.place(int(position)) if source and position is not None else (0, 0)
    where = f" (line {line}, column {column})" if line else ""
    if kind == "Parser":
        return SqlSyntaxError(_first_line(message), line=line, column=column, fix="Correct the text there.")
    if kind == "Binder" and (match := _NO_COLUMN.search(message)):
        name = match.group(1) or match.group(2)
        return UnknownColumnError(
            f"There is no column {name!r}{where}", fix=_one_of("columns", name, columns), value=name
        )
    if kind == "Catalog" and found.get("type") == "Table":
        return unknown_table(str(found.get("name")), tables, (line, column))
    if _ARRAY_SIZES.search(message):
        return DimensionMismatchError(
            f"Vectors of different lengths were compared{where}: {_first_line(message)}",
            fix="Give a vector of the column's length; in training_data choose one data set: WHERE dataset = 'name'.",
        )
    return QueryError(f"{_first_line(message)}{where}", fix=_hint(found))


def syntax_error(tree: Mapping[str, Any], source: Source) -> QStoreError:
    """Our error for a text that DuckDB's parser refuses."""
    position = tree.get("position")
    line, column = source.place(int(position)) if position is not None else (0, 0)
    return SqlSyntaxError(
        _first_line(str(tree.get("error_message", "The text is no SQL"))),
        line=line,
        column=column,
        fix="Correct the text there.",
    )


def unknown_table(name: str, tables: Collection[str], place: tuple[int, int]) -> UnknownTableError:
    """The error for a table that nothing has."""
    where = f" (line {place[0]}, column {place[1]})" if place[0] else ""
    return UnknownTableError(f"There is no table {name!r}{where}", fix=_one_of("tables", name, tables), value=name)


def place_of(source: Source, node: Mapping[str, Any]) -> tuple[int, int]:
    """Line and column of a syntax node; (0, 0) where DuckDB does not say."""
    location = node.get("query_location")
    return (0, 0) if location is None else line_and_column(source.whole, source.original(int(location)))


def _first_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0] if lines else "DuckDB gave no reason"


def _hint(found: Mapping[str, Any]) -> str:
    candidates = found.get("candidates")
    return f"Did you mean {candidates}?" if candidates else ""


def _one_of(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    if not names:
        return f"There are no {what} yet."
    shown = ", ".join(names[:12])
    return f"Known {what}: {shown}{', …' if len(names) > 12 else ''}."
