import pytest

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.drawing import draw
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.circuits.templates.fourier import fourier
from qstore_db.errors import InvalidArgumentError


def lines(text):
    return [line.removeprefix("    ") for line in text.strip("\n").splitlines()[:-1]]


def test_every_symbol_on_an_asymmetric_circuit():
    circuit = Circuit(
        4,
        (
            Operation("H", (0,)),
            Operation("RY", (1,), (Weight(0) * 2 + 0.5,)),
            Operation("CX", (3, 0)),
            Operation("T", (1,)),
            Operation("SDG", (2,)),
            Operation("RZZ", (2, 1), (Data(1),)),
            Operation("CRX", (0, 2), (0.25,)),
            Operation("SWAP", (1, 3)),
            Operation("U", (0,), (1, 2, 3)),
            Operation("CZ", (3, 2)),
            Operation("CX", (1, 0)),
        ),
    )
    wanted = """
    0: ───────H────────⊕───────────────●─────U(1, 2, 3)─⊕─
                       │               │                │
    1: ─RY(2·w0 + 0.5)─┼─T────RZZ──────┼─────────×──────●─
                       │       │       │         │
    2: ────────────────┼─S†─RZZ(x1)─RX(0.25)─────┼──────●─
                       │                         │      │
    3: ────────────────●─────────────────────────×──────●─
    """
    assert draw(circuit).splitlines() == lines(wanted)


def test_a_link_says_which_wires_belong_together():
    one = Circuit(3, (Operation("CX", (1, 0)), Operation("X", (2,))))
    other = Circuit(3, (Operation("X", (0,)), Operation("CX", (1, 2))))
    assert draw(one).splitlines() == ["0: ─⊕─", "    │", "1: ─●─", "", "2: ─X─"]
    assert draw(other).splitlines() == ["0: ─X─", "", "1: ─●─", "    │", "2: ─⊕─"]


def test_long_circuits_go_on_below():
    wanted = """
    0: ─H─P(1.571)─P(0.7854)─
             │         │
    1: ──────●─────────┼─────
                       │
    2: ────────────────●─────

    0: ──────────────×─
                     │
    1: ─H─P(1.571)───┼─
             │       │
    2: ──────●─────H─×─
    """
    assert draw(fourier(3), width=26).splitlines() == lines(wanted)
    fits = hardware_efficient(2, 1)
    assert draw(fits, width=20) == draw(fits)
    assert max(map(len, draw(fits).splitlines())) == 20
    gates = draw(hardware_efficient(4, 3), width=40).splitlines()[::8]
    assert "".join(line[4:] for line in gates) == draw(hardware_efficient(4, 3)).splitlines()[0][4:]


def test_many_qubits_are_aligned():
    wires = draw(hardware_efficient(11, 1)).splitlines()[::2]
    assert [wires[k][:5] for k in (0, 1, 10)] == [" 0: ─", " 1: ─", "10: ─"]
    assert len({len(wire) for wire in wires}) == 1
    assert draw(Circuit(2)).splitlines() == ["0: ─", "", "1: ─"]


def test_too_narrow():
    with pytest.raises(InvalidArgumentError, match="19 characters"):
        draw(Circuit(1), width=19)
