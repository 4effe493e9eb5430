"""The plain gates in which circuits go to IonQ through both SDKs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.backends.ionq.translation import PLAIN, plain
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.simulation.unitary import distance_up_to_phase, unitary


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 4))
def test_plain_gates_do_the_same_as_all_gates(random_circuit, seed, n):
    circuit = random_circuit(seed, n, 12)
    written = plain(circuit)
    assert {operation.gate for operation in written.operations} <= PLAIN
    assert distance_up_to_phase(unitary(written), unitary(circuit)) < 1e-12


@pytest.mark.parametrize("name", sorted(GATES))
def test_every_gate_in_plain_gates(name):
    gate = GATES[name]
    circuit = Circuit(3, [Operation(name, (2, 0, 1)[: gate.qubits], (0.3, -1.1, 2.2)[: gate.angles])])
    assert distance_up_to_phase(unitary(plain(circuit)), unitary(circuit)) < 1e-12


def test_plain_gates_keep_gates_that_cancel():
    folded = Circuit(2, [Operation("CX", (0, 1))] * 3)
    assert plain(folded) == folded
