"""Results on a terminal: an aligned table, CSV or JSON lines."""

from __future__ import annotations

import csv
import datetime
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qstore_db.errors import InvalidArgumentError
from query.result import QueryResult

if TYPE_CHECKING:
    from rich.console import Console

MAX_CELL_CHARACTERS = 48


def print_result(result: QueryResult, output: str) -> None:
    """Print a result in one of three forms.

    Raises:
        InvalidArgumentError: ``output`` is none of ``table``, ``csv``, ``json``.
    """
    if output == "table":
        _print_table(result)
    elif output == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(result.columns)
        writer.writerows(result.fetchall())
    elif output == "json":
        for row in result.arrow().to_pylist():
            sys.stdout.write(json.dumps(row, default=str) + "\n")
    else:
        raise InvalidArgumentError(f"unknown format {output!r}", fix="use table, csv or json", value=output)


def _print_table(result: QueryResult) -> None:
    """One line a row; where that is wider than the terminal, one line a value."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    rows = [[format_cell(value) for value in row] for row in result.fetchall()]
    width = 2 * len(result.columns) + sum(
        max(len(line) for line in (name, *(row[number] for row in rows))) for number, name in enumerate(result.columns)
    )
    if console.is_terminal and width > console.width and rows:
        _print_values(console, result.columns, rows)
        return
    table = Table(box=None, pad_edge=False)
    kinds = [str(field.type) for field in result.arrow().schema]
    for name, kind in zip(result.columns, kinds, strict=True):
        numeric = kind.startswith(("int", "float", "double", "uint"))
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=max(width, console.width)).print(table)


def _print_values(console: Console, names: Sequence[str], rows: list[list[str]]) -> None:
    widest = max(map(len, names))
    for number, row in enumerate(rows):
        console.rule(f"row {number + 1}", align="left", characters="-")
        for name, value in zip(names, row, strict=True):
            console.print(f"{name:>{widest}}  {value}", markup=False, highlight=False)


def format_cell(value: Any) -> str:
    """One value as a short text: four significant digits, long lists and texts cut in the middle."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        head = ", ".join(format_cell(item) for item in value[:3])
        return f"[{head}{', … ' + str(len(value)) + ' values' if len(value) > 3 else ''}]"
    text = f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime.datetime) else str(value)
    return text if len(text) <= MAX_CELL_CHARACTERS else text[: MAX_CELL_CHARACTERS - 1] + "…"
