"""How far states move when weights do: the Fubini–Study metric, exactly.

    g_ij = Re[⟨∂_i ψ|∂_j ψ⟩ − ⟨∂_i ψ|ψ⟩⟨ψ|∂_j ψ⟩]

so that 1 − |⟨ψ(θ)|ψ(θ + δ)⟩|² = Σ g_ij δ_i δ_j + O(δ³). The quantum Fisher information of a pure state is 4 g. Both
are defined here for pure states only; for a circuit that depends on data they are those of each sample, and the
natural gradient of a batch takes their mean.

Sources: Provost and Vallee, Communications in Mathematical Physics 76, 289 (1980); Stokes et al., Quantum 4, 269
(2020). Computed by the product rule in complex128, all derivatives beside the state: (1 + weights) · samples states
of 2^n amplitudes. A device would take :mod:`qstore_db.gradients.block_metric`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString, terms_of
from qstore_db.circuits.parameters import Weight
from qstore_db.errors import InvalidArgumentError, InvalidVectorError
from qstore_db.gradients.generators import generator, with_single_angles
from qstore_db.simulation.inputs import checked_inputs
from qstore_db.simulation.memory import require
from qstore_db.simulation.plan import compile_circuit
from qstore_db.simulation.reference import state_vector


def metric_tensor(
    circuit: Circuit, weights: ArrayLike, data: ArrayLike | None = None, amplitudes: ArrayLike | None = None
) -> NDArray[np.float64]:
    """The Fubini–Study metric of every sample.

    Args:
        circuit: Any circuit whose generators are known.
        weights: Shape (weights,), radians.
        data: Shape (samples, data columns), radians; None for a circuit without data.
        amplitudes: Start states, shape (samples, width ≤ 2^n), padded and normalised; None to start from |0…0⟩.

    Returns:
        g, shape (samples, weights, weights), symmetric and without negative eigenvalues but for rounding; per radian².

    Raises:
        InvalidArgumentError: A shape does not fit, or a weight is not finite.
        InvalidVectorError: Data are not finite, or an amplitude vector is zero or not finite.
        InvalidCircuitError: The generator of a gate is not known.
        NotEnoughMemoryError: The states do not fit.

    Example:
        >>> turn = Circuit(1, [Operation("RX", (0,), (Weight(0),))])
        >>> metric_tensor(turn, [0.3]).round(12).tolist()
        [[[0.25]]]
    """
    state, derivatives = state_derivatives(circuit, weights, data, amplitudes)
    overlaps = np.einsum("ibk,bk->bi", derivatives.conj(), state)
    products = np.einsum("ibk,jbk->bij", derivatives.conj(), derivatives)
    metric: NDArray[np.float64] = (products - overlaps[:, :, None] * overlaps.conj()[:, None, :]).real
    return (metric + metric.transpose(0, 2, 1)) / 2.0


def quantum_fisher_information(
    circuit: Circuit, weights: ArrayLike, data: ArrayLike | None = None, amplitudes: ArrayLike | None = None
) -> NDArray[np.float64]:
    """The quantum Fisher information of every sample: 4 times :func:`metric_tensor`, with its arguments and errors."""
    return 4.0 * metric_tensor(circuit, weights, data, amplitudes)


def batch_average(metric: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over samples, (weights, weights), of a metric (samples, weights, weights).

    Raises:
        InvalidArgumentError: The metric has another number of dimensions, or no samples.
    """
    if metric.ndim != 3 or not len(metric):
        raise InvalidArgumentError(
            f"a metric of shape {metric.shape} cannot be averaged over samples",
            fix="Give shape (samples, weights, weights) with at least one sample.",
            value=metric.shape,
        )
    mean: NDArray[np.float64] = metric.mean(axis=0)
    return mean


def state_derivatives(
    circuit: Circuit, weights: ArrayLike, data: ArrayLike | None = None, amplitudes: ArrayLike | None = None
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """The states after the circuit, (samples, 2^n), and their derivatives by each weight, (weights, samples, 2^n).

    Arguments and errors as :func:`metric_tensor`.
    """
    # Any plan of the circuit knows what its inputs must look like.
    plan = compile_circuit(circuit, [PauliString("Z" * circuit.n_qubits)], amplitude_input=amplitudes is not None)
    inputs = checked_inputs(plan, data, weights, amplitudes, np.dtype(np.float64))
    count, samples, size = inputs.weights.size, inputs.samples, 1 << circuit.n_qubits
    require(4 * 16 * (1 + count) * samples * size)
    stack = np.zeros(((1 + count) * samples, size), np.complex128)
    stack[:samples] = _start(inputs.amplitudes, samples, size)
    rows = np.tile(inputs.data, (1 + count, 1))
    for segment, last in _segments(with_single_angles(circuit)):
        stack = state_vector(segment, inputs.weights, rows, stack)
        if last is not None:
            kicked = -1j * _applied(last, circuit.n_qubits, stack[:samples])
            for term in last.angles[0].terms:
                if isinstance(term, Weight):
                    start = (1 + term.index) * samples
                    stack[start : start + samples] += term.scale * kicked
    states = stack.reshape(1 + count, samples, size)
    return states[0], states[1:]


def _start(parts: NDArray[np.floating], samples: int, size: int) -> NDArray[np.complex128]:
    # ``parts`` is (samples, width, 1 or 2), or empty to start from |0…0⟩.
    start = np.zeros((samples, size), np.complex128)
    if not parts.size:
        start[:, 0] = 1.0
        return start
    start[:, : parts.shape[1]] = parts[:, :, 0] + (1j * parts[:, :, 1] if parts.shape[2] == 2 else 0.0)
    largest = np.abs(start).max(axis=1, keepdims=True)
    for row in np.flatnonzero(~(np.isfinite(largest[:, 0]) & (largest[:, 0] > 0))):
        raise InvalidVectorError(
            f"amplitude vector {row} is zero or not finite and so is no state",
            fix="Remove it or give finite values that are not all zero.",
            value=int(row),
        )
    start /= largest
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    return start


def _segments(circuit: Circuit) -> Iterator[tuple[Circuit, Operation | None]]:
    # Stretches of the circuit that end with a gate that has a weight; None behind the last one.
    waiting: list[Operation] = []
    for operation in circuit.operations:
        waiting.append(operation)
        if any(isinstance(term, Weight) for angle in operation.angles for term in angle.terms):
            yield Circuit(circuit.n_qubits, waiting), operation
            waiting = []
    if waiting:
        yield Circuit(circuit.n_qubits, waiting), None


def _applied(operation: Operation, n_qubits: int, state: NDArray[np.complex128]) -> NDArray[np.complex128]:
    # The generator of the gate times the states.
    total = np.zeros_like(state)
    for coefficient, string in terms_of(generator(operation, n_qubits)):
        letters = Circuit(n_qubits, (Operation(letter, (qubit,)) for qubit, letter in string.on_qubits.items()))
        total += coefficient * state_vector(letters, amplitudes=state)
    return total
