"""Gradients of a loss by the weights of a circuit: each way to take them behind one interface.

``values, pullback = way.forward(plan, …)`` gives the readouts, from which the caller computes the loss and its
derivative by every value, and ``pullback(derivative)`` the gradient by the weights. So the chain rule goes through
the loss, and only expectation values are ever shifted: shifting a loss that is not linear in them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable
from qstore_db.errors import InvalidArgumentError
from qstore_db.gradients.directions import check_directions, random_signs
from qstore_db.gradients.finite_difference import finite_difference
from qstore_db.gradients.parameter_shift import parameter_shift
from qstore_db.gradients.shared_plan import SharedPlan
from qstore_db.gradients.subset import of_weights
from qstore_db.gradients.value_source import ValueSource
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.noisy_plan import compile_noisy
from qstore_db.simulation.plan import Plan, Precision, compile_circuit

Floats: TypeAlias = NDArray[np.float64]
Rule: TypeAlias = Literal["parameter_shift", "finite_difference"]

DIFFERENCE_STEPS: Final[dict[Precision, float]] = {"float32": 0.1, "float64": 1e-3}
"""Steps of finite differences with extrapolation, in radians: the error h⁴/480 balances rounding."""

SAMPLED_DIFFERENCE_STEP: Final = 0.5
"""The same for values estimated from shots, whose noise is divided by the step: an error of 1e-4."""


@dataclass(frozen=True, slots=True)
class WeightGradient:
    """A gradient by the weights of a circuit.

    Args:
        weights: Shape (weights,); 0 for weights that are not trained. ``None`` where none was asked for.
        circuits: Circuits that were evaluated for it, besides one a sample for the values.
    """

    weights: Floats | None
    circuits: int


WeightPullback: TypeAlias = Callable[[Floats], WeightGradient]
"""Turns the derivative of a loss by the values, (samples, readouts), into the gradient by the weights."""


class Differentiation(Protocol):
    """A way to differentiate."""

    def forward(
        self, plan: Plan, data: Floats | None, weights: Floats, amplitudes: Floats | None, dtype: Precision
    ) -> tuple[Floats, WeightPullback]:
        """Values of all readouts, (samples, readouts), and the pullback; inputs and errors as ``Plan.forward``."""
        ...


@dataclass(frozen=True, slots=True)
class NoGradient:
    """Values alone, for a circuit that is not trained.

    Args:
        source: Where values come from; the exact simulator if ``None``.
    """

    source: ValueSource | None = None

    def forward(
        self, plan: Plan, data: Floats | None, weights: Floats, amplitudes: Floats | None, dtype: Precision
    ) -> tuple[Floats, WeightPullback]:
        """See :class:`Differentiation`."""
        asked = _Asked(self.source, plan, data, amplitudes, dtype)
        values = asked.values(weights)
        return values, lambda cotangent: WeightGradient(None, asked.circuits_besides(len(cotangent), 0))


@dataclass(frozen=True, slots=True)
class Adjoint:
    """The simulator's backward sweep: exact, no circuits. Not possible on a device."""

    def forward(
        self, plan: Plan, data: Floats | None, weights: Floats, amplitudes: Floats | None, dtype: Precision
    ) -> tuple[Floats, WeightPullback]:
        """See :class:`Differentiation`."""
        values, pullback = plan.forward(data, weights, amplitudes, dtype=dtype, input_gradients=False)
        return values, lambda cotangent: WeightGradient(pullback(cotangent).weights, 0)


ADJOINT: Final = Adjoint()
"""The default of models: exact, and far cheaper than any other on the local simulator."""


