"""Which Arrow type a column has once a second batch brings another one.

A column's type only ever grows: null becomes anything, an integer becomes a float, a narrow type becomes a wide one,
a struct gains fields. Everything else is a conflict, told to the caller with both types. Growing never changes a
stored value; where a value would not survive (an integer beyond 2^53 in a float column) the batch is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from storage_engine.errors import InvalidMetadataError
from storage_engine.metadata.schema_memo import SchemaMemo
from storage_engine.schema import RESERVED_COLUMNS

MAX_COLUMNS = 2_000
MAX_COLUMN_NAME_BYTES = 255
_FLOATS = (pa.float16(), pa.float32(), pa.float64())
_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_UNSIGNED = (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_SCALARS = frozenset(
    kind.id
    for kind in (
        *_FLOATS,
        *_SIGNED,
        *_UNSIGNED,
        pa.null(),
        pa.bool_(),
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.large_binary(),
        pa.binary(1),
        pa.date32(),
        pa.time32("ms"),
        pa.time64("us"),
        pa.timestamp("ms"),
        pa.duration("s"),
        pa.decimal128(1),
        pa.decimal256(1),
    )
)
_PLAIN = {
    pa.time32("s"): pa.time32("ms"),
    pa.date64(): pa.date32(),
    pa.string_view(): pa.string(),
    pa.binary_view(): pa.binary(),
}
_SECONDS = frozenset((pa.timestamp("s").id, pa.time32("s").id))
_TIME_UNITS = ("s", "ms", "us", "ns")


def check_column_name(name: str) -> None:
    """Raise InvalidMetadataError unless ``name`` can be a metadata column."""
    if name.casefold() in RESERVED_COLUMNS or name.startswith("_"):
        raise InvalidMetadataError(
            f"metadata column {name!r} has a reserved name",
            fix="Rename it; 'id', 'vector' and names that begin with '_' belong to the database.",
            value=name,
        )
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise InvalidMetadataError(
            f"metadata column {name!r} is not valid Unicode", fix="Rename it.", value=name
        ) from error
    if not 1 <= size <= MAX_COLUMN_NAME_BYTES or "\x00" in name:
        raise InvalidMetadataError(
            f"metadata column {name!r} is empty, holds a NUL character or is longer than {MAX_COLUMN_NAME_BYTES} bytes",
            fix="Rename it.",
            value=name,
        )


def normalised(given: pa.Table) -> pa.Table:
    """Return the table with checked names and every column in the one spelling of its type.

    Raises:
        InvalidMetadataError: A reserved, empty or repeated name, too many columns, a type that cannot be stored, or
            malformed Arrow data.
    """
    kinds = _checked_kinds(given.schema)
    try:
        given.validate(full=True)
        if kinds is None:
            return given
        columns = [
            column if kind is column.type or str(kind) == str(column.type) else column.cast(kind)
            for kind, column in zip(kinds, given.columns, strict=True)
        ]
    except pa.ArrowException as error:
        raise InvalidMetadataError(
            f"the metadata table is malformed: {error}", fix="Build it again from Python values."
        ) from error
    return pa.table(columns, names=given.column_names)


@SchemaMemo
def _checked_kinds(schema: pa.Schema) -> list[pa.DataType] | None:
    """The one spelling of each column's type; ``None``: they have it already. Most batches look like one before.

    Raises:
        InvalidMetadataError: See :func:`normalised`.
    """
    if len(schema) > MAX_COLUMNS:
        raise InvalidMetadataError(
            f"metadata has {len(schema)} columns, more than {MAX_COLUMNS}",
            fix="Put rarely used fields together into one struct column.",
            value=len(schema),
        )
    seen: dict[str, str] = {}
    for name in schema.names:
        check_column_name(name)
        _refuse_twin(name, seen)
        seen[name.casefold()] = name
    kinds = [canonical(entry.type) for entry in schema]
    for name, kind in zip(schema.names, kinds, strict=True):
        _refuse_type(name, kind)
    plain = pa.schema(list(zip(schema.names, kinds, strict=True)))
    return None if plain.equals(schema, check_metadata=True) else kinds


def canonical(kind: pa.DataType) -> pa.DataType:
    """The one spelling of a type: as log and segment files give it back, without names or rules that carry no value.

    Dictionaries and views become what they stand for; seconds become milliseconds, which Parquet can hold; elements
    of lists and fields of structs may always be null, since rows that lack a value must fit too.
    """
    if kind.id in _SCALARS and kind.id not in _SECONDS:
        return kind
    tests = pa.types
    if tests.is_dictionary(kind):
        return canonical(kind.value_type)
    if tests.is_struct(kind):
        return pa.struct([(entry.name, canonical(entry.type)) for entry in kind])
    if tests.is_fixed_size_list(kind):
        return pa.list_(canonical(kind.value_type), kind.list_size)
    if tests.is_large_list(kind):
        return pa.large_list(canonical(kind.value_type))
    if tests.is_list(kind):
        return pa.list_(canonical(kind.value_type))
    if tests.is_map(kind):
        return pa.map_(canonical(kind.key_type), canonical(kind.item_type))
    if tests.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    return _PLAIN.get(kind, kind)


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with every type in its one spelling."""
    return pa.schema([(entry.name, canonical(entry.type)) for entry in schema])


