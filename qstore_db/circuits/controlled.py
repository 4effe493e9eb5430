"""Controlled gates without ancilla qubits: any gate under one control, and a phase under many.

All identities are exact, global phase included, because a phase that nobody sees in U becomes visible in controlled U.
Source: Barenco et al., Physical Review A 52, 3457 (1995), sections 5 and 7.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.composite import parts
from qstore_db.circuits.parameters import Angle, AngleLike, angle
from qstore_db.circuits.placement import on_qubits
from qstore_db.errors import InvalidCircuitError


def controlled_phase(theta: AngleLike, control: int, target: int) -> tuple[Operation, ...]:
    """CP(θ) = diag(1, 1, 1, e^{iθ}); the two qubits may change places.

    Args:
        theta: Radians; may hold weights and data.
        control: One qubit.
        target: The other qubit.
    """
    return (Operation("CP", (control, target), (theta,)),)


def multi_controlled_phase(theta: AngleLike, qubits: Sequence[int]) -> tuple[Operation, ...]:
    """e^{iθ} where all the qubits are 1, and 1 elsewhere.

    The product of m bits is Σ_S (-1)^{|S|-1} · parity_S / 2^{m-1} over all sets S of qubits that are not empty. The
    sets whose last qubit is t are walked in Gray-code order with the parity kept on t: one CX and one P a set.

    Args:
        theta: Radians; may hold weights and data.
        qubits: At least one, all different; their order changes the gates and not the result.

    Returns:
        2^m - 1 P and 2^m - 2 CX for m qubits: meant for a handful of qubits.

    Raises:
        InvalidCircuitError: No qubits, or one twice.
    """
    chosen = tuple(qubits)
    if not chosen or len(set(chosen)) != len(chosen):
        raise InvalidCircuitError(
            f"{chosen} are not different qubits", fix="Name at least one qubit, each once.", value=chosen
        )
    share = angle(theta) * (0.5 ** (len(chosen) - 1))
    operations: list[Operation] = []
    for position, target in enumerate(chosen):
        operations.append(Operation("P", (target,), (share,)))
        previous = 0
        for step in range(1, 1 << position):
            gray = step ^ (step >> 1)
            operations.append(Operation("CX", (chosen[(gray ^ previous).bit_length() - 1], target)))
            sign = -1.0 if gray.bit_count() % 2 else 1.0
            operations.append(Operation("P", (target,), (share * sign,)))
            previous = gray
        if previous:
            operations.append(Operation("CX", (chosen[previous.bit_length() - 1], target)))
    return tuple(operations)


def multi_controlled_z(qubits: Sequence[int]) -> tuple[Operation, ...]:
    """-1 where all the qubits are 1, and 1 elsewhere; Z for one qubit, CZ for two, else by phases.

    Raises:
        InvalidCircuitError: No qubits, or one twice.
    """
    chosen = tuple(qubits)
    if 1 <= len(chosen) <= 2:
        return (Operation("Z" if len(chosen) == 1 else "CZ", chosen),)
    return multi_controlled_phase(math.pi, chosen)


def controlled(operation: Operation, control: int) -> tuple[Operation, ...]:  # noqa: PLR0912 - one case a gate
    """The gate where the control is 1, and nothing where it is 0.

    Args:
        operation: Any gate, itself controlled or not; angles may hold weights and data.
        control: A qubit the gate does not act on.

    Raises:
        InvalidCircuitError: The gate acts on the control.

    Example:
        >>> [step.gate for step in controlled(Operation("H", (1,)), 0)]
        ['RY', 'CZ', 'RY']
    """
    if control in operation.qubits:
        raise InvalidCircuitError(
            f"{operation.gate} acts on its own control, qubit {control}", fix="Use another qubit.", value=control
        )
    gate, qubits, angles = operation.gate, operation.qubits, operation.angles
    target = qubits[-1]
    if gate in _PHASES:
        return controlled_phase(_PHASES[gate], control, target)
    match gate:
        case "X" | "Z" | "RX" | "RY" | "RZ":
            return (Operation("C" + gate, (control, target), angles),)
        case "Y":
            return _inside(
                (Operation("SDG", qubits),), (Operation("CX", (control, target)),), (Operation("S", qubits),)
            )
        case "H":
            # RY turns the axis of Z into that of H, which lies between X and Z.
            back, forth = (Operation("RY", qubits, (sign * math.pi / 4,)) for sign in (-1, 1))
            return (back, Operation("CZ", (control, target)), forth)
        case "P":
            return controlled_phase(angles[0], control, target)
        case "U":
            return _controlled_u(control, target, angles)
        case "CX":
            return (Operation("CCX", (control, *qubits)),)
        case "CZ":
            return multi_controlled_z((control, *qubits))
        case "SWAP":
            return (Operation("CSWAP", (control, *qubits)),)
        case "CP":
            return multi_controlled_phase(angles[0], (control, *qubits))
        case "CCX":
            return _inside(_h(target), multi_controlled_z((control, *qubits)), _h(target))
        case "CSWAP":
            outer = (Operation("CX", (target, qubits[1])),)
            return _inside(outer, controlled(Operation("CCX", qubits), control), outer)
        case "ISWAP" | "ISWAPDG" | "GPI" | "GPI2" | "MS":
            return tuple(step for part in parts(operation) for step in controlled(part, control))
        case "CRX" | "CRY" | "CRZ":
            return _doubly_controlled_rotation(gate[-1], control, qubits, angles[0])
        case _:  # RXX, RYY, RZZ
            return _controlled_pair_rotation(gate[-1], control, qubits, angles[0])


def controlled_circuit(circuit: Circuit, control: int, qubits: Sequence[int], n_qubits: int) -> Circuit:
    """The circuit on the named qubits of a wider register where the control is 1, and nothing where it is 0.

    Args:
        circuit: Any circuit.
        control: The control, not among ``qubits``.
        qubits: Where each qubit of the circuit goes.
        n_qubits: Qubits of the result.

    Raises:
        InvalidCircuitError: A place twice, outside the register, or equal to the control.
    """
    placed = on_qubits(circuit, qubits, n_qubits)
    return Circuit(n_qubits, (step for operation in placed.operations for step in controlled(operation, control)))


_PHASES = {"S": math.pi / 2, "SDG": -math.pi / 2, "T": math.pi / 4, "TDG": -math.pi / 4}


def _inside(
    before: tuple[Operation, ...], inner: tuple[Operation, ...], after: tuple[Operation, ...]
) -> tuple[Operation, ...]:
    """V · inner · V†: the outer gates need no control, they cancel where the inner ones do nothing."""
    return (*before, *inner, *after)


def _h(qubit: int) -> tuple[Operation, ...]:
    return (Operation("H", (qubit,)),)


def _controlled_u(control: int, target: int, angles: Sequence[Angle]) -> tuple[Operation, ...]:
    """U(θ, φ, λ) = e^{i(φ+λ)/2} RZ(φ) RY(θ) RZ(λ): the phase becomes a P on the control."""
    theta, phi, lam = angles
    return (
        Operation("P", (control,), ((phi + lam) * 0.5,)),
        Operation("CRZ", (control, target), (lam,)),
        Operation("CRY", (control, target), (theta,)),
        Operation("CRZ", (control, target), (phi,)),
    )


def _to_z(letter: str, qubit: int) -> tuple[tuple[Operation, ...], tuple[Operation, ...]]:
    """Gates before and after that make a rotation about Z one about the letter."""
    if letter == "Z":
        return (), ()
    if letter == "X":
        return _h(qubit), _h(qubit)
    s, back = Operation("S", (qubit,)), Operation("SDG", (qubit,))
    return (back, *_h(qubit)), (*_h(qubit), s)


def _doubly_controlled_rotation(
    letter: str, control: int, qubits: tuple[int, ...], theta: Angle
) -> tuple[Operation, ...]:
    before, after = _to_z(letter, qubits[1])
    middle = (
        *multi_controlled_phase(theta * -0.5, (control, qubits[0])),
        *multi_controlled_phase(theta, (control, *qubits)),
    )
    return _inside(before, middle, after)


def _controlled_pair_rotation(
    letter: str, control: int, qubits: tuple[int, ...], theta: Angle
) -> tuple[Operation, ...]:
    first, second = (_to_z(letter, qubit) for qubit in qubits)
    parity = (Operation("CX", qubits),)
    rotation = _inside(parity, (Operation("CRZ", (control, qubits[1]), (theta,)),), parity)
    return _inside(first[0] + second[0], rotation, first[1] + second[1])
