"""The simulator's face: shapes, errors, equal bits, threads, memory."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Data
from qstore_db.circuits.readouts import pauli_pairs, single_z
from qstore_db.errors import (
    InvalidArgumentError,
    InvalidCircuitError,
    InvalidVectorError,
    NotEnoughMemoryError,
)
from qstore_db.simulation import compiled, lanes_engine, lanes_stage, machine_code, memory, reference, simd
from qstore_db.simulation import plan as plan_module
from qstore_db.simulation.plan import compile_circuit

DTYPES = ["float32", "float64"]


def classifier_plan(qubits=3, *, amplitude_input=False):
    ansatz = hardware_efficient(qubits, 2, rotations="rx_ry_rz", entanglement="full")
    circuit = ansatz if amplitude_input else angle_encoding(qubits, scale=2.0).compose(ansatz)
    return compile_circuit(circuit, pauli_pairs(qubits), amplitude_input=amplitude_input)


def batch(plan, samples, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=plan.number_of_weights)
    width = 1 << plan.circuit.n_qubits
    if plan.amplitude_input:
        return {"weights": weights, "amplitudes": rng.normal(size=(samples, width))}
    return {"weights": weights, "data": rng.normal(size=(samples, plan.number_of_data)) * 3}


def rows(inputs, which):
    return {name: value if name == "weights" else value[which] for name, value in inputs.items()}


def test_lane_counts_agree():
    assert simd.LANES == lanes_stage.LANES


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("amplitude_input", [False, True])
def test_a_sample_has_the_same_bits_wherever_it_stands(dtype, amplitude_input):
    plan = classifier_plan(amplitude_input=amplitude_input)
    inputs = batch(plan, 37)
    whole = plan.expectations(**inputs, dtype=dtype)
    order = np.random.default_rng(1).permutation(37)
    assert np.array_equal(plan.expectations(**rows(inputs, order), dtype=dtype), whole[order])
    for sample in (0, 5, 36):
        alone = plan.expectations(**rows(inputs, slice(sample, sample + 1)), dtype=dtype)
        assert np.array_equal(alone[0], whole[sample])
    values, pullback = plan.forward(**inputs, dtype=dtype)
    assert np.array_equal(values, whole)
    cotangent = np.random.default_rng(2).normal(size=values.shape)
    gradients = pullback(cotangent)
    of_inputs = gradients.amplitudes if amplitude_input else gradients.data
    _, other = plan.forward(**rows(inputs, order), dtype=dtype)
    turned = other(cotangent[order])
    assert np.array_equal(turned.amplitudes if amplitude_input else turned.data, of_inputs[order])
    assert np.allclose(turned.weights, gradients.weights, rtol=1e-4 if dtype == "float32" else 1e-11)


@pytest.mark.parametrize("amplitude_input", [False, True])
def test_computing_again_and_keeping_states_give_the_same_bits(monkeypatch, amplitude_input):
    plan = classifier_plan(amplitude_input=amplitude_input)
    inputs = batch(plan, 20)
    cotangent = np.random.default_rng(2).normal(size=(20, plan.number_of_readouts))

    def gradients():
        values, pullback = plan.forward(**inputs)
        return values, pullback(cotangent), pullback(cotangent)

    kept_values, kept, again = gradients()
    monkeypatch.setattr(lanes_engine, "KEEP_BYTES", 0)
    values, computed, _ = gradients()
    assert np.array_equal(values, kept_values)
    for other in (again, computed):
        assert np.array_equal(kept.weights, other.weights)
        assert np.array_equal(kept.data, other.data)
        if amplitude_input:
            assert np.array_equal(kept.amplitudes, other.amplitudes)


def test_input_gradients_can_be_left_out():
    plan = classifier_plan()
    inputs = batch(plan, 5)
    cotangent = np.ones((5, plan.number_of_readouts))
    full = plan.forward(**inputs)[1](cotangent)
    weights_only = plan.forward(**inputs, input_gradients=False)[1](cotangent)
    assert weights_only.data is None
    assert weights_only.amplitudes is None
    assert np.array_equal(weights_only.weights, full.weights)


def test_inputs_may_change_between_forward_and_backward():
    plan = classifier_plan(amplitude_input=True)
    inputs = {**batch(plan, 4)}
    inputs["amplitudes"] = inputs["amplitudes"].astype(np.float32)
    cotangent = np.ones((4, plan.number_of_readouts))
    values, untouched = plan.forward(**inputs)
    wanted = untouched(cotangent)
    values, pullback = plan.forward(**inputs)
    for array in (*inputs.values(), values):
        np.add(array, 1.0, out=array)
    got = pullback(cotangent)
    assert np.array_equal(got.weights, wanted.weights)
    assert np.array_equal(got.amplitudes, wanted.amplitudes)


def test_many_threads_share_a_plan():
    plan = classifier_plan(4)
    inputs = [batch(plan, 30, seed) for seed in range(8)]
    cotangent = np.ones((30, plan.number_of_readouts))

    def step(number):
        values, pullback = plan.forward(**inputs[number])
        return values, pullback(cotangent).weights

    wanted = [step(number) for number in range(8)]
    wrong = []

    def work(number):
        for _ in range(30):
            values, weights = step(number)
            if not (np.array_equal(values, wanted[number][0]) and np.array_equal(weights, wanted[number][1])):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_amplitudes_are_padded_normalised_and_rescaled():
    plan = classifier_plan(amplitude_input=True)
    weights = batch(plan, 1)["weights"]
    short = np.array([[3.0, -1.0, 2.0, 0.5, 1.0]])
    padded = np.pad(short, ((0, 0), (0, 3)))
    wanted = plan.expectations(weights=weights, amplitudes=padded / np.linalg.norm(padded), dtype="float64")
    assert np.allclose(plan.expectations(weights=weights, amplitudes=short, dtype="float64"), wanted, atol=1e-14)
    cotangent = np.ones(wanted.shape)
    slope = plan.forward(weights=weights, amplitudes=short, dtype="float64")[1](cotangent).amplitudes
    assert slope.shape == short.shape
    assert abs((slope * short).sum()) < 1e-13  # length does not matter
    for dtype, tiny, huge in (("float32", 1e-300, 1e200), ("float64", 1e-300, 1e300)):
        for size in (tiny, huge):
            values, pullback = plan.forward(weights=weights, amplitudes=short * size, dtype=dtype)
            assert np.allclose(values, wanted, atol=1e-5 if dtype == "float32" else 1e-13)
            if dtype == "float64":
                assert np.allclose(pullback(cotangent).amplitudes * size, slope, rtol=1e-10)


def test_complex_and_integer_amplitudes():
    plan = compile_circuit(
        Circuit(1, [Operation("H", (0,))]), [PauliString("X"), PauliString("Y")], amplitude_input=True
    )
    values = plan.expectations(amplitudes=np.array([[1, 1j], [1, -1j], [1, 1]]), dtype="float64")
    # After H, Y of (1, ±i)/√2 is turned round and Z became X.
    assert np.allclose(values, [[0, -1], [0, 1], [0, 0]], atol=1e-15)
    assert np.allclose(plan.expectations(amplitudes=np.array([[3, 0]], np.uint8)), [[1, 0]])


def test_a_circuit_without_inputs_is_one_sample():
    plan = compile_circuit(Circuit(2, [Operation("H", (0,)), Operation("CX", (0, 1))]), pauli_pairs(2))
    values, pullback = plan.forward()
    assert values.round(6).tolist() == [[0, 0, 0, 0, 0, 0, 1, -1, 1]]
    assert pullback(np.ones((1, 9))).weights.shape == (0,)


def test_an_empty_batch():
    plan = classifier_plan()
    inputs = batch(plan, 0)
    values, pullback = plan.forward(**inputs)
    gradients = pullback(np.zeros((0, plan.number_of_readouts)))
    assert values.shape == (0, plan.number_of_readouts)
    assert gradients.data.shape == (0, 3)
    assert not gradients.weights.any()


def test_qubit_0_is_the_left_most_bit():
    plan = compile_circuit(Circuit(3, [Operation("X", (0,))]), single_z(3))
    assert plan.expectations().tolist() == [[-1, 1, 1]]
    state = reference.state_vector(Circuit(3, [Operation("X", (0,)), Operation("X", (2,))]))
    assert np.flatnonzero(np.abs(state[0]) > 0.5).tolist() == [0b101]
    started = compile_circuit(Circuit(3), single_z(3), amplitude_input=True)
    assert started.expectations(amplitudes=np.eye(8)[[0b110]]).tolist() == [[-1, -1, 1]]


def test_reference_keeps_the_norm():
    plan = classifier_plan(4)
    inputs = batch(plan, 3)
    state = reference.state_vector(plan.circuit, inputs["weights"], inputs["data"])
    assert np.abs(reference.probabilities(state).sum(axis=1) - 1).max() < 1e-13


def test_plans_are_cached_and_the_cache_is_bounded():
    assert classifier_plan() is classifier_plan()
    for number in range(plan_module.PLANS_KEPT + 10):
        compile_circuit(Circuit(1, [Operation("RX", (0,), (float(number),))]), [PauliString("Z")])
    assert plan_module._compiled.cache_info().currsize <= plan_module.PLANS_KEPT


def bad_inputs():
    angle, start = classifier_plan(), classifier_plan(amplitude_input=True)
    good, vectors = batch(angle, 3), batch(start, 3)
    infinite = good["data"].copy()
    infinite[1, 0] = np.inf
    zero = vectors["amplitudes"].copy()
    zero[2] = 0
    unknown = vectors["amplitudes"].copy()
    unknown[1, 3] = np.nan
    return [
        (angle, {**good, "dtype": "float16"}, InvalidArgumentError, "float16"),
        (angle, {"data": good["data"]}, InvalidArgumentError, "(0,)"),
        (angle, {**good, "weights": good["weights"][:-1]}, InvalidArgumentError, "17"),
        (angle, {**good, "weights": good["weights"] * np.nan}, InvalidArgumentError, "weight 0 is nan"),
        (angle, {"weights": good["weights"]}, InvalidArgumentError, "None"),
        (angle, {**good, "data": good["data"][:, :2]}, InvalidArgumentError, "(3, 2)"),
        (angle, {**good, "data": good["data"][0]}, InvalidArgumentError, "(3,)"),
        (angle, {**good, "data": infinite}, InvalidVectorError, "row 1"),
        (angle, {**good, "amplitudes": vectors["amplitudes"]}, InvalidArgumentError, "got amplitudes"),
        (start, {"weights": vectors["weights"]}, InvalidArgumentError, "got none"),
        (start, {**vectors, "amplitudes": zero}, InvalidVectorError, "vector 2 is zero"),
        (start, {**vectors, "amplitudes": unknown}, InvalidVectorError, "vector 1 is not finite"),
        (start, {**vectors, "amplitudes": np.ones((3, 9))}, InvalidVectorError, "(3, 9)"),
        (start, {**vectors, "amplitudes": np.ones(8)}, InvalidVectorError, "(8,)"),
        (start, {**vectors, "amplitudes": np.array([["a"] * 8])}, InvalidVectorError, "type"),
        (start, {**vectors, "data": np.zeros((3, 1))}, InvalidArgumentError, "(3, 1)"),
    ]


@pytest.mark.parametrize("case", range(16))
def test_bad_input_is_named(case):
    plan, inputs, error, text = bad_inputs()[case]
    for call in (plan.expectations, plan.forward):
        with pytest.raises(error) as caught:
            call(**inputs)
        assert text in caught.value.what
        assert caught.value.fix


def test_bad_cotangents_and_observables_are_named():
    plan = classifier_plan()
    _, pullback = plan.forward(**batch(plan, 2))
    with pytest.raises(InvalidArgumentError, match="shape"):
        pullback(np.ones((2, 3)))
    with pytest.raises(InvalidArgumentError, match="finite"):
        pullback(np.full((2, plan.number_of_readouts), np.nan))
    with pytest.raises(InvalidCircuitError):
        compile_circuit(Circuit(2), [])
    with pytest.raises(InvalidCircuitError, match="XYZ"):
        compile_circuit(Circuit(2), [PauliString("XYZ")])


def test_memory_is_checked_before_it_is_taken(monkeypatch):
    plan = compile_circuit(Circuit(24, [Operation("H", (0,))]), [PauliString("X" + "I" * 23)])
    monkeypatch.setattr(memory, "available", lambda: 1 << 30)
    monkeypatch.setattr(memory.np, "empty", lambda *_: pytest.fail("allocated"))
    with pytest.raises(NotEnoughMemoryError, match=r"2\.0 GiB"):
        memory.Workspace(2 << 30)
    monkeypatch.undo()
    monkeypatch.setattr(memory, "available", lambda: 1 << 30)
    with pytest.raises(NotEnoughMemoryError):
        plan.expectations()


def test_free_memory_is_plausible():
    free = memory.available()
    assert free is None or 1 << 20 < free < 1 << 50


def test_workspaces_are_aligned_and_reused():
    first = memory.Workspace(5_000_000)
    array = first.array(np.dtype(np.float32))
    assert array.__array_interface__["data"][0] % memory.ALIGNMENT == 0
    assert array.nbytes >= 5_000_000
    block = first._block
    del array, first
    assert memory.Workspace(5_000_000)._block is block


def test_kernels_go_to_the_first_folder_that_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for given, wanted in ((tmp_path / "here", tmp_path / "here"), (tmp_path / "file", None)):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(given))
        folder = compiled.cache_folder.__wrapped__()
        assert (folder and folder.parent) == wanted
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert compiled.cache_folder.__wrapped__().parent.name == "__pycache__"
    monkeypatch.setattr(compiled, "_PACKAGE_CACHE", tmp_path / "file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path in compiled.cache_folder.__wrapped__().parents


def test_compiling_a_circuit_does_not_load_numba():
    code = (
        "import sys\n"
        "from qstore_db.circuits.circuit import Circuit\n"
        "from qstore_db.circuits.readouts import single_z\n"
        "from qstore_db.simulation.plan import compile_circuit\n"
        "compile_circuit(Circuit(2), single_z(2))\n"
        "assert 'numba' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_products_of_data_by_the_chain_rule():
    """RZZ(x0·x1) through a computed column: dL/dx0 = g · x1 and so on."""
    circuit = Circuit(
        2, [Operation("RX", (0,), (1.0,)), Operation("RY", (1,), (0.7,)), Operation("RZZ", (0, 1), (Data(0),))]
    )
    plan = compile_circuit(circuit, [PauliString("YX")])
    x = np.array([0.4, 1.3])

    def value(pair):
        return plan.expectations(np.array([[pair[0] * pair[1]]]), dtype="float64")[0, 0]

    slope = plan.forward(np.array([[x.prod()]]), dtype="float64")[1](np.ones((1, 1))).data[0, 0]
    for place in (0, 1):
        step = np.eye(2)[place] * 1e-5
        assert slope * x[1 - place] == pytest.approx((value(x + step) - value(x - step)) / 2e-5, rel=1e-8)


def test_warming_up_compiles_all_that_later_runs_need():
    from qstore_db.simulation.warm_up import warm_up

    warm_up(("float32", "float64"))
    for amplitude_input in (False, True):
        plan = classifier_plan(amplitude_input=amplitude_input)
        for dtype in DTYPES:
            for samples in (0, 1, 20):
                inputs = batch(plan, samples)
                values, pullback = plan.forward(**inputs, dtype=dtype)
                pullback(np.ones_like(values))
    assert set(machine_code.loaded()) == set(DTYPES)
    with pytest.raises(InvalidArgumentError):
        warm_up(("float16",))
