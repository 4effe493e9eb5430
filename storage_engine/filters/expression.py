"""The predicate tree: what a filter means, as values. Text and mappings are parsed into it by the floors above.

Every node is frozen and checked when it is made. Keys of caches are :func:`canonical_text`, not the nodes themselves:
to Python ``1 == True == 1.0``. Meaning is that of SQL: a comparison
with NULL is unknown, ``AND``, ``OR`` and ``NOT`` follow Kleene's three-valued logic, and at the end only rows for which
the whole is *true* match.

    Predicate = Comparison | InSet | Between | IsNull | Like | And | Or | Not | Constant
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from storage_engine.errors import InvalidArgumentError

Scalar: TypeAlias = (
    "None | bool | int | float | str | bytes | datetime.datetime | datetime.date | datetime.time | datetime.timedelta"
)
Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
OPERATORS: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Comparison:
    """``column operator value``; unknown where the column, or the value, is NULL."""

    column: str
    operator: Operator
    value: Scalar

    def __post_init__(self) -> None:
        _check_column(self.column)
        if self.operator not in OPERATORS:
            raise InvalidArgumentError(
                f"{self.operator!r} is not a comparison",
                fix=f"Use one of {', '.join(OPERATORS)}.",
                value=self.operator,
            )
        _check_value(self.value)


@dataclass(frozen=True, slots=True)
class InSet:
    """``column IN (values)``: true where one is equal; where none is, unknown if a value is NULL.

    Args:
        column: Its name.
        values: Any number of scalars of comparable types. With no value at all it is false for every row, NULL too.
    """

    column: str
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        _check_column(self.column)
        for value in self.values:
            _check_value(value)


@dataclass(frozen=True, slots=True)
class Between:
    """``column BETWEEN low AND high``: the same as ``column >= low AND column <= high``, ends included."""

    column: str
    low: Scalar
    high: Scalar

    def __post_init__(self) -> None:
        _check_column(self.column)
        _check_value(self.low)
        _check_value(self.high)


@dataclass(frozen=True, slots=True)
class IsNull:
    """``column IS NULL``: never unknown."""

    column: str

    def __post_init__(self) -> None:
        _check_column(self.column)


@dataclass(frozen=True, slots=True)
class Like:
    """``column LIKE pattern``: ``%`` stands for any text, ``_`` for one character, case matters.

    Args:
        column: A text column.
        pattern: The whole text must match it.
        escape: One character that makes the next one of the pattern literal; ``None`` means there is none.
        ignore_case: ``ILIKE``.
    """

    column: str
    pattern: str
    escape: str | None = None
    ignore_case: bool = False

    def __post_init__(self) -> None:
        _check_column(self.column)
        if not isinstance(self.pattern, str):
            raise InvalidArgumentError(
                f"The LIKE pattern {self.pattern!r} is no text", fix="Give a text.", value=self.pattern
            )
        if self.escape is not None and len(self.escape) != 1:
            raise InvalidArgumentError(
                f"The escape {self.escape!r} is not one character", fix="Give one character.", value=self.escape
            )
        like_parts(self.pattern, self.escape)


@dataclass(frozen=True, slots=True)
class And:
    """True where all are; no operand at all means true."""

    operands: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where one is; no operand at all means false."""

    operands: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True where the operand is false; unknown stays unknown."""

    operand: Predicate


@dataclass(frozen=True, slots=True)
class Constant:
    """``TRUE``, ``FALSE`` or, with ``None``, unknown for every row."""

    value: bool | None


Predicate: TypeAlias = Comparison | InSet | Between | IsNull | Like | And | Or | Not | Constant


def columns_of(predicate: Predicate) -> tuple[str, ...]:
    """The columns it reads, each once, in order of first appearance."""
    return tuple(dict.fromkeys(_columns(predicate)))


def canonical_text(predicate: Predicate) -> str:
    """One text per meaning of the written tree, for cache keys; equal trees give equal texts, different ones do not.

    ``And`` and ``Or`` are flattened and sorted, repeated operands dropped, the values of ``InSet`` sorted; values of
    different types never share a text (``1``, ``1.0``, ``True`` and ``'1'`` are four). Not meant to be parsed.
    """
    match predicate:
        case Comparison(column, operator, value):
            return f"{_name(column)}{operator}{value_text(value)}"
        case InSet(column, values):
            return f"{_name(column)} in({','.join(sorted({value_text(value) for value in values}))})"
        case Between(column, low, high):
            return f"{_name(column)} between({value_text(low)},{value_text(high)})"
        case IsNull(column):
            return f"{_name(column)} is null"
        case Like(column, pattern, escape, ignore_case):
            word = "ilike" if ignore_case else "like"
            return f"{_name(column)} {word}({value_text(pattern)},{value_text(escape)})"
        case And():
            return f"and({','.join(sorted(set(_flat(predicate, And))))})"
        case Or():
            return f"or({','.join(sorted(set(_flat(predicate, Or))))})"
        case Not(operand):
            return f"not({canonical_text(operand)})"
        case Constant(value):
            return f"constant({value_text(value)})"


def value_text(value: Scalar) -> str:
    """A scalar with its type, unambiguous."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return f"i{value}"
        case float():
            return f"f{value.hex()}"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case bytes():
            return f"x{value.hex()}"
        case datetime.datetime():
            return f"ts{value.isoformat()}"
        case datetime.date():
            return f"d{value.isoformat()}"
        case datetime.time():
            return f"t{value.isoformat()}"
        case datetime.timedelta():
            return f"iv{value.days},{value.seconds},{value.microseconds}"


def like_parts(pattern: str, escape: str | None) -> list[str | Literal[True] | None]:
    """A LIKE pattern as tokens: text is literal, ``True`` is one character (``_``), ``None`` any text (``%``).

    Raises:
        InvalidArgumentError: The escape character ends the pattern.
    """
    tokens: list[str | Literal[True] | None] = []
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            literal = next(characters, None)
            if literal is None:
                raise InvalidArgumentError(
                    f"The pattern {pattern!r} ends with its escape character {escape!r}",
                    fix="Write the character after it that is meant literally.",
                    value=pattern,
                )
            tokens.append(literal)
        elif character == "%":
            tokens.append(None)
        elif character == "_":
            tokens.append(True)
        else:
            tokens.append(character)
    return tokens


def _columns(predicate: Predicate) -> Iterator[str]:
    match predicate:
        case And(operands) | Or(operands):
            for operand in operands:
                yield from _columns(operand)
        case Not(operand):
            yield from _columns(operand)
        case Constant():
            return
        case _:
            yield predicate.column


def _flat(predicate: And | Or, kind: type[And] | type[Or]) -> Iterator[str]:
    for operand in predicate.operands:
        if isinstance(operand, And | Or) and isinstance(operand, kind):
            yield from _flat(operand, kind)
        else:
            yield canonical_text(operand)


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _check_column(column: str) -> None:
    if not isinstance(column, str) or not column:
        raise InvalidArgumentError(f"{column!r} is no column name", fix="Give a non-empty text.", value=column)


def _check_value(value: Scalar) -> None:
    known = (bool, int, float, str, bytes, datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
    if value is not None and not isinstance(value, known):
        raise InvalidArgumentError(
            f"A filter cannot compare with {value!r} of type {type(value).__name__}",
            fix="Use None, a bool, int, float, text, bytes, date, time, datetime or timedelta.",
            value=value,
        )
    if isinstance(value, float) and math.isnan(value):
        raise InvalidArgumentError("A filter cannot compare with NaN", fix="Use None with IS NULL.", value=value)