def is_storable(kind: pa.DataType) -> bool:
    """Whether log and segment files keep values of this type bit by bit."""
    if kind.id in _SCALARS:
        return True
    tests = pa.types
    if tests.is_struct(kind):
        return kind.num_fields > 0 and all(is_storable(kind.field(i).type) for i in range(kind.num_fields))
    if tests.is_list(kind) or tests.is_large_list(kind):
        return is_storable(kind.value_type)
    if tests.is_fixed_size_list(kind):
        return kind.list_size > 0 and is_storable(kind.value_type)
    if tests.is_map(kind):
        return is_storable(kind.key_type) and is_storable(kind.item_type)
    return False


def _refuse_twin(name: str, seen: Mapping[str, str]) -> None:
    # SQL compares column names without case, so two that differ only in case could not be told apart there.
    twin = seen.get(name.casefold())
    if twin is not None:
        raise InvalidMetadataError(
            f"metadata column {name!r} occurs beside {twin!r}",
            fix="Use one spelling; column names are compared without case.",
            value=name,
        )


def _refuse_type(name: str, kind: pa.DataType) -> None:
    if not is_storable(kind):
        raise InvalidMetadataError(
            f"metadata column {name!r} has type {kind}, which cannot be stored",
            fix="Use numbers, text, bytes, booleans, dates, times, or lists, maps and non-empty structs of them.",
            value=name,
        )


class _Fit(NamedTuple):
    stored: Mapping[str, pa.DataType]
    given: pa.Schema


_last_fit = [_Fit({}, pa.schema([]))]


def fits(stored: Mapping[str, pa.DataType], given: pa.Schema) -> bool:
    """Whether every given column is stored with that very type, so that nothing grows. Remembers the last answer."""
    last = _last_fit[0]
    if last.stored is stored and last.given.equals(given):
        return True
    if any(entry.name not in stored or not stored[entry.name].equals(entry.type) for entry in given):
        return False
    _last_fit[0] = _Fit(stored, given)
    return True


