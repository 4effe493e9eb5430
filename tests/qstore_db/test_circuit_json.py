import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.circuit_json import (
    circuit_from_json,
    circuit_to_json,
    observable_from_json,
    observable_to_json,
)
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import InvalidCircuitError

seeds = st.integers(0, 2**32)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=seeds, n=st.integers(1, 4))
def test_random_circuits_come_back_equal(random_circuit, seed, n):
    circuit = random_circuit(seed, n, 15, symbols=True)
    back = circuit_from_json(json.loads(json.dumps(circuit_to_json(circuit))))
    assert back == circuit
    assert back.digest == circuit.digest


@settings(derandomize=True, deadline=None, max_examples=60)
@given(value=st.floats(allow_nan=False, allow_infinity=False), scale=st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_to_the_bit(value, scale):
    circuit = Circuit(
        1, (Operation("RX", (0,), (value,)), Operation("RX", (0,), (Weight(3, scale) + Data(1) + value,)))
    )
    back = circuit_from_json(json.loads(json.dumps(circuit_to_json(circuit))))
    for one, other in zip(back.operations, circuit.operations, strict=True):
        assert one.angles[0].constant.hex() == other.angles[0].constant.hex()
    terms = back.operations[1].angles[0].terms
    assert [type(term) for term in terms] == [Weight, Data]
    assert terms[0].scale.hex() == float(scale).hex()


def test_the_form_is_what_the_page_says():
    circuit = Circuit(2, (Operation("RY", (0,), (Data(0) + 0.5,)), Operation("CX", (0, 1))))
    assert circuit_to_json(circuit) == {
        "format": "qstore-circuit",
        "version": 1,
        "qubits": 2,
        "operations": [
            {"gate": "RY", "qubits": [0], "angles": [{"terms": [["data", 0, 1.0]], "constant": 0.5}]},
            {"gate": "CX", "qubits": [0, 1]},
        ],
    }


def test_a_program_that_drops_the_point_is_understood():
    record = circuit_to_json(Circuit(1, (Operation("RX", (0,), (1.0,)),)))
    record["operations"][0]["angles"] = [1]
    assert circuit_from_json(record) == Circuit(1, (Operation("RX", (0,), (1.0,)),))


@pytest.mark.parametrize(
    "observable",
    [PauliString("XIZ"), 0.1 * PauliString("ZZ") - PauliString("XI"), PauliString("Z") * math.pi],
    ids=str,
)
def test_observables_come_back_equal(observable):
    assert observable_from_json(json.loads(json.dumps(observable_to_json(observable)))) == observable


GOOD = {"format": "qstore-circuit", "version": 1, "qubits": 1, "operations": []}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([], "circuit"),
        ({}, "circuit"),
        (GOOD | {"format": "qasm"}, "'qasm'"),
        (GOOD | {"version": 2}, "version 2"),
        (GOOD | {"version": True}, "version True"),
        (GOOD | {"more": 1}, "circuit"),
        (GOOD | {"qubits": 1.0}, "integer"),
        (GOOD | {"operations": {}}, "operations"),
        (GOOD | {"operations": [{"gate": "RX"}]}, "operation"),
        (GOOD | {"operations": [{"gate": ["RX"], "qubits": [0]}]}, "text"),
        (GOOD | {"operations": [{"gate": "NO", "qubits": [0]}]}, "unknown gate"),
        (GOOD | {"operations": [{"gate": "RX", "qubits": [0], "angles": ["1"]}]}, "number"),
        (GOOD | {"operations": [{"gate": "RX", "qubits": [0], "angles": [math.nan]}]}, "finite"),
        (GOOD | {"operations": [{"gate": "RX", "qubits": [0], "angles": [{"terms": []}]}]}, "angle"),
        (
            GOOD | {"operations": [{"gate": "RX", "qubits": [0], "angles": [{"terms": [["x", 0, 1]], "constant": 0}]}]},
            "x",
        ),
        (
            GOOD | {"operations": [{"gate": "RX", "qubits": [0], "angles": [{"terms": [["data", 0]], "constant": 0}]}]},
            "te",
        ),
        (GOOD | {"operations": [{"gate": "X", "qubits": [1]}]}, "acts on qubit 1"),
    ],
)
def test_what_is_not_a_circuit(record, words):
    with pytest.raises(InvalidCircuitError, match=words):
        circuit_from_json(record)


@pytest.mark.parametrize("record", [None, 3, [[1.0, "Q"]], [["1", "Z"]], [[1.0]], []])
def test_what_is_not_an_observable(record):
    with pytest.raises(InvalidCircuitError):
        observable_from_json(record)