@dataclass(frozen=True, slots=True)
class NoisyAdjoint:
    """The backward sweep of the exact simulator of noise: the gradient of what a noisy device reports, no circuits.

    Args:
        noise: What follows the gates, and how outcomes are misread.
    """

    noise: NoiseModel

    def forward(
        self, plan: Plan, data: Floats | None, weights: Floats, amplitudes: Floats | None, dtype: Precision
    ) -> tuple[Floats, WeightPullback]:
        """See :class:`Differentiation`; up to 12 qubits.

        Raises:
            InvalidCircuitError: More qubits.
        """
        noisy = compile_noisy(plan.circuit, plan.observables, self.noise, amplitude_input=plan.amplitude_input)
        values, pullback = noisy.forward(data, weights, amplitudes, dtype=dtype, input_gradients=False)
        return values, lambda cotangent: WeightGradient(pullback(cotangent).weights, 0)


@dataclass(frozen=True, slots=True)
class Shifted:
    """Parameter shift (exact) or finite differences with extrapolation (O(h⁴)): circuits with shifted angles.

    Args:
        rule: Which of them.
        trained: Numbers of the weights whose derivative is wanted; the circuits of the others are not run. All, if
            ``None``.
        source: Where values come from; the exact simulator if ``None``.
        drawn: Only these of the trained weights, and their derivatives times ``trained / drawn``; all, if ``None``.
    """

    rule: Rule
    trained: tuple[int, ...] | None = None
    source: ValueSource | None = None
    drawn: tuple[int, ...] | None = None

    def forward(
        self, plan: Plan, data: Floats | None, weights: Floats, amplitudes: Floats | None, dtype: Precision
    ) -> tuple[Floats, WeightPullback]:
        """See :class:`Differentiation`."""
        asked = _Asked(self.source, plan, data, amplitudes, dtype)
        values = asked.values(weights)
        step = None if self.rule == "parameter_shift" else self._step(dtype)
        shared, table = _shifted(plan.circuit, plan.observables, plan.amplitude_input, step, self.trained)

        def pullback(cotangent: Floats) -> WeightGradient:
            if shared is None:
                return WeightGradient(np.zeros(len(table)), asked.circuits_besides(len(cotangent), 0))
            chosen = table if self.drawn is None else self._subset(table)
            needed = np.flatnonzero(chosen.any(axis=0))
            slopes = np.zeros(len(shared))
            slopes[needed] = asked.slopes(shared.circuit, shared.points(weights)[needed], cotangent)
            return WeightGradient(chosen @ slopes, asked.circuits_besides(len(cotangent), needed.size))

        return values, pullback

    def _step(self, dtype: Precision) -> float:
        sampled = self.source is not None and self.source.shots is not None
        return SAMPLED_DIFFERENCE_STEP if sampled else DIFFERENCE_STEPS[dtype]

    def _subset(self, table: Floats) -> Floats:
        factors = np.zeros((len(table), 1))
        trained = len(table) if self.trained is None else len(self.trained)
        factors[list(self.drawn or ())] = trained / len(self.drawn or (0,))
        chosen: Floats = table * factors
        return chosen


def drawn_subset(seed: int, number: int, trained: Sequence[int], size: int) -> tuple[int, ...]:
    """Some of the trained weights, without repetition: the same for the same step, so that a run can be resumed.

    Args:
        seed: Of the run.
        number: Of the step.
        trained: Numbers of the weights.
        size: How many to draw, from 1 to all of them.

    Raises:
        InvalidArgumentError: There are not so many.
    """
    if not 1 <= size <= len(trained):
        raise InvalidArgumentError(
            f"a subset of {size} of {len(trained)} weight(s) cannot be drawn",
            fix=f"Use 1 to {len(trained)}.",
            value=size,
        )
    places = np.random.default_rng((seed, number)).choice(len(trained), size, replace=False)
    return tuple(sorted(trained[place] for place in places.tolist()))


