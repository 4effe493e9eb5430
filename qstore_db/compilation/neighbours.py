"""Rewriting two gates that follow one another on the same qubits."""

from __future__ import annotations

from collections.abc import Callable

from qstore_db.circuits.circuit import Circuit, Operation


def rewrite_neighbours(
    circuit: Circuit, rule: Callable[[Operation, Operation], tuple[Operation, ...] | None]
) -> Circuit:
    """Applies a rule to every two gates on the same qubits with no gate on any of them in between.

    Where both go away, the gates around them become neighbours and are tried too. One sweep, cost linear in the gates.

    Args:
        circuit: What to rewrite.
        rule: Two gates, the earlier one first, to None (leave them) or at most one gate on the same qubits.
    """
    kept: list[Operation | None] = []
    history: list[list[int]] = [[] for _ in range(circuit.n_qubits)]  # places in kept of the gates on each qubit
    for operation in circuit.operations:
        place = _neighbour(kept, history, operation)
        before = None if place is None else kept[place]
        after = None if before is None else rule(before, operation)
        if place is None or after is None:
            for qubit in operation.qubits:
                history[qubit].append(len(kept))
            kept.append(operation)
        elif after:
            kept[place] = after[0]
        else:
            kept[place] = None
            for qubit in operation.qubits:
                history[qubit].pop()
    return Circuit(circuit.n_qubits, (operation for operation in kept if operation is not None))


def _neighbour(kept: list[Operation | None], history: list[list[int]], operation: Operation) -> int | None:
    last = {history[qubit][-1] if history[qubit] else -1 for qubit in operation.qubits}
    place = last.pop()
    if last or place < 0:
        return None
    before = kept[place]
    return place if before is not None and len(before.qubits) == len(operation.qubits) else None
