"""A circuit as OpenQASM text.

Sources: OpenQASM 2, Cross et al. (2017), arXiv:1707.03429, with the gates of Qiskit's ``qelib1.inc``; OpenQASM 3, Cross
et al., ACM Transactions on Quantum Computing 3, 12 (2022), with ``stdgates.inc``.
"""

from __future__ import annotations

from typing import Final, Literal

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Angle, Weight
from qstore_db.circuits.symbol_names import symbol_name
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError

_NAMES: Final = {2: {"P": "u1", "U": "u3", "CP": "cu1"}, 3: {"U": "U"}}
"""Where the standard library's name is not ours in lower case."""

_NOT_INCLUDED: Final = {
    2: ("RYY", "ISWAP", "ISWAPDG", "GPI", "GPI2", "MS"),
    3: ("RXX", "RYY", "RZZ", "ISWAP", "ISWAPDG", "GPI", "GPI2", "MS"),
}
"""Gates that the standard library lacks and the text therefore defines."""

_TO_Z: Final = {"RXX": ("h {0};", "h {0};"), "RYY": ("sdg {0}; h {0};", "h {0}; s {0};"), "RZZ": ("", "")}
_WRITTEN_OUT: Final = {
    "ISWAP": "gate iswap a, b { s a; s b; h a; cx a, b; cx b, a; h b; }",
    "ISWAPDG": "gate iswapdg a, b { h b; cx b, a; cx a, b; h a; sdg a; sdg b; }",
    "GPI": "gate gpi(phi) a { x a; rz(2*phi) a; }",
    "GPI2": "gate gpi2(phi) a { rz(-phi) a; rx(pi/2) a; rz(phi) a; }",
    "MS": "gate ms(phi, psi, theta) a, b"
    " { rz(-phi) a; rz(-psi) b; h a; h b; cx a, b; rz(theta) b; cx a, b; h a; h b; rz(phi) a; rz(psi) b; }",
}
"""Angles in radians, as everywhere here; IonQ's own texts have turns."""


def to_qasm(circuit: Circuit, version: Literal[2, 3] = 3) -> str:
    """The circuit's text; reading it back with ``from_qasm`` gives the same unitary up to a global phase.

    Qubit k is ``q[k]``. Numbers are written with all their digits. Weights and data columns become inputs of the
    program in version 3, ``input float[64] w0;``; version 2 has none.

    Args:
        circuit: Any circuit; for version 2 without weights and data.
        version: 2 or 3.

    Raises:
        InvalidArgumentError: Another version.
        InvalidCircuitError: Weights or data in version 2.

    Example:
        >>> print(to_qasm(Circuit(2, (Operation("CX", (0, 1)),))))
        OPENQASM 3.0;
        include "stdgates.inc";
        qubit[2] q;
        cx q[0], q[1];
    """
    if version not in _NAMES:
        raise InvalidArgumentError(f"there is no OpenQASM {version!r}", fix="Use 2 or 3.", value=version)
    used = {operation.gate for operation in circuit.operations}
    symbols = sorted(_symbols(circuit))
    if version == 2 and symbols:
        raise InvalidCircuitError(
            f"OpenQASM 2 cannot hold {symbols[0][1]}, whose value is not known yet",
            fix="Write version 3, or give the symbols numbers with bind().",
            value=symbols[0][1],
        )
    library = {2: "qelib1.inc", 3: "stdgates.inc"}[version]
    lines = [
        f"OPENQASM {version}.0;",
        f'include "{library}";',
        *(f"input float[64] {name};" for _, name in symbols),
        *(_definition(gate) for gate in _NOT_INCLUDED[version] if gate in used),
        f"qreg q[{circuit.n_qubits}];" if version == 2 else f"qubit[{circuit.n_qubits}] q;",
        *(_call(operation, _NAMES[version]) for operation in circuit.operations),
    ]
    return "\n".join(lines)


def _symbols(circuit: Circuit) -> set[tuple[tuple[bool, int], str]]:
    """Names with a key that orders weights before data and each by index."""
    return {
        ((not isinstance(term, Weight), term.index), symbol_name(term))
        for operation in circuit.operations
        for value in operation.angles
        for term in value.terms
    }


def _definition(gate: str) -> str:
    if gate in _WRITTEN_OUT:
        return _WRITTEN_OUT[gate]
    before, after = (" ".join(text.format(qubit) for qubit in "ab" if text) for text in _TO_Z[gate])
    body = " ".join(part for part in (before, "cx a, b; rz(theta) b; cx a, b;", after) if part)
    return f"gate {gate.lower()}(theta) a, b {{ {body} }}"


def _call(operation: Operation, names: dict[str, str]) -> str:
    name = names.get(operation.gate, operation.gate.lower())
    values = ", ".join(_expression(value) for value in operation.angles)
    qubits = ", ".join(f"q[{qubit}]" for qubit in operation.qubits)
    return f"{name}({values}) {qubits};" if values else f"{name} {qubits};"


def _expression(value: Angle) -> str:
    terms = [f"{_number(term.scale)}*{symbol_name(term)}" for term in value.terms]
    if value.constant or not terms:
        terms.append(_number(value.constant))
    return " + ".join(terms)


def _number(value: float) -> str:
    # repr gives all digits; version 2 wants a point before an exponent.
    text = repr(float(value))
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if mark and "." not in mantissa else text
