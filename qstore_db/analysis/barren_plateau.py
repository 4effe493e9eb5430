"""Barren plateaus: how the variance of a gradient over random weights falls with the number of qubits.

Source: McClean et al., Nature Communications 9, 4812 (2018); Cerezo et al., Nature Communications 12, 1791 (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.analysis.arguments import checked_span, one_sample, whole_number
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable
from qstore_db.circuits.weights_as_data import rows, weights_as_data
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.plan import compile_circuit

_ROUNDING: Final = 1e-24
"""Variance of a float64 gradient that should be 0: no smaller one can be told from it."""


@dataclass(frozen=True, slots=True)
class GradientVariance:
    """The spread of one partial derivative over random weights.

    Args:
        variance: Unbiased, over the samples.
        standard_error: Of the variance, from the fourth moment.
        samples: Weight vectors drawn.
    """

    variance: float
    standard_error: float
    samples: int


@dataclass(frozen=True, slots=True)
class PlateauProbe:
    """Gradient variances of one family of circuits.

    Args:
        qubits: The sizes, in the order given.
        variances: One for each size.
        slope: Of log₂(variance) against n by least squares: -1 means that each qubit halves the variance, 0 that it
            does not matter. NaN when a variance is below 1e-24: such a gradient is 0 up to rounding.
    """

    qubits: tuple[int, ...]
    variances: tuple[GradientVariance, ...]
    slope: float


def gradient_variance(
    circuit: Circuit,
    observable: Observable,
    *,
    seed: int,
    weight: int = 0,
    samples: int = 256,
    span: float = 2 * math.pi,
    data: ArrayLike | None = None,
) -> GradientVariance:
    """The variance of ∂⟨O⟩/∂w over weight vectors drawn uniformly from [0, span).

    Exact gradients by the adjoint method in float64, one batch.

    Args:
        circuit: Starts from |0…0⟩; its data columns are held at ``data``.
        observable: On as many qubits.
        seed: Of the weights, from 0 on.
        weight: Which partial derivative.
        samples: From 2 on.
        span: Radians.
        data: Shape (number of data columns,); may be left out for a circuit without data.

    Raises:
        InvalidArgumentError: A number is out of range, the circuit has no such weight, or the data have another shape.
        InvalidCircuitError: The observable is for another number of qubits.
        NotEnoughMemoryError: The states do not fit.
    """
    whole_number(samples, 2, "samples")
    width = checked_span(span)
    generator = np.random.default_rng(whole_number(seed, 0, "seed"))
    sample = one_sample(circuit, data)
    if whole_number(weight, 0, "weight") >= circuit.number_of_weights:
        raise InvalidArgumentError(
            f"the circuit has {circuit.number_of_weights} weight(s) and so no weight {weight}",
            fix="Name a weight of the circuit.",
            value=weight,
        )
    weights = generator.uniform(0.0, width, (samples, circuit.number_of_weights))
    plan = compile_circuit(weights_as_data(circuit), (observable,))
    _, pullback = plan.forward(rows(sample, weights), dtype="float64")
    gradients = pullback(np.ones((samples, 1))).data
    assert gradients is not None  # noqa: S101 - input gradients are on unless switched off
    return _spread(gradients[:, circuit.number_of_data + weight])


def barren_plateau_probe(
    family: Callable[[int], tuple[Circuit, Observable]],
    qubits: Sequence[int],
    *,
    seed: int,
    weight: int = 0,
    samples: int = 256,
    span: float = 2 * math.pi,
) -> PlateauProbe:
    """Gradient variances of a family of circuits, one for each number of qubits.

    A measurement at a few sizes, not a proof: an exponential law is seen only where the depth is chosen as it will be
    used (a fixed depth with a local observable has none).

    Args:
        family: Number of qubits to circuit and observable; no data columns.
        qubits: At least two different sizes.
        seed: Of all weights; each size draws from its own stream, so sizes can be added without changing others.
        weight: Which partial derivative.
        samples: Weight vectors a size, from 2 on.
        span: Radians.

    Raises:
        InvalidArgumentError: Fewer than two sizes, or as :func:`gradient_variance`.
        InvalidCircuitError: As :func:`gradient_variance`.
        NotEnoughMemoryError: The states do not fit.
    """
    sizes = tuple(whole_number(n, 1, "the number of qubits") for n in qubits)
    if len(set(sizes)) < 2 or len(set(sizes)) != len(sizes):
        raise InvalidArgumentError(
            f"the sizes {sizes} are not two or more different numbers of qubits",
            fix="Give for example (2, 4, 6).",
            value=sizes,
        )
    whole_number(seed, 0, "seed")
    found = []
    for n in sizes:
        circuit, observable = family(n)
        stream = int(np.random.SeedSequence((seed, n)).generate_state(1)[0])
        found.append(gradient_variance(circuit, observable, seed=stream, weight=weight, samples=samples, span=span))
    return PlateauProbe(sizes, tuple(found), _slope(sizes, [one.variance for one in found]))


def _spread(gradient: NDArray[np.float64]) -> GradientVariance:
    size = len(gradient)
    centred = gradient - gradient.mean()
    variance = float((centred**2).sum() / (size - 1))
    # Var(s²) = (μ₄ - σ⁴ (m - 3)/(m - 1)) / m
    square = (float((centred**4).mean()) - variance**2 * (size - 3) / (size - 1)) / size
    return GradientVariance(variance, math.sqrt(max(square, 0.0)), size)


def _slope(sizes: Sequence[int], variances: Sequence[float]) -> float:
    if min(variances) < _ROUNDING:
        return math.nan
    slope, _ = np.polyfit(np.asarray(sizes, np.float64), np.log2(variances), 1)
    return float(slope)
