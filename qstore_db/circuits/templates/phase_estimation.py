"""Phase estimation: the eigenphase of a unitary as a bitstring.

Source: Kitaev (1995), arXiv:quant-ph/9511026; in the form of Nielsen and Chuang, section 5.2.
"""

from __future__ import annotations

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.controlled import controlled_circuit
from qstore_db.circuits.inverse import inverse
from qstore_db.circuits.placement import on_qubits
from qstore_db.circuits.templates.fourier import fourier
from qstore_db.errors import InvalidCircuitError


def phase_estimation(counting: int, unitary: Circuit, preparation: Circuit | None = None) -> Circuit:
    """Writes φ of U|u⟩ = e^{2πiφ}|u⟩ into the counting qubits, as the integer nearest to 2^t φ.

    Counting qubits are 0 … t-1, the highest bit first; the eigenstate lives on qubits t … t+n-1. Exact when φ has t
    binary digits; otherwise the nearest integer has probability of at least 4/π². For a start state that is no
    eigenstate each eigenphase appears with the weight of its eigenstate.

    The controlled powers are 2^k copies of controlled U; a circuit of one gate with one angle takes one copy with 2^k
    times the angle. U's global phase counts, as defined in :mod:`qstore_db.circuits.gates`: P(θ) and RZ(θ) differ.

    Args:
        counting: t, at least 1.
        unitary: U on n qubits; t + n is at most 24.
        preparation: The circuit |0…0⟩ → |u⟩ on n qubits; left out, |u⟩ = |0…0⟩.

    Raises:
        InvalidCircuitError: ``counting`` is below 1, too many qubits, or a preparation on another number of qubits.

    Example:
        >>> from qstore_db.circuits.encodings.basis import basis_state
        >>> circuit = phase_estimation(3, Circuit(1, (Operation("T", (0,)),)), basis_state("1"))
        >>> circuit.n_qubits
        4
    """
    if isinstance(counting, bool) or not isinstance(counting, int) or counting < 1:
        raise InvalidCircuitError(
            f"{counting!r} counting qubits are not a number from 1 on", fix="Use at least one.", value=counting
        )
    n = counting + unitary.n_qubits
    target = range(counting, n)
    circuit = Circuit(n)
    if preparation is not None:
        circuit = on_qubits(preparation, target, n)
    circuit = circuit.then(*(Operation("H", (qubit,)) for qubit in range(counting)))
    for qubit in range(counting):
        power = _power(unitary, 1 << (counting - 1 - qubit))
        circuit = circuit.compose(controlled_circuit(power, qubit, target, n))
    return circuit.compose(on_qubits(inverse(fourier(counting)), range(counting), n))


def _power(circuit: Circuit, exponent: int) -> Circuit:
    operations = circuit.operations
    if len(operations) == 1 and len(operations[0].angles) == 1:
        turned = Operation(operations[0].gate, operations[0].qubits, (operations[0].angles[0] * exponent,))
        return Circuit(circuit.n_qubits, (turned,))
    return Circuit(circuit.n_qubits, operations * exponent)
