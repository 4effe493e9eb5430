"""Runs of a packed circuit on the compiled kernel.

Where the states go: kept from forward to backward while small (``KEEP_BYTES``); else made again, block by block, in the
backward run; and where even those of one block are large (``TAKE_BACK_BYTES``) or do not fit into memory, one state is
kept and its rotations are taken back.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.simulation import job as bits
from qstore_db.simulation import memory, workers
from qstore_db.simulation.compile import RotationSets
from qstore_db.simulation.inputs import (
    Shape,
    check_labels,
    checked_amplitudes,
    checked_cotangent,
    checked_data,
    checked_weights,
    largest_parts,
)
from qstore_db.simulation.lanes_stage import LANES, BatchShape, Stage
from qstore_db.simulation.machine_code import kernel
from qstore_db.simulation.packing import Program, kept_states, pack
from qstore_db.simulation.results import Floats, Gradients, HeadStep, Precision

KEEP_BYTES: Final = 256 << 20
"""States up to this size are kept from forward to backward; larger ones are computed again, block by block."""

TAKE_BACK_BYTES: Final = 256 << 20
"""Above this, the states of one block are not kept but taken back: with 20 and 22 qubits that took 0.7 and 0.5 of the
time, because less fresh memory is touched."""

STAGE_BYTES: Final = 1 << 20
"""Arrays of a batch up to this size are kept for the next batch of the same shape, four to a plan."""

SHARED_WORK: Final = 1 << 15
"""Blocks · rotations · amplitudes from which on a second thread helps; below, a batch takes less than about 40 µs."""

_FLOAT64: Final = np.dtype(np.float64)

_ROW_BYTES: Final = 64
"""Of one register of samples, in either dtype."""


class LanesEngine:
    """A circuit's program and the memory of its recent batches; may be used from several threads.

    Args:
        shape: What inputs must fit.
        sets: The circuit.
    """

    name: Final = "lanes"

    __slots__ = ("_fine", "_idle", "_sets", "_shape", "block_states", "block_work", "program")

    def __init__(self, shape: Shape, sets: RotationSets) -> None:
        self._shape, self._sets = shape, sets
        self.program = pack(shape.circuit.n_qubits, sets, amplitude_input=shape.amplitude_input)
        self.block_work = len(self.program.rotations) << self.program.n
        self.block_states = (_ROW_BYTES << self.program.n) * 2 * kept_states(self.program)
        self._fine: Program | None = None
        self._idle: deque[Stage] = deque(maxlen=4)

    def expectations(
        self, data: ArrayLike | None, weights: ArrayLike | None, amplitudes: ArrayLike | None, dtype: Precision
    ) -> Floats:
        """See :class:`~qstore_db.simulation.results.Engine`."""
        run = _Run(self, data, weights, amplitudes, dtype, gradients=False)
        run.execute(bits.VALUES)
        values = run.stage.values.copy()
        self.give_back(run.stage)
        return values

    def forward(
        self,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        dtype: Precision,
        input_gradients: bool,
    ) -> tuple[Floats, LanesPullback]:
        """See :class:`~qstore_db.simulation.results.Engine`."""
        run = _Run(self, data, weights, amplitudes, dtype, gradients=True)
        run.execute(bits.VALUES, keep=True)
        return run.stage.values.copy(), LanesPullback(self, run, input_gradients)

    def gradients(
        self,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        cotangent: ArrayLike,
        dtype: Precision,
        input_gradients: bool,
    ) -> tuple[Floats, Gradients]:
        """See :class:`~qstore_db.simulation.results.Engine`."""
        run = _Run(self, data, weights, amplitudes, dtype, gradients=True)
        gradients = run.pull(cotangent, input_gradients, bits.VALUES)
        values = run.stage.values.copy()
        self.give_back(run.stage)
        return values, gradients

    def head_step(
        self,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        head: tuple[Floats, Floats],
        labels: NDArray[np.int64],
        dtype: Precision,
    ) -> HeadStep:
        """See :class:`~qstore_db.simulation.results.Engine`."""
        matrix, bias = head
        run = _Run(self, data, weights, amplitudes, dtype, gradients=True, classes=len(bias))
        stage = run.stage
        if labels.shape != stage.labels.shape:
            check_labels(labels, stage.shape.samples, len(bias))
        stage.matrix[:], stage.bias[:], stage.labels[:] = matrix, bias, labels
        run.execute(bits.VALUES | bits.GRADIENTS | bits.HEAD)
        found, slope = stage.head_gradient, stage.weight_gradient.copy()
        of_matrix = found[: matrix.size].reshape(matrix.shape).copy()
        of_bias, loss, correct = found[matrix.size : -2].copy(), float(found[-2]), int(found[-1])
        samples = stage.shape.samples
        self.give_back(stage)
        return HeadStep(loss / samples, correct, slope, of_matrix, of_bias)

    def fine_program(self) -> Program:
        """The program with one segment a set, for taking rotations back."""
        if self._fine is None:
            shape = self._shape
            self._fine = pack(
                shape.circuit.n_qubits, self._sets, amplitude_input=shape.amplitude_input, segment_strings=1
            )
        return self._fine

    def take(self, shape: BatchShape, *, fine: bool) -> Stage:
        """A stage for a batch, used before or new."""
        if fine:
            return Stage(self.fine_program(), shape)
        for _ in range(len(self._idle)):
            try:
                stage = self._idle.popleft()
            except IndexError:  # another thread took the last one
                break
            if stage.shape == shape:
                return stage
            self._idle.append(stage)
        return Stage(self.program, shape)

    def give_back(self, stage: Stage) -> None:
        """Keeps a stage for the next batch."""
        if stage.size <= STAGE_BYTES and stage.program is self.program:
            self._idle.append(stage)

    @property
    def shape(self) -> Shape:
        """What inputs must fit."""
        return self._shape


class _Run:
    """One batch with its memory."""

    __slots__ = ("_engine", "_factor", "_given", "_kept", "_states", "_uncompute", "dtype", "stage")

    def __init__(
        self,
        engine: LanesEngine,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        dtype: Precision,
        *,
        gradients: bool,
        classes: int = 0,
    ) -> None:
        shape = engine.shape
        start = checked_amplitudes(shape, amplitudes)
        points = _data(shape, data, None if start is None else len(start))
        angles = weights if _is_plain(weights, (shape.number_of_weights,)) else checked_weights(shape, weights)
        self._engine, self.dtype, self._given = engine, dtype, start
        self._factor: Floats | None = None
        self._kept = False
        self._states: memory.Workspace | None = None
        lanes, samples = LANES[dtype], len(points)
        shared = samples > lanes and samples // lanes * engine.block_work >= SHARED_WORK
        threads = workers.threads() if shared else 1
        # λ, the transform's rows and every second ψ; with too little memory for them, one ψ.
        needed = (engine.block_states + (3 * _ROW_BYTES << engine.program.n)) * threads
        self._uncompute = gradients and (engine.block_states > TAKE_BACK_BYTES or not memory.fits(needed))
        self.stage = engine.take(
            BatchShape(
                dtype, samples, shape.number_of_weights, shape.number_of_data, shape.number_of_readouts,
                0 if start is None else start.shape[1], 2 if start is not None and start.dtype.kind == "c" else 1,
                classes, gradients, threads
            ),
            fine=self._uncompute,
        )  # fmt: skip
        self.stage.weights[:] = angles
        self.stage.data[:] = points
        if start is not None:
            self._place(start)

    def execute(self, mode: int, *, keep: bool = False) -> None:
        """Runs the kernel; with ``keep`` the states stay for a later run with GRADIENTS, if they are small enough."""
        stage, job = self.stage, self.stage.job
        with_states = mode & bits.GRADIENTS
        if self._kept and with_states:
            mode |= bits.STATES_KEPT
        else:
            self._place_states(bool(with_states), keep)
        if self._uncompute:
            mode |= bits.UNCOMPUTE
        job.mode, job.control = mode, 0
        worker = workers.current() if stage.shape.threads > 1 else None
        if worker is None:
            kernel(self.dtype).lead(job)
        else:
            worker.lead(kernel(self.dtype), job)
        if job.status:
            self._complain(mode, keep=keep)

    def pull(self, cotangent: ArrayLike, input_gradients: bool, mode: int = 0) -> Gradients:
        """The gradients of one cotangent."""
        stage, job = self.stage, self.stage.job
        wanted = stage.values.shape
        stage.cotangent[:] = cotangent if _is_plain(cotangent, wanted) else checked_cotangent(cotangent, wanted)
        mode |= bits.GRADIENTS
        out: NDArray[np.floating] | None = None
        if input_gradients:
            mode |= bits.DATA_GRADIENT
            if self._given is not None:
                mode |= bits.AMPLITUDE_GRADIENT
                out = np.empty_like(stage.amplitudes)
                job.amplitude_gradient = out.__array_interface__["data"][0]
        self.execute(mode)
        return Gradients(
            weights=stage.weight_gradient.copy(),
            data=stage.data_gradient.copy() if input_gradients else None,
            amplitudes=None if out is None else self._like_given(out),
        )

    def _place(self, start: NDArray[np.generic]) -> None:
        place = self.stage.amplitudes
        kind = place.dtype
        if self.stage.shape.parts == 2:
            target: NDArray[np.generic] = place.view(f"c{2 * kind.itemsize}")[:, :, 0]
        else:
            target = place[:, :, 0]
        if start.dtype.itemsize > target.dtype.itemsize:
            with np.errstate(over="ignore"):  # seen by its norm
                np.copyto(target, start, casting="unsafe")
        else:
            np.copyto(target, start, casting="unsafe")

    def _place_states(self, gradients: bool, keep: bool) -> None:
        """Takes memory for the states."""
        stage, job = self.stage, self.stage.job
        one, several = 2 << stage.program.n, kept_states(stage.program)
        job.block_stride, job.set_stride, job.worker_stride = 0, 0, one
        rows = one * stage.shape.threads
        if self._uncompute:
            pass
        elif keep and _ROW_BYTES * one * several * stage.blocks <= KEEP_BYTES:
            self._kept = True
            job.block_stride, job.set_stride, job.worker_stride = one * several, one, 0
            rows = one * several * stage.blocks
        elif gradients:
            job.set_stride, job.worker_stride = one, one * several
            rows *= several
        if self._states is None or self._states.size < _ROW_BYTES * rows:
            self._states = memory.Workspace(_ROW_BYTES * rows)
        job.states = self._states.address

    def _complain(self, mode: int, *, keep: bool) -> None:
        """Names what is wrong with the inputs; runs again where only the length of amplitudes was extreme."""
        stage, shape = self.stage, self._engine.shape
        checked_weights(shape, stage.weights)
        checked_data(shape, stage.data, None)
        if stage.shape.gradients and mode & bits.GRADIENTS and not mode & bits.HEAD:
            checked_cotangent(stage.cotangent, stage.values.shape)
        if mode & bits.HEAD:
            check_labels(stage.labels, stage.shape.samples, stage.shape.classes)
        if self._given is not None and self._factor is None:
            self._factor = largest_parts(self._given)
            self._place(np.divide(self._given, self._factor[:, None]))
            self._kept = False
            self.execute(mode & ~(bits.STATES_KEPT | bits.UNCOMPUTE), keep=keep)

    def _like_given(self, parts: NDArray[np.floating]) -> NDArray[np.floating] | NDArray[np.complexfloating]:
        """A gradient of the kernel's amplitudes as one of the amplitudes that came."""
        out: NDArray[np.floating] | NDArray[np.complexfloating] = parts[:, :, 0]
        if parts.shape[2] == 2:
            out = parts.view(f"c{2 * parts.dtype.itemsize}")[:, :, 0]
        return out if self._factor is None else (out / self._factor[:, None]).astype(out.dtype)


