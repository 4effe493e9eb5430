"""Where the states of a gradient go: kept, made again, or one state whose rotations are taken back."""

import numpy as np
import pytest

from qstore_db.circuits.readouts import pauli_pairs
from qstore_db.errors import NotEnoughMemoryError
from qstore_db.simulation import lanes_engine, memory
from qstore_db.simulation.lanes_engine import LanesEngine
from qstore_db.simulation.packing import Program
from qstore_db.simulation.plan import Plan


def case(random_circuit, seed, amplitude_input):
    circuit = random_circuit(seed, 2 + seed % 5, 60, symbols=True)
    plan = Plan(circuit, tuple(pauli_pairs(circuit.n_qubits)), amplitude_input, "lanes")
    rng = np.random.default_rng(seed)
    amplitudes = rng.normal(size=(19, 1 << circuit.n_qubits)) if amplitude_input else None
    given = (rng.normal(size=(19, plan.number_of_data)), rng.normal(size=plan.number_of_weights), amplitudes)
    return plan, given, rng.normal(size=(19, plan.number_of_readouts))


@pytest.mark.parametrize("amplitude_input", [False, True])
def test_taking_rotations_back_gives_the_same_gradients(monkeypatch, random_circuit, amplitude_input):
    taken_back = []
    pack_again = LanesEngine.fine_program

    def watched(self) -> Program:
        taken_back.append(self)
        return pack_again(self)

    monkeypatch.setattr(LanesEngine, "fine_program", watched)
    for seed in range(12):
        plan, given, cotangent = case(random_circuit, seed, amplitude_input)
        values, pullback = plan.forward(*given, dtype="float64")
        wanted = pullback(cotangent)
        with monkeypatch.context() as tight:
            tight.setattr(memory, "fits", lambda size: False)
            tight.setattr(memory, "CHECK_FROM_BYTES", 1 << 60)
            again, other = plan.forward(*given, dtype="float64")
            found, swept = other(cotangent), plan.gradients(*given, cotangent=cotangent, dtype="float64")
        assert np.allclose(values, again, atol=1e-13)
        assert np.array_equal(swept[0], again)
        for name in ("weights", "data", "amplitudes"):
            one, two = getattr(wanted, name), getattr(found, name)
            assert (one is None) == (two is None)
            if one is not None:
                assert np.allclose(one, two, rtol=1e-11, atol=1e-12)
                assert np.array_equal(two, getattr(swept[1], name))
    assert len(taken_back) >= 24


def test_memory_decides(monkeypatch, random_circuit):
    plan, given, cotangent = case(random_circuit, 3, False)
    wanted = plan.gradients(*given, cotangent=cotangent, dtype="float64")[1]
    program = plan._engine.program
    state = (2 << program.n) * 64
    for free, fine in ((1 << 40, False), (7 * state, True)):
        monkeypatch.setattr(memory, "CHECK_FROM_BYTES", 5 * state)
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        assert memory.fits(free) and not memory.fits(free + 1)
        plan._engine._fine = None
        found = plan.gradients(*given, cotangent=cotangent, dtype="float64")[1]
        assert (plan._engine._fine is not None) == fine
        assert np.allclose(found.weights, wanted.weights, atol=1e-12)


def test_large_states_are_taken_back_whatever_is_free(monkeypatch, random_circuit):
    plan, given, cotangent = case(random_circuit, 3, False)
    wanted = plan.gradients(*given, cotangent=cotangent, dtype="float64")[1]
    assert plan._engine._fine is None
    monkeypatch.setattr(lanes_engine, "TAKE_BACK_BYTES", 1 << 10)
    found = plan.gradients(*given, cotangent=cotangent, dtype="float64")[1]
    assert plan._engine._fine is not None
    assert np.allclose(found.weights, wanted.weights, atol=1e-12)


def test_what_does_not_fit_at_all_is_an_error_before_it_is_taken(monkeypatch, random_circuit):
    plan, given, _ = case(random_circuit, 4, False)
    monkeypatch.setattr(memory, "available", lambda: 1 << 10)
    monkeypatch.setattr(memory, "CHECK_FROM_BYTES", 1 << 11)
    monkeypatch.setattr(memory, "_idle", {})
    with pytest.raises(NotEnoughMemoryError):
        plan.forward(*given)


def test_states_that_are_not_kept_are_made_again(monkeypatch, random_circuit):
    plan, given, cotangent = case(random_circuit, 5, True)
    values, pullback = plan.forward(*given)
    wanted = pullback(cotangent)
    monkeypatch.setattr(lanes_engine, "KEEP_BYTES", 0)
    again, other = plan.forward(*given)
    found = other(cotangent)
    assert np.array_equal(values, again)
    assert np.array_equal(found.weights, wanted.weights)
    assert np.array_equal(found.amplitudes, wanted.amplitudes)
