import re
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.drawn_marks import marks, time_steps
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import MissingDependencyError
from qstore_db.pictures.circuit_figure import circuit_figure
from qstore_db.pictures.circuit_latex import circuit_latex
from qstore_db.pictures.circuit_scene import Box, Cross, Dot, Line, Ring, Text, circuit_scene
from qstore_db.pictures.circuit_svg import circuit_svg
from qstore_db.pictures.figures import save

seeds = st.integers(0, 2**32)
SVG = "{http://www.w3.org/2000/svg}"

ASYMMETRIC = Circuit(
    4,
    (
        Operation("H", (0,)),
        Operation("RY", (1,), (Weight(0) * 2 - Data(1) + 0.5,)),
        Operation("CX", (3, 0)),
        Operation("SDG", (2,)),
        Operation("RZZ", (2, 1), (Data(1) * -1.0,)),
        Operation("CRX", (0, 2), (1e-7,)),
        Operation("SWAP", (1, 3)),
        Operation("GPI2", (0,), (-0.25,)),
        Operation("CCX", (1, 3, 0)),
        Operation("CSWAP", (2, 0, 3)),
    ),
)


def of_kind(shapes, kind):
    return [shape for shape in shapes if isinstance(shape, kind)]


def test_marks_say_what_each_wire_shows():
    shown = {
        name: [mark.kind for mark in marks(Operation(name, range(gate.qubits), [0.5] * gate.angles))]
        for name, gate in GATES.items()
    }
    assert shown["CX"] == ["control", "target"]
    assert shown["CCX"] == ["control", "control", "target"]
    assert shown["CSWAP"] == ["control", "cross", "cross"]
    assert shown["CRY"] == shown["CP"] == ["control", "box"]
    assert shown["RXX"] == shown["MS"] == shown["ISWAP"] == ["box", "box"]
    assert {name for name, kinds in shown.items() if kinds == ["box"]} == {
        name for name, gate in GATES.items() if gate.qubits == 1
    }


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=seeds, n=st.integers(1, 5))
def test_everything_has_its_place(random_circuit, seed, n):
    circuit = random_circuit(seed, n, 12, symbols=True)
    scene = circuit_scene(circuit)
    lines = of_kind(scene.shapes, Line)
    wires, links = lines[:n], lines[n:]
    rows = [wire.y1 for wire in wires]
    assert rows == sorted(set(rows))
    assert all(wire.y1 == wire.y2 for wire in wires)
    assert [text.text for text in of_kind(scene.shapes, Text)] == [f"{qubit}:" for qubit in range(n)]
    found = [shape for shape in scene.shapes if isinstance(shape, Box | Dot | Ring | Cross)]
    wanted = [
        (qubit, mark)
        for step in time_steps(circuit)
        for one in step
        for qubit, mark in zip(one.qubits, marks(one), strict=True)
    ]
    kinds = {"box": Box, "control": Dot, "target": Ring, "cross": Cross}
    assert [(rows.index(shape.y), type(shape)) for shape in found] == [(q, kinds[mark.kind]) for q, mark in wanted]
    assert len(links) == sum(len(one.qubits) > 1 for one in circuit.operations)
    assert all(link.x1 == link.x2 and link.y1 < link.y2 for link in links)
    boxes = of_kind(scene.shapes, Box)
    for row in rows:
        spans = sorted((box.x - box.width / 2, box.x + box.width / 2) for box in boxes if box.y == row)
        assert all(one[1] < other[0] for one, other in pairwise(spans))
    assert all(0 < shape.x < scene.width and 0 < shape.y < scene.height for shape in found)
    assert all(wire.x2 <= scene.width for wire in wires)


def test_links_reach_from_the_first_to_the_last_wire():
    scene = circuit_scene(Circuit(4, (Operation("CCX", (1, 3, 0)), Operation("CX", (2, 1)))))
    wires, (first, second) = of_kind(scene.shapes, Line)[:4], of_kind(scene.shapes, Line)[4:]
    assert (first.y1, first.y2) == (wires[0].y1, wires[3].y1)
    assert (second.y1, second.y2) == (wires[1].y1, wires[2].y1)
    assert scene.shapes.index(second) < scene.shapes.index(of_kind(scene.shapes, Ring)[0])  # behind the marks


