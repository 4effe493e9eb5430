"""What compiling to native gates made of a circuit."""

from __future__ import annotations

from dataclasses import dataclass

from qstore_db.analysis.size import CircuitSize
from qstore_db.circuits.circuit import Circuit


@dataclass(frozen=True, slots=True)
class NativeCompilation:
    """One circuit before and after.

    Args:
        circuit: As the device gets it, in GPI, GPI2, MS and RZZ: equal to the given one up to a global phase and, where
            the SDK leaves turns about Z before the measurement out, up to those, which no measurement sees.
        before: Size of the circuit as it was asked.
        after: Size of the circuit as it is sent.
    """

    circuit: Circuit
    before: CircuitSize
    after: CircuitSize
