"""Kernel matrices of stored rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError, UnknownIdError
from qstore_db.functions.state_reading import branches_of, require_cosine
from qstore_db.search.target import Target, check_count
from qstore_db.states.contexts import check_context_name

if TYPE_CHECKING:
    from qstore_db.kernels.estimated import EstimatedCrossGram, EstimatedGram
    from qstore_db.kernels.feature_maps import FeatureMap
    from qstore_db.kernels.gram import Kernel, KernelSettings
    from storage_engine.snapshot import CollectionView, Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class CollectionGram:
    """Kernel values of stored rows.

    Args:
        ids: Of the rows of the matrix.
        column_ids: Of its columns.
        matrix: float64 (ids, column_ids).
        estimate: What is known of the errors of a fidelity kernel that circuits measured; otherwise ``None``.
    """

    ids: list[str]
    column_ids: list[str]
    matrix: NDArray[np.float64]
    estimate: EstimatedGram | EstimatedCrossGram | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """Ids, and where their vectors lie: slots of a view, which is that of the branches in a context."""

    ids: list[str]
    view: CollectionView
    slots: NDArray[np.int64]

    def rows(self, start: int, stop: int) -> NDArray[np.float64]:
        return self.view.vectors_at(self.slots[start:stop]).astype(np.float64)


class KernelVerbs:
    """Two of the verbs of :class:`qstore_db.search.verbs.Search`."""

    _target: Target

    def gram(
        self,
        ids: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        kernel: Kernel = "fidelity",
        feature_map: FeatureMap = "amplitude",
        repetitions: int = 2,
        gamma: float = 1.0,
        backend: str | None = None,
        shots: int | None = None,
        seed: int = 0,
        context: str | None = None,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
    ) -> CollectionGram:
        """The kernel matrix of stored rows, such as ``SVC(kernel="precomputed")`` takes.

        :mod:`qstore_db.kernels.gram` defines the kernels. With ``backend`` they are measured by circuits, the fidelity
        kernel by n(n − 1)/2 of them for n rows or n·m beside m columns; a square matrix is then made positive
        semidefinite, and ``estimate`` says by how much. The projected one takes three a row with shots.

        Args:
            ids: Which rows, in which order; ``None``: all that match, in the order of writing.
            columns: Ids of the columns; ``None``: the rows.
            kernel: ``fidelity`` or ``projected``.
            feature_map: ``amplitude``, or ``angle`` and ``zz`` with a qubit a number, up to 24.
            repetitions: Of the ZZ feature map.
            gamma: γ > 0 of the projected kernel.
            backend: Where circuits run; ``None`` computes.
            shots: Of each circuit; ``None`` reads exact probabilities. Only with ``backend``.
            seed: Of the shots.
            context: Among states in that context, by the vectors that they have in it. Without one a state takes part
                with its expected vector Σ_c p_c v_c.
            where: See :class:`qstore_db.search.verbs.Search`; chooses among all rows, so not beside ``ids``.
            filter: The same.

        Raises:
            UnknownIdError: An id is not stored, or not in the context.
            UnknownContextError: No state has the context.
            InvalidArgumentError: An argument is out of its range or of another kind of matrix.
            InvalidVectorError: A vector is zero, or too long for the feature map.
            NotEnoughMemoryError: The matrix does not fit; :meth:`gram_blocks` gives it in parts.
            ExecutionError: A circuit has no result.
        """
        from qstore_db.kernels.gram import KernelSettings, gram_blocks
        from qstore_db.simulation.memory import require

        settings = KernelSettings(kernel, feature_map, repetitions, gamma)
        rows, across = self._chosen(ids, columns, context, where, filter)
        if backend is not None:
            return _measured(rows, across, settings, backend, shots, seed)
        if shots is not None:
            raise InvalidArgumentError("shots need a backend", fix="give backend='local'", value=shots)
        require(8 * len(rows.ids) * len(across.ids))
        matrix = np.empty((len(rows.ids), len(across.ids)))
        features = rows.view.schema.dimension
        for _ in gram_blocks(rows.rows, len(rows.ids), across.rows, len(across.ids), features, settings, into=matrix):
            pass
        return CollectionGram(rows.ids, across.ids, matrix)

    def gram_blocks(
        self,
        ids: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        kernel: Kernel = "fidelity",
        feature_map: FeatureMap = "amplitude",
        repetitions: int = 2,
        gamma: float = 1.0,
        block_bytes: int = 64 << 20,
        context: str | None = None,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - as above
    ) -> Iterator[CollectionGram]:
        """The exact matrix of :meth:`gram` by blocks of rows: vectors are read from the snapshot as they are needed.

        Args:
            ids: As there.
            columns: As there.
            kernel: As there.
            feature_map: As there.
            repetitions: As there.
            gamma: As there.
            block_bytes: States and products held at a time, at least 4,096; beside them the block that is given and
                the next one.
            context: As there.
            where: As there.
            filter: As there.

        Yields:
            Some rows with all columns, in order.

        Raises:
            UnknownIdError, UnknownContextError, InvalidArgumentError, InvalidVectorError: As there.
        """
        from qstore_db.kernels.gram import KernelSettings, gram_blocks

        check_count("block_bytes", block_bytes, 4096)
        settings = KernelSettings(kernel, feature_map, repetitions, gamma)
        rows, across = self._chosen(ids, columns, context, where, filter)
        blocks = gram_blocks(
            rows.rows,
            len(rows.ids),
            across.rows,
            len(across.ids),
            rows.view.schema.dimension,
            settings,
            block_bytes=block_bytes,
        )
        for place, block in blocks:
            yield CollectionGram(rows.ids[place], across.ids, block)

    def _chosen(
        self,
        ids: Sequence[str] | None,
        columns: Sequence[str] | None,
        context: str | None,
        where: str | None,
        filter: Mapping[str, object] | None,  # noqa: A002 - as above
    ) -> tuple[_Stored, _Stored]:
        """Rows and columns of one snapshot."""
        snapshot = self._target.engine.snapshot()
        view = snapshot.collection(self._target.name)
        selection = self._target.selection(view, where, filter)
        if ids is not None and selection is not None:
            raise InvalidArgumentError("both ids and a condition were given", fix="give one of them", value=where)
        if ids is None:
            chosen = np.flatnonzero(view.live() if selection is None else view.live() & selection.mask)
        else:
            chosen = _slots_of(view, ids)
        rows = _stored(snapshot, view, chosen, context, skip_missing=ids is None)
        if columns is None:
            return rows, rows
        return rows, _stored(snapshot, view, _slots_of(view, columns), context, skip_missing=False)


def _slots_of(view: CollectionView, ids: Sequence[str]) -> NDArray[np.int64]:
    names = [ids] if isinstance(ids, str) else list(ids)
    slots = view.slots_of(names)
    if len(slots) and slots.min() < 0:
        missing = names[int(np.argmin(slots))]
        raise UnknownIdError(f"no row {missing!r} in {view.schema.name!r}", fix="check the id", value=missing)
    return slots


def _stored(
    snapshot: Snapshot, view: CollectionView, slots: NDArray[np.int64], context: str | None, *, skip_missing: bool
) -> _Stored:
    """Those rows, or their branches in a context; rows without it are left out or refused."""
    if context is None:
        return _Stored(view.ids_at(slots), view, slots)
    require_cosine(view.schema)
    branches = branches_of(snapshot, view.schema.name, (check_context_name(context),))
    branch_of = np.full(view.slot_count, -1, np.int64)
    branch_of[branches.records] = branches.slots
    found = branch_of[slots]
    if skip_missing:
        slots, found = slots[found >= 0], found[found >= 0]
    elif len(found) and found.min() < 0:
        (missing,) = view.ids_at(slots[[int(np.argmin(found))]])
        raise UnknownIdError(f"row {missing!r} is not in the context {context!r}", fix="leave it out", value=missing)
    return _Stored(view.ids_at(slots), branches.view, found)


def _measured(
    rows: _Stored, across: _Stored, settings: KernelSettings, backend: str, shots: int | None, seed: int
) -> CollectionGram:
    from qstore_db.executor.executor import Executor
    from qstore_db.kernels.estimated import estimated_cross_gram, estimated_gram, estimated_projected_gram

    vectors = rows.rows(0, len(rows.ids))
    others = None if across is rows else across.rows(0, len(across.ids))
    drawn = None if shots is None else seed
    feature_map, repetitions = settings.feature_map, settings.repetitions
    found: EstimatedGram | EstimatedCrossGram
    with Executor.named(backend) as executor:
        if settings.kernel == "projected":
            matrix = estimated_projected_gram(
                executor,
                vectors,
                others,
                gamma=settings.gamma,
                shots=shots,
                feature_map=feature_map,
                repetitions=repetitions,
                seed=seed,
            )
            return CollectionGram(rows.ids, across.ids, matrix)
        if others is None:
            found = estimated_gram(
                executor, vectors, shots=shots, feature_map=feature_map, repetitions=repetitions, seed=drawn
            )
        else:
            found = estimated_cross_gram(
                executor, vectors, others, shots=shots, feature_map=feature_map, repetitions=repetitions, seed=drawn
            )
    return CollectionGram(rows.ids, across.ids, found.matrix, found)
