"""Functions of the floors above, made known to DuckDB: vectorised over Arrow, NULL in gives NULL out."""

from __future__ import annotations

import inspect
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from query.dialect import quote_identifier
from query.duckdb_connection import HardenedConnection
from query.ports import ScalarFunction
from storage_engine.errors import QStoreError

_MARK = "qstore-error-"
_MARKED = re.compile(_MARK + r"([0-9a-f]{32})")
_KEPT_ERRORS = 64


class Functions:
    """The scalar functions of one session.

    DuckDB knows each under its name as a macro that casts the arguments, so that ``predict('m', [1.0, 2.0])`` works
    with a literal as well as with a column; the macro calls the Python function, whose name no user would write.

    Attributes:
        names: Their names, lower case.
        vector_arguments: Name and position of each argument that is a list of floats.
    """

    def __init__(self, functions: Sequence[ScalarFunction], connection: HardenedConnection) -> None:
        self._raised: OrderedDict[str, QStoreError] = OrderedDict()
        self._lock = threading.Lock()
        self.names = frozenset(function.name.lower() for function in functions)
        self.vector_arguments = frozenset(
            (function.name.lower(), position)
            for function in functions
            for position, kind in enumerate(function.argument_types)
            if kind.upper() in {"FLOAT[]", "DOUBLE[]"}
        )
        for function in functions:
            self._create(function, connection)

    def raised_by(self, error: BaseException) -> QStoreError | None:
        """The error that a function raised, if that is what DuckDB reports."""
        match = _MARKED.search(str(error))
        with self._lock:
            return self._raised.pop(match.group(1), None) if match else None

    def _create(self, function: ScalarFunction, connection: HardenedConnection) -> None:
        inner = f"{function.name}$python"
        kinds = list(function.argument_types)
        arguments = [f"a{position}" for position in range(len(kinds))]
        connection.create_function(
            inner,
            _with_arity(lambda columns: self._evaluate(function, columns), len(kinds)),
            kinds,
            function.result_type,
        )
        casts = ", ".join(f"CAST({name} AS {kind})" for name, kind in zip(arguments, kinds, strict=True))
        connection.create_macro(quote_identifier(function.name), arguments, f"{quote_identifier(inner)}({casts})")

    def _evaluate(self, function: ScalarFunction, columns: Sequence[pa.ChunkedArray]) -> pa.Array:
        try:
            return _without_nulls(function, [_flat(column) for column in columns])
        except QStoreError as error:
            # DuckDB keeps only the text of an exception: the mark finds the error itself again.
            key = uuid.uuid4().hex
            with self._lock:
                self._raised[key] = error
                while len(self._raised) > _KEPT_ERRORS:
                    self._raised.popitem(last=False)
            raise RuntimeError(f"{_MARK}{key}") from error


def _with_arity(function: Callable[[Sequence[pa.ChunkedArray]], pa.Array], count: int) -> Callable[..., pa.Array]:
    """The same function with exactly ``count`` positional parameters in its signature, which DuckDB counts."""

    def evaluate(*columns: pa.ChunkedArray) -> pa.Array:
        return function(columns)

    names = [inspect.Parameter(f"a{position}", inspect.Parameter.POSITIONAL_ONLY) for position in range(count)]
    evaluate.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    return evaluate


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _without_nulls(function: ScalarFunction, columns: Sequence[pa.Array]) -> pa.Array:
    """Evaluate the rows in which no argument is NULL; the others are NULL."""
    valid = np.ones(len(columns[0]), np.bool_)
    for column in columns:
        if column.null_count:
            valid &= column.is_valid().to_numpy(zero_copy_only=False)
    if valid.all():
        return _flat(function.evaluate(columns))
    rows = np.flatnonzero(valid)
    if not len(rows):
        return pa.nulls(len(valid))
    values = _flat(function.evaluate([column.take(pa.array(rows)) for column in columns]))
    places = np.zeros(len(valid), np.int64)
    places[rows] = np.arange(len(rows))
    return values.take(pa.array(places, mask=~valid))
