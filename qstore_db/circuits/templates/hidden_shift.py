"""The hidden shift problem for the inner-product bent function, solved by one run.

Source: Rötteler, SODA 2010 (arXiv:0811.3208). f(x) = x_0 x_1 + x_2 x_3 + … mod 2 is its own dual, so one call each of
the shifted function and of f give the shift with certainty. The shift is written into the circuit, so nothing unknown
is found.
"""

from __future__ import annotations

from collections.abc import Sequence

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.basis import basis_state
from qstore_db.errors import InvalidCircuitError


def hidden_shift(shift: str | Sequence[int]) -> Circuit:
    """H^n, the phase (-1)^{f(x+s)}, H^n, the phase (-1)^{f(x)}, H^n: the final state is |s⟩.

    Args:
        shift: s, an even number of bits; the first is qubit 0's.

    Raises:
        InvalidCircuitError: Not a bitstring, or an odd number of bits.

    Example:
        >>> hidden_shift("10").n_qubits
        2
    """
    flips = basis_state(shift)
    n = flips.n_qubits
    if n % 2:
        raise InvalidCircuitError(
            f"a shift of {n} bits cannot be hidden: the function pairs its bits",
            fix="Give an even number of bits.",
            value=shift,
        )
    hadamards = tuple(Operation("H", (qubit,)) for qubit in range(n))
    phase = tuple(Operation("CZ", (qubit, qubit + 1)) for qubit in range(0, n, 2))
    shifted = (*flips.operations, *phase, *flips.operations)
    return Circuit(n, (*hadamards, *shifted, *hadamards, *phase, *hadamards))
