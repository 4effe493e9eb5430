"""Gradients by differences: no theory needed, an error that shrinks with the step, and a good check of the others.

The central difference D(h) = [f(θ + h) - f(θ - h)] / 2h has the error f'''h²/6 + O(h⁴). Richardson's extrapolation,
(4 D(h/2) - D(h)) / 3, removes the first term. Rounding adds about ε/h, so a step near ε^(1/5) is best with
extrapolation (1e-3 in float64). Source: Press et al., Numerical Recipes, section 5.7.
"""

from __future__ import annotations

import math

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.parameters import Symbol
from qstore_db.errors import InvalidArgumentError
from qstore_db.gradients.gradient import CircuitGradient, GradientBuilder, shifted


def finite_difference(circuit: Circuit, *, step: float = 1e-3, richardson: bool = True) -> CircuitGradient:
    """The approximate derivative of expectation values by every weight and data column.

    Args:
        circuit: Any circuit.
        step: h, in the unit of the symbol; above 0.
        richardson: Whether to extrapolate: four circuits a symbol and an error O(h⁴), against two and O(h²).

    Raises:
        InvalidArgumentError: The step is not a positive number.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> len(finite_difference(hardware_efficient(2, 1), richardson=False).circuits)
        8
    """
    if not (math.isfinite(step) and step > 0):
        raise InvalidArgumentError(f"the step {step!r} is not a positive number", fix="Use 1e-3.", value=step)
    rule = ((step, -1 / 3), (step / 2, 4 / 3)) if richardson else ((step, 1.0),)
    builder = GradientBuilder.of(circuit)
    for symbol, places in _places(circuit).items():
        for width, factor in rule:
            for sign in (1.0, -1.0):
                moves = [(place, number, sign * width * scale) for (place, number), scale in places.items()]
                builder.depend(symbol, builder.add(shifted(circuit, moves)), sign * factor / (2 * width))
    return builder.build()


def _places(circuit: Circuit) -> dict[Symbol, dict[tuple[int, int], float]]:
    """For each symbol (scale taken out) the angles it stands in, with its whole scale there."""
    found: dict[Symbol, dict[tuple[int, int], float]] = {}
    for place, operation in enumerate(circuit.operations):
        for number, angle in enumerate(operation.angles):
            for term in angle.terms:
                scales = found.setdefault(type(term)(term.index), {})
                scales[place, number] = scales.get((place, number), 0.0) + term.scale
    return found
