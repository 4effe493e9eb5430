"""A circuit as a PennyLane quantum function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.composite import parts
from qstore_db.circuits.parameters import Angle, Weight
from qstore_db.errors import InvalidArgumentError, MissingDependencyError

NAMES: Final = {
    "H": "Hadamard",
    "X": "PauliX",
    "Y": "PauliY",
    "Z": "PauliZ",
    "S": "S",
    "T": "T",
    "RX": "RX",
    "RY": "RY",
    "RZ": "RZ",
    "P": "PhaseShift",
    "U": "U3",
    "CX": "CNOT",
    "CZ": "CZ",
    "SWAP": "SWAP",
    "RXX": "IsingXX",
    "RYY": "IsingYY",
    "RZZ": "IsingZZ",
    "CRX": "CRX",
    "CRY": "CRY",
    "CRZ": "CRZ",
    "CP": "ControlledPhaseShift",
    "ISWAP": "ISWAP",
    "CCX": "Toffoli",
    "CSWAP": "CSWAP",
}
"""Our gates to PennyLane's of the same matrix, global phase included."""

_ADJOINTS: Final = {"SDG": "S", "TDG": "T", "ISWAPDG": "ISWAP"}


def to_pennylane(circuit: Circuit) -> Callable[..., None]:
    """The same unitary, global phase included, as a function to call inside a QNode.

    ``f(weights=None, data=None, wires=None)`` queues the gates. ``weights[i]`` and ``data[..., j]`` may be numbers of
    any library that PennyLane differentiates; leading axes of the data become PennyLane's broadcasting. Wires are
    0 … n-1 unless ``wires`` names n others; both sides take the first as the highest bit of a basis index. GPI, GPI2
    and MS, which PennyLane lacks, go as their parts. Qubits without a gate get PennyLane's identity, so that they are
    still there. ``qml.tape.make_qscript(f)(weights, data)`` is a script.

    Args:
        circuit: Any circuit.

    Returns:
        The function. It raises ``InvalidArgumentError`` where weights or data are missing or wires too many or too few.

    Raises:
        MissingDependencyError: PennyLane is not installed.
    """
    try:
        import pennylane as qml
    except ImportError as error:
        raise MissingDependencyError("PennyLane is not installed", fix="pip install 'qstore-db[sim]'") from error
    used = {qubit for operation in circuit.operations for qubit in operation.qubits}

    def queue(weights: Any = None, data: Any = None, wires: Sequence[Any] | None = None) -> None:
        labels = list(range(circuit.n_qubits)) if wires is None else list(wires)
        for size, given, what in (
            (circuit.number_of_weights, weights, "weights"),
            (circuit.number_of_data, data, "data"),
        ):
            if size and (given is None or qml.math.shape(given)[-1] < size):
                raise InvalidArgumentError(
                    f"the circuit needs {size} {what}", fix=f"Give an array with {size} {what} last.", value=given
                )
        if len(set(labels)) != circuit.n_qubits or len(labels) != circuit.n_qubits:
            raise InvalidArgumentError(
                f"wires {labels} are not {circuit.n_qubits} different ones", fix="Name one a qubit.", value=labels
            )
        for qubit in range(circuit.n_qubits):
            if qubit not in used:
                qml.Identity(labels[qubit])
        for operation in circuit.operations:
            for part in (operation,) if operation.gate in NAMES or operation.gate in _ADJOINTS else parts(operation):
                _queue(qml, part, weights, data, labels)

    return queue


def _queue(qml: Any, operation: Operation, weights: Any, data: Any, labels: list[Any]) -> None:
    on = [labels[qubit] for qubit in operation.qubits]
    if operation.gate in _ADJOINTS:
        qml.adjoint(getattr(qml, _ADJOINTS[operation.gate])(wires=on))
        return
    angles = [_value(value, weights, data) for value in operation.angles]
    getattr(qml, NAMES[operation.gate])(*angles, wires=on)


def _value(angle: Angle, weights: Any, data: Any) -> Any:
    total: Any = angle.constant
    for term in angle.terms:
        total = total + term.scale * (weights[term.index] if isinstance(term, Weight) else data[..., term.index])
    return total
