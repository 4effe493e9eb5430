"""A circuit as a program in IonQ's JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.composite import basic
from qstore_db.circuits.interop.from_ionq import FIXED, ROTATIONS, TURN
from qstore_db.errors import InvalidCircuitError

_NAMES: Final[Mapping[str, str]] = {
    **{ours: theirs for theirs, ours in FIXED.items() if theirs != "not"},
    **{ours: theirs for theirs, ours in ROTATIONS.items()},
}


def to_ionq(circuit: Circuit, *, gateset: Literal["qis", "native"] = "qis") -> dict[str, object]:
    """The same unitary up to a global phase: our qubit k is their qubit k.

    Args:
        circuit: All angles numbers (``circuits.placement.bind`` gives symbols their values).
        gateset: ``"qis"`` takes every gate; U, ISWAP and the gates of ions become several. ``"native"`` takes GPI,
            GPI2, MS and RZZ only, and writes their angles in turns.

    Returns:
        ``{"gateset", "qubits", "circuit"}``, the field ``input`` of a job.

    Raises:
        InvalidCircuitError: An angle is a symbol, or a gate is not native.

    Example:
        >>> to_ionq(Circuit(2, [Operation("CX", (1, 0))]))["circuit"]
        [{'gate': 'cnot', 'control': 1, 'target': 0}]
    """
    translate = _native if gateset == "native" else _standard
    gates = [gate for operation in circuit.operations for gate in translate(operation)]
    return {"gateset": gateset, "qubits": circuit.n_qubits, "circuit": gates}


def _standard(operation: Operation) -> Iterator[dict[str, object]]:
    for step in (operation,) if operation.gate in ("CP", "CCX", "CSWAP") else basic([operation]):
        yield from _one(step)


def _one(step: Operation) -> Iterator[dict[str, object]]:
    gate, qubits, angles = step.gate, list(step.qubits), numbers(step)
    match gate:
        case "CX":
            yield {"gate": "cnot", "control": qubits[0], "target": qubits[1]}
        case "CZ" | "CCX" | "CRX" | "CRY" | "CRZ":
            theirs = _NAMES[gate.lstrip("C")]
            yield {"gate": theirs, "controls": qubits[:-1], "targets": qubits[-1:], **_rotation(angles)}
        case "CP":
            yield {"gate": "z", "controls": qubits[:1], "targets": qubits[1:], **_rotation(angles)}
        case "CSWAP":
            yield {"gate": "swap", "controls": qubits[:1], "targets": qubits[1:]}
        case "P":
            yield {"gate": "rz", "targets": qubits, **_rotation(angles)}
        case "U":
            theta, phi, lam = angles
            for name, angle in (("rz", lam), ("ry", theta), ("rz", phi)):
                yield {"gate": name, "targets": qubits, "rotation": angle}
        case _:
            yield {"gate": _NAMES[gate], "targets": qubits, **_rotation(angles)}


def _native(operation: Operation) -> Iterator[dict[str, object]]:
    turns = [angle / TURN for angle in numbers(operation)]
    qubits = list(operation.qubits)
    match operation.gate:
        case "GPI" | "GPI2":
            yield {"gate": operation.gate.lower(), "target": qubits[0], "phase": turns[0]}
        case "MS":
            yield {"gate": "ms", "targets": qubits, "phases": turns[:2], "angle": turns[2]}
        case "RZZ":
            yield {"gate": "zz", "targets": qubits, "angle": turns[0]}
        case gate:
            raise InvalidCircuitError(
                f"{gate} is not a native gate of ions", fix='Use GPI, GPI2, MS, RZZ, or gateset="qis".', value=gate
            )


def numbers(operation: Operation) -> list[float]:
    """The angles of a gate without symbols, radians.

    Raises:
        InvalidCircuitError: One holds a weight or a data column.
    """
    for angle in operation.angles:
        if angle.terms:
            raise InvalidCircuitError(
                f"the angle {angle} of {operation.gate} is not a number",
                fix="Give symbols their values first: circuits.placement.bind.",
                value=str(angle),
            )
    return [angle.constant for angle in operation.angles]


def _rotation(angles: list[float]) -> dict[str, object]:
    return {"rotation": angles[0]} if angles else {}
