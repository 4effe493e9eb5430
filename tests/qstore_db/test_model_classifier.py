"""The classifier: gradients against differences, values against formulas, bits, frozen circuits, refusals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from qstore_db.errors import (
    DimensionMismatchError,
    EmptyDatasetError,
    InvalidLabelError,
    InvalidModelError,
    InvalidVectorError,
)
from qstore_db.models.circuit_model import PREDICTION_ROWS
from qstore_db.models.classifier import Classifier
from qstore_db.models.linear_head import fast_scores, scores
from qstore_db.models.reduction import fit_reduction
from qstore_db.models.specification import ModelSpec
from qstore_db.optimizers.adam import Adam


def data_of(count, dimension, classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dimension)), rng.integers(0, classes, count)


def model_of(dimension=8, count=6, **options):
    spec = ModelSpec(**{"qubits": 3, "classes": 3, "layers": 2, "dtype": "float64", **options})
    rows, labels = data_of(count, dimension, spec.classes)
    return Classifier(spec, fit_reduction(spec, rows)), rows, labels


def random_parameters(model, seed=1):
    rng = np.random.default_rng(seed)
    parameters = {name: rng.normal(size=value.shape) for name, value in model.initial_parameters(0).items()}
    return {**parameters, "head_weights": parameters["head_weights"] / 8}


def pauli(letter):
    return {
        "I": np.eye(2),
        "X": np.array([[0, 1], [1, 0]]),
        "Y": np.array([[0, -1j], [1j, 0]]),
        "Z": np.diag([1, -1]),
    }[letter]


def dense_logits(model, parameters, rows):
    """The model from matrices alone: rotations as exponentials, CX as a permutation, readouts as Kronecker products."""
    spec = model.spec
    n, size = spec.qubits, 2**spec.qubits
    on = {}
    for qubit in range(n):
        for letter in "XYZ":
            on[letter, qubit] = np.array([[1.0]])
            for other in range(n):
                on[letter, qubit] = np.kron(on[letter, qubit], pauli(letter if other == qubit else "I"))
    rotation = lambda letter, qubit, angle: (  # noqa: E731
        np.cos(angle / 2) * np.eye(size) - 1j * np.sin(angle / 2) * on[letter, qubit]
    )
    pairs = {
        "linear": [(i, i + 1) for i in range(n - 1)],
        "circular": [(i, i + 1) for i in range(n - 1)] + ([(n - 1, 0)] if n > 2 else []),
        "full": list(itertools.combinations(range(n), 2)),
    }[spec.entanglement]
    unitary, angles = np.eye(size), iter(parameters["circuit"])
    for _ in range(spec.layers):
        for qubit in range(n):
            for letter in {"ry_rz": "YZ", "rx_ry_rz": "XYZ"}[spec.rotations]:
                unitary = rotation(letter, qubit, next(angles)) @ unitary
        for control, target in pairs:
            projector = (np.eye(size) - on["Z", control]) / 2
            unitary = (np.eye(size) - projector + projector @ on["X", target]) @ unitary
    readouts = [on["Z", q] for q in range(n)]
    if spec.readout == "pauli_pairs":
        readouts = [on[letter, q] for q in range(n) for letter in "XYZ"]
        readouts += [on[c, a] @ on[c, b] for a, b in itertools.combinations(range(n), 2) for c in "XYZ"]
    logits = []
    for row in model.features(rows):
        state = np.zeros(size, complex)
        if spec.encoding == "amplitude":
            state[: len(row)] = row / np.linalg.norm(row)
        else:
            state[0] = 1
            for qubit, angle in enumerate(row):
                state = rotation("Y", qubit, angle) @ state
        state = unitary @ state
        z = np.array([(state.conj() @ observable @ state).real for observable in readouts])
        logits.append(8 * parameters["head_weights"] @ z + parameters["head_bias"])
    return np.array(logits)


VARIANTS = [
    {},
    {"rotations": "rx_ry_rz", "entanglement": "full"},
    {"entanglement": "circular", "readout": "z"},
    {"encoding": "angle", "reduce": "pca"},
    {"encoding": "angle", "reduce": "truncate", "rotations": "rx_ry_rz", "entanglement": "circular"},
    {"reduce": "pool", "dimension": 25},
    {"qubits": 1, "reduce": "projection", "layers": 1},
    {"qubits": 2, "reduce": "projection", "entanglement": "circular"},
    {"dimension": 5},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_scores_agree_with_dense_matrices(options):
    model, rows, _ = model_of(**options)
    parameters = random_parameters(model)
    np.testing.assert_allclose(model.logits(parameters, rows), dense_logits(model, parameters, rows), atol=1e-12)


def test_float32_agrees_with_float64():
    exact, rows, labels = model_of()
    quick, _, _ = model_of(dtype="float32")
    parameters = random_parameters(exact)
    np.testing.assert_allclose(quick.logits(parameters, rows), exact.logits(parameters, rows), atol=1e-5)
    left = quick.loss_and_gradient(parameters, rows, labels)
    right = exact.loss_and_gradient(parameters, rows, labels)
    assert left.loss == pytest.approx(right.loss, abs=1e-5)
    for name, gradient in right.gradients.items():
        np.testing.assert_allclose(left.gradients[name], gradient, atol=1e-5)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_every_derivative_agrees_with_central_differences(options):
    model, rows, labels = model_of(**options)
    parameters = random_parameters(model)
    result = model.loss_and_gradient(parameters, rows, labels)
    assert set(result.gradients) == set(parameters)
    step = 1e-5
    for name, value in parameters.items():
        assert result.gradients[name].shape == value.shape
        assert result.gradients[name].dtype == np.float64
        for place in np.ndindex(*value.shape):
            ends = []
            for sign in (step, -step):
                moved = value.copy()
                moved[place] += sign
                ends.append(model.loss_and_gradient({**parameters, name: moved}, rows, labels).loss)
            difference = (ends[0] - ends[1]) / (2 * step)
            assert result.gradients[name][place] == pytest.approx(difference, abs=1e-9), (name, place)


def test_loss_and_correct_are_those_of_the_scores():
    model, rows, labels = model_of(count=40)
    parameters = random_parameters(model)
    result = model.loss_and_gradient(parameters, rows, labels)
    logits = model.logits(parameters, rows)
    right = logits[np.arange(40), labels]
    assert result.loss == pytest.approx(np.mean(np.log(np.exp(logits).sum(axis=1)) - right), abs=1e-12)
    assert result.correct == np.count_nonzero(model.predict(parameters, rows) == labels)
    assert 0 < result.correct < 40
    assert result.circuits == 40


def test_probabilities_and_classes_follow_the_scores():
    model, rows, _ = model_of(count=20)
    parameters = random_parameters(model)
    logits, probabilities = model.logits(parameters, rows), model.predict_proba(parameters, rows)
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-12)
    assert model.predict(parameters, rows).dtype == np.int64
    assert model.predict(parameters, rows).tolist() == probabilities.argmax(axis=1).tolist()


def test_a_tie_goes_to_the_smallest_class():
    model, rows, _ = model_of()
    assert model.predict(model.initial_parameters(0), rows).tolist() == [0] * len(rows)


def test_only_the_direction_of_a_row_counts_for_amplitudes():
    model, rows, _ = model_of()
    parameters = random_parameters(model)
    np.testing.assert_allclose(model.logits(parameters, rows * 1e-7), model.logits(parameters, rows), atol=1e-12)
    np.testing.assert_allclose(model.logits(parameters, rows * -3e12), model.logits(parameters, rows), atol=1e-12)


def test_start_values_are_seeded_and_cost_log_k():
    model, rows, labels = model_of()
    first, again, other = (model.initial_parameters(seed) for seed in (5, 5, 6))
    assert {name: value.tobytes() for name, value in first.items()} == {
        name: value.tobytes() for name, value in again.items()
    }
    assert np.abs(first["circuit"] - other["circuit"]).max() > 0.1
    assert {name: value.shape for name, value in first.items()} == dict(model.shapes)
    assert model.shapes == {"circuit": (12,), "head_weights": (3, 18), "head_bias": (3,)}
    assert all(value.dtype == np.float64 for value in first.values())
    assert not first["head_weights"].any()
    assert model.loss_and_gradient(first, rows, labels).loss == pytest.approx(math.log(3), abs=1e-15)


def test_start_angles_fill_the_circle():
    model, _, _ = model_of(layers=60)
    angles = model.initial_parameters(0)["circuit"]
    assert -np.pi <= angles.min() < -3.0
    assert 3.0 < angles.max() < np.pi


def test_a_frozen_circuit_has_no_gradient_and_the_same_head():
    trained, rows, labels = model_of()
    frozen, _, _ = model_of(train_circuit=False)
    parameters = random_parameters(trained)
    assert {name: value.tobytes() for name, value in frozen.initial_parameters(2).items()} == {
        name: value.tobytes() for name, value in trained.initial_parameters(2).items()
    }
    with_circuit = trained.loss_and_gradient(parameters, rows, labels)
    head_only = frozen.loss_and_gradient(parameters, rows, labels)
    assert set(head_only.gradients) == {"head_weights", "head_bias"}
    assert head_only.loss == pytest.approx(with_circuit.loss, abs=1e-13)
    np.testing.assert_allclose(head_only.gradients["head_weights"], with_circuit.gradients["head_weights"], atol=1e-13)
    moved, _ = Adam().update(head_only.gradients, Adam().init(parameters), parameters)
    assert moved["circuit"].tobytes() == parameters["circuit"].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"encoding": "angle", "reduce": "pca"}, {"reduce": "pool", "dimension": 49}])
def test_a_row_is_predicted_with_the_same_bits_in_any_company(options, dtype):
    model, _, _ = model_of(dtype=dtype, qubits=4, classes=5, count=30, **{"dimension": 16, **options})
    dimension = model.reduction.dimension
    rows, _ = data_of(2 * PREDICTION_ROWS + 37, dimension, 5, seed=8)
    parameters = random_parameters(model)
    whole = model.logits(parameters, rows)
    assert model.logits(parameters, rows).tobytes() == whole.tobytes()
    for start, count in [(0, 1), (1, 1), (3, 7), (250, 19), (40, 300), (len(rows) - 1, 1), (17, 16), (100, 257)]:
        part = slice(start, start + count)
        assert model.logits(parameters, rows[part]).tobytes() == whole[part].tobytes(), (start, count)
        assert (
            model.predict_proba(parameters, rows[part]).tobytes()
            == model.predict_proba(parameters, rows)[part].tobytes()
        )
    order = np.random.default_rng(0).permutation(len(rows))
    assert model.logits(parameters, rows[order]).tobytes() == whole[order].tobytes()


def test_features_may_be_kept():
    model, rows, labels = model_of(reduce="pool", dimension=25)
    parameters = random_parameters(model)
    features = model.features(rows)
    assert features.shape == (6, 4)
    assert model.logits_of_features(parameters, features).tobytes() == model.logits(parameters, rows).tobytes()
    kept = model.loss_and_gradient_of_features(parameters, features, labels)
    anew = model.loss_and_gradient(parameters, rows, labels)
    assert kept.loss == anew.loss
    assert all(kept.gradients[name].tobytes() == value.tobytes() for name, value in anew.gradients.items())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_repeats_to_the_bit_and_learns(dtype):
    model, rows, _ = model_of(dtype=dtype, count=48)
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(np.int64)

    def train():
        adam = Adam(learning_rate=0.1)
        parameters = model.initial_parameters(3)
        state = adam.init(parameters)
        for step in range(60):
            part = slice(16 * (step % 3), 16 * (step % 3) + 16)
            gradients = model.loss_and_gradient(parameters, rows[part], labels[part]).gradients
            parameters, state = adam.update(gradients, state, parameters)
        return parameters

    first, second = train(), train()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    result = model.loss_and_gradient(first, rows, labels)
    assert result.loss < 0.5
    assert result.correct >= 40


def test_no_rows_give_no_predictions_but_no_loss_either():
    model, rows, _ = model_of()
    parameters = model.initial_parameters(0)
    assert model.predict(parameters, rows[:0]).shape == (0,)
    assert model.predict_proba(parameters, rows[:0]).shape == (0, 3)
    with pytest.raises(EmptyDatasetError):
        model.loss_and_gradient(parameters, rows[:0], [])


def test_a_row_without_direction_is_named():
    model, rows, labels = model_of()
    rows[4] = 0.0
    parameters = model.initial_parameters(0)
    for call in (
        lambda: model.predict(parameters, rows),
        lambda: model.loss_and_gradient(parameters, rows, labels),
    ):
        with pytest.raises(InvalidVectorError, match="Row 4 is zero") as caught:
            call()
        assert caught.value.value == 4
    truncated, rows, _ = model_of(reduce="truncate", dimension=9)
    rows[2, :8] = 0.0
    with pytest.raises(InvalidVectorError, match="Row 2 is zero after reduce = 'truncate'"):
        truncated.predict(truncated.initial_parameters(0), rows)


def test_a_zero_row_is_fine_for_angles():
    model, rows, _ = model_of(encoding="angle", reduce="truncate")
    assert model.predict(model.initial_parameters(0), rows * 0).shape == (6,)


def test_wrong_rows_and_labels_are_refused():
    model, rows, labels = model_of()
    parameters = model.initial_parameters(0)
    with pytest.raises(DimensionMismatchError, match="7 features, but the model was trained on 8"):
        model.predict(parameters, rows[:, :7])
    with pytest.raises(InvalidVectorError, match="Row 1 holds nan"):
        model.predict(parameters, np.where(np.arange(6)[:, None] == 1, np.nan, rows))
    with pytest.raises(InvalidLabelError, match="Label 3 at position 0"):
        model.loss_and_gradient(parameters, rows, labels + 3 - labels[0])
    with pytest.raises(InvalidLabelError, match="6 rows"):
        model.loss_and_gradient(parameters, rows, labels[:5])


@pytest.mark.parametrize("name", ["circuit", "head_weights", "head_bias"])
def test_parameters_of_another_model_are_refused(name):
    model, rows, labels = model_of()
    parameters = model.initial_parameters(0)
    wrong = {**parameters, name: np.zeros(2)}
    missing = {key: value for key, value in parameters.items() if key != name}
    for call in (model.predict, lambda p, r: model.loss_and_gradient(p, r, labels)):
        with pytest.raises(InvalidModelError, match=rf"'{name}' has shape \(2,\)"):
            call(wrong, rows)
        with pytest.raises(InvalidModelError, match=f"'{name}' is missing"):
            call(missing, rows)


@pytest.mark.parametrize("options", [{"qubits": 2}, {"encoding": "angle"}, {"qubits": 9, "encoding": "angle"}])
def test_a_reduction_for_another_specification_is_refused(options):
    model, _, _ = model_of()
    with pytest.raises(InvalidModelError, match="The reduction gives 8 features"):
        Classifier(ModelSpec(**{"qubits": 3, "classes": 3, **options}), model.reduction)


def test_both_ways_to_the_scores_agree():
    rng = np.random.default_rng(0)
    readouts, weights, bias = rng.normal(size=(9, 63)), rng.normal(size=(10, 63)), rng.normal(size=10)
    direct = 8 * np.einsum("bm,km->bk", readouts, weights) + bias
    np.testing.assert_allclose(scores(readouts, weights, bias), direct, atol=1e-11)
    np.testing.assert_allclose(fast_scores(readouts, weights, bias), direct, atol=1e-11)
