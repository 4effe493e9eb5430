"""What the kernel is handed: one structure of 64-bit numbers, sizes and addresses.

The kernel reads it by position, Python by name; both come from one list. Compiled code that takes nothing but two
pointers can be called without Numba's dispatcher, and a second thread can be handed the same job by its address.
"""

from __future__ import annotations

import ctypes
from typing import Final, NamedTuple

VALUES: Final = 1
"""Mode bit: run forward and write the values."""
GRADIENTS: Final = 2
"""Mode bit: run backward and write the gradients."""
STATES_KEPT: Final = 4
"""Mode bit: ``states`` still holds what a run with VALUES and the same inputs stored; do not run forward again."""
AMPLITUDE_GRADIENT: Final = 8
"""Mode bit: carry λ back to the start."""
DATA_GRADIENT: Final = 16
"""Mode bit: write the gradient of the data."""
UNCOMPUTE: Final = 32
"""Mode bit: keep one state and take the rotations back from it; the program has one segment a set."""
HEAD: Final = 64
"""Mode bit: the cotangent is that of the mean cross-entropy of a linear head."""

DATA_NOT_FINITE: Final = 1
WEIGHTS_NOT_FINITE: Final = 2
COTANGENT_NOT_FINITE: Final = 4
NORM_EXTREME: Final = 8
LABEL_OUT_OF_RANGE: Final = 16


class Slots(NamedTuple):
    """Positions in a :class:`Job`. Names as in ``packing.Program`` where they mean the same.

    Args:
        mode: Sum of mode bits.
        status: What was found wrong with the inputs, a sum of the bits above; written by the kernel.
        threads: 2 lets a waiting worker join.
        control: Address of the worker's control words (see ``worker``); 0 without one.
        next_block: Number of the next block to take.
        n: Qubits, and so on to ``read_passes``: sizes of the program, then addresses of its arrays.
        samples: B.
        weights: Number of weights; columns: of data; readouts: M; width: of the amplitudes; parts: 1 for real ones.
        classes: Of the head.
        block_stride: Rows of ``states`` from one block to the next.
        worker_stride: Rows of ``states`` from one thread to the next.
        set_stride: Rows from one kept state to the next; 0 when only the last one is needed.
        scratch: Address of the working memory; scratch_size: bytes of it a thread.
        at_tangents: Offset in it, and so on to ``at_support``; see ``scratch``.
        weight_values: Address of float64 (weights,), radians; and so on.
    """

    mode: int
    status: int
    threads: int
    control: int
    next_block: int
    n: int
    from_amplitudes: int
    grown: int
    uniform: int
    segments: int
    diagonal_reads: int
    pass_count: int
    set_count: int
    rotation_count: int
    read_count: int
    read_pass_count: int
    passes: int
    words: int
    sets: int
    rotations: int
    term_start: int
    term_kind: int
    term_index: int
    term_scale: int
    constant: int
    reads: int
    read_scale: int
    read_passes: int
    samples: int
    blocks: int
    weights: int
    columns: int
    readouts: int
    width: int
    parts: int
    classes: int
    block_stride: int
    worker_stride: int
    set_stride: int
    scratch: int
    scratch_size: int
    at_tangents: int
    at_turned: int
    at_moments: int
    at_reads: int
    at_cosines: int
    at_factors: int
    at_signs: int
    at_lane: int
    at_products: int
    at_table: int
    at_work: int
    at_bra: int
    at_start: int
    at_start_x: int
    at_start_z: int
    at_factor: int
    at_x: int
    at_z: int
    at_theta: int
    at_columns: int
    at_slopes: int
    at_values: int
    at_cotangents: int
    at_norm: int
    at_scores: int
    at_shared: int
    at_support: int
    states: int
    weight_values: int
    data: int
    amplitudes: int
    norms: int
    values: int
    cotangent: int
    weight_rows: int
    weight_gradient: int
    data_gradient: int
    amplitude_gradient: int
    head_matrix: int
    head_bias: int
    labels: int
    head_rows: int
    head_gradient: int


SLOT: Final = Slots(*range(len(Slots._fields)))


class Job(ctypes.Structure):
    """The numbers of :class:`Slots` under their names."""

    _fields_ = [(name, ctypes.c_int64) for name in Slots._fields]
