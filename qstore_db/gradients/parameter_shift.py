"""Exact gradients from shifted circuits.

For a gate exp(-i θ/2 G) whose G has the two eigenvalues ±1 (RX RY RZ P RXX RYY RZZ and each angle of U), an
expectation value is a + b cos θ + c sin θ, so
    f'(θ) = [f(θ + π/2) - f(θ - π/2)] / 2.
A controlled rotation has frequencies 1/2 and 1 and takes four terms,
    f'(θ) = (√2+1)/(4√2) · [f(θ + π/2) - f(θ - π/2)] - (√2-1)/(4√2) · [f(θ + 3π/2) - f(θ - 3π/2)].
Sources: Schuld et al., Physical Review A 99, 032331 (2019); Anselmetti et al., New Journal of Physics 23, 113010
(2021). The rule holds for expectation values, not for functions of them. A symbol that stands in several angles gets
the sum over all of them.
"""

from __future__ import annotations

import math
from typing import Final

from qstore_db.circuits.circuit import Circuit
from qstore_db.gradients.gradient import CircuitGradient, GradientBuilder, shifted

_ROOT: Final = math.sqrt(2.0)
_TWO_TERMS: Final = ((math.pi / 2, 0.5),)
_FOUR_TERMS: Final = (
    (math.pi / 2, (_ROOT + 1) / (4 * _ROOT)),
    (3 * math.pi / 2, -(_ROOT - 1) / (4 * _ROOT)),
)


def parameter_shift(circuit: Circuit) -> CircuitGradient:
    """The exact derivative of expectation values by every weight and data column.

    Args:
        circuit: Any circuit; angles without symbols cost nothing.

    Returns:
        Two circuits for each angle with a symbol, four for that of a controlled rotation.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> len(parameter_shift(hardware_efficient(2, 1)).circuits)
        8
    """
    builder = GradientBuilder.of(circuit)
    for place, operation in enumerate(circuit.operations):
        rule = _FOUR_TERMS if operation.gate.startswith("CR") else _TWO_TERMS
        for number, angle in enumerate(operation.angles):
            if not angle.terms:
                continue
            for shift, coefficient in rule:
                for sign in (1.0, -1.0):
                    run = builder.add(shifted(circuit, [(place, number, sign * shift)]))
                    for term in angle.terms:
                        builder.depend(term, run, sign * coefficient * term.scale)
    return builder.build()
