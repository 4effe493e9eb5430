"""Which rows a predicate selects: evaluated on Arrow columns with SQL's three-valued logic, without a query engine."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.errors import InvalidArgumentError, UnknownColumnError
from storage_engine.filters.arrow_values import flags, numbers, valid_flags
from storage_engine.filters.compare import Number, compare_floats, compare_integers, floats_in, integers_in
from storage_engine.filters.expression import (
    And,
    Between,
    Comparison,
    Constant,
    InSet,
    IsNull,
    Like,
    Not,
    Operator,
    Or,
    Predicate,
    Scalar,
    like_parts,
)

ColumnSource = Callable[[str], pa.ChunkedArray] | Mapping[str, pa.ChunkedArray]

_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_DAY = 86_400 * 1_000_000_000
_EPOCH = datetime.datetime(1970, 1, 1)
_TIMESTAMP_LITERAL = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)?)?")


@dataclass(frozen=True, slots=True)
class _Truth:
    """Kleene truth of each row; unknown where both are false."""

    true: NDArray[np.bool_]
    false: NDArray[np.bool_]


def evaluate(predicate: Predicate, columns: ColumnSource, rows: int) -> NDArray[np.bool_]:
    """The rows for which a predicate is true.

    Args:
        predicate: See :mod:`storage_engine.filters.expression`.
        columns: The column of a name, one value per row: a mapping, or a function that raises
            :class:`storage_engine.errors.UnknownColumnError` itself.
        rows: How many rows there are.

    Returns:
        bool of shape (rows,); false where the predicate is false or unknown. Numbers compare by mathematical value
        (int64 with float too), text by code points, a stored NaN is greater than every number, text that is compared
        with a date or time is read as ISO 8601.

    Raises:
        UnknownColumnError: A column is not there.
        InvalidArgumentError: A value's type cannot be compared with its column's type.
    """
    return _evaluate(predicate, columns, rows).true


def _evaluate(predicate: Predicate, columns: ColumnSource, rows: int) -> _Truth:
    match predicate:
        case Constant(value):
            return _Truth(np.full(rows, value is True), np.full(rows, value is False))
        case Not(operand):
            inner = _evaluate(operand, columns, rows)
            return _Truth(inner.false, inner.true)
        case And(operands) | Or(operands):
            conjunction = isinstance(predicate, And)
            all_of, any_of = np.ones(rows, np.bool_), np.zeros(rows, np.bool_)
            for operand in operands:
                part = _evaluate(operand, columns, rows)
                all_of &= part.true if conjunction else part.false
                any_of |= part.false if conjunction else part.true
            return _Truth(all_of, any_of) if conjunction else _Truth(any_of, all_of)
        case Between(column, low, high):
            both = And((Comparison(column, ">=", low), Comparison(column, "<=", high)))
            return _evaluate(both, columns, rows)
        case _:
            return _of_column(predicate, _column(columns, predicate.column, rows), rows)


def _column(columns: ColumnSource, name: str, rows: int) -> pa.ChunkedArray:
    if isinstance(columns, Mapping):
        if name not in columns:
            known = ", ".join(sorted(columns)) or "none"
            raise UnknownColumnError(f"There is no column {name!r}", fix=f"Known columns: {known}.", value=name)
        column = columns[name]
    else:
        column = columns(name)
    if len(column) != rows:
        raise InvalidArgumentError(
            f"Column {name!r} has {len(column)} values for {rows} rows", fix="Give one value a row.", value=name
        )
    return column


def _of_column(predicate: Comparison | InSet | IsNull | Like, column: pa.ChunkedArray, rows: int) -> _Truth:
    """One leaf over all chunks of its column."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    known = np.zeros(rows, np.bool_)
    if not pa.types.is_null(kind):
        _fill(known, chunks, valid_flags)
    if isinstance(predicate, IsNull):
        return _Truth(~known, known)
    if isinstance(predicate, InSet) and not predicate.values:
        return _Truth(np.zeros(rows, np.bool_), np.ones(rows, np.bool_))
    test = _test_for(predicate, kind)
    found = np.zeros(rows, np.bool_)
    if test is not None:
        _fill(found, chunks, lambda chunk: test(_plain(chunk)))
    if isinstance(predicate, InSet) and None in predicate.values:
        return _Truth(found & known, np.zeros(rows, np.bool_))
    if test is None:
        return _Truth(found, found)
    return _Truth(found & known, ~found & known)


