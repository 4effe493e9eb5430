"""A circuit as a Qiskit circuit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.composite import parts
from qstore_db.circuits.parameters import Angle
from qstore_db.circuits.standard_gates import OURS_ALONE
from qstore_db.circuits.symbol_names import symbol_name
from qstore_db.errors import MissingDependencyError

if TYPE_CHECKING:
    import qiskit


def to_qiskit(circuit: Circuit) -> qiskit.QuantumCircuit:
    """The same gates on one register of n qubits: our qubit k is Qiskit's qubit k.

    Qiskit prints and counts the other way round: its qubit 0 is the *lowest* bit of a basis index, so that its matrix
    is ours with the bits of both indices reversed. Weights and data columns become Qiskit parameters w0, x0 …

    Args:
        circuit: Any circuit.

    Raises:
        MissingDependencyError: Qiskit is not installed.
    """
    try:
        import qiskit
        from qiskit.circuit import Parameter
    except ImportError as error:
        raise MissingDependencyError("Qiskit is not installed", fix="pip install qiskit") from error
    out = qiskit.QuantumCircuit(circuit.n_qubits)
    parameters: dict[str, Any] = {}

    def value(given: Angle) -> Any:
        total: Any = given.constant
        for term in given.terms:
            name = symbol_name(term)
            parameters.setdefault(name, Parameter(name))
            total = total + term.scale * parameters[name]
        return total

    for operation in (
        part for one in circuit.operations for part in (parts(one) if one.gate in OURS_ALONE else (one,))
    ):
        # Qiskit names its methods as OpenQASM names the gates: ours in lower case.
        getattr(out, operation.gate.lower())(*(value(given) for given in operation.angles), *operation.qubits)
    return out
