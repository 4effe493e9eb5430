"""A circuit as a Cirq circuit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.composite import parts
from qstore_db.circuits.parameters import Angle
from qstore_db.circuits.symbol_names import symbol_name
from qstore_db.errors import MissingDependencyError

if TYPE_CHECKING:
    import cirq

_IONS: Final = frozenset({"GPI", "GPI2", "MS"})


def to_cirq(circuit: Circuit) -> cirq.Circuit:
    """The same unitary, global phase included, on ``cirq.LineQubit`` 0 … n-1.

    Both sides take qubit 0 as the highest bit of a basis index. Weights and data columns become SymPy symbols w0, x0 …;
    give them values with ``cirq.resolve_parameters`` or before with ``bind``. U becomes three gates, as Cirq has no
    gate of its kind with symbols, and so do the gates of ions, which Cirq's core lacks. Qubits without a gate get
    Cirq's identity, so that they are still there for ``from_cirq``.

    Args:
        circuit: Any circuit.

    Raises:
        MissingDependencyError: Cirq is not installed.
    """
    try:
        import cirq
    except ImportError as error:
        raise MissingDependencyError("Cirq is not installed", fix="pip install cirq-core") from error
    qubits = cirq.LineQubit.range(circuit.n_qubits)
    used = {qubit for operation in circuit.operations for qubit in operation.qubits}
    idle = [cirq.I(line) for qubit, line in enumerate(qubits) if qubit not in used]
    known = (part for one in circuit.operations for part in (parts(one) if one.gate in _IONS else (one,)))
    steps = [step for operation in known for step in _operations(cirq, operation, qubits)]
    return cirq.Circuit(idle + steps)


def _operations(cirq: Any, operation: Operation, qubits: Any) -> list[Any]:
    on = [qubits[qubit] for qubit in operation.qubits]
    values = [_value(value) for value in operation.angles]
    gate = operation.gate
    if gate == "U":
        theta, phi, lam = values
        return [_phase(cirq, lam)(*on), cirq.ry(theta)(*on), _phase(cirq, phi)(*on)]
    if gate == "P":
        return [_phase(cirq, values[0])(*on)]
    if gate == "CP":
        return [cirq.CZPowGate(exponent=_half_turns(values[0]))(*on)]
    if gate.endswith("DG"):
        return [getattr(cirq, gate[:-2])(*on) ** -1]
    if gate.startswith("CR"):
        return [_rotation(cirq, gate[2])(values[0]).controlled()(*on)]
    if gate in ("RX", "RY", "RZ"):
        return [_rotation(cirq, gate[1])(values[0])(*on)]
    if gate in ("RXX", "RYY", "RZZ"):
        power = getattr(cirq, f"{gate[1:]}PowGate")
        return [power(exponent=_half_turns(values[0]), global_shift=-0.5)(*on)]
    return [getattr(cirq, gate)(*on)]


def _rotation(cirq: Any, letter: str) -> Any:
    return getattr(cirq, f"r{letter.lower()}")


def _phase(cirq: Any, value: Any) -> Any:
    return cirq.ZPowGate(exponent=_half_turns(value))


def _half_turns(value: Any) -> Any:
    if isinstance(value, float):
        return value / math.pi
    import sympy

    return value / sympy.pi


def _value(value: Angle) -> Any:
    """A number, or the sum in SymPy."""
    if not value.terms:
        return value.constant
    import sympy

    return sum((term.scale * sympy.Symbol(symbol_name(term)) for term in value.terms), value.constant)
