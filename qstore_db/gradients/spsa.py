"""A gradient from random directions: two circuits each, however many symbols there are.

With a random Δ of elements ±1 over all symbols, [f(θ + cΔ) − f(θ − cΔ)] / (2c) · Δ estimates the gradient. Its bias
is O(c²); where f is linear the expectation is exact, and the variance of one element is the sum of the squared other
derivatives, so that averaging over D directions divides it by D. Source: J. C. Spall, IEEE Transactions on Automatic
Control 37, 332 (1992). The formula is applied to expectation values; a loss enters by the chain rule, as everywhere
in this room.
"""

from __future__ import annotations

import numpy as np

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.parameters import Weight
from qstore_db.gradients.directions import check_directions
from qstore_db.gradients.gradient import CircuitGradient, shifted


def spsa(circuit: Circuit, *, rng: np.random.Generator, step: float = 0.1, directions: int = 1) -> CircuitGradient:
    """An estimate of the derivative of expectation values by every weight and data column.

    Args:
        circuit: Any circuit.
        rng: Draws the directions.
        step: c, in the unit of the symbols; above 0.
        directions: D, how many estimates are averaged; at least 1.

    Returns:
        2 · D circuits; none where the circuit has no symbols.

    Raises:
        InvalidArgumentError: The step is not a positive number, or D not an integer from 1 on.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> len(spsa(hardware_efficient(4, 3), rng=np.random.default_rng(0), directions=5).circuits)
        10
    """
    check_directions(step, directions)
    weights, data = circuit.number_of_weights, circuit.number_of_data
    if not weights + data:
        return CircuitGradient((), np.zeros((0, 0)), np.zeros((0, 0)))
    random = rng.integers(0, 2, (directions, weights + data)) * 2.0 - 1.0
    circuits = []
    table = np.zeros((weights + data, 2 * directions))
    for number, direction in enumerate(random):
        for place, sign in enumerate((1.0, -1.0)):
            moves = [
                (position, angle_number, sign * step * moved)
                for position, operation in enumerate(circuit.operations)
                for angle_number, angle in enumerate(operation.angles)
                if (
                    moved := sum(
                        term.scale * direction[term.index if isinstance(term, Weight) else weights + term.index]
                        for term in angle.terms
                    )
                )
            ]
            circuits.append(shifted(circuit, moves))
            table[:, 2 * number + place] = sign * direction / (2.0 * step * directions)
    return CircuitGradient(tuple(circuits), table[:weights], table[weights:])
