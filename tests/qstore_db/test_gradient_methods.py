"""Parameter shift, differences and the adjoint method give the same gradients."""

import numpy as np
import pytest

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import InvalidArgumentError
from qstore_db.gradients.finite_difference import finite_difference
from qstore_db.gradients.parameter_shift import parameter_shift
from qstore_db.simulation import reference
from qstore_db.simulation.plan import compile_circuit

OBSERVABLES = (PauliString("ZXI"), 0.7 * PauliString("IYZ") - PauliString("XII"), PauliString("IIZ"))
METHODS = 30


def every_gate(rng):
    """Each gate once, in random order and place, with shared and summed symbols."""
    operations = []
    for gate in rng.permutation(list(GATES)):
        kind = GATES[gate]
        terms = [
            Weight(int(rng.integers(3)), float(rng.normal())) + Data(int(rng.integers(2))) * 0.5 + Weight(0)
            for _ in range(kind.angles)
        ]
        operations.append(Operation(kind.name, rng.permutation(3)[: kind.qubits], terms))
    return Circuit(3, operations)


def jacobian(gradient, data, weights, run):
    return gradient.combine([run(circuit, weights, data) for circuit in gradient.circuits])


def by_reference(circuit, weights, data):
    return reference.expectations(reference.state_vector(circuit, weights, data), OBSERVABLES)


def by_engine(circuit, weights, data):
    return compile_circuit(circuit, OBSERVABLES).expectations(data, weights, dtype="float64")


def test_all_methods_agree(compared):
    worst = {"shift": 0.0, "difference": 0.0, "float32": 0.0}
    for seed in range(METHODS):
        rng = np.random.default_rng(seed)
        circuit = every_gate(rng)
        data, weights = rng.normal(size=(2, 2)) * 2, rng.normal(size=3) * 2
        cotangent = rng.normal(size=(2, len(OBSERVABLES)))
        plan = compile_circuit(circuit, OBSERVABLES)
        adjoint = plan.forward(data, weights, dtype="float64")[1](cotangent)
        single = plan.forward(data, weights)[1](cotangent)
        run = by_reference if seed % 3 == 0 else by_engine
        for name, method in (("shift", parameter_shift), ("difference", finite_difference)):
            found = jacobian(method(circuit), data, weights, run)
            by_weight = np.einsum("bm,bmi->i", cotangent, found.weights)
            by_data = np.einsum("bm,bmi->bi", cotangent, found.data)
            error = max(np.abs(by_weight - adjoint.weights).max(), np.abs(by_data - adjoint.data).max())
            worst[name] = max(worst[name], float(error))
        worst["float32"] = max(worst["float32"], float(np.abs(single.weights - adjoint.weights).max()))
    compared(f"{METHODS} circuits of every gate, largest difference from the adjoint gradient: {worst}")
    assert worst["shift"] < 1e-11
    assert worst["difference"] < 1e-7
    assert worst["float32"] < 1e-4


def test_richardson_removes_the_leading_error():
    rng = np.random.default_rng(1)
    circuit = every_gate(rng)
    data, weights = rng.normal(size=(1, 2)), rng.normal(size=3)
    exact = jacobian(parameter_shift(circuit), data, weights, by_reference).weights

    def error(step, richardson):
        method = finite_difference(circuit, step=step, richardson=richardson)
        return np.abs(jacobian(method, data, weights, by_reference).weights - exact).max()

    assert error(0.02, False) / error(0.01, False) == pytest.approx(4, rel=0.1)
    assert error(0.04, True) / error(0.02, True) == pytest.approx(16, rel=0.2)


def test_shifting_takes_two_circuits_an_angle_and_four_for_controlled_rotations():
    circuit = Circuit(
        2,
        [
            Operation("RX", (0,), (Weight(0),)),
            Operation("RX", (1,), (0.3,)),
            Operation("U", (0,), (Weight(1), Data(0), 0.1)),
            Operation("CRZ", (0, 1), (Weight(1) + Data(0),)),
        ],
    )
    gradient = parameter_shift(circuit)
    assert len(gradient.circuits) == 2 + 4 + 4
    assert gradient.weights.shape == (2, 10)
    assert gradient.data.shape == (1, 10)
    assert len(finite_difference(circuit).circuits) == 12
    assert len(finite_difference(circuit, richardson=False).circuits) == 6


def test_a_circuit_without_symbols_has_no_gradient():
    gradient = parameter_shift(Circuit(1, [Operation("RX", (0,), (0.3,))]))
    assert gradient.circuits == ()
    assert gradient.combine([]).weights.size == 0


def test_wrong_arguments_are_named():
    with pytest.raises(InvalidArgumentError, match="step"):
        finite_difference(Circuit(1), step=0.0)
    with pytest.raises(InvalidArgumentError, match="1 results"):
        parameter_shift(Circuit(1)).combine([np.zeros((1, 1))])
