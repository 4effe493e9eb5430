"""What the verbs of a search work on: one collection of an engine, and how its rows become hits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError, InvalidVectorError
from qstore_db.hits import Hits, hits_of
from qstore_db.row_input import to_float32

if TYPE_CHECKING:
    from query.conditions import Selecting
    from storage_engine.engine import Engine
    from storage_engine.filters.selection import Selection
    from storage_engine.snapshot import Candidates, CollectionView


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A collection as searches see it.

    Args:
        engine: The database.
        session: Gives the session that evaluates conditions, opened at the first use.
        name: Of the collection.
    """

    engine: Engine
    session: Callable[[], Selecting]
    name: str

    def view(self) -> CollectionView:
        """Its rows at the newest version.

        Raises:
            UnknownCollectionError: It was dropped.
        """
        return self.engine.snapshot().collection(self.name)

    def selection(
        self,
        view: CollectionView,
        where: str | None,
        filter: Mapping[str, object] | None,  # noqa: A002
    ) -> Selection | None:
        """The rows that a condition and a filter select; ``None`` where neither is given."""
        if where is None and filter is None:
            return None
        return self.session().selection(view, where=where, filter=filter)


def hits(view: CollectionView, found: Candidates, include: Sequence[str] | None) -> Hits:
    """The rows of a search with the columns asked for.

    Raises:
        UnknownColumnError: ``include`` names a column that no row has.
    """
    check_columns(view, include)
    return hits_of(view, [found], include)[0]


def part_of(found: Candidates, places: slice | NDArray[np.int64]) -> Candidates:
    """Some rows of a search, in the order of ``places``."""
    return found._replace(slots=found.slots[places], scores=found.scores[places])


def check_columns(view: CollectionView, include: Sequence[str] | None) -> None:
    """Raise UnknownColumnError for a column of ``include`` that no row has."""
    if include and not view.columns.keys() >= set(include):
        view.metadata_at([], include)  # raises the error that names the column


def one_vector(given: ArrayLike) -> NDArray[np.float32]:
    """A query vector as float32.

    Raises:
        InvalidVectorError: Not one vector of numbers.
    """
    array = to_float32(given)
    if array.ndim != 1:
        raise InvalidVectorError(
            f"a query of shape {array.shape} is not one vector", fix="give shape (dimension,)", value=array.shape
        )
    return array


def check_count(name: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number from ``least`` to ``most``.

    Raises:
        InvalidArgumentError: The message names the argument and the value.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or value < least
        or (most is not None and value > most)
    ):
        fix = f"give a whole number of at least {least}" if most is None else f"give a whole number, {least} to {most}"
        raise InvalidArgumentError(f"{name} is {value!r}", fix=fix, value=value)
