"""The arrays of one batch, in one piece of memory that calls of the same shape use again."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_db.simulation.job import Job
from qstore_db.simulation.memory import ALIGNMENT, Workspace
from qstore_db.simulation.packing import Program
from qstore_db.simulation.scratch import place_scratch

LANES: Final = {"float32": 16, "float64": 8}
"""Samples in a register."""


class BatchShape(NamedTuple):
    """What decides the sizes; a tuple, because one is made and compared for every batch.

    Args:
        dtype: Of the state.
        samples: B.
        weights: Number of weights.
        columns: Of the data.
        readouts: M.
        width: Of the amplitudes; 0 without.
        parts: 2 for complex amplitudes, else 1.
        classes: Of a head; 0 without.
        gradients: Whether there will be a backward sweep.
        threads: That may work on it.
    """

    dtype: str
    samples: int
    weights: int
    columns: int
    readouts: int
    width: int
    parts: int
    classes: int
    gradients: bool
    threads: int


class Stage:
    """Input and output arrays and the threads' working memory, with the job that points to them.

    Args:
        program: Of the plan.
        shape: Of the batch.

    Raises:
        NotEnoughMemoryError: They do not fit.
    """

    __slots__ = (
        "_workspace", "amplitudes", "bias", "blocks", "cotangent", "data", "data_gradient", "head_gradient", "job",
        "labels", "matrix", "norms", "program", "shape", "size", "state_bytes", "values", "weight_gradient", "weights",
    )  # fmt: skip

    def __init__(self, program: Program, shape: BatchShape) -> None:
        self.program, self.shape = program, shape
        dtype = np.dtype(shape.dtype)
        lanes = LANES[shape.dtype]
        self.blocks = -(-shape.samples // lanes)
        self.state_bytes = (2 << program.n) * lanes * dtype.itemsize
        self.job = job = _job(program, shape, self.blocks)
        job.scratch_size = place_scratch(job, program, lanes, dtype.itemsize, gradients=shape.gradients)
        arrays = self._arrays(dtype)
        self.size = sum(_rounded(kind, length) for kind, length in arrays.values())
        self._workspace = Workspace(self.size + job.scratch_size * shape.threads)
        memory = self._workspace.array(np.dtype(np.uint8))
        at, found = 0, {}
        for name, (kind, length) in arrays.items():
            size = kind.itemsize * int(np.prod(length))
            found[name] = memory[at : at + size].view(kind).reshape(length)
            setattr(job, _SLOT_OF.get(name, name), self._workspace.address + at)
            at += _rounded(kind, length)
        job.scratch = self._workspace.address + at
        for name in arrays:
            if name in Stage.__slots__:
                setattr(self, name, found[name])

    weights: NDArray[np.float64]
    data: NDArray[np.float64]
    amplitudes: NDArray[np.floating]
    norms: NDArray[np.float64]
    values: NDArray[np.float64]
    cotangent: NDArray[np.float64]
    weight_gradient: NDArray[np.float64]
    data_gradient: NDArray[np.float64]
    matrix: NDArray[np.float64]
    bias: NDArray[np.float64]
    labels: NDArray[np.int64]
    head_gradient: NDArray[np.float64]

    def _arrays(self, dtype: np.dtype[np.floating]) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        shape, real, whole = self.shape, np.dtype(np.float64), np.dtype(np.int64)
        back = shape.samples if shape.gradients else 0
        head = shape.classes * (shape.readouts + 1) + 2 if shape.classes else 0
        return {
            "weights": (real, (shape.weights,)),
            "data": (real, (shape.samples, shape.columns)),
            "amplitudes": (dtype, (shape.samples, shape.width, shape.parts)),
            "norms": (real, (shape.samples if shape.width else 0,)),
            "values": (real, (shape.samples, shape.readouts)),
            "cotangent": (real, (back, shape.readouts)),
            "weight_rows": (real, (self.blocks if back else 0, shape.weights)),
            "weight_gradient": (real, (shape.weights,)),
            "data_gradient": (real, (back, shape.columns)),
            "matrix": (real, (shape.classes, shape.readouts)),
            "bias": (real, (shape.classes,)),
            "labels": (whole, (shape.samples if shape.classes else 0,)),
            "head_rows": (real, (self.blocks if head else 0, head)),
            "head_gradient": (real, (head,)),
        }


_SLOT_OF: Final = {"weights": "weight_values", "matrix": "head_matrix", "bias": "head_bias"}


def _rounded(kind: np.dtype[Any], length: tuple[int, ...]) -> int:
    return -(-kind.itemsize * int(np.prod(length)) // ALIGNMENT) * ALIGNMENT


def _job(program: Program, shape: BatchShape, blocks: int) -> Job:
    job = Job()
    job.n, job.from_amplitudes = program.n, int(program.from_amplitudes)
    job.grown, job.uniform, job.segments = program.grown, program.uniform, program.segments
    job.diagonal_reads = program.diagonal_reads
    job.pass_count, job.set_count = len(program.passes), len(program.sets)
    job.rotation_count, job.read_count = len(program.rotations), len(program.reads)
    job.read_pass_count = len(program.read_passes)
    for name in (
        "passes", "words", "sets", "rotations", "term_start", "term_kind", "term_index", "term_scale", "constant",
        "reads", "read_scale", "read_passes",
    ):  # fmt: skip
        setattr(job, name, getattr(program, name).__array_interface__["data"][0])
    job.samples, job.blocks, job.weights, job.columns = shape.samples, blocks, shape.weights, shape.columns
    job.readouts, job.width, job.parts, job.classes = shape.readouts, shape.width, shape.parts, shape.classes
    return job
