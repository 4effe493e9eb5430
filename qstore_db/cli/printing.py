"""Results on a terminal: an aligned table, CSV or JSON lines."""

from __future__ import annotations

import csv
import json
import sys
from typing import Any

from query.result import QueryResult

from qstore_db.errors import InvalidArgumentError

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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    kinds = [str(field.type) for field in result.arrow().schema]
    for name, kind in zip(result.columns, kinds, strict=True):
        table.add_column(name, justify="right" if kind.startswith(("int", "float", "double", "uint")) else "left")
    for row in result.fetchall():
        table.add_row(*(Text(format_cell(value)) for value in row))
    Console().print(table)


def format_cell(value: Any) -> str:
    """One value as a short text: four significant digits, long lists and texts cut in the middle."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        head = ", ".join(format_cell(item) for item in value[:3])
        return f"[{head}{', … ' + str(len(value)) + ' values' if len(value) > 3 else ''}]"
    text = str(value)
    return text if len(text) <= MAX_CELL_CHARACTERS else text[: MAX_CELL_CHARACTERS - 1] + "…"
