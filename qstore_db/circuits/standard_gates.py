"""The gates of OpenQASM's ``qelib1.inc`` and ``stdgates.inc`` by name, written in our gates.

Equal up to a global phase, and exactly where the name has a control: such gates stay right inside larger ones. The
definitions are those of the OpenQASM 3 standard library and, where it has none (``rxx``, ``ryy``, ``rzz``, ``csx`` …),
of Qiskit's circuit library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from qstore_db.circuits.circuit import Operation
from qstore_db.circuits.controlled import controlled, multi_controlled_z
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.parameters import Angle

Operations: TypeAlias = tuple[Operation, ...]
Build: TypeAlias = Callable[[Sequence[int], Sequence[Angle]], Operations]


@dataclass(frozen=True, slots=True)
class StandardGate:
    """One name of the standard libraries.

    Args:
        qubits: Qubits it takes.
        angles: Angles it takes.
        build: Qubits and angles to our operations.
    """

    qubits: int
    angles: int
    build: Build


OURS_ALONE: Final = frozenset({"GPI", "GPI2", "MS", "ISWAPDG"})
"""Gates of ours that no standard library knows; other tools write the angles of the first three in turns."""

OUR_NAMES: Final[Mapping[str, str]] = MappingProxyType({name.lower(): name for name in GATES if name not in OURS_ALONE})
"""Standard name to ours, for the gates that both sides have."""

_ALIASES: Final = {"phase": "P", "u1": "P", "U": "U", "u3": "U", "CX": "CX", "cnot": "CX", "cphase": "CP", "cu1": "CP"}


def _direct(name: str) -> StandardGate:
    gate = GATES[name]
    return StandardGate(gate.qubits, gate.angles, lambda qubits, angles: (Operation(name, qubits, angles),))


def _under_control(gate: str) -> StandardGate:
    kind = GATES[gate]
    return StandardGate(
        kind.qubits + 1, kind.angles, lambda qubits, angles: controlled(Operation(gate, qubits[1:], angles), qubits[0])
    )


def _nothing(qubits: Sequence[int], angles: Sequence[Angle]) -> Operations:
    return ()


def _root_of_x(sign: float) -> StandardGate:
    return StandardGate(1, 0, lambda qubits, angles: (Operation("RX", qubits, (sign * math.pi / 2,)),))


def _u2(qubits: Sequence[int], angles: Sequence[Angle]) -> Operations:
    return (Operation("U", qubits, (math.pi / 2, *angles)),)


def _cu(qubits: Sequence[int], angles: Sequence[Angle]) -> Operations:
    phase = Operation("P", (qubits[0],), (angles[3],))
    return (phase, *controlled(Operation("U", qubits[1:], angles[:3]), qubits[0]))


def _csx(qubits: Sequence[int], angles: Sequence[Angle]) -> Operations:
    # The root of X is e^{iπ/4} RX(π/2); the phase shows under the control.
    return (Operation("P", qubits[:1], (math.pi / 4,)), Operation("CRX", qubits, (math.pi / 2,)))


STANDARD_GATES: Final[Mapping[str, StandardGate]] = MappingProxyType(
    {
        **{name: _direct(ours) for name, ours in (dict(OUR_NAMES) | _ALIASES).items()},
        "id": StandardGate(1, 0, _nothing),
        "u2": StandardGate(1, 2, _u2),
        "sx": _root_of_x(1.0),
        "sxdg": _root_of_x(-1.0),
        "cy": _under_control("Y"),
        "ch": _under_control("H"),
        "cs": _under_control("S"),
        "csdg": _under_control("SDG"),
        "csx": StandardGate(2, 0, _csx),
        "cu3": _under_control("U"),
        "cu": StandardGate(2, 4, _cu),
        "ccz": StandardGate(3, 0, lambda qubits, angles: multi_controlled_z(qubits)),
    }
)
"""Every name that is understood."""
