"""The rows that a statement gave: an Arrow table with faces."""

from __future__ import annotations

import decimal
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from query.frames import to_pandas, to_polars

if TYPE_CHECKING:
    import pandas
    import polars

_SHOWN_ROWS = 20
_SHOWN_WIDTH = 40


class QueryResult:
    """All rows of a statement's result, in its order.

    Nothing is computed again: a result stays as it was when the database goes on.

    Args:
        table: The rows.
        plan: How the nearest rows were found, or why the index was not used; ``None`` where no vectors were compared.

    Attributes:
        plan: As given.
    """

    __slots__ = ("_rows", "_table", "plan")

    def __init__(self, table: pa.Table, plan: str | None = None) -> None:
        self._table = table
        self._rows: list[tuple[Any, ...]] | None = None
        self.plan = plan

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self._table.column_names)

    def arrow(self) -> pa.Table:
        """The rows as an Arrow table, without a copy."""
        return self._table

    def df(self) -> pandas.DataFrame:
        """The rows as a pandas frame; a vector becomes a NumPy array in its cell.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return to_pandas(self._table)

    def pl(self) -> polars.DataFrame:
        """The rows as a polars frame.

        Raises:
            MissingDependencyError: polars is not installed.
        """
        return to_polars(self._table)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows as tuples of Python values; a sum of whole numbers is an int, a vector a list of floats."""
        if self._rows is None:
            columns = [_values(column) for column in self._table.columns]
            self._rows = list(zip(*columns, strict=True)) if columns else [() for _ in range(self._table.num_rows)]
        return list(self._rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        """The first row, or ``None`` if there is none. Asking again gives the same row."""
        if not len(self):
            return None
        return next(iter(QueryResult(self._table.slice(0, 1))))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the rows to a Parquet file, replacing it if it exists.

        Raises:
            OSError: The file cannot be written.
        """
        import pyarrow.parquet as pq

        pq.write_table(self._table, os.fspath(path))

    def __len__(self) -> int:
        """Number of rows."""
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())

    def __repr__(self) -> str:
        """The first rows as aligned text."""
        shown = QueryResult(self._table.slice(0, _SHOWN_ROWS))
        cells = [self.columns, *([_cell(value) for value in row] for row in shown)]
        if not self.columns:
            return f"({len(self)} rows, no columns)"
        numeric = [_is_number(field.type) for field in self._table.schema]
        widths = [max(len(row[index]) for row in cells) for index in range(len(self.columns))]
        lines = [
            "  ".join(
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(row, widths, numeric, strict=True)
            ).rstrip()
            for row in cells
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        more = f", first {_SHOWN_ROWS} shown" if len(self) > _SHOWN_ROWS else ""
        lines.append(f"({len(self)} row{'' if len(self) == 1 else 's'}{more})")
        return "\n".join(lines)


def _values(column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if pa.types.is_decimal(column.type) and column.type.scale == 0:
        # DuckDB adds whole numbers in 128 bits, which Arrow can only call a decimal.
        return [int(value) if isinstance(value, decimal.Decimal) else value for value in values]
    return values


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(value, list) and len(value) > 3:
        text = f"[{', '.join(_cell(item) for item in value[:3])}, … {len(value)}]"
    elif isinstance(value, list):
        text = f"[{', '.join(_cell(item) for item in value)}]"
    else:
        text = " ".join(str(value).split()) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_WIDTH else text[: _SHOWN_WIDTH - 1] + "…"


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