def grown(stored: Mapping[str, pa.DataType], given: pa.Schema) -> Mapping[str, pa.DataType]:
    """Return the columns after a batch with schema ``given``: the same mapping where nothing changes.

    Raises:
        InvalidMetadataError: A type conflict (column, stored type and given type are named), a name that differs
            from a stored one only in case, or too many columns.
    """
    result: dict[str, pa.DataType] | None = None
    for entry in given:
        before = stored.get(entry.name)
        if before is None:
            _refuse_type(entry.name, entry.type)
            _refuse_twin(entry.name, {name.casefold(): name for name in stored})
            after = entry.type
        elif before.equals(entry.type):
            continue
        else:
            unified = unify(before, entry.type)
            if unified is None:
                raise InvalidMetadataError(
                    f"metadata column {entry.name!r} is stored as {before} and cannot take {entry.type}",
                    fix=f"Convert the values to {before}, or use another column name.",
                    value=entry.name,
                )
            after = unified
            _refuse_type(entry.name, after)
            if after.equals(before):
                continue
        result = dict(stored) if result is None else result
        result[entry.name] = after
    if result is None:
        return stored
    if len(result) > MAX_COLUMNS:
        raise InvalidMetadataError(
            f"the collection would have {len(result)} metadata columns, more than {MAX_COLUMNS}",
            fix="Put rarely used fields together into one struct column.",
            value=len(result),
        )
    return result


def unify(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """Return the smallest type that holds the values of both, or ``None`` where there is none. Symmetric."""
    if a.equals(b):
        return a
    if pa.types.is_null(a):
        return b
    if pa.types.is_null(b):
        return a
    for ladder in (_FLOATS, _SIGNED, _UNSIGNED):
        if a in ladder and b in ladder:
            return max(a, b, key=ladder.index)
    if pa.types.is_integer(a) and pa.types.is_integer(b):
        return _mixed_signs(a, b)
    numeric = (pa.types.is_integer, pa.types.is_floating)
    if any(test(a) for test in numeric) and any(test(b) for test in numeric):
        return pa.float64()
    if _is_text(a) and _is_text(b):
        return pa.large_string()
    if _is_bytes(a) and _is_bytes(b):
        return pa.large_binary()
    if pa.types.is_timestamp(a) and pa.types.is_timestamp(b) and a.tz == b.tz:
        return pa.timestamp(max(a.unit, b.unit, key=_TIME_UNITS.index), a.tz)
    if pa.types.is_duration(a) and pa.types.is_duration(b):
        return pa.duration(max(a.unit, b.unit, key=_TIME_UNITS.index))
    return _nested(a, b)


def _mixed_signs(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    unsigned, signed = (a, b) if a in _UNSIGNED else (b, a)
    step = max(_UNSIGNED.index(unsigned) + 1, _SIGNED.index(signed))
    return _SIGNED[step] if step < len(_SIGNED) else None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _nested(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if any(test(a) for test in lists) and any(test(b) for test in lists):
        inner = unify(a.value_type, b.value_type)
        if inner is None:
            return None
        if pa.types.is_large_list(a) or pa.types.is_large_list(b):
            return pa.large_list(inner)
        same_size = pa.types.is_fixed_size_list(a) and pa.types.is_fixed_size_list(b) and a.list_size == b.list_size
        return pa.list_(inner, a.list_size if same_size else -1)
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        fields = {entry.name: entry.type for entry in a}
        for entry in b:
            before = fields.get(entry.name, pa.null())
            inner = unify(before, entry.type)
            if inner is None:
                return None
            fields[entry.name] = inner
        return pa.struct(list(fields.items()))
    return None


def cast_column(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return ``values`` as ``kind``, a type the column has, had or will have.

    Raises:
        pa.ArrowInvalid: A value does not survive the change.
    """
    own = values.type
    if own is kind or str(own) == str(kind):
        return values
    if pa.types.is_null(kind):
        return pa.chunked_array([pa.nulls(len(values))])
    return values.cast(kind)


def isolated(table: pa.Table) -> pa.Table:
    """A copy that shares no memory with arrays that the caller may still change. About 10 µs and one copy."""
    schema = table.schema
    batches = [pa.ipc.read_record_batch(batch.serialize(), schema) for batch in table.combine_chunks().to_batches()]
    return pa.Table.from_batches(batches, schema)
