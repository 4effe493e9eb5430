"""What a search returns: ids and scores in order, with metadata a step away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Hits:
    """The answer to one query, best first; equal scores stand in the order in which the rows were written.

    Args:
        ids: Row ids.
        scores: float32 of shape (rows,).
        strategy: How the rows were found: ``exact``, ``graph``, ``masked_graph``, ``exact_rows`` or ``states``.
        view: The snapshot that was searched; metadata is read from it when asked for.
        slots: Rows of the view, one per id.
        columns: Metadata columns to show, or ``None`` for all.
        reason: Why they were found in that way, for people.
    """

    ids: list[str]
    scores: NDArray[np.float32]
    strategy: str
    view: CollectionView = field(repr=False)
    slots: NDArray[np.int64] = field(repr=False)
    columns: Sequence[str] | None = field(default=None, repr=False)
    reason: str = field(default="", repr=False)

    @property
    def metadata(self) -> pa.Table:
        """Metadata of the rows, in order, one column per name. Cost: one read of those rows."""
        return self.view.metadata_at(self.slots, self.columns)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Stored vectors of the rows, shape (rows, dimension), as they were written."""
        return self.view.vectors_at(self.slots)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Hit]:
        values = self.view.values_at(self.slots, self.columns)
        names = list(values)
        rows = zip(*values.values(), strict=True) if names else (() for _ in self.ids)
        for identifier, score, row in zip(self.ids, self.scores.tolist(), rows, strict=True):
            yield Hit(identifier, score, dict(zip(names, row, strict=True)))

    def __getitem__(self, index: int) -> Hit:
        return list(self)[index]

    def to_pydict(self) -> dict[str, list[Any]]:
        """Columns ``id``, ``score``, then metadata, as lists of Python values; the quickest way to them."""
        return {
            "id": self.ids,
            "score": self.scores.tolist(),
            **self.view.values_at(self.slots, self.columns),
        }

    def arrow(self) -> pa.Table:
        """Columns ``id``, ``score``, then metadata."""
        metadata = self.metadata
        names = ["id", "score", *(name for name in metadata.column_names)]
        columns = [pa.array(self.ids, pa.string()), pa.array(self.scores, pa.float32()), *metadata.columns]
        return pa.table(columns, names=names)

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


def hits_of(view: CollectionView, found: Sequence[Candidates], columns: Sequence[str] | None) -> list[Hits]:
    """The answers of a search as hits; ids of all of them are read at once, metadata not at all."""
    ids = view.ids_at(found[0].slots if len(found) == 1 else np.concatenate([one.slots for one in found]))
    answers = []
    start = 0
    for one in found:
        stop = start + len(one.slots)
        answers.append(Hits(ids[start:stop], one.scores, one.strategy, view, one.slots, columns, one.reason))
        start = stop
    return answers
