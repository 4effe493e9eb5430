"""What the floors above plug into the query floor. Nothing here knows what a model, a run or a state is.

``QuantumDatabase.open`` builds the plug-ins and hands them to :class:`query.session.Session`; that is how SQL reaches
quantum code without importing it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.snapshot import CollectionView, Snapshot


class SystemTable(Protocol):
    """A read-only table computed from a snapshot, such as ``models`` or ``metrics``."""

    @property
    def name(self) -> str:
        """Its name in SQL, lower case."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Columns and types, the same whether or not there are rows."""
        ...

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """All rows at the snapshot, in a stated order, with exactly ``schema``."""
        ...


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a procedure.

    Args:
        name: As written before ``=>``.
        type: One of ``text``, ``integer``, ``number``, ``boolean``, ``list``, ``any``.
        required: Whether leaving it out is an error.
    """

    name: str
    type: str = "any"
    required: bool = False


class Procedure(Protocol):
    """What ``CALL name(argument => value, …)`` runs."""

    @property
    def name(self) -> str:
        """Its name in SQL, lower case."""
        ...

    @property
    def parameters(self) -> Sequence[Parameter]:
        """In the order in which positional arguments bind."""
        ...

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Run with checked arguments (only those given) and return its result table."""
        ...


class ScalarFunction(Protocol):
    """A function usable in a SELECT, such as ``predict('model', vector)``."""

    @property
    def name(self) -> str:
        """Its name in SQL, lower case."""
        ...

    @property
    def argument_types(self) -> Sequence[str]:
        """DuckDB types of the arguments, such as ``("VARCHAR", "FLOAT[]")``."""
        ...

    @property
    def result_type(self) -> str:
        """DuckDB type of the result."""
        ...

    def evaluate(self, arguments: Sequence[pa.Array]) -> pa.Array:
        """Values for one batch of rows: equally long Arrow arrays in, one of the same length out."""
        ...


class RowScores(Protocol):
    """A function that scores the rows of a collection together, such as ``text_match(column, 'words')``."""

    @property
    def name(self) -> str:
        """Its name in SQL, lower case."""
        ...

    @property
    def parameters(self) -> Sequence[Parameter]:
        """What follows the column, in order; each is a literal or a parameter of the query: text, integer or list."""
        ...

    def scores(
        self, view: CollectionView, column: str, arguments: Mapping[str, object]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Distinct slots of live rows with their scores; all other rows have 0.

        Args:
            view: The collection at a version.
            column: A metadata column, which may not be there.
            arguments: Those given, checked by their types; lists as float32 vectors.
        """
        ...


class PythonFunctions(Protocol):
    """What ``CREATE PROCEDURE … LANGUAGE python`` and its ``CALL`` may reach."""

    def check(self, target: str, arguments: Sequence[str]) -> None:
        """Refuse a function that may not be called, is not there, or does not take arguments of these names.

        Args:
            target: As ``package.module:function``.
            arguments: Their names.
        """
        ...

    def call(self, procedure: str, target: str, arguments: Mapping[str, object]) -> pa.Table:
        """Call the function of a procedure with these arguments and return what ``CALL`` shows."""
        ...


class ModelStatements(Protocol):
    """What ``CREATE MODEL`` and ``DROP MODEL`` do."""

    def create_model(
        self,
        name: str,
        options: Mapping[str, object],
        *,
        or_replace: bool,
        if_not_exists: bool,
        training_rows: pa.Table | None,
    ) -> pa.Table:
        """Register a model, and train it when ``AS SELECT`` gave rows; return what the statement shows."""
        ...

    def drop_model(self, name: str, *, if_exists: bool) -> pa.Table:
        """Remove a model from the registry; return what the statement shows."""
        ...
