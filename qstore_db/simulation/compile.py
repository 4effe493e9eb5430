"""From gates to commuting sets of Pauli rotations.

One instruction remains: exp(-i θ/2 P) with P a Pauli string and θ a sum of scaled weights, data columns and constants.
    RX RY RZ RXX RYY RZZ    are that already;   P(θ), T, TDG = RZ up to a global phase;   U(θ, φ, λ) = RZ(φ) RY(θ) RZ(λ)
    CRX CRY CRZ             exp(-i θ/4 P_t) exp(+i θ/4 Z_c P_t): they cancel where the control is 0, add where it is 1
Clifford gates go into the frame. Then rotations that no readout can see are dropped, each remaining one moves to the
earliest set of mutually commuting strings it can reach, and equal strings of a set become one rotation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.composite import basic
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.observables import Observable, terms_of
from qstore_db.circuits.parameters import Angle, Symbol
from qstore_db.simulation.frame import CliffordFrame, PauliMask

MAX_SET: Final = 64
"""Strings in one set; larger ones are cut, so that the cosines of a set never underflow in float32."""


@dataclass(slots=True)
class Rotation:
    """exp(-i θ/2 P).

    Args:
        string: P without its sign, which is in the terms.
        terms: θ is the sum of these symbols.
        constant: and of this number, radians.
    """

    string: PauliMask
    terms: list[Symbol] = field(default_factory=list)
    constant: float = 0.0


@dataclass(frozen=True, slots=True)
class ReadoutTerm:
    """``scale · ⟨string⟩`` is added to readout number ``column``."""

    string: PauliMask
    scale: float
    column: int


@dataclass(frozen=True, slots=True)
class RotationSets:
    """A circuit as rotations and what is read at the end.

    Args:
        sets: Mutually commuting rotations, set after set in time order.
        readouts: Terms of the observables in the final frame.
    """

    sets: list[list[Rotation]]
    readouts: list[ReadoutTerm]


def rotation_sets(circuit: Circuit, observables: Sequence[Observable]) -> RotationSets:
    """Rewrites a circuit; exact up to a global phase, and for expectation values exact."""
    frame = CliffordFrame(circuit.n_qubits)
    rotations: list[Rotation] = []
    for operation in basic(circuit.operations):
        if GATES[operation.gate].clifford:
            frame.apply(operation.gate, operation.qubits)
        else:
            rotations += [_rotation(frame.image(letters), theta) for letters, theta in _generators(operation)]
    readouts = []
    for column, observable in enumerate(observables):
        for coefficient, string in terms_of(observable):
            image = frame.image(string.on_qubits)
            readouts.append(ReadoutTerm(_unsigned(image), coefficient * image.sign, column))
    return RotationSets(_cut(_commuting_sets(_seen(rotations, readouts))), readouts)


def _generators(operation: Operation) -> list[tuple[dict[int, str], Angle]]:
    """The gate's rotations in time order: letters of the string, and its angle."""
    gate, qubits, angles = operation.gate, operation.qubits, operation.angles
    first, last = qubits[0], qubits[-1]
    if gate in ("T", "TDG"):
        return [({first: "Z"}, Angle((), math.pi / 4 if gate == "T" else -math.pi / 4))]
    if gate == "P":
        return [({first: "Z"}, angles[0])]
    if gate == "U":
        theta, phi, lam = angles
        return [({first: "Z"}, lam), ({first: "Y"}, theta), ({first: "Z"}, phi)]
    if gate.startswith("CR"):
        return [({last: gate[2]}, angles[0] * 0.5), ({first: "Z", last: gate[2]}, angles[0] * -0.5)]
    return [(dict(zip(qubits, gate[1:], strict=True)), angles[0])]


def _unsigned(string: PauliMask) -> PauliMask:
    return PauliMask(string.x, string.z, string.phase & 1)


def _rotation(string: PauliMask, theta: Angle) -> Rotation:
    signed = theta * string.sign
    return Rotation(_unsigned(string), list(signed.terms), signed.constant)


def _seen(rotations: list[Rotation], readouts: list[ReadoutTerm]) -> list[Rotation]:
    """Without the rotations that commute with every readout and every later kept rotation: nothing depends on them."""
    kept: list[Rotation] = []
    for rotation in reversed(rotations):
        later = [other.string for other in kept] + [term.string for term in readouts]
        if any(rotation.string.anticommutes(string) for string in later):
            kept.append(rotation)
    return kept[::-1]


def _commuting_sets(rotations: list[Rotation]) -> list[list[Rotation]]:
    sets: list[list[Rotation]] = []
    for rotation in rotations:
        place = len(sets)
        while place and not any(rotation.string.anticommutes(other.string) for other in sets[place - 1]):
            place -= 1
        equal = next((other for one in sets[place:] for other in one if other.string == rotation.string), None)
        if equal is not None:
            equal.terms += rotation.terms
            equal.constant += rotation.constant
        elif place == len(sets):
            sets.append([rotation])
        else:
            sets[place].append(rotation)
    return sets


def _cut(sets: list[list[Rotation]]) -> list[list[Rotation]]:
    return [one[start : start + MAX_SET] for one in sets for start in range(0, len(one), MAX_SET)]