def _fill(
    out: NDArray[np.bool_], chunks: Sequence[pa.Array], of_chunk: Callable[[pa.Array], NDArray[np.bool_]]
) -> None:
    at = 0
    for chunk in chunks:
        out[at : at + len(chunk)] = of_chunk(chunk)
        at += len(chunk)


def _plain(chunk: pa.Array) -> pa.Array:
    return chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk


def _test_for(
    predicate: Comparison | InSet | Like, kind: pa.DataType
) -> Callable[[pa.Array], NDArray[np.bool_]] | None:
    """A test of one plain chunk whose result at nulls does not matter; ``None``: unknown for every row."""
    if pa.types.is_null(kind):
        return None
    if isinstance(predicate, Like):
        return _like_test(predicate, kind)
    if isinstance(predicate, InSet):
        present = [value for value in predicate.values if value is not None]
        if not present:
            return None
        return _membership_test(predicate.column, kind, present)
    if predicate.value is None:
        return None
    return _comparison_test(predicate.column, kind, predicate.operator, predicate.value)


def _comparison_test(
    column: str, kind: pa.DataType, operator: Operator, value: Scalar
) -> Callable[[pa.Array], NDArray[np.bool_]]:
    if _is_text(kind) or _is_binary(kind):
        scalar = _text_or_bytes(column, kind, value)
        import pyarrow.compute as pc

        function = {
            "=": pc.equal,
            "!=": pc.not_equal,
            "<": pc.less,
            "<=": pc.less_equal,
            ">": pc.greater,
            ">=": pc.greater_equal,
        }[operator]
        return lambda chunk: flags(function(chunk, scalar))
    if pa.types.is_floating(kind):
        number = _number(column, kind, value)
        return lambda chunk: compare_floats(numbers(chunk), operator, number)
    if pa.types.is_boolean(kind):
        truth = _boolean(column, kind, value)
        return lambda chunk: compare_integers(flags(chunk).view(np.uint8), operator, truth)
    count = _count(column, kind, value)
    return lambda chunk: compare_integers(numbers(chunk), operator, count)


def _membership_test(
    column: str, kind: pa.DataType, values: Sequence[Scalar]
) -> Callable[[pa.Array], NDArray[np.bool_]]:
    if _is_text(kind) or _is_binary(kind):
        wanted = pa.array([_text_or_bytes(column, kind, value).as_py() for value in values], type=kind)
        import pyarrow.compute as pc

        return lambda chunk: flags(pc.is_in(chunk, value_set=wanted))
    if pa.types.is_floating(kind):
        exact = [_number(column, kind, value) for value in values]
        return lambda chunk: floats_in(numbers(chunk), exact)
    if pa.types.is_boolean(kind):
        truths = [_boolean(column, kind, value) for value in values]
        return lambda chunk: integers_in(flags(chunk).view(np.uint8), truths)
    counts = [_count(column, kind, value) for value in values]
    return lambda chunk: integers_in(numbers(chunk), counts)


