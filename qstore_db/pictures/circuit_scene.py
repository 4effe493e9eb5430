"""Where everything of a circuit's picture stands: the same lines and boxes for an SVG and for a matplotlib figure.

Lengths are points, 1/72 inch, from the upper left corner, x to the right and y down. Qubit 0 is on top, time goes from
left to right, letters are 12 points of a font of one width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.drawing import label
from qstore_db.circuits.drawn_marks import Mark, marks, time_steps

FONT: Final = 12.0
LETTER: Final = 7.3
"""Width of one letter: a little more than the 0.6 of the height that such fonts have."""
DOT: Final = 3.5
RING: Final = 8.0
ARM: Final = 5.0

_ROW: Final = 36.0
_BOX: Final = 24.0
_INSET: Final = 8.0
_GAP: Final = 14.0
_EDGE: Final = 8.0


@dataclass(frozen=True, slots=True)
class Line:
    """A wire, or the link of a gate on several qubits."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Box:
    """A box around a text; ``x`` and ``y`` are its middle."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A text that ends at ``x``, in the middle of ``y``."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A control: a full circle of radius ``DOT``."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Ring:
    """The target of a controlled X: a circle of radius ``RING`` with an upright cross."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Cross:
    """An end of an exchange: two slanting strokes, ``ARM`` to each side."""

    x: float
    y: float


Shape: TypeAlias = Line | Box | Text | Dot | Ring | Cross


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture.

    Args:
        width: Points.
        height: Points.
        shapes: From the back to the front: wires, then links, then what lies on them.
    """

    width: float
    height: float
    shapes: tuple[Shape, ...]


def circuit_scene(circuit: Circuit) -> Scene:
    """The picture of a circuit; cost: one walk over its gates.

    Args:
        circuit: Any circuit. Weights are w0, w1 …, data columns x0, x1 …, numbers radians with four digits.
    """
    names = [f"{qubit}:" for qubit in range(circuit.n_qubits)]
    left = _EDGE + LETTER * max(map(len, names)) + _INSET
    rows = [_EDGE + _BOX / 2 + _ROW * qubit for qubit in range(circuit.n_qubits)]
    links: list[Shape] = []
    front: list[Shape] = []
    x = left + _GAP
    for step in time_steps(circuit):
        width = max(_width(mark) for operation in step for mark in marks(operation))
        for operation in step:
            links += _links(operation, x + width / 2, rows)
            front += _front(operation, x + width / 2, rows)
        x += width + _GAP
    wires = [Line(left, y, x, y) for y in rows]
    texts = [Text(left - _INSET, y, name) for y, name in zip(rows, names, strict=True)]
    return Scene(x + _EDGE, rows[-1] + _BOX / 2 + _EDGE, (*wires, *texts, *links, *front))


def _text(mark: Mark) -> str:
    return label(mark.gate, tuple(map(str, mark.angles)))


def _width(mark: Mark) -> float:
    return LETTER * len(_text(mark)) + 2 * _INSET if mark.kind == "box" else 2 * RING


def _links(operation: Operation, x: float, rows: list[float]) -> Iterator[Shape]:
    if len(operation.qubits) > 1:
        yield Line(x, rows[min(operation.qubits)], x, rows[max(operation.qubits)])


def _front(operation: Operation, x: float, rows: list[float]) -> Iterator[Shape]:
    for qubit, mark in zip(operation.qubits, marks(operation), strict=True):
        y = rows[qubit]
        match mark.kind:
            case "box":
                yield Box(x, y, _width(mark), _BOX, _text(mark))
            case "control":
                yield Dot(x, y)
            case "target":
                yield Ring(x, y)
            case "cross":
                yield Cross(x, y)
