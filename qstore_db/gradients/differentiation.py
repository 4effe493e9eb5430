"""Gradients of a loss by the weights of a circuit: each way to take them behind one interface.

``values, pullback = way.forward(plan, …)`` gives the readouts, from which the caller computes the loss and its
derivative by every value, and ``pullback(derivative)`` the gradient by the weights. So the chain rule goes through
the loss, and only expectation values are ever shifted: shifting a loss that is not linear in them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable
from qstore_db.gradients.directions import check_directions, random_signs
from qstore_db.gradients.finite_difference import finite_difference
from qstore_db.gradients.parameter_shift import parameter_shift
from qstore_db.gradients.shared_plan import SharedPlan
from qstore_db.gradients.subset import of_weights
from qstore_db.simulation.plan import Plan, Precision

Floats: TypeAlias = NDArray[np.float64]
Rule: TypeAlias = Literal["parameter_shift", "finite_difference"]

DIFFERENCE_STEPS: Final[dict[Precision, float]] = {"float32": 0.1, "float64": 1e-3}
"""Steps of finite differences with extrapolation, in radians: the error h⁴/480 balances rounding."""


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
    """Values alone, for a circuit that is not trained."""

    def forward(
        self, plan: Plan, data: Floats | None, weights: Floats, amplitudes: Floats | None, dtype: Precision
    ) -> tuple[Floats, WeightPullback]:
        """See :class:`Differentiation`."""
        values = plan.expectations(data, weights, amplitudes, dtype=dtype)
        return values, lambda cotangent: WeightGradient(None, 0)


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
class Shifted:
    """Parameter shift (exact) or finite differences with extrapolation (O(h⁴)): circuits with shifted angles.

    Args:
        rule: Which of them.
        trained: Numbers of the weights whose derivative is wanted; the circuits of the others are not run. All, if
            ``None``.
    """

    rule: Rule
    trained: tuple[int, ...] | None = None

    def forward(
        self, plan: Plan, data: Floats | None, weights: Floats, amplitudes: Floats | None, dtype: Precision
    ) -> tuple[Floats, WeightPullback]:
        """See :class:`Differentiation`."""
        values = plan.expectations(data, weights, amplitudes, dtype=dtype)
        step = None if self.rule == "parameter_shift" else DIFFERENCE_STEPS[dtype]
        shared, table = _shifted(plan.circuit, plan.observables, plan.amplitude_input, step, self.trained)

        def pullback(cotangent: Floats) -> WeightGradient:
            if shared is None:
                return WeightGradient(np.zeros(len(table)), 0)
            runs = shared.values(data, weights, amplitudes, dtype=dtype)
            slopes = np.array([np.vdot(cotangent, run) for run in runs])
            return WeightGradient(table @ slopes, len(shared) * len(cotangent))

        return values, pullback


@dataclass(frozen=True, slots=True)
class Simultaneous:
    """SPSA: random directions over the trained weights, two circuits a direction and sample; bias O(c²).

    Args:
        seed: Of the directions.
        number: Of the step: each step has directions of its own, the same whenever it is taken.
        directions: How many estimates are averaged, at least 1.
        step: c, in radians, above 0.
        trained: Numbers of the weights that are perturbed. All, if ``None``.

    Raises:
        InvalidArgumentError: The step or the number of directions is out of range.
    """

    seed: int
    number: int
    directions: int = 1
    step: float = 0.1
    trained: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_directions(self.step, self.directions)

    def forward(
        self, plan: Plan, data: Floats | None, weights: Floats, amplitudes: Floats | None, dtype: Precision
    ) -> tuple[Floats, WeightPullback]:
        """See :class:`Differentiation`."""
        values = plan.expectations(data, weights, amplitudes, dtype=dtype)
        chosen = np.arange(weights.size) if self.trained is None else np.array(self.trained, np.int64)
        random = np.zeros((self.directions, weights.size))
        random[:, chosen] = random_signs(self.seed, self.number, self.directions, chosen.size)

        def slope(direction: Floats, cotangent: Floats) -> float:
            above, below = (
                plan.expectations(data, weights + sign * self.step * direction, amplitudes, dtype=dtype)
                for sign in (1.0, -1.0)
            )
            return float(np.vdot(cotangent, above - below)) / (2.0 * self.step)

        def pullback(cotangent: Floats) -> WeightGradient:
            slopes = np.array([slope(direction, cotangent) for direction in random])
            estimate = (slopes[:, None] * random).mean(axis=0)
            return WeightGradient(estimate, 2 * self.directions * len(cotangent))

        return values, pullback


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