def _like_test(predicate: Like, kind: pa.DataType) -> Callable[[pa.Array], NDArray[np.bool_]]:
    if not _is_text(kind):
        raise InvalidArgumentError(
            f"LIKE needs a text column, but {predicate.column!r} has type {kind}",
            fix="Use =, < or BETWEEN.",
            value=predicate.column,
        )
    import pyarrow.compute as pc

    def lowered(text: str) -> str:
        return str(pc.utf8_lower(pa.scalar(text)).as_py()) if predicate.ignore_case else text

    pieces: list[str] = []
    for token in like_parts(predicate.pattern, predicate.escape):
        if isinstance(token, str):
            pieces.append(re.escape(lowered(token)))
        elif token is True:
            pieces.append(".")
        elif not pieces or pieces[-1] != ".*":
            pieces.append(".*")
    pattern = rf"(?s)\A{''.join(pieces)}\z"

    def test(chunk: pa.Array) -> NDArray[np.bool_]:
        text = pc.utf8_lower(chunk) if predicate.ignore_case else chunk
        try:
            return flags(pc.match_substring_regex(text, pattern))
        except pa.ArrowInvalid as error:
            raise InvalidArgumentError(
                f"The LIKE pattern of {len(predicate.pattern)} characters is too long to match",
                fix="Use a shorter pattern.",
                value=predicate.pattern,
            ) from error

    return test


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _text_or_bytes(column: str, kind: pa.DataType, value: Scalar) -> pa.Scalar:
    if not isinstance(value, str if _is_text(kind) else bytes):
        raise _incomparable(column, kind, value)
    try:
        return pa.scalar(value, type=kind)
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"The text {value!r} is not valid Unicode", fix="Remove lone surrogates.", value=value
        ) from error


def _number(column: str, kind: pa.DataType, value: Scalar) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _incomparable(column, kind, value)
    return value


def _boolean(column: str, kind: pa.DataType, value: Scalar) -> int:
    if not isinstance(value, bool):
        raise _incomparable(column, kind, value)
    return int(value)


def _count(column: str, kind: pa.DataType, value: Scalar) -> Number:
    """What an integer or temporal column is compared with: the value in the column's own unit, exactly."""
    if pa.types.is_integer(kind):
        return _number(column, kind, value)
    if pa.types.is_timestamp(kind):
        return Fraction(_instant(column, kind, value, aware=kind.tz is not None), _UNITS[kind.unit])
    if pa.types.is_date(kind):
        nanoseconds = _instant(column, kind, value, aware=False)
        return Fraction(nanoseconds, _DAY if pa.types.is_date32(kind) else _UNITS["ms"])
    if pa.types.is_time(kind):
        return Fraction(_time_of_day(column, kind, value), _UNITS[kind.unit])
    if pa.types.is_duration(kind) and isinstance(value, datetime.timedelta):
        return Fraction(value // datetime.timedelta(microseconds=1) * 1_000, _UNITS[kind.unit])
    raise _incomparable(column, kind, value)


def _instant(column: str, kind: pa.DataType, value: Scalar, *, aware: bool) -> int:
    """Nanoseconds since 1970 of a date, a datetime, or text that says one."""
    moment: Scalar = value
    if isinstance(value, str):
        if not _TIMESTAMP_LITERAL.fullmatch(value.strip()):
            raise _incomparable(column, kind, value)
        try:
            moment = datetime.datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise _incomparable(column, kind, value) from error
    elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        moment = datetime.datetime(value.year, value.month, value.day)
    if not isinstance(moment, datetime.datetime):
        raise _incomparable(column, kind, value)
    if aware != (moment.tzinfo is not None):
        raise InvalidArgumentError(
            f"Column {column!r} ({kind}) and {value!r} cannot be compared: only one of them has a time zone",
            fix="Give a datetime with tzinfo." if aware else "Give a datetime without tzinfo.",
            value=value,
        )
    offset = moment.utcoffset() or datetime.timedelta()
    return (moment.replace(tzinfo=None) - offset - _EPOCH) // datetime.timedelta(microseconds=1) * 1_000


def _time_of_day(column: str, kind: pa.DataType, value: Scalar) -> int:
    """Nanoseconds since midnight."""
    moment: Scalar = value
    if isinstance(value, str):
        try:
            moment = datetime.time.fromisoformat(value)
        except ValueError as error:
            raise _incomparable(column, kind, value) from error
    if not isinstance(moment, datetime.time) or moment.tzinfo is not None:
        raise _incomparable(column, kind, value)
    seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
    return (seconds * 1_000_000 + moment.microsecond) * 1_000


def _incomparable(column: str, kind: pa.DataType, value: Scalar) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"Column {column!r} has type {kind} and cannot be compared with {value!r} ({type(value).__name__})",
        fix=f"Give a value that fits {kind}.",
        value=value,
    )
