"""Training where values come from an executor: noise, shots, every gradient, and the log of the automatic choice."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from small_runs import Stop, bits, metrics_of, rows, state_of

from qstore_db.database import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, TrainingInterruptedError, UnsupportedRequestError
from qstore_db.gradients.differentiation import drawn_subset
from qstore_db.models.classifier import Classifier
from qstore_db.models.specification import ModelSpec
from qstore_db.training.dataset import store_training_data
from qstore_db.training.gradient_log import GradientLog
from qstore_db.training.material import Features, batches, gather
from qstore_db.training.options import TrainingOptions
from qstore_db.training.recipe import executor_for, recipe_for
from qstore_db.training.registration import create_model
from qstore_db.training.registry import find_run
from qstore_db.training.trainer import resume, train
from storage_engine.engine import Engine

ROWS, VALIDATION, WEIGHTS = 45, 20, 8
BASE = {"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "seed": 3, "validation_split": "test"}
RECIPES = {
    "noise": {"backend": "local_noisy", "gradient": "spsa"},
    "noise, adjoint": {"backend": "local_noisy"},
    "trajectories": {"backend": "trajectories", "gradient": "spsa", "freeze": "layer[0]"},
    "noise, shift": {"backend": "local_noisy", "gradient": "parameter_shift", "freeze": "layer[1]"},
    "noise, difference": {"backend": "local_noisy", "gradient": "finite_difference"},
    "noise, natural": {"backend": "local_noisy", "optimizer": "natural", "damping": 0.1},
    "noise, frozen": {"backend": "local_noisy", "freeze": "circuit"},
    "noise and shots": {"backend": "local_noisy", "shots": 200, "gradient": "spsa", "spsa_directions": 3},
    "shots": {"shots": 256},
    "shots, shift": {"shots": 300, "gradient": "parameter_shift"},
    "shots, spsa": {"shots": 300, "gradient": "spsa"},
    "shots, difference": {"shots": 400, "gradient": "finite_difference"},
    "shots, subset": {"shots": 300, "gradient": "subset", "subset_size": 3},
    "shots, natural": {"shots": 300, "optimizer": "natural_gradient", "gradient": "spsa", "damping": 0.1},
    "subset": {"gradient": "subset"},
    "exact metric": {"optimizer": "qng", "metric": "exact", "damping": 0.1},
}
table = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())


@pytest.fixture
def engine():
    with Engine.open(None) as engine:
        store_training_data(engine, "d", *rows(ROWS, 0))
        store_training_data(engine, "d", *rows(VALIDATION, 1), split="test")
        create_model(engine, "m", ModelSpec(qubits=2, classes=2, layers=2))
        yield engine


def options(**changes):
    return TrainingOptions(**{**BASE, **changes})


@table
def test_an_interrupted_run_continues_bit_for_bit(engine, recipe):
    whole = train(engine, "m", "d", options(**recipe))
    with pytest.raises(TrainingInterruptedError):
        train(engine, "m", "d", options(**recipe), progress=Stop(7))
    run = resume(engine, 2)
    assert bits(state_of(engine, run)) == bits(state_of(engine, whole))
    assert (run.scores, run.circuits, run.gradient_log) == (whole.scores, whole.circuits, whole.gradient_log)
    assert metrics_of(engine, run).equals(metrics_of(engine, whole))
    assert find_run(engine.snapshot(), whole.id) == whole


@table
def test_every_recipe_learns_and_counts_its_shots(engine, recipe):
    run = train(engine, "m", "d", options(**{**recipe, "epochs": 6}))
    found = metrics_of(engine, run).to_pylist()
    losses = [row["train_loss"] for row in found if row["step"] == -1]
    assert losses[-1] < 0.9 * math.log(2)
    assert losses[-1] < losses[0]
    for row in found:
        assert row["shots"] == (None if "shots" not in recipe else row["circuits"] * recipe["shots"])


def one_step(engine, recipe, **changes):
    """The loss gradient of the first minibatch on a backend, as a run takes it."""
    chosen = options(**{**recipe, **changes})
    spec = ModelSpec(qubits=2, classes=2, layers=2)
    material = gather(engine.snapshot(), "d", spec, chosen)
    classifier = Classifier(spec, material.fit_reduction(spec, chosen.seed))
    positions = next(batches(len(material.rows), chosen, epoch=1))
    features = Features(classifier, material.rows).at(positions)
    parameters = classifier.initial_parameters(chosen.seed)
    parameters["head_weights"] = np.random.default_rng(0).normal(size=parameters["head_weights"].shape) / 4
    with executor_for(chosen) as executor:
        recipe_on = recipe_for(chosen, classifier, ROWS)
        recipe_on = replace(recipe_on, executor=executor)
        source = recipe_on.step_source(0)
        way = recipe_on.differentiation(0, None, source)
        return classifier.loss_and_gradient_of_features(parameters, features, material.targets[positions], way)


CIRCUITS = {"adjoint": 0, "parameter_shift": 2, "finite_difference": 4}


@pytest.mark.parametrize("gradient", CIRCUITS)
def test_gradients_through_noise_agree_with_each_other_and_differ_from_the_perfect_one(engine, gradient):
    perfect = one_step(engine, {"gradient": "adjoint"})
    noisy = one_step(engine, {"backend": "local_noisy", "gradient": gradient})
    other = one_step(engine, {"backend": "local_noisy", "gradient": "parameter_shift"})
    assert abs(noisy.gradients["circuit"] - other.gradients["circuit"]).max() < 1e-5
    scale = abs(perfect.gradients["circuit"]).max()
    assert 0.01 < abs(noisy.gradients["circuit"] - perfect.gradients["circuit"]).max() / scale < 0.1
    assert noisy.circuits == 8 * (1 + WEIGHTS * CIRCUITS[gradient])


def test_sampled_gradients_tend_to_the_exact_one(engine):
    exact = one_step(engine, {"gradient": "parameter_shift"}).gradients["circuit"]
    errors = [
        abs(one_step(engine, {"shots": shots, "gradient": "parameter_shift"}).gradients["circuit"] - exact).max()
        for shots in (100, 100_000)
    ]
    assert errors[1] < 0.01 < errors[0]


def test_a_subset_is_scaled_so_that_its_mean_is_the_gradient(engine):
    exact = one_step(engine, {"gradient": "adjoint"}).gradients["circuit"]
    found = one_step(engine, {"gradient": "subset", "subset_size": 4}).gradients["circuit"]
    drawn = np.flatnonzero(found)
    assert len(drawn) == 4
    np.testing.assert_allclose(found[drawn], 2 * exact[drawn], atol=1e-5)
    # Over many steps every weight is drawn as often as any other.
    often = np.bincount(np.concatenate([drawn_subset(3, step, range(8), 4) for step in range(400)]), minlength=8)
    assert abs(often - 200).max() < 5 * np.sqrt(400 / 4)


def test_circuits_of_shots_count_every_basis(engine):
    # Pauli pairs of two qubits: X, Y, Z of each and XX, YY, ZZ share the three bases XX, YY, ZZ.
    assert one_step(engine, {"shots": 50, "gradient": "spsa"}).circuits == 8 * 3 * (1 + 2)


def test_the_local_simulator_always_takes_adjoint_and_says_so(engine):
    run = train(engine, "m", "d", options(epochs=1))
    (decision,) = run.gradient_log
    assert decision["after"]["method"] == "adjoint"
    assert (decision["step"], decision["reason"]) == (0, "the backend gives adjoint gradients")
    assert train(engine, "m", "d", options(epochs=1, gradient="spsa")).gradient_log == ()


def test_the_automatic_choice_on_shots_starts_exact_and_goes_over_to_spsa(engine):
    run = train(engine, "m", "d", options(shots=100, epochs=4))
    steps = [(entry["step"], entry["after"]["method"]) for entry in run.gradient_log]
    assert steps[:2] == [(0, "parameter_shift"), (1, "spsa")]
    assert all(entry["reason"] for entry in run.gradient_log)
    counted = metrics_of(engine, run).to_pylist()
    assert counted[0]["circuits"] == 8 * 3 * (1 + 2 * WEIGHTS)
    assert counted[1]["circuits"] == 8 * 3 * (1 + 2)


def test_the_log_of_choices_survives_json():
    log = GradientLog()
    for step in range(60):
        choice, log = log.chosen(adjoint=False, exact_circuits=16)
        log = log.after(loss=1.0 / (1 + step // 9), gradient_square=1.0 + step % 3, circuits=7)
        assert choice == log.history.choice
    assert len(log.decisions) > 2
    assert GradientLog.from_json(json.loads(json.dumps(log.to_json()))) == log


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"shots": 100, "gradient": "adjoint"}, "needs the states themselves"),
        ({"backend": "local_noisy", "shots": 9, "gradient": "adjoint"}, "needs the states themselves"),
        ({"backend": "local_noisy", "optimizer": "natural", "metric": "exact"}, "needs the states themselves"),
        ({"optimizer": "natural", "metric": "fisher"}, "no metric 'fisher'"),
        ({"metric": "exact"}, "means nothing"),
        ({"subset_size": 3}, "means nothing"),
        ({"shots": 1}, "shots is 1"),
        ({"shots": 10**9}, "shots is 1000000000"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(given, what):
    with pytest.raises(InvalidArgumentError, match=what):
        options(**given)


def test_what_does_not_fit_the_model_is_refused_before_anything_is_written(engine):
    create_model(engine, "wide", ModelSpec(qubits=13, classes=2, layers=1))
    version = engine.snapshot().version
    with pytest.raises(UnsupportedRequestError, match="13 qubits"):
        train(engine, "wide", "d", options(backend="local_noisy"))
    with pytest.raises(InvalidArgumentError, match="subset of 9 of 8"):
        train(engine, "m", "d", options(gradient="subset", subset_size=9))
    assert engine.snapshot().version == version


def test_the_face_and_sql_train_on_shots_and_noise():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        vectors, labels = rows(ROWS, 0)
        db.store_training_data("d", vectors, labels)
        db.create_model("m", qubits=2, classes=2, layers=2)
        first = db.train("m", "d", epochs=1, shots=50, gradient="spsa", seed=1)
        assert first.record.options.shots == 50
        statement = (
            "CALL train(model => 'm', dataset => 'd', epochs => 1, backend => 'local_noisy', shots => 50,"
            " optimizer => 'natural_gradient', gradient => 'subset', subset_size => 2)"
        )
        assert db.sql(statement).arrow()["status"].to_pylist() == ["finished"]
        found = db.sql("SELECT backend, shots, gradient_log FROM training_runs ORDER BY run_id").fetchall()
        assert found == [("local", 50, "[]"), ("local_noisy", 50, "[]")]
