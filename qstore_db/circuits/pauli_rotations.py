"""Rotations about Pauli strings in gates: each letter is turned to Z, and back.

Source: Nielsen and Chuang, Quantum Computation and Quantum Information, section 4.7.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import AngleLike, angle

_TO_Z: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({"X": ("H",), "Y": ("SDG", "H"), "Z": ()})
_FROM_Z: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({"X": ("H",), "Y": ("H", "S"), "Z": ()})


def turned_to_z(letters: Iterable[tuple[int, str]]) -> tuple[Operation, ...]:
    """Gates V with P = V† Z V on each qubit: H for X, S† and H for Y, none for Z.

    Args:
        letters: Pairs of qubit and letter, without identities.
    """
    return tuple(Operation(gate, (qubit,)) for qubit, letter in letters for gate in _TO_Z[letter])


def turned_from_z(letters: Iterable[tuple[int, str]]) -> tuple[Operation, ...]:
    """The way back from :func:`turned_to_z`."""
    return tuple(Operation(gate, (qubit,)) for qubit, letter in letters for gate in _FROM_Z[letter])


def rotation_about(letters: Mapping[int, str], theta: AngleLike) -> tuple[Operation, ...]:
    """exp(-i θ/2 P) up to a global phase: a chain of CX that collects the parity, one RZ, and the way back.

    Args:
        letters: P as qubit to letter, without identities; no gates if it is empty.
        theta: Radians; may hold weights and data.
    """
    if not letters:
        return ()
    sites = tuple(letters.items())
    chain = [Operation("CX", pair) for pair in pairwise(letters)]
    rotation = Operation("RZ", (sites[-1][0],), (angle(theta),))
    return (*turned_to_z(sites), *chain, rotation, *reversed(chain), *turned_from_z(sites))


def pauli_rotation(string: PauliString, theta: AngleLike) -> Circuit:
    """exp(-i θ/2 P) for a Pauli string P, as :func:`rotation_about` writes it.

    Exact, and up to a global phase the identity for a string of identities.

    Args:
        string: P, on the circuit's qubits.
        theta: Radians; may hold weights and data.

    Example:
        >>> [operation.gate for operation in pauli_rotation(PauliString("XIZ"), 0.5).operations]
        ['H', 'CX', 'RZ', 'CX', 'H']
    """
    return Circuit(string.n_qubits, rotation_about(string.on_qubits, theta))
