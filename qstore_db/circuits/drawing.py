"""A circuit as text: qubit 0 on top, time from left to right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.drawn_marks import marks, time_steps
from qstore_db.errors import InvalidArgumentError

_MINIMUM_WIDTH: Final = 20

_SYMBOLS: Final = {"control": "●", "target": "⊕", "cross": "×"}
_ADJOINT: Final = {"SDG": "S†", "TDG": "T†", "ISWAPDG": "ISWAP†"}


def draw(circuit: Circuit, *, width: int | None = None) -> str:
    """The drawing: one line a qubit, and between two qubits one for the links of two-qubit gates.

    Gates stand as far left as their qubits and the qubits between them are free. ``●`` is a control, ``⊕`` the target
    of CX and CCX, ``×`` an end of SWAP and CSWAP, ``┼`` a wire that a link crosses; RXX, RYY, RZZ and MS show their
    angles at the first qubit. Weights are w0, w1 …, data columns x0, x1 …, and numbers are radians with four digits.

    Args:
        circuit: Any circuit.
        width: Longest line in characters, at least 20; a longer circuit goes on in further blocks (a single gate wider
            than that keeps its line whole). None draws one block.

    Returns:
        2n - 1 lines a block, without trailing spaces; an empty line between blocks; no final line break.

    Raises:
        InvalidArgumentError: ``width`` is below 20.

    Example:
        >>> print(draw(Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))))
        0: ─H─●─
              │
        1: ───⊕─
    """
    if width is not None and width < _MINIMUM_WIDTH:
        raise InvalidArgumentError(
            f"a drawing of {width} characters is too narrow", fix=f"Use {_MINIMUM_WIDTH} or more.", value=width
        )
    digits = len(str(circuit.n_qubits - 1))
    labels = [f"{qubit:>{digits}}: ─" for qubit in range(circuit.n_qubits)]
    columns = [_column(circuit.n_qubits, step) for step in time_steps(circuit)]
    blocks = _blocks(columns, None if width is None else width - len(labels[0]))
    return "\n\n".join(_block(labels, block) for block in blocks)


@dataclass(frozen=True, slots=True)
class _Column:
    """One time step: the symbol on each wire ("" where none), and whether a link leaves the wire downwards."""

    symbols: tuple[str, ...]
    linked: tuple[bool, ...]

    @property
    def width(self) -> int:
        return max(map(len, self.symbols))


def _column(n_qubits: int, operations: list[Operation]) -> _Column:
    symbols, linked = [""] * n_qubits, [False] * n_qubits
    for operation in operations:
        top, bottom = min(operation.qubits), max(operation.qubits)
        symbols[top : bottom + 1] = ["┼"] * (bottom + 1 - top)
        linked[top:bottom] = [True] * (bottom - top)
        for qubit, symbol in zip(operation.qubits, _symbols(operation), strict=True):
            symbols[qubit] = symbol
    return _Column(tuple(symbols), tuple(linked))


def _symbols(operation: Operation) -> tuple[str, ...]:
    return tuple(_SYMBOLS.get(mark.kind) or label(mark.gate, tuple(map(str, mark.angles))) for mark in marks(operation))


def label(gate: str, angles: tuple[str, ...]) -> str:
    """What stands in a gate's place: its name, ``†`` for an adjoint, and its angles in brackets."""
    name = _ADJOINT.get(gate, gate)
    return f"{name}({', '.join(angles)})" if angles else name


def _blocks(columns: list[_Column], room: int | None) -> list[list[_Column]]:
    blocks: list[list[_Column]] = [[]]
    used = 0
    for column in columns:
        if room is not None and blocks[-1] and used + column.width + 1 > room:
            blocks.append([])
            used = 0
        blocks[-1].append(column)
        used += column.width + 1
    return blocks


def _block(labels: list[str], columns: list[_Column]) -> str:
    lines: list[str] = []
    for qubit, label in enumerate(labels):
        lines.append(label + "".join(_centred(column.symbols[qubit], column.width, "─") + "─" for column in columns))
        links = (_centred("│" if column.linked[qubit] else "", column.width, " ") + " " for column in columns)
        lines.append((" " * len(label) + "".join(links)).rstrip())
    return "\n".join(lines[:-1])


def _centred(text: str, width: int, fill: str) -> str:
    """The text in the middle, the odd character on the right, so that links meet their ends."""
    left = (width - len(text)) // 2
    return fill * left + text + fill * (width - left - len(text))
