"""Exact gradients from shifted circuits.

For a gate exp(-i θ/2 G) whose G has the two eigenvalues ±1 (RX RY RZ P RXX RYY RZZ and each angle of U), an
expectation value is a + b cos θ + c sin θ, so
    f'(θ) = [f(θ + π/2) - f(θ - π/2)] / 2.
CP and the turn of MS are of that kind too. A controlled rotation has frequencies 1/2 and 1 and takes four terms,
    f'(θ) = (√2+1)/(4√2) · [f(θ + π/2) - f(θ - π/2)] - (√2-1)/(4√2) · [f(θ + 3π/2) - f(θ - 3π/2)].
The phases of GPI2 and MS have frequencies 1 and 2: the same rule with half the shifts and twice the coefficients. That
of GPI has frequency 2 alone: f'(φ) = f(φ + π/4) - f(φ - π/4).
Sources: Schuld et al., Physical Review A 99, 032331 (2019); Anselmetti et al., New Journal of Physics 23, 113010
(2021). The rule holds for expectation values, not for functions of them. A symbol that stands in several angles gets
the sum over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final, TypeAlias

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.parameters import Weight
from qstore_db.gradients.gradient import CircuitGradient, GradientBuilder, shifted

_ROOT: Final = math.sqrt(2.0)
_Rule: TypeAlias = tuple[tuple[float, float], ...]
_TWO_TERMS: Final = ((math.pi / 2, 0.5),)
_FOUR_TERMS: Final = (
    (math.pi / 2, (_ROOT + 1) / (4 * _ROOT)),
    (3 * math.pi / 2, -(_ROOT - 1) / (4 * _ROOT)),
)
_FOUR_OF_A_PHASE: Final = tuple((shift / 2, 2 * coefficient) for shift, coefficient in _FOUR_TERMS)
_TWO_OF_GPI: Final = ((math.pi / 4, 1.0),)


def parameter_shift(circuit: Circuit) -> CircuitGradient:
    """The exact derivative of expectation values by every weight and data column.

    Args:
        circuit: Any circuit; angles without symbols cost nothing.

    Returns:
        Two circuits for each angle with a symbol, four for that of a controlled rotation and for the phases of GPI2
        and MS.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> len(parameter_shift(hardware_efficient(2, 1)).circuits)
        8
    """
    builder = GradientBuilder.of(circuit)
    for place, operation in enumerate(circuit.operations):
        for number, angle in enumerate(operation.angles):
            if not angle.terms:
                continue
            for shift, coefficient in _rule(operation.gate, number):
                for sign in (1.0, -1.0):
                    run = builder.add(shifted(circuit, [(place, number, sign * shift)]))
                    for term in angle.terms:
                        builder.depend(term, run, sign * coefficient * term.scale)
    return builder.build()


def shifted_circuits(circuit: Circuit, weights: Collection[int]) -> int:
    """How many circuits the exact derivative by some of the weights takes, without making them.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> shifted_circuits(hardware_efficient(2, 1), {0, 3})
        4
    """
    wanted = frozenset(weights)
    return sum(
        2 * len(_rule(operation.gate, number))
        for operation in circuit.operations
        for number, angle in enumerate(operation.angles)
        if any(isinstance(term, Weight) and term.index in wanted for term in angle.terms)
    )


def _rule(gate: str, number: int) -> _Rule:
    """Shifts and coefficients of an angle of a gate."""
    if gate in ("CRX", "CRY", "CRZ"):
        return _FOUR_TERMS
    if gate == "GPI":
        return _TWO_OF_GPI
    if gate == "GPI2" or (gate == "MS" and number < 2):
        return _FOUR_OF_A_PHASE
    return _TWO_TERMS
