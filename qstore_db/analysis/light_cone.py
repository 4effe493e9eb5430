"""Which gates and qubits an observable can depend on."""

from __future__ import annotations

from dataclasses import dataclass

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable, require_qubits, terms_of


@dataclass(frozen=True, slots=True)
class LightCone:
    """The past of an observable.

    Args:
        operations: Places in ``circuit.operations``, ascending.
        qubits: Qubits whose start state the observable can depend on, ascending.
        circuit: The gates of the cone alone, on all the qubits. Weights and data columns keep their numbers; where the
            last ones lie outside, its ``number_of_weights`` or ``number_of_data`` is smaller.
    """

    operations: tuple[int, ...]
    qubits: tuple[int, ...]
    circuit: Circuit


def light_cone(circuit: Circuit, observable: Observable) -> LightCone:
    """The gates that the observable's expectation value can depend on.

    Backwards from the observable's qubits: a gate on one of the qubits reached so far belongs to the cone, and all its
    qubits are reached. Gates outside cancel with their adjoints in ⟨ψ|O|ψ⟩ and never change it, whatever the start
    state. The converse is not claimed: a gate inside may still have no effect. Cost linear in the gates.

    Args:
        circuit: Any circuit.
        observable: On as many qubits; of a sum, the qubits of all its strings with a coefficient other than 0.

    Raises:
        InvalidCircuitError: The numbers of qubits differ.

    Example:
        >>> from qstore_db.circuits.observables import PauliString
        >>> from qstore_db.circuits.templates.entangled_states import ghz
        >>> light_cone(ghz(4), PauliString("ZIII")).operations
        (0, 1)
    """
    require_qubits((observable,), circuit.n_qubits)
    reached = {qubit for factor, string in terms_of(observable) if factor != 0.0 for qubit in string.on_qubits}
    inside: list[int] = []
    for place in range(len(circuit.operations) - 1, -1, -1):
        qubits = circuit.operations[place].qubits
        if not reached.isdisjoint(qubits):
            reached.update(qubits)
            inside.append(place)
    inside.reverse()
    return LightCone(
        operations=tuple(inside),
        qubits=tuple(sorted(reached)),
        circuit=Circuit(circuit.n_qubits, (circuit.operations[place] for place in inside)),
    )
