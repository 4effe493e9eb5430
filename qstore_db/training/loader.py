"""Streaming minibatches of a split: each batch reads its own rows and no others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import EmptyDatasetError, InvalidArgumentError
from qstore_db.functions.superposed_search import coherent_rows
from qstore_db.training.dataset import SplitRows, find_dataset, require_labels, split_rows
from qstore_db.training.targets import with_targets
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
        targets: float64 (b, outputs), or ``None`` where the split has none.
    """

    epoch: int
    step: int
    data: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    targets: NDArray[np.float64] | None
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
    otherwise the order in which the rows were stored. ``balanced`` visits every class equally often instead, see
    :func:`balanced_order`. ``prefetch`` changes when batches are read, never which.

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
        balanced: Whether every class is visited equally often.

    Raises:
        InvalidArgumentError: A number is out of its range, or ``balanced`` is set without ``shuffle``.
        InvalidLabelError: ``balanced`` is set, and a row has no label.
    """

    rows: SplitRows
    batch_size: int = 32
    shuffle: bool = True
    seed: int = 0
    epochs: int = 1
    drop_last: bool = False
    prefetch: int = 0
    balanced: bool = False

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seed", 0), ("epochs", 1), ("prefetch", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidArgumentError(
                    f"{name} is {value!r}", fix=f"Give {name} as an integer from {least} on.", value=value
                )

        if self.balanced and not self.shuffle:
            raise InvalidArgumentError(
                "balanced = True means nothing with shuffle = False", fix="Leave shuffle out.", value=True
            )
        if self.balanced:
            require_labels(self.rows)

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
        order = self._order(epoch)
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

    def _order(self, epoch: int) -> NDArray[np.int64] | None:
        if self.balanced and self.rows.labels is not None:
            return balanced_order(self.rows.labels, seed=self.seed, epoch=epoch)
        return epoch_order(len(self.rows), seed=self.seed, epoch=epoch) if self.shuffle else None

    def _read(self, epoch: int, step: int, order: NDArray[np.int64] | None) -> Minibatch:
        start, stop = step * self.batch_size, min((step + 1) * self.batch_size, len(self.rows))
        positions = np.arange(start, stop) if order is None else order[start:stop]
        slots = self.rows.slots[positions]
        labels = None if self.rows.labels is None else self.rows.labels[positions]
        targets = None if self.rows.targets is None else self.rows.targets[positions]
        view = self.rows.view
        return Minibatch(epoch, step + 1, view.vectors_at(slots), labels, targets, view, slots)


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
    balanced: bool = False,
    outputs: int | None = None,
    coherent_only: bool = False,
) -> Loader:
    """Minibatches of a stored split; see :class:`Loader` for the arguments.

    Args:
        engine: The database.
        name: Of the data set.
        split: Which rows.
        batch_size: As there, like all that follow but the last.
        shuffle: Whether each epoch has an order of its own.
        seed: Of the orders.
        epochs: Passes over the rows.
        drop_last: Leave out what does not fill a batch.
        prefetch: Batches to read ahead.
        balanced: Whether every class is visited equally often.
        outputs: Numbers in each regression target, which the batches then bring; ``None`` for no targets.
        coherent_only: Leave out superposed records whose age, now, has reached their coherence time. Ordinary rows have
            none and stay. A superposed record takes part with its expected vector.

    Raises:
        UnknownDatasetError: There is no such data set.
        EmptyDatasetError: The split has no rows, or none that is coherent.
        InvalidArgumentError: A number is out of its range.
        InvalidLabelError: ``balanced`` is set, and a row has no label.
        InvalidTargetError: ``outputs`` is given, and a row has no target of that many numbers.
    """
    snapshot = engine.snapshot()
    rows = split_rows(find_dataset(snapshot, name), split)
    if coherent_only:
        coherent = coherent_rows(snapshot, name, engine.clock())[rows.slots]
        if not coherent.any():
            raise EmptyDatasetError(
                f"all rows of the split {split!r} of data set {name!r} have outlived their coherence time",
                fix="Leave coherent_only out, or write them anew.",
                value=split,
            )
        rows = rows.take(np.flatnonzero(coherent))
    return Loader(
        rows=rows if outputs is None else with_targets(rows, outputs),
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        epochs=epochs,
        drop_last=drop_last,
        prefetch=prefetch,
        balanced=balanced,
    )


def epoch_order(rows: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits rows 0 … ``rows - 1``: a permutation, int64 (rows,)."""
    source = np.random.SeedSequence(entropy=seed, spawn_key=(epoch,))
    return np.random.Generator(np.random.PCG64(source)).permutation(rows)


def balanced_order(labels: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """An order in which an epoch visits every class equally often: as many rows as there are, int64 (rows,).

    Each of K classes gets n // K visits, the first n mod K classes one more. A class with fewer rows is gone through
    repeatedly, each time in a new order, so that no row of it is visited twice more often than another; of a class with
    more rows an epoch sees a part. All draws are of the generator that :func:`epoch_order` uses, so that a resumed run
    draws the same.

    Args:
        labels: Class of each row, int64 (n,), n ≥ 1.
        seed: Of the draws.
        epoch: From 1.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=(epoch,))))
    classes = np.unique(labels)
    each, more = divmod(len(labels), len(classes))
    chosen = []
    for place, label in enumerate(classes):
        members, visits = np.flatnonzero(labels == label), each + (place < more)
        rounds = -(-visits // len(members))
        chosen.append(np.concatenate([rng.permutation(members) for _ in range(rounds)] or [members[:0]])[:visits])
    return rng.permutation(np.concatenate(chosen))


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
