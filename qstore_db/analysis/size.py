"""How large a circuit is: gates by kind, and its longest chain of gates that wait for one another."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from qstore_db.circuits.circuit import Circuit


@dataclass(frozen=True, slots=True)
class CircuitSize:
    """The counts of one circuit.

    Args:
        gates: All gates.
        two_qubit_gates: Gates on two qubits or more.
        depth: Gates on the critical path; one time step for every gate, whatever it is.
        two_qubit_depth: The largest number of gates on two qubits or more that wait for one another.
        by_name: Gates of each name, names in alphabetical order.
        by_arity: Gates on each number of qubits, ascending.
    """

    gates: int
    two_qubit_gates: int
    depth: int
    two_qubit_depth: int
    by_name: dict[str, int]
    by_arity: dict[int, int]


def circuit_size(circuit: Circuit) -> CircuitSize:
    """Counts a circuit; cost linear in its gates.

    Example:
        >>> from qstore_db.circuits.templates.entangled_states import ghz
        >>> size = circuit_size(ghz(3))
        >>> size.gates, size.two_qubit_gates, size.depth
        (3, 2, 3)
    """
    names = Counter(operation.gate for operation in circuit.operations)
    arities = Counter(len(operation.qubits) for operation in circuit.operations)
    several = tuple(operation for operation in circuit.operations if len(operation.qubits) > 1)
    return CircuitSize(
        gates=len(circuit.operations),
        two_qubit_gates=len(several),
        depth=circuit.depth,
        # A gate on one qubit lies on the same wire as the ones around it and joins no two chains.
        two_qubit_depth=Circuit(circuit.n_qubits, several).depth,
        by_name=dict(sorted(names.items())),
        by_arity=dict(sorted(arities.items())),
    )


def critical_path(circuit: Circuit) -> tuple[int, ...]:
    """The places in ``circuit.operations`` of a longest chain of gates, each of which waits for the one before.

    As long as ``circuit.depth``; of several longest chains the one with the earliest gates, from the end backwards.
    """
    last: list[int | None] = [None] * circuit.n_qubits
    before: list[int | None] = []
    level: list[int] = []
    for place, operation in enumerate(circuit.operations):
        waits_for = [gate for qubit in operation.qubits if (gate := last[qubit]) is not None]
        latest = max(waits_for, key=lambda gate: (level[gate], -gate), default=None)
        before.append(latest)
        level.append(1 if latest is None else level[latest] + 1)
        for qubit in operation.qubits:
            last[qubit] = place
    step = max(range(len(level)), key=lambda gate: (level[gate], -gate), default=None)
    path: list[int] = []
    while step is not None:
        path.append(step)
        step = before[step]
    return tuple(reversed(path))
