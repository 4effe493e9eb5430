"""Gates as rotations about an axis, so that S, T, P and RZ can be added up.

Up to a global phase X = RX(π), Y = RY(π), Z = RZ(π), S = RZ(π/2), T = RZ(π/4) and P(θ) = RZ(θ). A controlled rotation
has an axis of its own: its angle adds up too, but it is no rotation of its target alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from qstore_db.circuits.circuit import Operation
from qstore_db.circuits.parameters import Angle, angle
from qstore_db.compilation.symbolic import collected, is_multiple

_FIXED: Final = {
    "X": ("X", math.pi),
    "Y": ("Y", math.pi),
    "Z": ("Z", math.pi),
    "S": ("Z", math.pi / 2),
    "SDG": ("Z", -math.pi / 2),
    "T": ("Z", math.pi / 4),
    "TDG": ("Z", -math.pi / 4),
}
_AXES: Final = {
    "RX": "X", "RY": "Y", "RZ": "Z", "P": "Z", "RXX": "XX", "RYY": "YY", "RZZ": "ZZ",
    "CRX": "control X", "CRY": "control Y", "CRZ": "control Z", "CP": "both",
}  # fmt: skip
_NAMED: Final = {("Z", 1): "T", ("Z", 2): "S", ("Z", 4): "Z", ("Z", 6): "SDG", ("Z", 7): "TDG"}
"""Gates without angle by their turn in eighths; X and Y only ever add up to a whole turn."""
SYMMETRIC: Final = frozenset({"CZ", "CP", "SWAP", "ISWAP", "ISWAPDG", "RXX", "RYY", "RZZ"})
"""Gates for which the order of the two qubits does not matter."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What two rotations share when their angles add up.

    Args:
        letters: The Pauli letters, with ``control`` before the letter of a controlled rotation; ``both`` for the phase
            where both qubits are 1.
        qubits: In the gate's order, ascending where the order does not matter.
    """

    letters: str
    qubits: tuple[int, ...]


def sites(operation: Operation) -> tuple[int, ...]:
    """The qubits of a gate, ascending where the gate does not tell them apart."""
    return tuple(sorted(operation.qubits)) if operation.gate in SYMMETRIC else operation.qubits


def axis(operation: Operation) -> Axis | None:
    """The axis of the gate; None for a gate that is no rotation about one."""
    gate = operation.gate
    letters = _FIXED[gate][0] if gate in _FIXED else _AXES.get(gate)
    return None if letters is None else Axis(letters, sites(operation))


def merged(first: Operation, second: Operation) -> tuple[Operation, ...] | None:
    """Two gates about one axis as at most one gate, up to a global phase.

    A rotation among the two gives a rotation. Others give the gate without angle that they amount to (T·T = S), nothing
    where they amount to nothing (X·X), and else a P.

    Returns:
        None when the gates do not turn about the same axis.

    Example:
        >>> merged(Operation("T", (0,)), Operation("T", (0,)))[0].gate
        'S'
    """
    shared = axis(first)
    if shared is None or shared != axis(second):
        return None
    total = collected(_turn(first) + _turn(second))
    rotation = next((gate for gate in (first.gate, second.gate) if gate in _AXES and gate != "P"), None)
    if rotation is not None:
        return (Operation(rotation, first.qubits, (total,)),)
    if is_multiple(total, math.pi / 4):
        eighths = round(total.constant / (math.pi / 4)) % 8
        named = _NAMED.get((shared.letters, eighths))
        if eighths == 0 or named is not None:
            return () if named is None else (Operation(named, first.qubits),)
    return (Operation("P", first.qubits, (total,)),)


def without_turn(operation: Operation) -> bool:
    """Whether the gate is the identity up to a global phase: a constant multiple of 2π, of 4π under a control."""
    turned = axis(operation)
    if turned is None:
        return False
    return is_multiple(_turn(operation), (4 if turned.letters.startswith("control") else 2) * math.pi)


def _turn(operation: Operation) -> Angle:
    fixed = _FIXED.get(operation.gate)
    return operation.angles[0] if fixed is None else angle(fixed[1])
