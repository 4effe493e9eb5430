import math

import cirq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.circuits.qasm.reader import from_qasm
from qstore_db.circuits.qasm.writer import to_qasm
from qstore_db.circuits.standard_gates import STANDARD_GATES
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.simulation.unitary import distance_up_to_phase, unitary

seeds = st.integers(0, 2**32)
HEAD = {2: 'OPENQASM 2.0;\ninclude "qelib1.inc";\n', 3: 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'}


@settings(derandomize=True, deadline=None, max_examples=50)
@given(seed=seeds, n=st.integers(1, 4), version=st.sampled_from([2, 3]))
def test_text_and_back(random_circuit, tally, seed, n, version):
    tally["random circuits to OpenQASM and back, by their unitaries"] += 1
    circuit = random_circuit(seed, n, 20)
    back = from_qasm(to_qasm(circuit, version))
    assert back.n_qubits == n
    assert distance_up_to_phase(unitary(back), unitary(circuit)) < 1e-12


@settings(derandomize=True, deadline=None, max_examples=20)
@given(seed=seeds)
def test_symbols_in_version_3_and_back(random_circuit, tally, seed):
    tally["random circuits to OpenQASM and back, by their unitaries"] += 1
    circuit = random_circuit(seed, 3, 12, symbols=True)
    weights, data = np.array([0.3, -1.2, 2.0]), np.array([0.7, -0.4])
    back = from_qasm(to_qasm(circuit))
    assert (back.number_of_weights, back.number_of_data) == (circuit.number_of_weights, circuit.number_of_data)
    assert distance_up_to_phase(unitary(back, weights, data), unitary(circuit, weights, data)) < 1e-12


@settings(derandomize=True, deadline=None, max_examples=20)
@given(seed=seeds, version=st.sampled_from(["2.0", "3.0"]))
def test_cirqs_text_is_read_as_cirqs_unitary(seed, version):
    qubits = cirq.LineQubit.range(3)
    circuit = cirq.testing.random_circuit(qubits, 8, 0.8, random_state=seed)
    text = circuit.to_qasm(qubit_order=qubits, version=version, precision=17)
    wanted = circuit.unitary(qubits_that_should_be_present=qubits)
    assert distance_up_to_phase(unitary(from_qasm(text)), wanted) < 1e-6


DEFINED = {"ISWAP", "ISWAPDG", "GPI", "GPI2", "MS"}  # the text defines them, so they come back in parts


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", sorted(DEFINED))
def test_gates_that_the_text_defines_come_back_as_the_same_unitary(name, version):
    kind = GATES[name]
    circuit = Circuit(3, (Operation(name, (2, 0)[: kind.qubits], [0.3, -1.1, 0.7][: kind.angles]),))
    text = to_qasm(circuit, version)
    assert f"gate {name.lower()}" in text
    assert distance_up_to_phase(unitary(from_qasm(text)), unitary(circuit)) < 1e-12


@pytest.mark.parametrize(
    "version, same", [(2, set(GATES) - DEFINED - {"RYY"}), (3, set(GATES) - DEFINED - {"RXX", "RYY", "RZZ"})]
)
def test_gates_of_the_library_come_back_bit_for_bit(version, same):
    value = math.pi / 3 + 1e-7
    operations = [
        Operation(name, range(GATES[name].qubits)[::-1], [value * 1e-20, -value, 3.0][: GATES[name].angles])
        for name in sorted(same)
    ]
    circuit = Circuit(3, operations)
    assert from_qasm(to_qasm(circuit, version)) == circuit


def test_the_text_itself():
    circuit = Circuit(
        3,
        (
            Operation("H", (2,)),
            Operation("RYY", (2, 0), (Weight(1) * 0.5 - Data(0) + 1e-20,)),
            Operation("U", (1,), (0.1, -0.2, 3)),
        ),
    )
    assert to_qasm(circuit).splitlines() == [
        "OPENQASM 3.0;",
        'include "stdgates.inc";',
        "input float[64] w1;",
        "input float[64] x0;",
        "gate ryy(theta) a, b { sdg a; h a; sdg b; h b; cx a, b; rz(theta) b; cx a, b; h a; s a; h b; s b; }",
        "qubit[3] q;",
        "h q[2];",
        "ryy(0.5*w1 + -1.0*x0 + 1.0e-20) q[2], q[0];",
        "U(0.1, -0.2, 3.0) q[1];",
    ]
    assert to_qasm(Circuit(1, (Operation("P", (0,), (0.5,)),)), 2).splitlines()[2:] == ["qreg q[1];", "u1(0.5) q[0];"]
    with pytest.raises(InvalidCircuitError, match="w1"):
        to_qasm(circuit, 2)
    with pytest.raises(InvalidArgumentError, match="OpenQASM 4"):
        to_qasm(circuit, 4)


def test_registers_are_numbered_in_order_and_broadcast():
    circuit = from_qasm(
        HEAD[2]
        + """
        qreg left[2]; creg c[2]; qreg right[2];   // a comment
        h left; /* another
                   one */
        cx left, right; cx right[1], left; barrier left, right[0];
        """
    )
    assert circuit.n_qubits == 4
    assert [(operation.gate, *operation.qubits) for operation in circuit.operations] == [
        ("H", 0), ("H", 1), ("CX", 0, 2), ("CX", 1, 3), ("CX", 3, 0), ("CX", 3, 1),
    ]  # fmt: skip
    three = from_qasm(HEAD[3] + "qubit one; bit[4] b; qubit[2] two; x one; cz one, two; gphase(pi);")
    assert [operation.qubits for operation in three.operations] == [(0,), (0, 1), (0, 2)]


EXPRESSIONS = [
    ("pi/2", 2, math.pi / 2),
    ("-pi/3*2", 2, -math.pi / 3 * 2),
    ("2^3^2/100", 2, 5.12),
    ("-2^2", 2, -4),
    ("2^-1", 2, 0.5),
    ("2**3**2/100", 3, 5.12),
    ("1-2-3", 2, -4),
    ("8/2/2", 2, 2),
    ("(1+2)*3e-1", 2, 0.9),
    ("sin(pi/6)+cos(0)*tan(0.5)", 2, math.sin(math.pi / 6) + math.tan(0.5)),
    ("exp(ln(sqrt(2)))", 2, math.sqrt(2)),
    ("--+-1.5", 2, -1.5),
    (".5+5.", 2, 5.5),
    ("tau-π", 3, math.pi),
    ("arcsin(1)", 3, math.pi / 2),
]


@pytest.mark.parametrize("text, version, value", EXPRESSIONS)
def test_expressions(text, version, value):
    circuit = from_qasm(HEAD[version] + f"qreg q[1]; rx({text}) q[0];")
    assert circuit.operations[0].angles[0].constant == pytest.approx(value, rel=1e-14)


def test_long_chains_need_no_stack():
    circuit = from_qasm(HEAD[2] + f"qreg q[1]; rx({'1+' * 5000}{'2*' * 20}1-{'-'.join(['1'] * 5000)}) q[0];")
    assert circuit.operations[0].angles[0].constant == 2**20


def test_definitions_nest_and_go_before_the_library():
    circuit = from_qasm(
        HEAD[2]
        + """
        gate turn(a, b) x, y { rx(a - b/2) x; cx y, x; barrier x, y; }
        gate twice(t) p, q { turn(t, 2*t) q, p; turn(-t, pi) p, q; }
        gate h s { x s; }
        qreg q[3];
        twice(0.5) q[2], q[0];
        h q[1];
        """
    )
    wanted = Circuit(
        3,
        (
            Operation("RX", (0,), (0.0,)),
            Operation("CX", (2, 0)),
            Operation("RX", (2,), (-0.5 - math.pi / 2,)),
            Operation("CX", (0, 2)),
            Operation("X", (1,)),
        ),
    )
    assert circuit == wanted


@pytest.mark.parametrize("name", sorted(STANDARD_GATES))
def test_standard_gates_are_their_matrices(name):
    kind = STANDARD_GATES[name]
    values = [0.7, -1.3, 2.1, 0.4][: kind.angles]
    arguments = f"({', '.join(map(str, values))})" if values else ""
    qubits = ", ".join(f"q[{k}]" for k in range(kind.qubits))
    got = unitary(from_qasm(HEAD[3] + f"qubit[{kind.qubits}] q; {name}{arguments} {qubits};"))
    assert distance_up_to_phase(got, MATRICES[name](*values)) < 1e-12


def u(theta, phi, lam):
    c, s = math.cos(theta / 2), math.sin(theta / 2)
    return np.array([[c, -np.exp(1j * lam) * s], [np.exp(1j * phi) * s, np.exp(1j * (phi + lam)) * c]])


def block(matrix):
    matrix = np.asarray(matrix)
    out = np.eye(2 * len(matrix), dtype=complex)
    out[len(matrix) :, len(matrix) :] = matrix
    return out


def turn(letter, theta):
    return {
        "x": u(theta, -math.pi / 2, math.pi / 2),
        "y": u(theta, 0, 0),
        "z": np.diag(np.exp([-0.5j * theta, 0.5j * theta])),
    }[letter]


def pair(letter, theta):
    gate = {"x": cirq.XX, "y": cirq.YY, "z": cirq.ZZ}[letter]
    return cirq.unitary(gate ** (theta / math.pi))


X, H = np.array([[0, 1], [1, 0]]), u(math.pi / 2, 0, math.pi)
SWAP = cirq.unitary(cirq.SWAP)
MATRICES = {
    "cnot": lambda: block(X),
    "cs": lambda: block(u(0, 0, math.pi / 2)),
    "csdg": lambda: block(u(0, 0, -math.pi / 2)),
    "csx": lambda: block(cirq.unitary(cirq.X**0.5)),
    "ccz": lambda: block(block(u(0, 0, math.pi))),
    "iswap": lambda: cirq.unitary(cirq.ISWAP),
    "id": lambda: np.eye(2),
    "x": lambda: X,
    "y": lambda: u(math.pi, math.pi / 2, math.pi / 2),
    "z": lambda: u(0, 0, math.pi),
    "h": lambda: H,
    "s": lambda: u(0, 0, math.pi / 2),
    "sdg": lambda: u(0, 0, -math.pi / 2),
    "t": lambda: u(0, 0, math.pi / 4),
    "tdg": lambda: u(0, 0, -math.pi / 4),
    "sx": lambda: turn("x", math.pi / 2),
    "sxdg": lambda: turn("x", -math.pi / 2),
    "rx": lambda a: turn("x", a),
    "ry": lambda a: turn("y", a),
    "rz": lambda a: turn("z", a),
    "p": lambda a: u(0, 0, a),
    "phase": lambda a: u(0, 0, a),
    "u1": lambda a: u(0, 0, a),
    "u2": lambda a, b: u(math.pi / 2, a, b),
    "u3": u,
    "u": u,
    "U": u,
    "cx": lambda: block(X),
    "CX": lambda: block(X),
    "cz": lambda: block(u(0, 0, math.pi)),
    "cy": lambda: block([[0, -1j], [1j, 0]]),
    "ch": lambda: block(H),
    "cp": lambda a: block(u(0, 0, a)),
    "cphase": lambda a: block(u(0, 0, a)),
    "cu1": lambda a: block(u(0, 0, a)),
    "cu3": lambda *a: block(u(*a)),
    "cu": lambda a, b, c, d: block(np.exp(1j * d) * u(a, b, c)),
    "crx": lambda a: block(turn("x", a)),
    "cry": lambda a: block(turn("y", a)),
    "crz": lambda a: block(turn("z", a)),
    "swap": lambda: SWAP,
    "ccx": lambda: block(block(X)),
    "cswap": lambda: block(SWAP),
    "rxx": lambda a: pair("x", a),
    "ryy": lambda a: pair("y", a),
    "rzz": lambda a: pair("z", a),
}


REFUSED = [
    ("qreg q[1];", 1, "expected 'OPENQASM'"),
    ("OPENQASM 4.0;", 1, "no OpenQASM 4.0"),
    (HEAD[2] + "qreg q[1]; creg c[1];\nmeasure q -> c;", 4, "'measure'"),
    (HEAD[3] + "qubit q; bit c;\nc = measure q;", 4, "assigned to 'c'"),
    (HEAD[2] + "qreg q[1];\nreset q[0];", 4, "'reset'"),
    (HEAD[2] + "qreg q[1]; creg c[1];\nif (c==1) x q[0];", 4, "'if'"),
    (HEAD[3] + "qubit[2] q;\nctrl @ x q[0], q[1];", 4, "'ctrl'"),
    (HEAD[3] + "qubit[2] q;\nfor int i in [0:1] { x q[i]; }", 4, "'for'"),
    (HEAD[2] + "opaque magic q;", 3, "'opaque'"),
    (HEAD[2] + "qreg q[2];\nfoo q[0];", 4, "no gate 'foo'"),
    ("OPENQASM 2.0;\nqreg q[2];\nh q[0];", 3, 'include "qelib1.inc"'),
    (HEAD[2] + "qreg q[2];\ncx q[0];", 4, "2 qubit"),
    (HEAD[2] + "qreg q[2];\nrx q[0];", 4, "1 angle"),
    (HEAD[2] + "qreg q[2];\ncx q[0], q[0];", 4, "twice on one qubit"),
    (HEAD[2] + "qreg q[2];\ncx q, q[0];", 4, "twice on one qubit"),
    (HEAD[2] + "qreg q[2]; qreg r[3];\ncx q, r;", 4, r"registers of \[2, 3\]"),
    (HEAD[2] + "qreg q[2];\nx q[2];", 4, "outside"),
    (HEAD[2] + "qreg q[2];\nx r[0];", 4, "no quantum register 'r'"),
    (HEAD[2] + "qreg q[25];", 3, "25 qubit"),
    (HEAD[2] + "qreg q[0];", 3, "0 qubit"),
    (HEAD[2] + "qreg q[2]; qreg q[2];", 3, "declared twice"),
    (HEAD[2], 3, "no qubits"),
    (HEAD[2] + "qreg q[2];\nx q[0]", 4, "expected ';'"),
    (HEAD[2] + "qreg q[1];\nrx(1/0) q[0];", 4, "no value"),
    (HEAD[2] + "qreg q[1];\nrx(sqrt(-1)) q[0];", 4, "no value"),
    (HEAD[2] + "qreg q[1];\nrx(1e999) q[0];", 4, "inf"),
    (HEAD[2] + "qreg q[1];\nrx(1.5 theta) q[0];", 4, "expected"),
    (HEAD[2] + "qreg q[1];\nrx(theta) q[0];", 4, "'theta' is no number"),
    (HEAD[2] + "qreg q[1];\nrx(" + "(" * 200 + "1" + ")" * 200 + ") q[0];", 4, "inside each other"),
    (HEAD[3] + "input float w0; qubit q;\nrx(w0*w0) q;", 4, "input where a number"),
    (HEAD[3] + "input float w0; qubit q;\nrx(sin(w0)) q;", 4, "input where a number"),
    (HEAD[3] + "input float theta;", 3, "'theta'"),
    (HEAD[3] + "input int w0;", 3, "type 'int'"),
    (HEAD[2] + 'include "mine.inc";', 3, "'mine.inc'"),
    (HEAD[2] + "qreg q[1];\nx q[0]; $", 4, "unexpected"),
    (HEAD[2] + "/* no end", 3, "found '/'"),
    (HEAD[2] + "qreg q[1];\nrx(9e307+9e307) q[0];", 4, "inf"),
    (HEAD[2] + "qreg q[1];\nrx(9e307*9) q[0];", 4, "inf"),
    (HEAD[3] + "input float w9999999999;", 3, "'w9999999999'"),
    (HEAD[2] + "gate g a { h b; }", 3, "'b' is no qubit"),
    (HEAD[2] + "gate g a { } gate g a { }", 3, "defined twice"),
    (HEAD[2] + "gate g(t) a { rx(s) a; }", 3, "'s' is no number"),
    (HEAD[2] + "gate g a { g a; }", 3, "no gate 'g'"),
]  # fmt: skip


@pytest.mark.parametrize("text, line, match", REFUSED, ids=[match for *_, match in REFUSED])
def test_errors_name_the_line(text, line, match):
    with pytest.raises(InvalidCircuitError, match=match) as caught:
        from_qasm(text)
    assert caught.value.what.startswith(f"line {line}, column ")
    assert caught.value.fix


def test_errors_name_the_column():
    with pytest.raises(InvalidCircuitError, match="line 4, column 5: there is no gate 'foo'"):
        from_qasm(HEAD[2] + "qreg q[1];\n/**/foo q[0];")
    with pytest.raises(InvalidCircuitError, match="bytes"):
        from_qasm(b"OPENQASM 2.0;")


def test_a_short_text_cannot_ask_for_endless_work():
    bomb = HEAD[2] + "gate g0 a { }\n"
    for depth in range(1, 40):
        bomb += f"gate g{depth} a {{ g{depth - 1} a; g{depth - 1} a; }}\n"
    with pytest.raises(InvalidCircuitError, match="more than 1000000 gate calls"):
        from_qasm(bomb + "qreg q[1]; g39 q[0];")
    chain = HEAD[2] + "gate g0 a { }\n" + "".join(f"gate g{k} a {{ g{k - 1} a; }}\n" for k in range(1, 80))
    with pytest.raises(InvalidCircuitError, match="too deep"):
        from_qasm(chain)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.data())
def test_damaged_text_is_read_or_refused_but_never_breaks(random_circuit, data):
    text = to_qasm(random_circuit(data.draw(seeds), 3, 6), data.draw(st.sampled_from([2, 3])))
    place = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.sampled_from(["", ";", "(", "]", "q", "9", "gate", "measure", "*", "\n", "{", "\u00e9", '"']))
    removed = data.draw(st.integers(0, 5))
    try:
        from_qasm(text[:place] + piece + text[place + removed :])
    except InvalidCircuitError as error:
        assert error.what.startswith("line ")
