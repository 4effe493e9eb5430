"""A circuit as text, one line a qubit, time from left to right."""

from __future__ import annotations

from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation

_CONTROLLED: Final = {"CX": "X", "CZ": "Z", "CRX": "RX", "CRY": "RY", "CRZ": "RZ"}


def draw(circuit: Circuit) -> str:
    """The circuit in characters.

    A control is ``●``, an end of a SWAP ``x``, a wire that a two-qubit gate crosses ``┼``. Weights are ``w0``, data columns ``x0``.
    Gates that fit stand above each other; every gate keeps its place in time on its own wires.

    Args:
        circuit: Wide circuits make long lines; nothing is wrapped.

    Returns:
        ``n_qubits`` lines without a final line break.

    Example:
        >>> print(draw(Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))))
        0: ─H─●─
        1: ───X─
    """
    columns: list[dict[int, str]] = []
    level = [0] * circuit.n_qubits
    for operation in circuit.operations:
        low, high = min(operation.qubits), max(operation.qubits)
        place = max(level[low : high + 1])
        if place == len(columns):
            columns.append({})
        columns[place].update(dict.fromkeys(range(low, high + 1), "┼"))
        columns[place].update(_symbols(operation))
        level[low : high + 1] = [place + 1] * (high + 1 - low)
    widths = [max(map(len, column.values())) for column in columns]
    digits = len(str(circuit.n_qubits - 1))
    lines = []
    for qubit in range(circuit.n_qubits):
        cells = (column.get(qubit, "").center(width, "─") for column, width in zip(columns, widths, strict=True))
        lines.append(f"{qubit:>{digits}}: ─" + "".join(f"{cell}─" for cell in cells))
    return "\n".join(lines)


def _symbols(operation: Operation) -> dict[int, str]:
    first, last = operation.qubits[0], operation.qubits[-1]
    angles = f"({', '.join(map(str, operation.angles))})" if operation.angles else ""
    if operation.gate in _CONTROLLED:
        return {first: "●", last: _CONTROLLED[operation.gate] + angles}
    if operation.gate == "SWAP":
        return {first: "x", last: "x"}
    return dict.fromkeys(operation.qubits, operation.gate + angles)
