"""Streaming minibatches of a split: each batch reads its own rows and no others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.training.dataset import SplitRows, find_dataset, split_rows
from storage_engine.engine import Engine
from storage_engine.snapshot import CollectionView


@dataclass(frozen=True, slots=True, eq=False)
class Minibatch:
    """Some rows of a split.

    Args:
        epoch: The pass over the rows, from 1.
        step: The batch within the epoch, from 1.
        data: float32 (b, d), bit for bit as stored.
        labels: int64 (b,), or ``None`` where a row of the split has no label.
    """

    epoch: int
    step: int
    data: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    _view: CollectionView = field(repr=False)
    _slots: NDArray[np.int64] = field(repr=False)

    @property
    def ids(self) -> list[str]:
        """Ids of the rows, looked up when asked for."""
        return self._view.ids_at(self._slots)

    def __len__(self) -> int:
        return len(self._slots)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Loader:
    """Minibatches of the rows of a split, epoch by epoch; can be iterated again and gives the same again.

    The order of an epoch depends on ``seed``, the epoch's number and the number of rows only. With ``shuffle`` it is
    the permutation that NumPy's PCG64 generator seeded with ``SeedSequence(entropy=seed, spawn_key=(epoch,))`` draws,
    otherwise the order in which the rows were stored. ``prefetch`` changes when batches are read, never which.

    The rows are those of one snapshot, whatever is written meanwhile. Memory: 24 bytes a row of the split, and
    ``1 + prefetch`` batches.

    Args:
        rows: What to visit.
        batch_size: Rows per batch, at least 1; the last batch of an epoch takes what is left.
        shuffle: Whether each epoch has an order of its own.
        seed: Of the orders.
        epochs: Passes over the rows.
        drop_last: Leave out the last batch of an epoch if it is not full.
        prefetch: How many batches to read ahead in a thread; 0 reads each when it is asked for.

    Raises:
        InvalidArgumentError: A number is out of its range.
    """

    rows: SplitRows
    batch_size: int = 32
    shuffle: bool = True
    seed: int = 0
    epochs: int = 1
    drop_last: bool = False
    prefetch: int = 0

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seed", 0), ("epochs", 1), ("prefetch", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidArgumentError(
                    f"{name} is {value!r}", fix=f"Give {name} as an integer from {least} on.", value=value
                )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch."""
        whole, rest = divmod(len(self.rows), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def __len__(self) -> int:
        """Batches in all epochs."""
        return self.epochs * self.steps_per_epoch

    def __iter__(self) -> Iterator[Minibatch]:
        for epoch in range(1, self.epochs + 1):
            yield from self.epoch(epoch)

    def epoch(self, epoch: int, *, done: int = 0) -> Iterator[Minibatch]:
        """The batches of one epoch, without the first ``done``."""
        order = epoch_order(len(self.rows), seed=self.seed, epoch=epoch) if self.shuffle else None
        steps = range(done, self.steps_per_epoch)
        if not self.prefetch:
            for step in steps:
                yield self._read(epoch, step, order)
            return
        with ThreadPoolExecutor(1, "minibatch") as thread:
            ahead: deque[Future[Minibatch]] = deque()
            for step in steps:
                ahead.append(thread.submit(self._read, epoch, step, order))
                if len(ahead) > self.prefetch:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _read(self, epoch: int, step: int, order: NDArray[np.int64] | None) -> Minibatch:
        start, stop = step * self.batch_size, min((step + 1) * self.batch_size, len(self.rows))
        positions = np.arange(start, stop) if order is None else order[start:stop]
        slots = self.rows.slots[positions]
        labels = None if self.rows.labels is None else self.rows.labels[positions]
        view = self.rows.view
        return Minibatch(epoch, step + 1, view.vectors_at(slots), labels, view, slots)


def data_loader(
    engine: Engine,
    name: str,
    *,
    split: str = "train",
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int = 0,
    epochs: int = 1,
    drop_last: bool = False,
    prefetch: int = 0,
) -> Loader:
    """Minibatches of a stored split; see :class:`Loader` for the arguments.

    Raises:
        UnknownDatasetError: There is no such data set.
        EmptyDatasetError: The split has no rows.
        InvalidArgumentError: A number is out of its range.
    """
    return Loader(
        rows=split_rows(find_dataset(engine.snapshot(), name), split),
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        epochs=epochs,
        drop_last=drop_last,
        prefetch=prefetch,
    )


def epoch_order(rows: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits rows 0 … ``rows - 1``: a permutation, int64 (rows,)."""
    source = np.random.SeedSequence(entropy=seed, spawn_key=(epoch,))
    return np.random.Generator(np.random.PCG64(source)).permutation(rows)


def hold_out(labels: NDArray[np.int64], fraction: float, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide rows into training rows and held-out rows, class by class.

    Of n rows of a class, the nearest whole number to ``fraction * n`` is held out (halves round to even), drawn by
    NumPy's PCG64 generator seeded with ``SeedSequence(entropy=seed, spawn_key=(0,))``, classes in ascending order.
    Epochs count from 1, so that no epoch's order draws from the same stream.

    Args:
        labels: Class of each row, int64 (n,).
        fraction: Share to hold out, in [0, 1).
        seed: Of the draw.

    Returns:
        Positions of the training rows and of the held-out rows, each ascending.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=(0,))))
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held[rng.permutation(members)[: round(fraction * len(members))]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
