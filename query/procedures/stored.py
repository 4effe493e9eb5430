"""Procedures that are kept in the database as the text that defined them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import pyarrow as pa

from query.errors import InvalidParameterError, SqlSyntaxError, UnknownProcedureError
from query.own_statements import parse
from query.ports import Parameter
from query.source import line_and_column
from query.statements import CreateProcedure
from storage_engine.batch import DeleteRecord, PutRecord
from storage_engine.errors import AlreadyExistsError
from storage_engine.snapshot import Snapshot

TABLE = "procedures"
"""The keyed table that holds them: lower-case name → definition and time of creation."""

_TYPES = {
    **dict.fromkeys(("VARCHAR", "TEXT", "STRING"), "text"),
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "INT", "BIGINT"), "integer"),
    **dict.fromkeys(("FLOAT", "REAL", "DOUBLE"), "number"),
    **dict.fromkeys(("BOOLEAN", "BOOL"), "boolean"),
    **dict.fromkeys(("VARCHAR[]", "TEXT[]", "INTEGER[]", "INT[]", "BIGINT[]", "FLOAT[]", "DOUBLE[]"), "list"),
}

Run = Callable[[CreateProcedure, Mapping[str, object]], pa.Table]
"""Runs the statements of a definition with its arguments' values."""


@dataclass(frozen=True, slots=True)
class StoredProcedure:
    """One that SQL defined, as ``CALL`` sees it.

    Args:
        definition: What it is.
        run: Runs it.
    """

    definition: CreateProcedure
    run: Run

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return self.definition.name

    @property
    def parameters(self) -> Sequence[Parameter]:
        """Its declared arguments."""
        return declared(self.definition)

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Run its statements, each a commit of its own; what the last one shows."""
        defaults = {argument.name: argument.default for argument in self.definition.arguments if not argument.required}
        return self.run(self.definition, {**defaults, **arguments})


def declared(definition: CreateProcedure) -> tuple[Parameter, ...]:
    """The arguments of a definition.

    Raises:
        SqlSyntaxError: A type is none of those that arguments can have.
    """
    found = []
    for argument in definition.arguments:
        if argument.type not in _TYPES:
            line, column = line_and_column(definition.source.whole, definition.source.start)
            raise SqlSyntaxError(
                f"The argument {argument.name} of {definition.name} has the type {argument.type}",
                line=line,
                column=column,
                fix=f"Types are {', '.join(_TYPES)}.",
            )
        found.append(Parameter(argument.name, _TYPES[argument.type], required=argument.required))
    return tuple(found)


def definitions(snapshot: Snapshot) -> dict[str, CreateProcedure]:
    """All that are stored, by name, in order of creation."""
    return {name: _read(str(record["definition"])) for name, record in snapshot.table(TABLE).items()}


def creation(
    snapshot: Snapshot, definition: CreateProcedure, built_in: Mapping[str, object], created_at: float
) -> PutRecord:
    """The operation that stores a definition.

    Raises:
        AlreadyExistsError: Its name is taken by another (without ``OR REPLACE``), or by one that is built in.
    """
    if definition.name in built_in:
        raise AlreadyExistsError(
            f"The procedure {definition.name!r} is built in", fix="Choose another name.", value=definition.name
        )
    if not definition.or_replace and definition.name in snapshot.table(TABLE):
        raise AlreadyExistsError(
            f"There is a procedure {definition.name!r} already",
            fix="Write CREATE OR REPLACE PROCEDURE, or choose another name.",
            value=definition.name,
        )
    return PutRecord(TABLE, definition.name, {"definition": definition.source.written, "created_at": created_at})


def removal(snapshot: Snapshot, name: str, built_in: Mapping[str, object]) -> DeleteRecord:
    """The operation that removes a definition.

    Raises:
        UnknownProcedureError: There is none of that name, or it is built in.
    """
    known = snapshot.table(TABLE)
    if name not in known:
        what = f"The procedure {name!r} is built in" if name in built_in else f"There is no procedure {name!r}"
        listed = ", ".join(known) or "none"
        raise UnknownProcedureError(what, fix=f"Procedures that can be dropped: {listed}.", value=name)
    return DeleteRecord(TABLE, name)


def check_parameters(definition: CreateProcedure, used: Sequence[str]) -> None:
    """Refuse ``$names`` that are no arguments, and arguments that nothing uses.

    Raises:
        InvalidParameterError: As said.
    """
    names = [argument.name for argument in definition.arguments]
    for name in sorted(set(used) - set(names)):
        raise InvalidParameterError(
            f"{definition.name} uses ${name}, which is none of its arguments",
            fix=f"Its arguments are ({', '.join(names)}).",
            value=name,
        )
    for name in names:
        if name not in used:
            raise InvalidParameterError(
                f"{definition.name} does not use its argument {name}",
                fix=f"Leave it out, or write {name} as a value of CALL or ${name} in a query.",
                value=name,
            )


@functools.lru_cache(maxsize=256)
def _read(text: str) -> CreateProcedure:
    return cast(CreateProcedure, parse(text)[0])
