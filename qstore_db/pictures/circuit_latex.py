"""A circuit as LaTeX, by the package quantikz (A. Kay, Tutorial on the Quantikz package, arXiv:1809.03842)."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.drawn_marks import Mark, marks, time_steps
from qstore_db.circuits.parameters import Angle, Weight

_NAMES: Final = {
    "SDG": r"S^\dagger",
    "TDG": r"T^\dagger",
    "ISWAP": r"\mathrm{iSWAP}",
    "ISWAPDG": r"\mathrm{iSWAP}^\dagger",
    "GPI": r"\mathrm{GPI}",
    "GPI2": r"\mathrm{GPI2}",
    "MS": r"\mathrm{MS}",
}


def circuit_latex(circuit: Circuit) -> str:
    r"""The environment ``quantikz``, for a preamble with ``\usepackage{tikz}`` and ``\usetikzlibrary{quantikz}``.

    One row a qubit, one column a time step. Weights are w_0, w_1 …, data columns x_0, x_1 …, numbers radians with four
    digits.

    Args:
        circuit: Any circuit.

    Example:
        >>> print(circuit_latex(Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))))
        \begin{quantikz}
        \lstick{$q_{0}$} & \gate{H} & \ctrl{1} & \qw \\
        \lstick{$q_{1}$} & \qw & \targ{} & \qw
        \end{quantikz}
    """
    rows = [[rf"\lstick{{$q_{{{qubit}}}$}}"] for qubit in range(circuit.n_qubits)]
    for step in time_steps(circuit):
        cells = [r"\qw"] * circuit.n_qubits
        for operation in step:
            for qubit, cell in _cells(operation):
                cells[qubit] = cell
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    body = " \\\\\n".join(" & ".join([*row, r"\qw"]) for row in rows)
    return f"\\begin{{quantikz}}\n{body}\n\\end{{quantikz}}"


def _cells(operation: Operation) -> list[tuple[int, str]]:
    """Each wire's cell; every mark but the lowest draws the link to the next one below."""
    placed = sorted(zip(operation.qubits, marks(operation), strict=True), key=lambda one: one[0])
    linked = [(qubit, _cell(mark, below - qubit)) for (qubit, mark), (below, _) in pairwise(placed)]
    lowest, mark = placed[-1]
    return [*linked, (lowest, _cell(mark, 0))]


def _cell(mark: Mark, down: int) -> str:
    link = rf"\vqw{{{down}}}" if down else ""
    match mark.kind:
        case "control":
            return rf"\ctrl{{{down}}}" if down else r"\control{}"
        case "cross":
            return rf"\swap{{{down}}}" if down else r"\targX{}"
        case "target":
            return r"\targ{}" + link
        case "box":
            return rf"\gate{{{_label(mark)}}}" + link


def _label(mark: Mark) -> str:
    name = _NAMES.get(mark.gate) or (f"R_{{{mark.gate[1:]}}}" if mark.gate.startswith("R") else mark.gate)
    return f"{name}({', '.join(map(_angle, mark.angles))})" if mark.angles else name


def _angle(value: Angle) -> str:
    terms = [
        _factor(term.scale) + ("w" if isinstance(term, Weight) else "x") + f"_{{{term.index}}}" for term in value.terms
    ]
    if value.constant or not terms:
        terms.append(_number(value.constant))
    return " + ".join(terms).replace("+ -", "- ")


def _factor(scale: float) -> str:
    if abs(scale) == 1.0:
        return "" if scale > 0 else "-"
    return _number(scale) + r"\,"


def _number(value: float) -> str:
    digits, _, exponent = f"{value:.4g}".partition("e")
    return digits + (rf" \cdot 10^{{{int(exponent)}}}" if exponent else "")
