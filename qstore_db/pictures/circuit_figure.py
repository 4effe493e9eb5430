"""A circuit as a matplotlib figure."""

from __future__ import annotations

from typing import Any, Final

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
from qstore_db.pictures.figures import new_figure

_POINTS: Final = 72.0


def circuit_figure(circuit: Circuit) -> Any:
    """The picture of a circuit, as large as it needs; ``pictures.figures.save`` writes it.

    Args:
        circuit: Any circuit. Weights are w0, w1 …, data columns x0, x1 …, numbers radians with four digits.

    Returns:
        A ``matplotlib.figure.Figure`` with one axes, whose unit is a point.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    scene = circuit_scene(circuit)
    figure = new_figure(scene.width / _POINTS, scene.height / _POINTS)
    figure.set_layout_engine("none")  # every place is known
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    axes.set_axis_off()
    for depth, shape in enumerate(scene.shapes):
        _draw(axes, shape, depth)
    return figure


def _draw(axes: Any, shape: Shape, depth: int) -> None:
    from matplotlib.patches import Circle, Rectangle

    black: dict[str, Any] = {"color": "black", "linewidth": 1.0, "zorder": depth}
    edged: dict[str, Any] = {"facecolor": "white", "edgecolor": "black", "linewidth": 1.0, "zorder": depth}
    words: dict[str, Any] = {
        "fontsize": FONT,
        "family": "monospace",
        "verticalalignment": "center",
        "zorder": depth + 0.5,
    }
    match shape:
        case Line(x1, y1, x2, y2):
            axes.plot([x1, x2], [y1, y2], **black)
        case Box(x, y, width, height, text):
            axes.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, **edged))
            axes.text(x, y, text, horizontalalignment="center", **words)
        case Text(x, y, text):
            axes.text(x, y, text, horizontalalignment="right", **words)
        case Dot(x, y):
            axes.add_patch(Circle((x, y), DOT, **black))
        case Ring(x, y):
            axes.add_patch(Circle((x, y), RING, **edged))
            axes.plot([x - RING, x + RING], [y, y], **black)
            axes.plot([x, x], [y - RING, y + RING], **black)
        case Cross(x, y):
            axes.plot([x - ARM, x + ARM], [y - ARM, y + ARM], **black)
            axes.plot([x - ARM, x + ARM], [y + ARM, y - ARM], **black)
