"""What a text holds once its words are recognised: our own statements as values, everything else as a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from query.source import Source


@dataclass(frozen=True, slots=True)
class ParameterReference:
    """``$name`` where a value is expected; replaced by the bound value when the statement runs."""

    name: str


Literal: TypeAlias = "None | bool | int | float | str | list[Literal] | ParameterReference"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of ``CALL`` or one entry of ``OPTIONS``.

    Args:
        name: As written, lower case; ``None`` for a positional argument.
        value: Its value, with parameters not yet filled in.
        line: Where it stands.
        column: Where it stands.
    """

    name: str | None
    value: Literal
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Query:
    """A statement for DuckDB: it only reads.

    Args:
        source: The whole statement.
        body: The same without ``EXPLAIN``; equal to ``source`` where there is none.
        parameters: Names of parameters that DuckDB does not see: those of ``AT (VERSION => $v)``.
    """

    source: Source
    body: Source
    parameters: frozenset[str] = frozenset()

    @property
    def explains(self) -> bool:
        """Whether the plan is asked for instead of, or beside, the rows."""
        return self.body.start != self.source.start


@dataclass(frozen=True, slots=True)
class CreateModel:
    """``CREATE [OR REPLACE] MODEL [IF NOT EXISTS] name [OPTIONS (key = value, …)] [AS query]``."""

    name: str
    options: tuple[Argument, ...]
    or_replace: bool
    if_not_exists: bool
    training_query: Query | None


@dataclass(frozen=True, slots=True)
class DropModel:
    """``DROP MODEL [IF EXISTS] name``."""

    name: str
    if_exists: bool


@dataclass(frozen=True, slots=True)
class Call:
    """``CALL name(argument => value, …)``."""

    name: str
    arguments: tuple[Argument, ...]
    line: int
    column: int


BodyStatement: TypeAlias = Query | CreateModel | DropModel | Call
"""What may stand inside a procedure."""


@dataclass(frozen=True, slots=True)
class DeclaredArgument:
    """``name TYPE [DEFAULT value]`` of a procedure.

    Args:
        name: As written.
        type: As written, upper case.
        required: Whether it has no default.
        default: The value of one that is left out.
    """

    name: str
    type: str
    required: bool = True
    default: Literal = None


@dataclass(frozen=True, slots=True)
class CreateProcedure:
    """``CREATE [OR REPLACE] PROCEDURE name (argument TYPE, …) AS BEGIN statement; … END``.

    Or, instead of ``AS BEGIN … END``, ``LANGUAGE python AS 'package.module:function'``.

    Args:
        name: Lower case.
        arguments: In the order in which positional values bind.
        statements: What it runs, in order.
        or_replace: Whether it may take the place of another.
        source: Its whole text.
        target: The Python function that it calls instead of running statements, as ``package.module:function``.
    """

    name: str
    arguments: tuple[DeclaredArgument, ...]
    statements: tuple[BodyStatement, ...]
    or_replace: bool
    source: Source
    target: str | None = None


@dataclass(frozen=True, slots=True)
class DropProcedure:
    """``DROP PROCEDURE [IF EXISTS] name``."""

    name: str
    if_exists: bool


Statement: TypeAlias = BodyStatement | CreateProcedure | DropProcedure
