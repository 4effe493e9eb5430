"""Exact noisy simulation, plainly: the density matrix of every sample, gate after gate, in complex128.

It shares no arithmetic with the fast road (:mod:`qstore_db.simulation.noisy_plan`) and so can check it; it also gives
what that one does not, the density matrix itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.amplitude import amplitudes as normalised
from qstore_db.circuits.gates import GATES, pauli_matrix
from qstore_db.circuits.observables import Observable, terms_of
from qstore_db.errors import InvalidCircuitError
from qstore_db.simulation.channels import Channel
from qstore_db.simulation.memory import require
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.noisy_inputs import checked

MAX_DENSITY_QUBITS: Final = 12
"""One density matrix takes 16 · 4^n bytes: 256 MiB for 12 qubits."""


def density_matrix(
    circuit: Circuit,
    noise: NoiseModel,
    weights: ArrayLike | None = None,
    data: ArrayLike | None = None,
    amplitudes: ArrayLike | None = None,
) -> NDArray[np.complex128]:
    """ρ after the circuit with its noise, before any readout error.

    Args:
        circuit: On at most 12 qubits.
        noise: Its rules act after the gates; its readout errors do not.
        weights: Shape (number of weights,), radians; may be left out for a circuit without weights.
        data: Shape (samples, number of data columns), radians; left out, there is one sample.
        amplitudes: Pure start states, shape (samples, width ≤ 2^n), padded and divided by their norm; left out, |0…0⟩.

    Returns:
        complex128 (samples, 2^n, 2^n), qubit 0 the highest bit of both indices.

    Raises:
        InvalidCircuitError: More than 12 qubits.
        InvalidArgumentError: A shape does not fit, or a weight is not finite.
        InvalidVectorError: Data or amplitudes are not finite, or an amplitude vector is zero.
        NotEnoughMemoryError: The matrices do not fit; nothing was allocated.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> from qstore_db.simulation.channels import bit_flip
        >>> from qstore_db.simulation.noise_model import NoiseRule
        >>> model = NoiseModel([NoiseRule(bit_flip(0.25))])
        >>> density_matrix(Circuit(1, (Operation("X", (0,)),)), model).real.round(9).tolist()
        [[[0.25, 0.0], [0.0, 0.75]]]
    """
    n = circuit.n_qubits
    if n > MAX_DENSITY_QUBITS:
        raise InvalidCircuitError(
            f"a density matrix of {n} qubits is too large",
            fix=f"Use at most {MAX_DENSITY_QUBITS} qubits, or trajectories.",
            value=n,
        )
    values, columns, start = checked(circuit, weights, data, amplitudes)
    require(3 * 16 * len(columns) * 4**n)  # the matrices, and a copy on each side of a product
    rho = np.zeros((len(columns), 4**n), np.complex128)
    if start is None:
        rho[:, 0] = 1.0
    else:
        states = normalised(start, n)
        rho[:] = np.einsum("bi,bj->bij", states, states.conj()).reshape(len(states), -1)
    for operation in circuit.operations:
        angles = [angle.value(values, columns) for angle in operation.angles]
        rho = _apply(rho, n, operation.qubits, _superoperators(GATES[operation.gate].matrices(*angles)))
        for channel, qubits in noise.after(operation):
            rho = _apply(rho, n, qubits, _channel_superoperator(channel))
    return rho.reshape(len(columns), 1 << n, 1 << n)


def expectations(
    rho: NDArray[np.complex128], observables: Sequence[Observable], noise: NoiseModel | None = None
) -> NDArray[np.float64]:
    """Tr(O ρ) of every sample and observable.

    Args:
        rho: (samples, 2^n, 2^n).
        observables: On n qubits.
        noise: With it, the mean of what a device with the model's readout errors reports: each string is measured in
            its own basis and every letter P becomes a·P + b.

    Returns:
        float64 (samples, number of observables).
    """
    columns = []
    for observable in observables:
        terms = terms_of(observable if noise is None else noise.reported(observable))
        operator = sum(coefficient * pauli_matrix(string.letters) for coefficient, string in terms)
        columns.append(np.einsum("bij,ji->b", rho, operator).real)
    return np.stack(columns, axis=1)


def probabilities(rho: NDArray[np.complex128], noise: NoiseModel | None = None) -> NDArray[np.float64]:
    """Chance of every outcome, float64 (samples, 2^n); with ``noise``, of what its readout errors make of it."""
    diagonal = np.einsum("bii->bi", rho).real
    return np.ascontiguousarray(diagonal) if noise is None else misread(diagonal, noise)


def misread(chances: NDArray[np.float64], noise: NoiseModel) -> NDArray[np.float64]:
    """Chances of the reported outcomes from those of the true ones.

    Args:
        chances: float64 (samples, 2^n).
        noise: Only its readout errors count.

    Returns:
        float64 of the same shape; every row keeps its sum.
    """
    samples, size = chances.shape
    n = size.bit_length() - 1
    out = np.array(chances, np.float64)
    for qubit in range(n):
        error = noise.readout_error(qubit)
        if error is not None:
            out = np.einsum("rt,bltk->blrk", error.matrix, out.reshape(samples, 1 << qubit, 2, -1))
    return np.ascontiguousarray(out.reshape(samples, size))


def _superoperators(matrices: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """U ⊗ U*, acting on the row bits and then the column bits of ρ."""
    size = matrices.shape[-1] ** 2
    out: NDArray[np.complex128] = np.einsum("bik,bjl->bijkl", matrices, matrices.conj()).reshape(-1, size, size)
    return out


def _channel_superoperator(channel: Channel) -> NDArray[np.complex128]:
    out: NDArray[np.complex128] = _superoperators(channel.kraus).sum(axis=0, keepdims=True)
    return out


def _apply(
    rho: NDArray[np.complex128], n: int, qubits: tuple[int, ...], matrices: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    samples = len(rho)
    axes = tuple(1 + qubit for qubit in qubits) + tuple(1 + n + qubit for qubit in qubits)
    front = tuple(range(1, 1 + len(axes)))
    spread = np.moveaxis(rho.reshape((samples,) + (2,) * (2 * n)), axes, front).reshape(samples, 1 << len(axes), -1)
    turned = (matrices @ spread).reshape((samples,) + (2,) * (2 * n))
    return np.moveaxis(turned, front, axes).reshape(samples, -1)
