"""Bell, GHZ and W states: circuits from |0…0⟩ to the best-known entangled states."""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias, get_args

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.errors import InvalidCircuitError

BellState: TypeAlias = Literal["phi+", "phi-", "psi+", "psi-"]

_START: Final[dict[str, tuple[int, int]]] = {"phi+": (0, 0), "phi-": (1, 0), "psi+": (0, 1), "psi-": (1, 1)}


def bell(state: BellState = "phi+") -> Circuit:
    """Two qubits in one of the Bell states.

    ``phi±`` is (|00⟩ ± |11⟩)/√2 and ``psi±`` is (|01⟩ ± |10⟩)/√2. X on the qubits that choose, then H(0), CX(0,1):
    Nielsen and Chuang, Quantum Computation and Quantum Information, section 1.3.6.

    Raises:
        InvalidCircuitError: Another name.

    Example:
        >>> [operation.gate for operation in bell().operations]
        ['H', 'CX']
    """
    if state not in _START:
        raise InvalidCircuitError(
            f"unknown Bell state {state!r}", fix=f"Use one of {', '.join(get_args(BellState))}.", value=state
        )
    flips = (Operation("X", (qubit,)) for qubit, bit in enumerate(_START[state]) if bit)
    return Circuit(2, (*flips, Operation("H", (0,)), Operation("CX", (0, 1))))


def ghz(n_qubits: int) -> Circuit:
    """(|0…0⟩ + |1…1⟩)/√2 by H(0) and a chain of CX.

    Source: Greenberger, Horne and Zeilinger (1989), arXiv:0712.0921. One qubit gives |+⟩.

    Raises:
        InvalidCircuitError: ``n_qubits`` is out of range.
    """
    chain = (Operation("CX", (qubit, qubit + 1)) for qubit in range(n_qubits - 1))
    return Circuit(n_qubits, (Operation("H", (0,)), *chain))


def w_state(n_qubits: int) -> Circuit:
    """(|10…0⟩ + |010…0⟩ + … + |0…01⟩)/√n, the even mixture of one excitation: Dür, Vidal and Cirac (2000).

    The excitation starts on qubit 0; at step q a controlled RY by 2·arccos √(1/(n-q)) and a CX back leave it on qubit q
    with probability 1/n and hand it on otherwise. n - 1 CRY and n - 1 CX.

    Raises:
        InvalidCircuitError: ``n_qubits`` is out of range.
    """
    operations = [Operation("X", (0,))]
    for qubit in range(n_qubits - 1):
        theta = 2 * math.acos(math.sqrt(1 / (n_qubits - qubit)))
        operations.append(Operation("CRY", (qubit, qubit + 1), (theta,)))
        operations.append(Operation("CX", (qubit + 1, qubit)))
    return Circuit(n_qubits, operations)
