"""Expectation values from shots, as a device gives them, with their standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable, PauliString, require_observables, terms_of
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.density_matrix import misread
from qstore_db.simulation.measurement_bases import MeasurementBasis, measurement_bases, parities
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.noisy_inputs import checked
from qstore_db.simulation.noisy_plan import compile_noisy
from qstore_db.simulation.sampling import sample_counts, shot_generator
from qstore_db.simulation.state_vector import probabilities


@dataclass(frozen=True, slots=True)
class ShotEstimate:
    """Means of shots.

    Args:
        mean: float64 (samples, readouts).
        standard_error: float64 (samples, readouts), from the spread of the shots themselves. It is 0 where all shots
            agree, which with few shots does not prove a value of ±1.
        shots: Number of shots of every sample in every basis.
        bases: Letters of the bases, each measured with its own shots.
    """

    mean: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    shots: int
    bases: tuple[str, ...]


def estimate_by_shots(
    circuit: Circuit,
    observables: Sequence[Observable],
    shots: int,
    *,
    seed: int,
    noise: NoiseModel | None = None,
    weights: ArrayLike | None = None,
    data: ArrayLike | None = None,
    amplitudes: ArrayLike | None = None,
    sample_numbers: Sequence[int] | None = None,
) -> ShotEstimate:
    """Measures every basis that the observables need and averages.

    Strings that commute qubit by qubit share shots; different bases have shots of their own. The rotation into a basis
    is taken to be perfect, so the means tend to the exact values of :class:`~qstore_db.simulation.plan.Plan` or, with
    noise, :class:`~qstore_db.simulation.noisy_plan.NoisyPlan`. Equal seed and sample number give equal shots, whatever
    else is in the batch.

    Args:
        circuit: Up to 24 qubits without noise, 12 with.
        observables: At least one, each written for the circuit's qubits.
        shots: 2 or more for every sample and basis.
        seed: 0 or more.
        noise: Gate noise and readout errors; None: none.
        weights: Shape (number of weights,), radians.
        data: Shape (samples, number of data columns), radians.
        amplitudes: Start states, shape (samples, width ≤ 2^n).
        sample_numbers: One number from 0 on for each sample, which chooses its shots; None: 0, 1, 2 …

    Raises:
        InvalidArgumentError: Fewer than 2 shots, a negative seed or number, or inputs that do not fit.
        InvalidCircuitError: No observables, one for another number of qubits, or too many qubits.
        InvalidVectorError: Data or amplitudes are not finite.
        NotEnoughMemoryError: The states do not fit.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> bell = Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))
        >>> estimate_by_shots(bell, [PauliString("XX"), PauliString("ZZ")], 100, seed=1).mean.tolist()
        [[1.0, 1.0]]
    """
    require_observables(observables, circuit.n_qubits)
    if shots < 2:
        raise InvalidArgumentError(f"{shots} shot(s) have no spread", fix="Use at least 2 shots.", value=shots)
    _, columns, _ = checked(circuit, weights, data, amplitudes)
    numbers = list(range(len(columns)) if sample_numbers is None else sample_numbers)
    if len(numbers) != len(columns):
        raise InvalidArgumentError(
            f"{len(numbers)} sample numbers do not fit {len(columns)} sample(s)",
            fix="Give one number for each sample.",
            value=len(numbers),
        )
    bases = measurement_bases(string for observable in observables for _, string in terms_of(observable))
    means = np.tile(np.array([_constant(observable) for observable in observables]), (len(columns), 1))
    variances = np.zeros_like(means)
    for place, basis in enumerate(bases):
        chances = _chances(circuit, noise, basis, weights, data, amplitudes)
        combine = _coefficients(observables, basis.strings)
        for sample, number in enumerate(numbers):
            counts = sample_counts(chances[sample], shots, shot_generator(seed, number, place))
            seen = np.flatnonzero(counts)
            values = parities(seen, basis.strings) @ combine
            weight = counts[seen] / shots
            mean = weight @ values
            means[sample] += mean
            variances[sample] += weight @ (values - mean) ** 2 / (shots - 1)
    return ShotEstimate(means, np.sqrt(variances), shots, tuple(basis.letters for basis in bases))


def _constant(observable: Observable) -> float:
    return sum((coefficient for coefficient, string in terms_of(observable) if not string.on_qubits), 0.0)


def _coefficients(observables: Sequence[Observable], strings: Sequence[PauliString]) -> NDArray[np.float64]:
    """(strings, observables): how the values of a basis enter the observables."""
    out = np.zeros((len(strings), len(observables)))
    places = {string: place for place, string in enumerate(strings)}
    for column, observable in enumerate(observables):
        for coefficient, string in terms_of(observable):
            if string in places:
                out[places[string], column] += coefficient
    return out


def _chances(
    circuit: Circuit,
    noise: NoiseModel | None,
    basis: MeasurementBasis,
    weights: ArrayLike | None,
    data: ArrayLike | None,
    amplitudes: ArrayLike | None,
) -> NDArray[np.float64]:
    """Chances of the outcomes in a basis, float64 (samples, 2^n)."""
    if noise is not None and any(noise.after(operation) for operation in circuit.operations):
        plan = compile_noisy(circuit, basis.strings, noise, amplitude_input=amplitudes is not None)
        return plan.probabilities(data, weights, amplitudes, basis=basis.letters)
    chances = probabilities(circuit.then(*basis.rotation()), weights, data, amplitudes)
    return chances if noise is None else misread(chances, noise)
