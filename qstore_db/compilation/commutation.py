"""When two gates may change places, told from the Pauli strings that they are functions of.

A gate that is a function of Pauli strings commutes with all that commutes with each of them: CX is a function of Z on
its control and X on its target, SWAP of XX, YY and ZZ. The test is sufficient for all angles, not necessary: RX(2π) is
not recognised as harmless, and H, U, GPI, GPI2 and MS commute with nothing on their qubits.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from qstore_db.circuits.circuit import Operation

_FUNCTION_OF: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **dict.fromkeys(("X", "RX"), ("X",)),
        **dict.fromkeys(("Y", "RY"), ("Y",)),
        **dict.fromkeys(("Z", "S", "SDG", "T", "TDG", "RZ", "P"), ("Z",)),
        **{f"R{letter}{letter}": (letter * 2,) for letter in "XYZ"},
        **{f"CR{letter}": ("ZI", f"I{letter}") for letter in "XYZ"},
        "CX": ("ZI", "IX"),
        "CZ": ("ZI", "IZ"),
        "CP": ("ZI", "IZ"),
        "SWAP": ("XX", "YY", "ZZ"),
        **dict.fromkeys(("ISWAP", "ISWAPDG"), ("XX", "YY")),
        "CCX": ("ZII", "IZI", "IIX"),
        "CSWAP": ("ZII", "IXX", "IYY", "IZZ"),
    }
)


def commute(first: Operation, second: Operation) -> bool:
    """Whether the two gates are known to commute, for all values of their angles.

    Example:
        >>> commute(Operation("CX", (0, 1)), Operation("CX", (2, 1)))
        True
    """
    if not set(first.qubits) & set(second.qubits):
        return True
    left, right = _FUNCTION_OF.get(first.gate), _FUNCTION_OF.get(second.gate)
    if left is None or right is None:
        return False
    return not any(_anticommute(first.qubits, one, second.qubits, other) for one in left for other in right)


def _anticommute(first_qubits: tuple[int, ...], first: str, second_qubits: tuple[int, ...], second: str) -> bool:
    letters = dict(zip(first_qubits, first, strict=True))
    pairs = [(letters.get(qubit, "I"), letter) for qubit, letter in zip(second_qubits, second, strict=True)]
    return sum("I" not in pair and pair[0] != pair[1] for pair in pairs) % 2 == 1
