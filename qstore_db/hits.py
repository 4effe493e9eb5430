"""What a search returns: ids and scores in order, with metadata a step away."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from query.frames import to_pandas, to_polars

if TYPE_CHECKING:
    import pandas
    import polars

    from storage_engine.snapshot import Candidates, CollectionView


@dataclass(frozen=True, slots=True)
class Hit:
    """One row of an answer.

    Args:
        id: The row's id.
        score: As the collection's metric defines it: a distance for ``l2`` (smaller is nearer), a similarity
            otherwise (larger is nearer).
        metadata: The columns that were asked for, by name.
    """

    id: str
    score: float
    metadata: Mapping[str, Any]


class Hits:
    """The answer to one query, best first; equal scores stand in the order in which the rows were written.

    Ids and metadata are read when they are asked for, from the snapshot that was searched: what is written later does
    not change them.

    Args:
        ids: Row ids; ``None``: they are read from the view when first asked for.
        scores: float32 of shape (rows,).
        strategy: How the rows were found: ``exact``, ``graph``, ``masked_graph``, ``exact_rows`` or ``states``.
        view: The snapshot that was searched; metadata is read from it when asked for.
        slots: Rows of the view, one per id.
        columns: Metadata columns to show, or ``None`` for all.
        reason: Why they were found in that way, for people.

    Attributes:
        energy: Of the QUBO whose answer the rows are, where they were chosen together; otherwise ``None``.
        standard_errors: float64 of shape (rows,), of scores that were measured by circuits; otherwise ``None``.
    """

    __slots__ = ("_ids", "columns", "energy", "reason", "scores", "slots", "standard_errors", "strategy", "view")

    def __init__(
        self,
        ids: list[str] | _IdsOfBatch | None,
        scores: NDArray[np.float32],
        strategy: str,
        view: CollectionView,
        slots: NDArray[np.int64],
        columns: Sequence[str] | None = None,
        reason: str = "",
    ) -> None:
        self._ids = ids
        self.scores = scores
        self.strategy = strategy
        self.view = view
        self.slots = slots
        self.columns = columns
        self.reason = reason
        self.energy: float | None = None
        self.standard_errors: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        return f"Hits(ids={self.ids!r}, scores={self.scores!r}, strategy={self.strategy!r})"

    @property
    def ids(self) -> list[str]:
        """Row ids, best first."""
        ids = self._ids
        if isinstance(ids, list):
            return ids
        self._ids = read = self.view.found_ids(self.slots) if ids is None else ids.of(self.slots)
        return read

    @property
    def metadata(self) -> pa.Table:
        """Metadata of the rows, in order, one column per name. Cost: one read of those rows."""
        return self.view.metadata_at(self.slots, self.columns)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Stored vectors of the rows, shape (rows, dimension), as they were written."""
        return self.view.vectors_at(self.slots)

    def __len__(self) -> int:
        return len(self.slots)

    def __iter__(self) -> Iterator[Hit]:
        values = self.view.found_values(self.slots, self.columns)
        names = list(values)
        rows = zip(*values.values(), strict=True) if names else (() for _ in self.slots)
        for identifier, score, row in zip(self.ids, self.scores.tolist(), rows, strict=True):
            yield Hit(identifier, score, dict(zip(names, row, strict=True)))

    def __getitem__(self, index: int) -> Hit:
        return list(self)[index]

    def to_pydict(self) -> dict[str, list[Any]]:
        """Columns as in :meth:`arrow`, as lists of Python values; the quickest way to them."""
        values = self.view.found_values(self.slots, self.columns)
        own: dict[str, list[Any]] = {"id": self.ids, own_name("score", values): self.scores.tolist()}
        if self.standard_errors is not None:
            own[own_name("standard_error", values)] = self.standard_errors.tolist()
        return own | values

    def arrow(self) -> pa.Table:
        """Columns ``id``, ``score`` (``_score`` where the metadata has a ``score``), then metadata.

        Scores that were measured by circuits are followed by ``standard_error``.
        """
        metadata = self.metadata
        names = ["id", own_name("score", metadata.column_names)]
        columns = [pa.array(self.ids, pa.string()), pa.array(self.scores, pa.float32())]
        if self.standard_errors is not None:
            names.append(own_name("standard_error", metadata.column_names))
            columns.append(pa.array(self.standard_errors, pa.float64()))
        return pa.table([*columns, *metadata.columns], names=[*names, *metadata.column_names])

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """What :meth:`arrow` gives, for whatever reads Arrow: ``pa.table(hits)``, ``polars.DataFrame(hits)``."""
        return self.arrow().__arrow_c_stream__(requested_schema)

    def df(self) -> pandas.DataFrame:
        """The same as a pandas frame.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return to_pandas(self.arrow())

    def pl(self) -> polars.DataFrame:
        """The same as a polars frame.

        Raises:
            MissingDependencyError: polars is not installed.
        """
        return to_polars(self.arrow())


def own_name(name: str, columns: Iterable[str]) -> str:
    """What a column of ours is called beside metadata columns, which never begin with an underscore."""
    return f"_{name}" if name in columns else name


def arrow_of(answers: Sequence[Hits]) -> pa.Table:
    """The answers to a batch of queries as one table: ``query`` (0, 1, …), then the columns of each.

    The first column is called ``_query`` where the metadata has a ``query``.

    Raises:
        InvalidArgumentError: There is no answer, or they are not all of one search.
    """
    first = answers[0] if answers else None
    if first is None or any(one.view is not first.view or one.columns != first.columns for one in answers):
        raise InvalidArgumentError("these are not the answers of one search", fix="give what query(vectors) returned")
    together = Hits(
        [name for one in answers for name in one.ids],
        np.concatenate([one.scores for one in answers]),
        first.strategy,
        first.view,
        np.concatenate([one.slots for one in answers]),
        first.columns,
        first.reason,
    )
    errors = [one.standard_errors for one in answers if one.standard_errors is not None]
    if len(errors) == len(answers):
        together.standard_errors = np.concatenate(errors)
    numbers = np.repeat(np.arange(len(answers)), [len(one) for one in answers])
    rows = together.arrow()
    return rows.add_column(0, own_name("query", rows.column_names), pa.array(numbers, pa.int64()))


class _IdsOfBatch:
    """The ids of all answers to a batch, read at once when the first is asked for. Safe to use from several threads.

    Args:
        view: Where they are read.
        slots: Of each answer.
    """

    __slots__ = ("_ids", "_places", "_slots", "_view")

    def __init__(self, view: CollectionView, slots: Sequence[NDArray[np.int64]]) -> None:
        self._view = view
        self._slots = slots
        self._places: dict[int, int] = {}
        self._ids: list[str] | None = None

    def of(self, slots: NDArray[np.int64]) -> list[str]:
        """Those of one answer: the very array that was given."""
        if self._ids is None:
            starts = itertools.accumulate((len(one) for one in self._slots), initial=0)
            self._places = {id(one): start for one, start in zip(self._slots, starts, strict=False)}
            self._ids = self._view.found_ids(np.concatenate(self._slots))
        start = self._places[id(slots)]
        return self._ids[start : start + len(slots)]


def hit_of(view: CollectionView, found: Candidates, columns: Sequence[str] | None) -> Hits:
    """The answer of a search as hits; nothing is read yet."""
    return Hits(None, found.scores, found.strategy, view, found.slots, columns, found.reason)


def hits_of(view: CollectionView, found: Sequence[Candidates], columns: Sequence[str] | None) -> list[Hits]:
    """The answers of a search as hits; ids of all of them are read at once when the first are asked for."""
    ids = _IdsOfBatch(view, [one.slots for one in found])
    return [Hits(ids, one.scores, one.strategy, view, one.slots, columns, one.reason) for one in found]