@dataclass(frozen=True, slots=True)
class Simultaneous:
    """SPSA: random directions over the trained weights, two circuits a direction and sample; bias O(c²).

    Args:
        seed: Of the directions.
        number: Of the step: each step has directions of its own, the same whenever it is taken.
        directions: How many estimates are averaged, at least 1.
        step: c, in radians, above 0.
        trained: Numbers of the weights that are perturbed. All, if ``None``.
        source: Where values come from; the exact simulator if ``None``.

    Raises:
        InvalidArgumentError: The step or the number of directions is out of range.
    """

    seed: int
    number: int
    directions: int = 1
    step: float = 0.1
    trained: tuple[int, ...] | None = None
    source: ValueSource | None = None

    def __post_init__(self) -> None:
        check_directions(self.step, self.directions)

    def forward(
        self, plan: Plan, data: Floats | None, weights: Floats, amplitudes: Floats | None, dtype: Precision
    ) -> tuple[Floats, WeightPullback]:
        """See :class:`Differentiation`."""
        asked = _Asked(self.source, plan, data, amplitudes, dtype)
        values = asked.values(weights)
        chosen = np.arange(weights.size) if self.trained is None else np.array(self.trained, np.int64)
        random = np.zeros((self.directions, weights.size))
        random[:, chosen] = random_signs(self.seed, self.number, self.directions, chosen.size)

        def pullback(cotangent: Floats) -> WeightGradient:
            moves = self.step * random
            points = weights + np.stack((moves, -moves), axis=1).reshape(-1, weights.size)
            above, below = asked.slopes(plan.circuit, points, cotangent).reshape(-1, 2).T
            slopes = (above - below) / (2.0 * self.step)
            estimate = (slopes[:, None] * random).mean(axis=0)
            return WeightGradient(estimate, asked.circuits_besides(len(cotangent), 2 * self.directions))

        return values, pullback


@dataclass(frozen=True, slots=True)
class _Asked:
    """Values of one minibatch, from the exact simulator or from a source, and how many circuits they took."""

    source: ValueSource | None
    plan: Plan
    data: Floats | None
    amplitudes: Floats | None
    dtype: Precision
    before: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "before", 0 if self.source is None else self.source.circuits)

    def values(self, weights: Floats) -> Floats:
        """Of the circuit itself, (samples, readouts)."""
        if self.source is None:
            return self.plan.expectations(self.data, weights, self.amplitudes, dtype=self.dtype)
        plan = self.plan
        points = weights[None]
        found = self.source.expectations(plan.circuit, plan.observables, points, self.data, self.amplitudes)
        values: Floats = found[0]
        return values

    def slopes(self, circuit: Circuit, points: Floats, cotangent: Floats) -> Floats:
        """Σ cotangent · values of a circuit at each point, (points,)."""
        if self.source is not None:
            found = self.source.expectations(circuit, self.plan.observables, points, self.data, self.amplitudes)
            return np.array([np.vdot(cotangent, one) for one in found])
        plan = compile_circuit(circuit, self.plan.observables, amplitude_input=self.plan.amplitude_input)
        runs = (plan.expectations(self.data, point, self.amplitudes, dtype=self.dtype) for point in points)
        return np.array([np.vdot(cotangent, run) for run in runs])

    def circuits_besides(self, samples: int, points: int) -> int:
        """Circuits that were evaluated so far, without the one a sample that the caller counts."""
        return points * samples if self.source is None else self.source.circuits - self.before - samples


@lru_cache(maxsize=16)
def _shifted(
    circuit: Circuit,
    observables: tuple[Observable, ...],
    amplitude_input: bool,
    step: float | None,
    trained: tuple[int, ...] | None,
) -> tuple[SharedPlan | None, Floats]:
    # The plan of the shifted circuits, and the coefficients of the derivative by each weight, (weights, circuits).
    whole = parameter_shift(circuit) if step is None else finite_difference(circuit, step=step)
    factors = np.ones(circuit.number_of_weights)
    if trained is not None:
        factors[:] = 0.0
        factors[list(trained)] = 1.0
    gradient = of_weights(whole, factors)
    if not gradient.circuits:
        return None, gradient.weights
    return SharedPlan(gradient.circuits, observables, amplitude_input=amplitude_input), gradient.weights