class LanesPullback:
    """See :class:`~qstore_db.simulation.results.Pullback`; holds working memory as long as it lives."""

    __slots__ = ("_engine", "_input_gradients", "_lock", "_run")

    def __init__(self, engine: LanesEngine, run: _Run, input_gradients: bool) -> None:
        self._engine, self._run, self._input_gradients = engine, run, input_gradients
        self._lock = threading.Lock()

    def __call__(self, cotangent: ArrayLike) -> Gradients:
        """See :class:`~qstore_db.simulation.results.Pullback`."""
        with self._lock:
            return self._run.pull(cotangent, self._input_gradients)

    def __del__(self) -> None:
        self._engine.give_back(self._run.stage)


def _is_plain(given: object, shape: tuple[int, ...]) -> bool:
    """Whether it is a float64 array of the shape, which the kernel looks at itself."""
    return type(given) is np.ndarray and given.dtype == _FLOAT64 and given.shape == shape


def _data(shape: Shape, data: ArrayLike | None, samples: int | None) -> Floats:
    if (
        type(data) is np.ndarray
        and data.dtype == _FLOAT64
        and data.ndim == 2
        and data.shape[1] == shape.number_of_data
        and (samples is None or len(data) == samples)
    ):
        return data
    return checked_data(shape, data, samples)
