"""Lenient input, parsed once: what callers hand in as ids, vectors and metadata becomes three plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError, InvalidIdError, InvalidMetadataError, InvalidVectorError

MetadataInput: TypeAlias = "Mapping[str, Any] | Sequence[Mapping[str, Any]] | pa.Table | pa.RecordBatch | Any | None"


def one_or_many(singular: object, plural: object, name: str) -> object:
    """The argument that was given, of two spellings.

    Raises:
        InvalidArgumentError: Both or neither were given.
    """
    if singular is not None and plural is not None:
        raise InvalidArgumentError(f"both {name} and {name}s were given", fix=f"give {name} or {name}s", value=plural)
    given = singular if singular is not None else plural
    if given is None:
        raise InvalidArgumentError(f"no {name} was given", fix=f"give {name} for one row or {name}s for several")
    return given


def parse_ids(given: object) -> tuple[list[str], bool]:
    """Ids as a list, and whether a single one was given.

    Raises:
        InvalidIdError: An id is not text. (Empty and overlong ids are refused by the storage floor.)
    """
    if isinstance(given, str):
        return [given], True
    if isinstance(given, pa.Array | pa.ChunkedArray):
        given = given.to_pylist()
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if isinstance(given, bytes) or not hasattr(given, "__iter__"):
        raise InvalidIdError(f"{given!r} is no id", fix="ids are text, such as 'doc_1'", value=given)
    ids = list(given)
    for identifier in ids:
        if not isinstance(identifier, str):
            raise InvalidIdError(f"{identifier!r} is no id", fix="ids are text: use str(id)", value=identifier)
    return ids, False


def parse_vectors(given: object, *, single: bool, rows: int) -> NDArray[np.float32]:
    """Vectors as float32 of shape (rows, dimension).

    Raises:
        InvalidVectorError: Not numbers, ragged, of the wrong shape, or too large for float32.
    """
    array = to_float32(given)
    if single and array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2 or array.shape[0] != rows:
        expected = "one vector of shape (dimension,)" if single else f"an array of shape ({rows}, dimension)"
        raise InvalidVectorError(
            f"vectors have shape {array.shape} for {rows} id(s)", fix=f"give {expected}", value=array.shape
        )
    return np.ascontiguousarray(array)


def to_float32(given: object) -> NDArray[np.float32]:
    """Any array-like of numbers as float32.

    Raises:
        InvalidVectorError: Not numbers, ragged, complex, or finite in the input but not in float32.
    """
    if isinstance(given, np.ndarray) and given.dtype == np.float32:
        return given
    if isinstance(given, pa.FixedSizeListArray):
        given = given.flatten().to_numpy(zero_copy_only=False).reshape(len(given), -1)
    try:
        wide = np.asarray(given)
        if wide.dtype == object:
            wide = np.asarray(given, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise InvalidVectorError(
            f"not an array of numbers: {error}", fix="give lists or arrays of equal length"
        ) from error
    if wide.dtype.kind not in "fiub":
        raise InvalidVectorError(f"vectors of type {wide.dtype} are no real numbers", fix="give floats or integers")
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32, copy=False)
    if wide.dtype.kind == "f" and wide.dtype.itemsize > 4 and np.isinf(narrow).any() and not np.isinf(wide).any():
        raise InvalidVectorError("a vector holds a number beyond float32", fix="scale the vectors below 3.4e38")
    return narrow


def parse_query_vector(given: ArrayLike) -> tuple[NDArray[np.float32], bool]:
    """Query vectors as (queries, dimension), and whether a single one was given."""
    array = to_float32(given)
    if array.ndim == 1:
        return array[None, :], True
    if array.ndim == 2:
        return array, False
    raise InvalidVectorError(
        f"a query of shape {array.shape} is neither a vector nor a batch",
        fix="give shape (dimension,) or (queries, dimension)",
        value=array.shape,
    )


def parse_metadata(given: MetadataInput, *, single: bool, rows: int) -> pa.Table | None:
    """Metadata as an Arrow table with one row per id, or ``None``.

    Accepts a mapping (one row), a list of mappings, an Arrow table or record batch, a mapping of columns, a pandas or a
    polars frame.

    Raises:
        InvalidMetadataError: Rows are missing, or values of one column do not share a type.
    """
    if given is None:
        return None
    table = _metadata_table(given, single=single)
    if table.num_rows != rows:
        raise InvalidMetadataError(
            f"metadata has {table.num_rows} rows for {rows} id(s)",
            fix="give one row per id",
            value=table.num_rows,
        )
    return table.replace_schema_metadata(None)


def _metadata_table(given: Any, *, single: bool) -> pa.Table:
    try:
        if isinstance(given, pa.Table):
            return given
        if isinstance(given, pa.RecordBatch):
            return pa.Table.from_batches([given])
        if isinstance(given, Mapping):
            return _table_of_rows([dict(given)]) if single else pa.table({k: pa.array(v) for k, v in given.items()})
        module = type(given).__module__.split(".")[0]
        if module == "pandas":
            return pa.Table.from_pandas(given, preserve_index=False)
        if module == "polars":
            return given.to_arrow()
        if isinstance(given, Sequence) and all(isinstance(row, Mapping) for row in given):
            return _table_of_rows([dict(row) for row in given])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise InvalidMetadataError(
            f"metadata cannot be stored: {error}", fix="give each column values of one type"
        ) from error
    raise InvalidMetadataError(
        f"metadata of type {type(given).__name__} is not understood",
        fix="give a list of mappings, an Arrow table, or a pandas or polars frame",
        value=type(given).__name__,
    )


def _table_of_rows(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as columns; a key that a row lacks is null there. Column order is that of first appearance."""
    names: dict[str, None] = {}
    for row in rows:
        for name in row:
            if not isinstance(name, str):
                raise InvalidMetadataError(f"{name!r} is no column name", fix="use text as keys", value=name)
            names[name] = None
    columns = {name: pa.array([row.get(name) for row in rows]) for name in names}
    if not columns:
        return pa.table({"_": pa.nulls(len(rows))}).select([])
    return pa.table(columns)
