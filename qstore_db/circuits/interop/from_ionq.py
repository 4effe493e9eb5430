"""A program in IonQ's JSON as our circuit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.controlled import controlled, multi_controlled_phase
from qstore_db.circuits.pauli_rotations import rotation_about
from qstore_db.errors import InvalidCircuitError

TURN: Final = 2 * math.pi
"""Radians; native angles are written in turns."""

FIXED: Final[Mapping[str, str]] = {
    "x": "X", "not": "X", "y": "Y", "z": "Z", "h": "H", "s": "S", "si": "SDG", "t": "T", "ti": "TDG", "swap": "SWAP",
}  # fmt: skip
"""Their gates without angles to ours."""

ROTATIONS: Final[Mapping[str, str]] = {"rx": "RX", "ry": "RY", "rz": "RZ", "xx": "RXX", "yy": "RYY", "zz": "RZZ"}
"""Their gates with a ``rotation`` in radians to ours."""

_ROOTS_OF_X: Final = {"v": 1.0, "vi": -1.0}


def from_ionq(program: Mapping[str, object]) -> Circuit:
    """The same unitary up to a global phase: their qubit k is our qubit k.

    Args:
        program: ``{"gateset": "qis" | "native", "qubits": n, "circuit": [{"gate": …}, …]}``; "qis" if not given.
            Gates of "qis": x y z h s si t ti v vi not swap, rx ry rz xx yy zz with a rotation in radians, z with a
            rotation (the phase gate), cnot, all of these under any number of controls, and pauliexp with terms that
            commute. Of "native": gpi, gpi2, ms and zz, with angles in turns.

    Raises:
        InvalidCircuitError: Something is missing, unknown or of the wrong kind; the message names it.

    Source: docs.ionq.com, API v0.4, as cirq-ionq 1.7 and qiskit-ionq 1.1 write it. IonQ's results count the other way
    round: qubit 0 is the *lowest* bit of their numbers and the highest of ours.

    Example:
        >>> from_ionq({"qubits": 2, "circuit": [{"gate": "cnot", "control": 0, "target": 1}]}).operations[0].gate
        'CX'
    """
    gates, qubits = program.get("circuit"), program.get("qubits")
    gateset = program.get("gateset", "qis")
    if not isinstance(gates, Sequence) or isinstance(gates, str) or gateset not in ("qis", "native"):
        raise InvalidCircuitError(
            f"a program of gateset {gateset!r} with the circuit {str(gates)[:60]} is not IonQ's",
            fix='Give "circuit" as a list of gates and "gateset" as "qis" or "native".',
            value=gateset,
        )
    if isinstance(qubits, bool) or not isinstance(qubits, int):
        raise InvalidCircuitError(f"qubits is {qubits!r}", fix='Give "qubits" as an integer.', value=qubits)
    translate = _native if gateset == "native" else _standard
    return Circuit(qubits, (operation for gate in gates for operation in translate(gate)))


def _standard(gate: object) -> Iterable[Operation]:
    fields = _fields(gate)
    name = str(fields["gate"])
    targets = _qubits(fields, "target", "targets")
    controls = _qubits(fields, "control", "controls", needed=False)
    if name == "pauliexp":
        if controls:
            raise _wrong(fields, "pauliexp has no controls")
        return _exponential(fields, targets)
    if name == "cnot":
        if len(controls) != 1:
            raise _wrong(fields, "cnot has one control")
        name = "x"
    if name in _ROOTS_OF_X:
        sign = _ROOTS_OF_X[name]
        steps = [Operation("RX", (target,), (sign * math.pi / 2,)) for target in targets]
        # The root of X is e^{iπ/4} RX(π/2); the phase shows under controls.
        return (*_phases(sign * math.pi / 4 * len(targets), controls), *_under(steps, controls))
    if name == "z" and "rotation" in fields:
        steps = [Operation("P", (target,), (_number(fields, "rotation"),)) for target in targets]
    elif name in FIXED:
        steps = _on(fields, FIXED[name], targets, ())
    elif name in ROTATIONS:
        steps = _on(fields, ROTATIONS[name], targets, (_number(fields, "rotation"),))
    else:
        raise _wrong(fields, f"the gateset qis has no gate {name!r}")
    return _under(steps, controls)


def _native(gate: object) -> Iterable[Operation]:
    fields = _fields(gate)
    targets = _qubits(fields, "target", "targets")
    match fields["gate"]:
        case "gpi" | "gpi2" as name:
            return _on(fields, str(name).upper(), targets, (TURN * _number(fields, "phase"),))
        case "ms":
            phases = fields.get("phases")
            if not isinstance(phases, Sequence) or len(phases) != 2:
                raise _wrong(fields, "ms has two phases")
            angles = [*(_real(fields, "phases", phase) for phase in phases), _number(fields, "angle", 0.25)]
            return _on(fields, "MS", targets, [TURN * value for value in angles])
        case "zz":
            # cirq-ionq writes "phase" where qiskit-ionq writes "angle".
            return _on(fields, "RZZ", targets, (TURN * _number(fields, "angle" if "angle" in fields else "phase"),))
        case name:
            raise _wrong(fields, f"the gateset native has no gate {name!r}")


def _exponential(fields: Mapping[str, object], targets: tuple[int, ...]) -> list[Operation]:
    """exp(-i t Σ c P) as one rotation a term; the right-most letter belongs to the first target."""
    terms, weights = fields.get("terms"), fields.get("coefficients")
    if not isinstance(terms, Sequence) or not isinstance(weights, Sequence) or len(terms) != len(weights):
        raise _wrong(fields, "pauliexp has as many coefficients as terms")
    time = _number(fields, "time")
    steps: list[Operation] = []
    for term, weight in zip(terms, weights, strict=True):
        if not isinstance(term, str) or len(term) != len(targets) or set(term) - set("IXYZ"):
            raise _wrong(fields, f"the term {term!r} does not fit {len(targets)} target(s)")
        if any(not _commute(term, other) for other in terms):
            raise _wrong(fields, f"the term {term!r} does not commute with every other one")
        letters = {target: letter for target, letter in zip(targets, reversed(term), strict=True) if letter != "I"}
        steps += rotation_about(letters, 2 * time * _real(fields, "coefficients", weight))
    return steps


def _commute(term: str, other: object) -> bool:
    differing = sum(a != b and "I" not in (a, b) for a, b in zip(term, str(other), strict=False))
    return differing % 2 == 0


def _on(fields: Mapping[str, object], name: str, targets: tuple[int, ...], angles: Iterable[float]) -> list[Operation]:
    """A gate on one qubit acts on every target, one on two qubits on both."""
    given = tuple(angles)
    if name in ("SWAP", "RXX", "RYY", "RZZ", "MS"):
        if len(targets) != 2:
            raise _wrong(fields, f"{fields['gate']} has two targets")
        return [Operation(name, targets, given)]
    return [Operation(name, (target,), given) for target in targets]


def _under(steps: Sequence[Operation], controls: tuple[int, ...]) -> list[Operation]:
    found = list(steps)
    for control in controls:
        found = [part for step in found for part in controlled(step, control)]
    return found


def _phases(angle: float, controls: tuple[int, ...]) -> tuple[Operation, ...]:
    return multi_controlled_phase(angle, controls) if controls else ()


def _fields(gate: object) -> Mapping[str, object]:
    if not isinstance(gate, Mapping) or not isinstance(gate.get("gate"), str):
        raise InvalidCircuitError(f"{gate!r} is not a gate", fix='Give {"gate": name, …}.', value=gate)
    return gate


def _qubits(fields: Mapping[str, object], one: str, several: str, *, needed: bool = True) -> tuple[int, ...]:
    given = [fields[one]] if one in fields and several not in fields else fields.get(several, [])
    qubits = given if isinstance(given, Sequence) else ()
    numbers = tuple(qubit for qubit in qubits if isinstance(qubit, int) and not isinstance(qubit, bool))
    if not isinstance(given, Sequence) or len(numbers) != len(given) or (needed and not numbers):
        raise _wrong(fields, f'"{several}" is {given!r}')
    return numbers


def _number(fields: Mapping[str, object], name: str, default: float | None = None) -> float:
    return _real(fields, name, fields.get(name, default))


def _real(fields: Mapping[str, object], name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise _wrong(fields, f'"{name}" is {value!r}')
    return float(value)


def _wrong(fields: Mapping[str, object], what: str) -> InvalidCircuitError:
    return InvalidCircuitError(
        f"in {dict(fields)}: {what}", fix="See docs.ionq.com, the gates of API v0.4.", value=dict(fields)
    )
