"""What a job on a device costs, estimated from a published price list; nobody is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from qstore_db.backends.backend import Price
from qstore_db.circuits.circuit import Circuit


@dataclass(frozen=True, slots=True)
class Rates:
    """A price list, in United States dollars.

    Args:
        one_qubit_gate: For a gate on one qubit and one shot.
        two_qubit_gate: For a gate on two qubits and one shot.
        circuit: For every circuit, whatever its size.
    """

    one_qubit_gate: Decimal
    two_qubit_gate: Decimal
    circuit: Decimal


PUBLISHED: Final = Rates(Decimal("0.000220"), Decimal("0.000975"), Decimal("12.4166"))
"""IonQ Aria 1, Aria 2 and Forte with error mitigation off.

Source: "Pricing plans for Azure Quantum providers" (learn.microsoft.com/azure/quantum/pricing), dated 2025-02-26:
tokens = m + 0.000220 · (one-qubit gates · shots) + 0.000975 · (two-qubit gates · shots), m = 12.4166 dollars for each
execution of a program when error mitigation is off. An account with IonQ has rates of its own contract.
"""


def price_of(circuits: Iterable[tuple[Circuit, int]], rates: Rates) -> Price:
    """The price of one job.

    Args:
        circuits: In gates on one and two qubits, each with its shots.
        rates: The price list.

    Returns:
        The sum over circuits of the gates that are submitted and of the price for every circuit. It is an estimate from
        above where the provider takes that price once a job.
    """
    total = Decimal(0)
    for circuit, shots in circuits:
        two = sum(len(operation.qubits) > 1 for operation in circuit.operations)
        one = len(circuit.operations) - two
        total += rates.circuit + shots * (one * rates.one_qubit_gate + two * rates.two_qubit_gate)
    return Price(total)
