"""The qubits of an OpenQASM program: registers, numbered in the order of their declarations."""

from __future__ import annotations

from collections.abc import Sequence

from qstore_db.circuits.circuit import MAX_QUBITS
from qstore_db.circuits.qasm.tokens import Token, TokenStream, described, refuse

_REGISTER = "Name a declared register, with an index inside it."


class Registers:
    """What ``qreg`` and ``qubit`` declared; the first register's qubit 0 is the circuit's qubit 0."""

    __slots__ = ("_places", "n_qubits")

    def __init__(self) -> None:
        self.n_qubits = 0
        self._places: dict[str, range] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def declare(self, name: Token, size: int) -> None:
        """Adds a register.

        Raises:
            InvalidCircuitError: No qubits, or more in all than a circuit holds.
        """
        if size < 1 or self.n_qubits + size > MAX_QUBITS:
            refuse(
                name,
                f"register {name.text!r} of {size} qubit(s) after {self.n_qubits} is outside 1 … {MAX_QUBITS} in all",
                f"Declare 1 to {MAX_QUBITS} qubits.",
            )
        self._places[name.text] = range(self.n_qubits, self.n_qubits + size)
        self.n_qubits += size

    def read_argument(self, stream: TokenStream) -> tuple[Token, Sequence[int], bool]:
        """``q[2]`` or ``q``: where it stands, its qubits, and whether it is a whole register.

        Raises:
            InvalidCircuitError: No such register or qubit.
        """
        name = stream.expect_kind("name", "a qubit")
        places = self._places.get(name.text)
        if places is None:
            refuse(name, f"there is no quantum register {name.text!r}", _REGISTER)
        if not stream.accept("["):
            return name, places, len(places) > 1
        index = read_integer(stream)
        stream.expect("]")
        if index not in range(len(places)):
            refuse(name, f"{name.text}[{index}] is outside the register's {len(places)} qubit(s)", _REGISTER)
        return name, places[index : index + 1], False


def read_integer(stream: TokenStream) -> int:
    """A non-negative integer of at most nine digits.

    Raises:
        InvalidCircuitError: Something else.
    """
    token = stream.expect_kind("number", "an integer")
    if not token.text.isdigit() or len(token.text) > 9:
        refuse(token, f"{described(token)} is not an integer below 10^9", "Write a small integer.")
    return int(token.text)


def broadcast(where: Token, arguments: Sequence[tuple[Token, Sequence[int], bool]]) -> list[tuple[int, ...]]:
    """The qubits of each single call when registers stand for their qubits, one after the other.

    Single qubits are repeated; registers must be equally long.

    Raises:
        InvalidCircuitError: Registers of different length, or one qubit twice in a call.
    """
    lengths = {len(qubits) for _, qubits, whole in arguments if whole}
    if len(lengths) > 1:
        refuse(where, f"registers of {sorted(lengths)} qubits cannot be paired", "Use registers of one length.")
    calls = []
    for step in range(lengths.pop() if lengths else 1):
        call = tuple(qubits[step] if whole else qubits[0] for _, qubits, whole in arguments)
        if len(set(call)) != len(call):
            refuse(where, f"{where.text} acts twice on one qubit", "Name different qubits.")
        calls.append(call)
    return calls