def test_svg_is_what_the_scene_says():
    root = ET.fromstring(circuit_svg(ASYMMETRIC, paper='"<&'))
    scene = circuit_scene(ASYMMETRIC)
    assert root.tag == SVG + "svg"
    assert root.get("viewBox") == f"0 0 {scene.width:g} {scene.height:g}"
    words = [text.text for text in root.iter(SVG + "text")]
    assert words[:4] == ["0:", "1:", "2:", "3:"]
    assert words[4:] == [box.text for box in of_kind(scene.shapes, Box)]
    assert "RY(2·w0 + -1·x1 + 0.5)" in words
    assert {"S†", "RX(1e-07)", "RZZ"} <= set(words)
    rings = [circle for circle in root.iter(SVG + "circle") if circle.get("fill") == '"<&']
    dots = [circle for circle in root.iter(SVG + "circle") if circle.get("fill") == "currentColor"]
    assert (len(rings), len(dots)) == (2, 5)
    assert all(box.get("fill") == '"<&' for box in root.iter(SVG + "rect"))
    assert len(list(root.iter(SVG + "path"))) == 4 + 6 + 2 + 4  # wires, links, rings, crosses
    assert ET.fromstring(circuit_svg(Circuit(1))) is not None


def test_a_figure_has_every_shape(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra demo")
    figure = circuit_figure(ASYMMETRIC)
    (axes,) = figure.axes
    scene = circuit_scene(ASYMMETRIC)
    assert tuple(figure.get_size_inches() * 72) == pytest.approx((scene.width, scene.height))
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, scene.width), (scene.height, 0))
    boxes = of_kind(scene.shapes, Box)
    assert {text.get_text() for text in axes.texts} == {"0:", "1:", "2:", "3:", *(box.text for box in boxes)}
    assert len(axes.patches) == len(boxes) + 2 + 5
    assert len(axes.lines) == 4 + 6 + 2 * 2 + 2 * 4
    assert save(figure, tmp_path / "circuit.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in save(circuit_figure(Circuit(1)), tmp_path / "circuit.svg").read_bytes()


def test_without_matplotlib_there_is_still_svg(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match="demo"):
        circuit_figure(ASYMMETRIC)
    assert circuit_svg(ASYMMETRIC).endswith("</svg>\n")


def test_latex_of_an_asymmetric_circuit():
    assert circuit_latex(ASYMMETRIC).splitlines() == [
        r"\begin{quantikz}",
        r"\lstick{$q_{0}$} & \gate{H} & \targ{}\vqw{3} & \qw & \qw & \ctrl{2} & \gate{\mathrm{GPI2}(-0.25)}"
        r" & \targ{}\vqw{1} & \swap{2} & \qw \\",
        r"\lstick{$q_{1}$} & \gate{R_{Y}(2\,w_{0} - x_{1} + 0.5)} & \qw & \qw & \gate{R_{ZZ}}\vqw{1} & \qw"
        r" & \swap{2} & \ctrl{2} & \qw & \qw \\",
        r"\lstick{$q_{2}$} & \qw & \qw & \gate{S^\dagger} & \gate{R_{ZZ}(-x_{1})} & \gate{R_{X}(1 \cdot 10^{-7})}"
        r" & \qw & \qw & \ctrl{1} & \qw \\",
        r"\lstick{$q_{3}$} & \qw & \control{} & \qw & \qw & \qw & \targX{} & \control{} & \targX{} & \qw",
        r"\end{quantikz}",
    ]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=seeds, n=st.integers(1, 5))
def test_latex_links_join_the_wires_of_each_gate(random_circuit, seed, n):
    circuit = random_circuit(seed, n, 12, symbols=True)
    text = circuit_latex(circuit)
    rows = [row.split(" & ") for row in text.splitlines()[1:-1]]
    steps = time_steps(circuit)
    assert [len(row) for row in rows] == [len(steps) + 2] * n
    assert text.count("{") == text.count("}")
    assert not re.search(r"[·†]", text)
    for column, step in enumerate(steps, start=1):
        for operation in step:
            qubits = sorted(operation.qubits)
            reached = [qubits[0]]
            while link := re.search(r"\\(?:vqw|ctrl|swap)\{(\d+)\}", rows[reached[-1]][column]):
                reached.append(reached[-1] + int(link[1]))
            assert reached == qubits
        marked = {qubit for operation in step for qubit in operation.qubits}
        assert {qubit for qubit in range(n) if rows[qubit][column] != r"\qw"} == marked
