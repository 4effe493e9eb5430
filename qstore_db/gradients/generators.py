"""What generates a gate's angle: the Hermitian K with U(θ) = exp(−i θ K), as a sum of Pauli strings.

    RX RY RZ RXX RYY RZZ    K = P/2                        P       K = −|1⟩⟨1| = (Z − 1)/2
    CRX CRY CRZ             K = |1⟩⟨1| ⊗ P/2 = (P − ZP)/4   U       three gates: U(θ, φ, λ) = P(φ) RY(θ) P(λ)
    CP                      K = −|11⟩⟨11|                   GPI GPI2 MS     see :mod:`qstore_db.circuits.composite`

K commutes with its own gate, so ∂|ψ⟩/∂θ inserts −i K before or after it.
"""

from __future__ import annotations

from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.composite import parts
from qstore_db.circuits.observables import Observable, PauliString, PauliSum, terms_of
from qstore_db.errors import InvalidCircuitError

_IONS: Final = frozenset({"GPI", "GPI2", "MS"})


def with_single_angles(circuit: Circuit) -> Circuit:
    """The same circuit with every U as P · RY · P and the gates of ions in parts: at most one angle a gate.

    An angle of GPI, GPI2 or MS then stands in several gates, each with a known generator.
    """
    operations: list[Operation] = []
    for operation in circuit.operations:
        if operation.gate != "U":
            operations += parts(operation) if operation.gate in _IONS else (operation,)
            continue
        theta, phi, lam = operation.angles
        operations += [
            Operation(gate, operation.qubits, (angle,)) for gate, angle in (("P", lam), ("RY", theta), ("P", phi))
        ]
    return Circuit(circuit.n_qubits, operations)


def generator(operation: Operation, n_qubits: int) -> PauliSum:
    """K of a gate with one angle.

    Args:
        operation: The gate.
        n_qubits: Of the circuit.

    Raises:
        InvalidCircuitError: The gate has no angle, or its generator is not known.

    Example:
        >>> str(generator(Operation("CRX", (0, 1), (0.1,)), 2))
        '0.25·IX + -0.25·ZX'
    """
    gate, qubits = operation.gate, operation.qubits

    def string(*letters: str) -> PauliString:
        return PauliString.on(n_qubits, dict(zip(qubits, letters, strict=True)))

    if gate == "P":
        return 0.5 * string("Z") - 0.5 * string("I")
    if gate == "CP":
        return 0.25 * string("Z", "I") + 0.25 * string("I", "Z") - 0.25 * string("Z", "Z") - 0.25 * string("I", "I")
    if gate in {"CRX", "CRY", "CRZ"}:
        return 0.25 * string("I", gate[2]) - 0.25 * string("Z", gate[2])
    if gate in {"RX", "RY", "RZ", "RXX", "RYY", "RZZ"}:
        return 0.5 * string(*gate[1:])
    raise InvalidCircuitError(
        f"the generator of {gate} is not known",
        fix="Write the circuit in RX RY RZ P U RXX RYY RZZ CRX CRY CRZ CP and gates without angles.",
        value=gate,
    )


def product(left: Observable, right: Observable) -> PauliSum:
    """The product of two sums whose strings agree, letter by letter, or have the identity there.

    Raises:
        InvalidCircuitError: Two letters differ, so that the factors need not commute.
    """
    return PauliSum(
        tuple(
            (first * second, _joined(one, other)) for first, one in terms_of(left) for second, other in terms_of(right)
        )
    )


def _joined(one: PauliString, other: PauliString) -> PauliString:
    letters = []
    for left, right in zip(one.letters, other.letters, strict=True):
        if "I" not in (left, right) and left != right:
            raise InvalidCircuitError(
                f"the strings {one} and {other} need not commute", fix="Multiply strings of equal letters.", value=one
            )
        letters.append("I" if left == right else left if right == "I" else right)
    return PauliString("".join(letters))
