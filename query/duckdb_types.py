"""Arrow types that DuckDB does not read, as the nearest ones that it does: no number changes its value."""

from __future__ import annotations

import pyarrow as pa

_MOST_DIGITS = 38


def readable(table: pa.Table) -> pa.Table:
    """The table as DuckDB can read it; the same object where it already can.

    float16 becomes float32. Decimals of more than 128 bits become shorter ones where their digits fit, and text where
    they do not. Also inside lists, structs and maps.
    """
    own = table.schema.types
    kinds = [_readable(kind) for kind in own]
    if all(new is old for new, old in zip(kinds, own, strict=True)):
        return table
    columns = [
        column if new is old else column.cast(new) for column, new, old in zip(table.columns, kinds, own, strict=True)
    ]
    return pa.table(columns, names=table.column_names)


def _readable(kind: pa.DataType) -> pa.DataType:
    tests = pa.types
    if tests.is_float16(kind):
        return pa.float32()
    if tests.is_decimal256(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= _MOST_DIGITS else pa.string()
    if not tests.is_nested(kind):
        return kind
    parts = [kind.field(index).type for index in range(kind.num_fields)]
    inner = [_readable(part) for part in parts]
    if all(new is old for new, old in zip(inner, parts, strict=True)):
        return kind
    if tests.is_struct(kind):
        return pa.struct([(kind.field(index).name, part) for index, part in enumerate(inner)])
    if tests.is_map(kind):
        return pa.map_(_readable(kind.key_type), _readable(kind.item_type))
    if tests.is_fixed_size_list(kind):
        return pa.list_(inner[0], kind.list_size)
    return pa.large_list(inner[0]) if tests.is_large_list(kind) else pa.list_(inner[0])
