"""Two engines behind one plan, and what they share: one sweep for a known cotangent, a head inside the step."""

import subprocess
import sys

import numpy as np
import pytest

from qstore_db.circuits.readouts import pauli_pairs
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.plan import Plan

ENGINES = ("lanes", "numpy")
CASES = 40


def plans(circuit, amplitude_input, engines=ENGINES):
    observables = (*pauli_pairs(circuit.n_qubits),)
    return {name: Plan(circuit, observables, amplitude_input, name) for name in engines}


def inputs_of(plan, samples, seed, *, complex_amplitudes=False):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=plan.number_of_weights) * 2
    data = rng.normal(size=(samples, plan.number_of_data)) * 2
    amplitudes = None
    if plan.amplitude_input:
        amplitudes = rng.normal(size=(samples, (1 << plan.circuit.n_qubits) - seed % 2))
        if complex_amplitudes:
            amplitudes = amplitudes + 1j * rng.normal(size=amplitudes.shape)
    return data, weights, amplitudes


def arrays(gradients):
    return [one for one in (gradients.weights, gradients.data, gradients.amplitudes) if one is not None]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_both_engines_agree(random_circuit, dtype, capsys):
    bound = 1e-12 if dtype == "float64" else 3e-5
    worst = 0.0
    for seed in range(CASES):
        circuit = random_circuit(seed, 1 + seed % 6, 5 + seed, symbols=True)
        both = plans(circuit, seed % 2 == 1)
        found = {}
        for name, plan in both.items():
            given = inputs_of(plan, 1 + 4 * seed % 21, seed, complex_amplitudes=seed % 4 == 1)
            values, pullback = plan.forward(*given, dtype=dtype)
            cotangent = np.random.default_rng(seed).normal(size=values.shape)
            found[name] = [values, *arrays(pullback(cotangent))]
        for lanes, plain in zip(*found.values(), strict=True):
            worst = max(
                worst, float(np.abs(lanes - plain).max(initial=0)) / max(1.0, float(np.abs(plain).max(initial=0)))
            )
    with capsys.disabled():
        print(f"\n{CASES} random circuits, lanes against numpy in {dtype}: {worst:.1e}")
    assert worst < bound


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("amplitude_input", [False, True])
def test_one_sweep_gives_the_bits_of_two(random_circuit, engine, amplitude_input):
    plan = plans(random_circuit(5, 4, 40, symbols=True), amplitude_input, [engine])[engine]
    given = inputs_of(plan, 37, 3)
    values, pullback = plan.forward(*given)
    cotangent = np.random.default_rng(0).normal(size=values.shape)
    again, gradients = plan.gradients(*given, cotangent=cotangent)
    assert np.array_equal(values, again)
    for one, other in zip(arrays(pullback(cotangent)), arrays(gradients), strict=True):
        assert np.array_equal(one, other)
    _, weights_only = plan.gradients(*given, cotangent=cotangent, input_gradients=False)
    assert weights_only.data is None
    assert weights_only.amplitudes is None
    assert np.array_equal(weights_only.weights, gradients.weights)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_head_step_is_the_chain_rule(random_circuit, engine):
    plan = plans(random_circuit(8, 3, 30, symbols=True), False, [engine])[engine]
    data, weights, _ = inputs_of(plan, 21, 1)
    rng = np.random.default_rng(2)
    matrix, bias = rng.normal(size=(4, plan.number_of_readouts)), rng.normal(size=4)
    labels = rng.integers(0, 4, 21)

    def loss(w, m, b):
        scores = plan.expectations(data, w, dtype="float64") @ m.T + b
        top = scores.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scores - top).sum(axis=1)) + top[:, 0] - scores[np.arange(21), labels]).mean())

    step = plan.head_step(data, weights, matrix=matrix, bias=bias, labels=labels, dtype="float64")
    assert step.loss == pytest.approx(loss(weights, matrix, bias), rel=1e-12)
    scores = plan.expectations(data, weights, dtype="float64") @ matrix.T + bias
    assert step.correct == np.count_nonzero(scores.argmax(axis=1) == labels)
    for place, slope in enumerate((step.weights, step.matrix, step.bias)):
        along = rng.normal(size=slope.shape)
        moved = [[weights, matrix, bias] for _ in (0, 1)]
        moved[0][place] = moved[0][place] + 1e-5 * along
        moved[1][place] = moved[1][place] - 1e-5 * along
        assert (slope * along).sum() == pytest.approx((loss(*moved[0]) - loss(*moved[1])) / 2e-5, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_head_that_does_not_fit_is_named(random_circuit, engine):
    plan = plans(random_circuit(8, 2, 10), False, [engine])[engine]
    readouts = plan.number_of_readouts
    with pytest.raises(InvalidArgumentError, match="head"):
        plan.head_step(matrix=np.ones((3, readouts + 1)), bias=np.ones(3), labels=np.array([0]))
    for labels, what in (([3], "label 3 of sample 0"), ([-1], "label -1"), ([0, 1], "2 label"), ([], "shape")):
        with pytest.raises(InvalidArgumentError, match=what):
            plan.head_step(matrix=np.ones((3, readouts)), bias=np.ones(3), labels=np.array(labels, np.int64))


@pytest.mark.parametrize("engine", ENGINES)
def test_extreme_amplitudes_are_rescaled_in_one_sweep_too(random_circuit, engine):
    plan = plans(random_circuit(5, 3, 30, symbols=True), True, [engine])[engine]
    data, weights, amplitudes = inputs_of(plan, 5, 0)
    cotangent = np.ones((5, plan.number_of_readouts))
    wanted = plan.gradients(data, weights, amplitudes, cotangent=cotangent, dtype="float64")
    found = plan.gradients(data, weights, amplitudes * 1e200, cotangent=cotangent, dtype="float64")
    assert np.allclose(found[0], wanted[0], atol=1e-13)
    assert np.allclose(found[1].weights, wanted[1].weights, atol=1e-12)
    assert np.allclose(found[1].amplitudes * 1e200, wanted[1].amplitudes, atol=1e-12)


def test_without_numba_the_plan_says_so_and_computes():
    code = (
        "import sys\n"
        "sys.modules['numba'] = sys.modules['llvmlite'] = None\n"
        "import numpy as np\n"
        "from qstore_db.models.classifier import Classifier\n"
        "from qstore_db.models.reduction import fit_reduction\n"
        "from qstore_db.models.specification import ModelSpec\n"
        "rows = np.eye(4)\n"
        "spec = ModelSpec(qubits=2, classes=2, layers=2)\n"
        "model = Classifier(spec, fit_reduction(spec, rows))\n"
        "found = model.loss_and_gradient(model.initial_parameters(0), rows, [0, 1, 0, 1])\n"
        "print(model.plan.engine, found.gradients['head_bias'].shape)\n"
        "from qstore_db.errors import MissingDependencyError\n"
        "from qstore_db.simulation.sampling import sample_counts\n"
        "from qstore_db.simulation.state_vector import states\n"
        "calls = [lambda: states(model.plan.circuit, np.zeros(8)),\n"
        "         lambda: sample_counts([0.5, 0.5], 10, np.random.default_rng(0))]\n"
        "for call in calls:\n"
        "    try:\n"
        "        call()\n"
        "    except MissingDependencyError as error:\n"
        "        print(str(error).startswith('numba is not installed'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["numpy", "(2,)", "True", "True"]
