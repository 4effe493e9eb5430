"""A circuit as SVG: one text that browsers, notebooks and vector editors show."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

from qstore_db.circuits.circuit import Circuit
from qstore_db.pictures.circuit_scene import (
    ARM,
    DOT,
    FONT,
    RING,
    Box,
    Cross,
    Dot,
    Line,
    Ring,
    Shape,
    Text,
    circuit_scene,
)

_STYLE: Final = (
    f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="{FONT:g}" stroke="currentColor" fill="none"'
)
_LETTERS: Final = 'fill="currentColor" stroke="none" dominant-baseline="central"'


def circuit_svg(circuit: Circuit, *, paper: str = "white") -> str:
    """The picture of a circuit, in the colour of the text around it.

    Args:
        circuit: Any circuit. Weights are w0, w1 …, data columns x0, x1 …, numbers radians with four digits.
        paper: The colour inside boxes and rings, in any spelling of SVG: that of the page, for wires pass behind them.

    Returns:
        One ``<svg>`` element without a header, sized in points.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> circuit_svg(Circuit(1, (Operation("H", (0,)),)))[:4]
        '<svg'
    """
    scene = circuit_scene(circuit)
    size = f'width="{scene.width:g}pt" height="{scene.height:g}pt" viewBox="0 0 {scene.width:g} {scene.height:g}"'
    title = f"<title>A circuit on {circuit.n_qubits} qubit(s)</title>"
    fill = escape(paper, {'"': "&quot;"})
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} {_STYLE}>', title]
    return "\n".join([*lines, *(_element(shape, fill) for shape in scene.shapes), "</svg>"]) + "\n"


def _element(shape: Shape, paper: str) -> str:
    match shape:
        case Line(x1, y1, x2, y2):
            return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}"/>'
        case Box(x, y, width, height, text):
            place = f'x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}"'
            words = f'<text x="{x:g}" y="{y:g}" text-anchor="middle" {_LETTERS}>{escape(text)}</text>'
            return f'<rect {place} rx="2" fill="{paper}"/>{words}'
        case Text(x, y, text):
            return f'<text x="{x:g}" y="{y:g}" text-anchor="end" {_LETTERS}>{escape(text)}</text>'
        case Dot(x, y):
            return f'<circle cx="{x:g}" cy="{y:g}" r="{DOT:g}" fill="currentColor"/>'
        case Ring(x, y):
            cross = f"M{x - RING:g} {y:g}h{2 * RING:g}M{x:g} {y - RING:g}v{2 * RING:g}"
            return f'<circle cx="{x:g}" cy="{y:g}" r="{RING:g}" fill="{paper}"/><path d="{cross}"/>'
        case Cross(x, y):
            left, right = (
                f"M{x - ARM:g} {y - ARM:g}l{2 * ARM:g} {2 * ARM:g}",
                f"m0 {-2 * ARM:g}l{-2 * ARM:g} {2 * ARM:g}",
            )
            return f'<path d="{left}{right}"/>'
