"""Procedures in Python, named by an import path: ``CREATE PROCEDURE … LANGUAGE python AS 'package.module:function'``.

The database keeps the path as text, never code. Whoever can write SQL can name a path, so that none is followed unless
the program that opened the database has listed its module: ``QuantumDatabase.open(…, python_procedures=["shop.jobs"])``
allows the public functions that are defined in ``shop.jobs`` and in modules below it.

A function is called as ``function(db, argument=value, …)``, in the thread that called, with the verbs of the database
as ``db``. It returns ``None``, a number or text, a mapping from column to values, a list of mappings, an Arrow table,
or what ``db.sql`` returned.
"""

from __future__ import annotations

import importlib
import inspect
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from qstore_db.errors import (
    DatabaseClosedError,
    InvalidArgumentError,
    InvalidParameterError,
    NotPermittedError,
    ProcedureFailedError,
    QStoreError,
    UnknownProcedureError,
)
from query.result import QueryResult

if TYPE_CHECKING:
    from qstore_db.database import QuantumDatabase

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_WITHHELD = frozenset(("close", "open"))


class DatabaseVerbs:
    """What a procedure in Python sees of the database: its public verbs, but not those that open or close it.

    Each verb is a commit of its own, unless the caller is in a transaction or the procedure opens one.
    """

    __slots__ = ("_database",)

    def __init__(self, database: QuantumDatabase) -> None:
        self._database = database

    @classmethod
    def of(cls, database: QuantumDatabase) -> Callable[[], DatabaseVerbs]:
        """Gives the verbs of a database for as long as there is somebody else who holds it."""
        held = weakref.ref(database)

        def verbs() -> DatabaseVerbs:
            found = held()
            if found is None:
                raise DatabaseClosedError("The database is closed", fix="Open it again.")
            return cls(found)

        return verbs

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in _WITHHELD:
            raise AttributeError(f"a procedure has no {name!r} of the database")
        return getattr(self._database, name)

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._database) if not name.startswith("_") and name not in _WITHHELD]

    def __repr__(self) -> str:
        return f"verbs of {self._database!r}"


class AllowedFunctions:
    """The functions that procedures may call.

    Args:
        modules: Names of the modules that define them; those below a module are meant, too.
        database: Gives what they see as their first argument.
    """

    def __init__(self, modules: Sequence[str], database: Callable[[], DatabaseVerbs]) -> None:
        self._modules = tuple(modules)
        self._database = database

    def check(self, target: str, arguments: Sequence[str]) -> None:
        """Import the function and see whether it takes the arguments.

        Raises:
            NotPermittedError: Its module is not among those allowed.
            UnknownProcedureError: There is no such module, or no such public function defined in it.
            InvalidParameterError: It does not take the database and arguments of these names.
            ProcedureFailedError: Its module cannot be imported.
        """
        self._checked(target, arguments)

    def _checked(self, target: str, arguments: Sequence[str]) -> FunctionType:
        function = self._found(target)
        try:
            inspect.signature(function).bind(None, **dict.fromkeys(arguments))
        except TypeError as error:
            raise InvalidParameterError(
                f"{target} cannot be called with the database and ({', '.join(arguments)}): {error}",
                fix=f"It takes {inspect.signature(function)}; declare what follows its first argument.",
                value=target,
            ) from error
        return function

    def call(self, procedure: str, target: str, arguments: Mapping[str, object]) -> pa.Table:
        """Call it; ``None`` becomes the row ``(procedure, 'done')``, a number or text a row ``result``.

        Raises:
            QStoreError: What the function raised of these, as it is; and as in :meth:`check`.
            ProcedureFailedError: It raised another error, or returned something else.
        """
        function = self._checked(target, list(arguments))
        try:
            returned = function(self._database(), **arguments)
        except QStoreError:
            raise
        except Exception as error:
            raise ProcedureFailedError(
                f"The procedure {procedure!r} ({target}) raised {type(error).__name__}: {error}",
                fix="See the cause of this error.",
                value=procedure,
            ) from error
        return _table(procedure, target, returned)

    def _found(self, target: str) -> FunctionType:
        module, _, name = target.partition(":")
        if not self._allows(module):
            raise NotPermittedError(
                f"Procedures may not call {target}",
                fix=f"Open the database with python_procedures=[{module!r}] if SQL may call its functions.",
                value=target,
            )
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            raise UnknownProcedureError(
                f"There is no module {error.name!r}", fix=f"Install it, or correct {target!r}.", value=target
            ) from error
        except Exception as error:
            raise ProcedureFailedError(
                f"The module {module!r} cannot be imported: {type(error).__name__}: {error}",
                fix="See the cause of this error.",
                value=target,
            ) from error
        if not inspect.isfunction(found) or name.startswith("_"):
            raise UnknownProcedureError(
                f"{module!r} has no public function {name!r}", fix="Name a function, without _ in front.", value=target
            )
        if not self._allows(found.__module__):
            raise NotPermittedError(
                f"{name!r} of {module!r} is defined in {found.__module__!r}, whose functions procedures may not call",
                fix="Name a function where it is defined.",
                value=target,
            )
        return found

    def _allows(self, module: str) -> bool:
        return any(module == allowed or module.startswith(f"{allowed}.") for allowed in self._modules)


def check_modules(modules: object) -> None:
    """Check what ``python_procedures`` was given.

    Raises:
        InvalidArgumentError: It is no collection of names.
    """
    if isinstance(modules, str) or not isinstance(modules, Sequence):
        raise InvalidArgumentError(
            f"python_procedures is {modules!r}", fix='Give a list of modules, such as ["shop.jobs"].', value=modules
        )
    for module in modules:
        if not isinstance(module, str) or not _MODULE.fullmatch(module):
            raise InvalidArgumentError(
                f"{module!r} of python_procedures names no module", fix='Write it as "shop.jobs".', value=module
            )


def _table(procedure: str, target: str, returned: object) -> pa.Table:
    try:
        match returned:
            case None:
                return pa.table({"procedure": [procedure], "status": ["done"]})
            case QueryResult():
                return returned.arrow()
            case pa.Table():
                return returned
            case bool() | int() | float() | str():
                return pa.table({"result": [returned]})
            case Mapping():
                return pa.table(dict(returned))
            case list() | tuple() if returned and all(isinstance(row, Mapping) for row in returned):
                return pa.Table.from_pylist([dict(row) for row in returned])
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise _no_result(procedure, target, str(error)) from error
    raise _no_result(procedure, target, f"it is a {type(returned).__name__}")


def _no_result(procedure: str, target: str, why: str) -> ProcedureFailedError:
    return ProcedureFailedError(
        f"What the procedure {procedure!r} ({target}) returned is no table: {why}",
        fix="Return None, a number or text, a mapping from column to values, a list of mappings, or a table.",
        value=procedure,
    )
