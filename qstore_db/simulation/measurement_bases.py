"""Which strings can be read from the same shots.

Two Pauli strings commute qubit by qubit when no qubit has two different letters besides I. Strings that do so pairwise
share a basis, one letter a qubit, and one set of shots gives them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.pauli_rotations import turned_to_z


@dataclass(frozen=True, slots=True)
class MeasurementBasis:
    """A basis and the strings read in it.

    Args:
        letters: X, Y or Z for every qubit, the first letter for qubit 0; qubits that no string needs have Z.
        strings: Without the identity, which needs no shots.
    """

    letters: str
    strings: tuple[PauliString, ...]

    def rotation(self) -> tuple[Operation, ...]:
        """Gates after which a measurement in the computational basis is one in this basis: H for X, S† and H for Y."""
        return turned_to_z(enumerate(self.letters))


def measurement_bases(strings: Iterable[PauliString]) -> tuple[MeasurementBasis, ...]:
    """Bases that together read all strings.

    Strings with many letters come first, ties in the order given; each goes into the first basis that has room for it.
    Not always the fewest bases: finding those is a colouring problem.

    Args:
        strings: On the same qubits; repeated ones count once.

    Example:
        >>> [one.letters for one in measurement_bases([PauliString("ZI"), PauliString("XX"), PauliString("ZZ")])]
        ['XX', 'ZZ']
    """
    wanted = [string for string in dict.fromkeys(strings) if string.on_qubits]
    letters: list[dict[int, str]] = []
    members: list[list[PauliString]] = []
    for string in sorted(wanted, key=lambda one: -len(one.on_qubits)):
        needed = string.on_qubits
        for place, basis in enumerate(letters):
            if all(basis.get(qubit, letter) == letter for qubit, letter in needed.items()):
                basis.update(needed)
                members[place].append(string)
                break
        else:
            letters.append(dict(needed))
            members.append([string])
    order = {string: place for place, string in enumerate(wanted)}
    return tuple(
        MeasurementBasis(
            "".join(basis.get(qubit, "Z") for qubit in range(strings_of[0].n_qubits)),
            tuple(sorted(strings_of, key=order.__getitem__)),
        )
        for basis, strings_of in zip(letters, members, strict=True)
    )


def parities(outcomes: NDArray[np.int64], strings: Sequence[PauliString]) -> NDArray[np.int8]:
    """The value ±1 of every string for every outcome of its basis.

    Args:
        outcomes: int64 (outcomes,), basis indices.
        strings: Read in one basis.

    Returns:
        int8 (outcomes, strings).
    """
    masks = [x | z for x, z, _ in (string.masks for string in strings)]
    odd = np.bitwise_count(outcomes[:, None] & np.array(masks, np.int64)) & 1
    out: NDArray[np.int8] = np.where(odd, np.int8(-1), np.int8(1))
    return out
