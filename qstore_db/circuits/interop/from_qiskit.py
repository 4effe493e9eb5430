"""A Qiskit circuit as ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Angle
from qstore_db.circuits.standard_gates import STANDARD_GATES
from qstore_db.circuits.symbol_names import symbol_named
from qstore_db.errors import InvalidCircuitError, MissingDependencyError

if TYPE_CHECKING:
    import qiskit


def from_qiskit(circuit: qiskit.QuantumCircuit) -> Circuit:
    """The same unitary up to a global phase: Qiskit's qubit k (over all registers) is our qubit k.

    Gates of Qiskit's library with a name of :data:`~qstore_db.circuits.standard_gates.STANDARD_GATES` are translated
    one by one, all others by their own definition, which may be an approximation where Qiskit's is
    (``PauliEvolutionGate`` of terms that do not commute). Barriers are left out, for they change no state. Parameters
    named w0, x0 … (or w[0], x[0]) become weights and data columns; angles must be linear in them.

    Args:
        circuit: Without measurement, reset, delay, control flow and classical conditions.

    Raises:
        InvalidCircuitError: An instruction that is no gate, or a gate without a definition, another parameter, or an
            angle that is not linear in its parameters.
        MissingDependencyError: Qiskit is not installed.
    """
    try:
        import qiskit.circuit
    except ImportError as error:
        raise MissingDependencyError("Qiskit is not installed", fix="pip install qiskit") from error
    gate_class = qiskit.circuit.Gate
    return Circuit(circuit.num_qubits, _operations(gate_class, circuit, range(circuit.num_qubits)))


def _operations(gate_class: Any, circuit: Any, places: Any) -> list[Operation]:
    operations: list[Operation] = []
    for instruction in circuit.data:
        gate = instruction.operation
        if gate.name == "barrier":
            continue
        on = [places[circuit.find_bit(qubit).index] for qubit in instruction.qubits]
        known = STANDARD_GATES.get(gate.name) if _from_the_library(gate) else None
        if known is not None:
            operations += known.build(on, [_angle(value) for value in gate.params])
        elif isinstance(gate, gate_class) and gate.definition is not None:
            operations += _operations(gate_class, gate.definition, on)
        else:
            raise InvalidCircuitError(
                f"Qiskit's {gate.name!r} is not a gate with a definition",
                fix="Remove measurements, resets and control flow; decompose other instructions first.",
                value=gate.name,
            )
    return operations


def _from_the_library(gate: Any) -> bool:
    # Anyone may give a gate any name; only the library's own classes mean what the name says.
    return str(gate.base_class.__module__).startswith("qiskit.circuit.library.standard_gates")


def _angle(value: Any) -> Angle:
    """A number, or a parameter expression that is linear in its parameters."""
    try:
        if not getattr(value, "parameters", ()):
            return Angle((), float(value))
        parameters = sorted(value.parameters, key=lambda parameter: str(parameter.name))
        scales = [float(value.gradient(parameter)) for parameter in parameters]
        constant = float(value.bind(dict.fromkeys(parameters, 0.0)).numeric())
    except (TypeError, ValueError) as error:
        raise InvalidCircuitError(
            f"the angle {value} is not a real linear expression", fix="Give its parameters numbers first.", value=value
        ) from error
    total = Angle((), constant)
    for parameter, scale in zip(parameters, scales, strict=True):
        total += symbol_named(parameter.name) * scale
    return total
