"""A PennyLane script as a circuit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.controlled import controlled, multi_controlled_z
from qstore_db.circuits.interop.to_pennylane import NAMES
from qstore_db.circuits.inverse import inverse
from qstore_db.circuits.parameters import Angle, Weight, angle
from qstore_db.errors import InvalidCircuitError, MissingDependencyError

if TYPE_CHECKING:
    import pennylane as qml

_Build: TypeAlias = Callable[[Sequence[int], Sequence[Angle]], tuple[Operation, ...]]


def from_pennylane(
    script: qml.tape.QuantumScript, wires: Sequence[Any] | None = None, *, trainable_as_weights: bool = False
) -> Circuit:
    """The same unitary up to a global phase; what the script measures at its end is not looked at.

    PennyLane's basic gates, rotations and adjoints of these are translated one by one, all others by PennyLane's own
    decomposition, as far as it has one. State preparations become gates that prepare the state from |0…0⟩. A QNode
    gives its script by ``qml.workflow.construct_tape(node)(…)``.

    Args:
        script: Without measurements between gates, and without broadcast parameters.
        wires: PennyLane's wires in the order of our qubits, those in use at least; by default sorted where all are
            integers, else in the order of their first use.
        trainable_as_weights: Whether the script's ``trainable_params`` become weights 0, 1 … in their order, and not
            the numbers they are. ``script.get_parameters()`` are their values then.

    Raises:
        InvalidCircuitError: An operation without a decomposition, a parameter that is not one real number, a trainable
            one of a gate that is translated by decomposition, or a wire that ``wires`` lacks or has twice.
        MissingDependencyError: PennyLane is not installed.
    """
    try:
        import pennylane  # noqa: F401 - the script is of a library that is there; a clear error if it is not
    except ImportError as error:
        raise MissingDependencyError("PennyLane is not installed", fix="pip install 'qstore-db[sim]'") from error
    labels = list(script.wires) if wires is None else list(wires)
    if wires is None and all(isinstance(label, int) for label in labels):
        labels.sort()
    places = {label: place for place, label in enumerate(labels)}
    strange = [label for label in script.wires if label not in places]
    if strange or len(places) != len(labels):
        raise InvalidCircuitError(
            f"the script's wires {strange or labels} are not each named once",
            fix="Name every wire of the script once, in the order of the qubits.",
            value=strange or labels,
        )
    ranks = {number: rank for rank, number in enumerate(script.trainable_params)} if trainable_as_weights else {}
    operations: list[Operation] = []
    number = 0
    for one in script.operations:
        trained = {place: Weight(ranks[number + place]) for place in range(len(one.data)) if number + place in ranks}
        number += len(one.data)
        operations += _translated(one, places, trained)
    return Circuit(len(labels), operations)


def _translated(gate: Any, places: Mapping[Any, int], trained: Mapping[int, Weight]) -> tuple[Operation, ...]:
    name = gate.name
    on = [places[wire] for wire in gate.wires]
    # Anyone may give an operation any name; only PennyLane's own classes mean what the name says.
    if type(gate).__module__.startswith("pennylane."):
        if name in _GATES:
            return _GATES[name](on, [_angle(gate, place, trained) for place in range(len(gate.data))])
        if name.startswith("Adjoint("):
            back = _translated(gate.base, places, trained)
            return inverse(Circuit(len(places), back)).operations
    if trained:
        raise InvalidCircuitError(
            f"PennyLane's {name} is translated by its decomposition, through which no weight goes",
            fix="Give its parameter a number: set script.trainable_params.",
            value=name,
        )
    if not getattr(gate, "has_decomposition", False):
        raise InvalidCircuitError(
            f"PennyLane's {name} has no decomposition",
            fix="Remove measurements between gates and noise; decompose other operations first.",
            value=name,
        )
    return tuple(step for part in gate.decomposition() for step in _translated(part, places, {}))


def _angle(gate: Any, place: int, trained: Mapping[int, Weight]) -> Angle:
    if place in trained:
        return angle(trained[place])
    try:
        return angle(float(gate.data[place]))
    except (TypeError, ValueError) as error:
        raise InvalidCircuitError(
            f"parameter {place} of PennyLane's {gate.name} is {gate.data[place]}, which is not one real number",
            fix="Give each parameter one number; take a script apart with qml.transforms.broadcast_expand.",
            value=gate.data[place],
        ) from error


def _same(name: str) -> _Build:
    return lambda qubits, angles: (Operation(name, qubits, angles),)


def _nothing(qubits: Sequence[int], angles: Sequence[Angle]) -> tuple[Operation, ...]:
    return ()


def _under_control(name: str) -> _Build:
    return lambda qubits, angles: controlled(Operation(name, qubits[1:], angles), qubits[0])


def _rot(qubits: Sequence[int], angles: Sequence[Angle]) -> tuple[Operation, ...]:
    return tuple(Operation(name, qubits, (value,)) for name, value in zip(("RZ", "RY", "RZ"), angles, strict=True))


_GATES: Final[Mapping[str, _Build]] = MappingProxyType(
    {
        **{theirs: _same(ours) for ours, theirs in NAMES.items()},
        "Identity": _nothing,
        "GlobalPhase": _nothing,
        "Barrier": _nothing,
        "Snapshot": _nothing,
        "SX": lambda qubits, angles: (Operation("RX", qubits, (math.pi / 2,)),),
        "U1": _same("P"),
        "U2": lambda qubits, angles: (Operation("U", qubits, (math.pi / 2, *angles)),),
        "Rot": _rot,
        "CY": _under_control("Y"),
        "CH": _under_control("H"),
        "CCZ": lambda qubits, angles: multi_controlled_z(qubits),
    }
)
"""PennyLane's gates by name, equal up to a global phase."""
