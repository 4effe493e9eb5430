"""How evenly a circuit with random weights covers the states: its divergence from Haar-random fidelities.

Source: Sim, Johnson and Aspuru-Guzik, Advanced Quantum Technologies 2, 1900070 (2019); here in bits, not nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.analysis.arguments import checked_span, one_sample, whole_number
from qstore_db.analysis.haar import divergence_from_haar
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.weights_as_data import rows, weights_as_data
from qstore_db.simulation.reference import state_vector

_BATCH_AMPLITUDES: Final = 1 << 20
"""Amplitudes in flight: 16 MiB of states, and a few copies."""


def fidelities(
    circuit: Circuit, *, pairs: int, seed: int, span: float = 2 * math.pi, data: ArrayLike | None = None
) -> NDArray[np.float64]:
    """|⟨ψ(w)|ψ(w')⟩|² of independent pairs of weight vectors, each weight uniform in [0, span).

    Args:
        circuit: Starts from |0…0⟩; its data columns are held at ``data``.
        pairs: How many, from 1 on. Cost 2 · pairs runs of the state vector.
        seed: Of the weights, from 0 on. The same circuit, numbers and seed give the same fidelities.
        span: Radians.
        data: Shape (number of data columns,); may be left out for a circuit without data.

    Returns:
        Shape (pairs,).

    Raises:
        InvalidArgumentError: A number is out of range, or the data have another shape.
    """
    whole_number(pairs, 1, "pairs")
    width = checked_span(span)
    generator = np.random.default_rng(whole_number(seed, 0, "seed"))
    sample = one_sample(circuit, data)
    turned = weights_as_data(circuit)
    found = []
    for size in _batches(pairs, max(_BATCH_AMPLITUDES >> (circuit.n_qubits + 1), 1)):
        weights = generator.uniform(0.0, width, (2 * size, circuit.number_of_weights))
        states = state_vector(turned, data=rows(sample, weights)).reshape(size, 2, -1)
        overlaps = (states[:, 0].conj() * states[:, 1]).sum(axis=1)
        found.append(overlaps.real**2 + overlaps.imag**2)
    return np.concatenate(found)


def expressibility_kl(
    circuit: Circuit,
    *,
    seed: int,
    pairs: int = 5000,
    bins: int = 75,
    span: float = 2 * math.pi,
    data: ArrayLike | None = None,
) -> float:
    """The divergence D(circuit ‖ Haar) of a histogram of fidelities, in bits: lower is more expressive.

    Of a circuit without weights it is (2^n - 1) log₂ bins, the most there is. Of one that draws Haar-random states it
    is not 0 but, on average, :func:`qstore_db.analysis.haar.haar_bias`, since a finite sample always diverges a little:
    a value near that bias says no more than "as good as Haar at this number of pairs". Compare circuits at equal
    ``pairs``, ``bins`` and ``span`` only. It says nothing about how well the circuit can be trained.

    Args:
        circuit: As :func:`fidelities`.
        seed: As :func:`fidelities`.
        pairs: As :func:`fidelities`.
        bins: Equal parts of [0, 1], from 1 on.
        span: As :func:`fidelities`; a controlled rotation has the period 4π.
        data: As :func:`fidelities`.

    Raises:
        InvalidArgumentError: A number is out of range, or the data have another shape.

    Example:
        >>> round(expressibility_kl(Circuit(1), seed=1), 3)
        6.229
    """
    whole_number(bins, 1, "bins")
    found = fidelities(circuit, pairs=pairs, seed=seed, span=span, data=data)
    return divergence_from_haar(found, circuit.n_qubits, bins)


def expressibility_score(
    circuit: Circuit,
    *,
    seed: int,
    pairs: int = 5000,
    bins: int = 75,
    span: float = 2 * math.pi,
    data: ArrayLike | None = None,
) -> float:
    """1 / (1 + :func:`expressibility_kl`): in (0, 1], higher is more expressive.

    Args:
        circuit: As :func:`expressibility_kl`.
        seed: As :func:`expressibility_kl`.
        pairs: As :func:`expressibility_kl`.
        bins: As :func:`expressibility_kl`.
        span: As :func:`expressibility_kl`.
        data: As :func:`expressibility_kl`.

    Raises:
        InvalidArgumentError: As :func:`expressibility_kl`.
    """
    return 1.0 / (1.0 + expressibility_kl(circuit, seed=seed, pairs=pairs, bins=bins, span=span, data=data))


def _batches(total: int, most: int) -> Iterator[int]:
    for start in range(0, total, most):
        yield min(most, total - start)
