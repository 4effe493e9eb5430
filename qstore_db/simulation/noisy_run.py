"""Runs a Pauli program on a batch: working memory, and what the kernels need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.encodings.amplitude import amplitudes as normalised
from qstore_db.simulation.availability import require_numba
from qstore_db.simulation.memory import Workspace
from qstore_db.simulation.noisy_inputs import Checked
from qstore_db.simulation.pauli_program import GROUP, MAP_ROWS, PauliProgram, rows_of
from qstore_db.simulation.plan import LANES, Gradients


class ProgramNumbers:
    """The numbers of a program in the dtype of the state."""

    __slots__ = ("pairs", "reads", "tables")

    def __init__(self, program: PauliProgram, real: np.dtype[np.floating]) -> None:
        self.tables = program.factors.astype(real)
        self.reads = program.read_factors.astype(real)
        self.pairs = program.pairs.astype(real)


def values_of(
    program: PauliProgram, factors: ProgramNumbers, inputs: Checked, columns: int, real: np.dtype[np.floating]
) -> NDArray[np.float64]:
    """Values of all reads.

    Args:
        program: What to run.
        factors: Its numbers in ``real``.
        inputs: Weights, data and amplitudes.
        columns: Number of values a sample.
        real: Arithmetic of the states.

    Returns:
        float64 (samples, columns).

    Raises:
        NotEnoughMemoryError: The states do not fit.
    """
    # Numba is imported at the first run, so that importing the package stays quick.
    require_numba("noisy expectation values")
    from qstore_db.simulation import pauli_kernel

    weights, data, start = inputs
    size, row = 1 << program.n, LANES[real.name] * real.itemsize
    values = np.empty((len(data), columns))
    half = rows_of(program.n)
    state = Workspace(2 * half * row)
    turns, maps = _map_rows(program, row)
    scratch = Workspace(max(4**GROUP, 2 * size, 2 * _longest_read(program)) * row)
    pauli_kernel.run(
        program, factors.tables, factors.reads, factors.pairs, weights, data, _parts(start, program.n, real), values,
        state.array(real), turns.array(real), maps.array(real), scratch.array(real), half,
    )  # fmt: skip
    return values


def _map_rows(program: PauliProgram, row: int) -> tuple[Workspace, Workspace]:
    """For the cosines and sines of all angles, and for the maps of all elements; ``row`` in bytes."""
    elements = max(1, program.element_kind.size)
    return Workspace(max(1, 2 * program.constant.size) * row), Workspace(elements * MAP_ROWS * row)


def _longest_read(program: PauliProgram) -> int:
    """Most strings that one read needs."""
    return int(program.reads[:, 1].max(initial=1))


def _parts(start: NDArray[np.generic] | None, n: int, real: np.dtype[np.floating]) -> NDArray[np.floating]:
    """(samples, 2^n, 1) of real vectors, (samples, 2^n, 2) of complex ones, of norm 1."""
    if start is None:
        return np.empty((0, 0, 1), real)
    states = normalised(start, n)
    if not np.iscomplexobj(states):
        return states.astype(real)[:, :, None]
    return np.stack([states.real, states.imag], axis=2).astype(real)


def gradients_of(
    program: PauliProgram,
    numbers: ProgramNumbers,
    inputs: Checked,
    cotangent: NDArray[np.float64],
    real: np.dtype[np.floating],
    *,
    of_inputs: bool,
) -> Gradients:
    """The gradient of Σ cotangent · values.

    Args:
        program: What to run.
        numbers: Its numbers in ``real``.
        inputs: As for :func:`values_of`.
        cotangent: float64 (samples, columns).
        real: Arithmetic of the states.
        of_inputs: Whether data and amplitudes get a gradient.

    Raises:
        NotEnoughMemoryError: The states before all passes do not fit.
    """
    from qstore_db.simulation import pauli_adjoint

    weights, data, start = inputs
    size, row, half = 1 << program.n, LANES[real.name] * real.itemsize, rows_of(program.n)
    states = Workspace((len(program.passes) + 2) * half * row)
    turns, maps = _map_rows(program, row)
    slopes = Workspace(max(1, program.map_varies.size) * MAP_ROWS * row)
    scratch = Workspace(max((GROUP + 1) * 4**GROUP, 2 * size + 2, 2 * _longest_read(program)) * row)
    parts = _parts(start, program.n, real)
    by_weights, by_data, by_parts = np.zeros(weights.size), np.zeros(data.shape), np.zeros(parts.shape)
    pauli_adjoint.run(
        program, numbers.tables, numbers.reads, numbers.pairs, weights, data, parts, cotangent, by_weights, by_data,
        by_parts, states.array(real), turns.array(real), maps.array(real), slopes.array(real),
        scratch.array(real), half,
    )  # fmt: skip
    by_start = None if start is None or not of_inputs else _through_the_norm(start, parts, by_parts)
    return Gradients(by_weights, by_data if of_inputs else None, by_start)


def _through_the_norm(
    start: NDArray[np.generic], parts: NDArray[np.floating], gradient: NDArray[np.float64]
) -> NDArray[np.floating] | NDArray[np.complexfloating]:
    """From the unit states to the vectors that came: (g - ψ ⟨ψ, g⟩)/‖a‖, padding cut off."""
    along = np.einsum("bip,bip->b", parts, gradient)
    norms = np.linalg.norm(start.astype(np.complex128), axis=1)
    out = ((gradient - parts * along[:, None, None]) / norms[:, None, None])[:, : start.shape[1]].astype(parts.dtype)
    if parts.shape[2] == 1:
        real: NDArray[np.floating] = out[:, :, 0]
        return real
    both: NDArray[np.complexfloating] = out[:, :, 0] + 1j * out[:, :, 1]
    return both
