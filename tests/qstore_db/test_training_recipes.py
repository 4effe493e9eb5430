"""Optimizers, schedules, clipping, freezing and gradients as options of a training run."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from small_runs import Stop, bits, metrics_of, rows, state_of

from qstore_db.errors import InvalidArgumentError, TrainingInterruptedError
from qstore_db.models.classifier import Classifier
from qstore_db.models.specification import ModelSpec
from qstore_db.optimizers.clipping import global_norm
from qstore_db.optimizers.natural import natural_direction
from qstore_db.sql.training_procedures import training_procedures
from qstore_db.training import checkpoints
from qstore_db.training.dataset import store_training_data
from qstore_db.training.material import Features, batches, gather
from qstore_db.training.options import ALIASES, TrainingOptions, option_names
from qstore_db.training.registration import create_model
from qstore_db.training.registry import find_run
from qstore_db.training.trained_models import TrainedModels
from qstore_db.training.trainer import resume, train
from storage_engine.batch import WriteBatch
from storage_engine.engine import Engine

BASE = {"epochs": 4, "batch_size": 8, "learning_rate": 0.05, "seed": 3, "validation_split": "test"}
ROWS, VALIDATION = 45, 20
STEPS = 6  # an epoch
WEIGHTS = 8  # two qubits, two layers, RY and RZ

RECIPES = {
    "adamw": {"optimizer": "adamw", "weight_decay": 0.05},
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    "sgd with decay": {"optimizer": "sgd", "weight_decay": 0.1, "learning_rate": 0.2},
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.5, "learning_rate": 0.02},
    "natural": {"optimizer": "natural", "momentum": 0.5, "damping": 0.1},
    "clipped": {"clip_value": 0.2, "clip_norm": 0.3, "optimizer": "sgd", "learning_rate": 0.3},
    "step": {"schedule": "step", "decay": 0.5, "decay_epochs": 2},
    "exponential": {"schedule": "exponential", "decay": 0.7, "warmup_steps": 5},
    "cosine": {"schedule": "cosine", "final_rate": 0.001, "warmup_steps": 3, "learning_rate": 0.1},
    "plateau": {"schedule": "plateau", "decay": 0.5, "patience": 1, "learning_rate": 0.5},
    "frozen": {"freeze": "layer[0], circuit[5], head_bias", "optimizer": "adamw", "weight_decay": 0.1},
    "head alone": {"freeze": "circuit"},
    "shift": {"gradient": "parameter_shift", "freeze": "layer[1]"},
    "difference": {"gradient": "finite_difference"},
    "spsa": {"gradient": "spsa", "spsa_directions": 3, "spsa_step": 0.05, "freeze": "circuit[0:2]"},
    "natural, frozen": {"optimizer": "natural", "freeze": "circuit[1:3]", "gradient": "parameter_shift"},
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
@pytest.mark.parametrize("stop", [1, STEPS, 2 * STEPS + 1])
def test_an_interrupted_run_continues_bit_for_bit(engine, recipe, stop):
    whole = train(engine, "m", "d", options(**recipe))
    with pytest.raises(TrainingInterruptedError):
        train(engine, "m", "d", options(**recipe), progress=Stop(stop))
    run = resume(engine, 2)
    assert bits(state_of(engine, run)) == bits(state_of(engine, whole))
    assert (run.scores, run.circuits) == (whole.scores, whole.circuits)
    assert metrics_of(engine, run).equals(metrics_of(engine, whole))


@table
def test_every_recipe_learns(engine, recipe):
    run = train(engine, "m", "d", options(**recipe))
    losses = [row["train_loss"] for row in metrics_of(engine, run).to_pylist() if row["step"] == -1]
    assert losses[-1] < 0.9 * math.log(2)
    assert losses[-1] < losses[0]


def circuits_of_a_row(engine, run):
    per_row = {row["circuits"] / row["rows"] for row in metrics_of(engine, run).to_pylist() if row["step"] != -1}
    assert len(per_row) == 1
    assert run.circuits == run.epochs_done * (ROWS * per_row.copy().pop() + VALIDATION)
    return per_row.pop()


@pytest.mark.parametrize(
    ("recipe", "circuits"),
    [
        ({}, 1),
        ({"gradient": "adjoint"}, 1),
        ({"gradient": "parameter_shift"}, 1 + 2 * WEIGHTS),
        ({"gradient": "finite_difference"}, 1 + 4 * WEIGHTS),
        ({"gradient": "spsa"}, 1 + 2),
        ({"gradient": "spsa", "spsa_directions": 5}, 1 + 10),
        ({"gradient": "parameter_shift", "freeze": "layer[0], circuit[7]"}, 1 + 2 * 3),
        ({"gradient": "finite_difference", "freeze": "circuit[1:]".replace("1:", "1:8")}, 1 + 4),
        ({"gradient": "parameter_shift", "freeze": "circuit"}, 1),
        ({"optimizer": "natural"}, 1 + 4),
        ({"optimizer": "natural", "gradient": "parameter_shift"}, 1 + 2 * WEIGHTS + 4),
    ],
)
def test_circuits_are_counted(engine, recipe, circuits):
    run = train(engine, "m", "d", options(epochs=1, **recipe))
    assert circuits_of_a_row(engine, run) == circuits


@pytest.mark.parametrize("encoding", ["amplitude", "angle"])
def test_exact_gradients_lead_to_the_same_parameters(engine, encoding):
    spec = ModelSpec(
        qubits=2, classes=2, layers=1, dtype="float64", encoding=encoding, reduce="pca" if encoding == "angle" else None
    )
    create_model(engine, "m", spec, or_replace=True)
    runs = {
        gradient: state_of(engine, train(engine, "m", "d", options(gradient=gradient, optimizer="sgd"))).parameters
        for gradient in ("auto", "adjoint", "parameter_shift", "finite_difference", "spsa")
    }
    for name, array in runs["auto"].items():
        assert runs["adjoint"][name].tobytes() == array.tobytes()
        np.testing.assert_allclose(runs["parameter_shift"][name], array, atol=1e-11)
        np.testing.assert_allclose(runs["finite_difference"][name], array, atol=1e-7)
    assert np.abs(runs["spsa"]["circuit"] - runs["auto"]["circuit"]).max() > 1e-3


def test_spsa_draws_anew_in_each_step_and_from_the_seed(engine):
    def circuit(**changes):
        return state_of(
            engine, train(engine, "m", "d", options(epochs=1, gradient="spsa", optimizer="sgd", **changes))
        ).parameters["circuit"]

    start = state_of(engine, train(engine, "m", "d", options(epochs=1, freeze="circuit"))).parameters["circuit"]
    moved = circuit() - start
    assert len(np.unique(np.abs(moved).round(12))) > 1  # one direction alone moves all weights equally far
    assert circuit().tobytes() == circuit().tobytes()


def test_frozen_weights_keep_their_bits(engine):
    start = state_of(engine, train(engine, "m", "d", options(epochs=1, freeze="circuit, head_bias"))).parameters
    run = train(engine, "m", "d", options(**RECIPES["frozen"]))
    end = state_of(engine, run).parameters
    still = end["circuit"] == start["circuit"]
    assert still.tolist() == [True] * 4 + [False, True, False, False]
    assert end["head_bias"].tolist() == [0.0, 0.0]
    assert (end["head_weights"] != start["head_weights"]).all()


def one_step(engine, number, **changes):
    """Parameters before and after a step of the first epoch, and the gradient between them, computed here."""
    chosen = options(shuffle=False, **changes)
    states, runs = [], []
    for steps in (number - 1, number)[number == 1 :]:
        with pytest.raises(TrainingInterruptedError) as caught:
            train(engine, "m", "d", chosen, progress=Stop(steps))
        runs.append(find_run(engine.snapshot(), caught.value.value))
        states.append(state_of(engine, runs[-1]).parameters)
    checkpoint = checkpoints.load(engine, runs[-1].checkpoint)
    material = gather(engine.snapshot(), "d", checkpoint.spec, chosen)
    classifier = Classifier(checkpoint.spec, checkpoint.reduction)
    positions = list(batches(ROWS, chosen, epoch=1))[number - 1]
    features = Features(classifier, material.rows).at(positions)
    before = classifier.initial_parameters(chosen.seed) if number == 1 else states[0]
    found = classifier.loss_and_gradient_of_features(before, features, material.targets[positions])
    row = metrics_of(engine, runs[-1]).to_pylist()[number - 1]
    return classifier, features, before, states[-1], found.gradients, row


def test_clipping_bounds_the_step_and_not_the_reported_norm(engine):
    _, _, before, after, gradients, row = one_step(engine, 1, optimizer="sgd", learning_rate=2.0, clip_norm=0.01)
    moves = {name: after[name] - before[name] for name in before}
    assert global_norm(moves) == pytest.approx(0.02)
    assert row["gradient_norm"] == pytest.approx(global_norm(gradients), rel=1e-6)
    _, _, before, after, gradients, _ = one_step(engine, 2, optimizer="sgd", learning_rate=2.0, clip_value=0.01)
    for name in before:
        np.testing.assert_allclose(after[name] - before[name], -2.0 * np.clip(gradients[name], -0.01, 0.01), atol=1e-6)


def test_frozen_weights_do_not_count_in_the_norm(engine):
    gradients, row = one_step(engine, 2, optimizer="sgd", freeze="circuit[1:8], head_weights")[4:]
    expected = {"circuit": gradients["circuit"][:1], "head_bias": gradients["head_bias"]}
    assert row["gradient_norm"] == pytest.approx(global_norm(expected), rel=1e-6)


def test_the_natural_step_solves_with_the_metric_of_the_minibatch(engine):
    recipe = {"optimizer": "natural", "damping": 0.2, "freeze": "circuit[2]", "learning_rate": 0.5}
    classifier, features, before, after, gradients, _ = one_step(engine, 2, **recipe)
    metric, circuits = classifier.metric_of_features(before, features)
    assert circuits == 4 * len(features)
    direction = natural_direction(gradients["circuit"], metric, damping=0.2, trained=np.arange(WEIGHTS) != 2)
    assert np.abs(direction).max() > 1e-3
    assert np.abs(direction - gradients["circuit"]).max() > 1e-3
    np.testing.assert_allclose(after["circuit"] - before["circuit"], -0.5 * direction, atol=1e-7)
    np.testing.assert_allclose(
        after["head_weights"] - before["head_weights"], -0.5 * gradients["head_weights"], atol=1e-7
    )


@pytest.mark.parametrize(
    ("recipe", "rate"),
    [
        ({}, lambda step: 0.05),
        ({"schedule": "step", "decay": 0.1, "decay_epochs": 2}, lambda step: 0.05 * 0.1 ** (step // (2 * STEPS))),
        ({"schedule": "step"}, lambda step: 0.05 * 0.5 ** (step // STEPS)),
        ({"schedule": "exponential"}, lambda step: 0.05 * 0.9 ** (step / STEPS)),
        ({"schedule": "cosine"}, lambda step: 0.025 * (1 + math.cos(math.pi * step / (4 * STEPS)))),
        (
            {"schedule": "cosine", "warmup_steps": 4, "final_rate": 0.01},
            lambda step: 0.05 * (step + 1) / 5 if step < 4 else 0.01 + 0.02 * (1 + math.cos(math.pi * (step - 4) / 20)),
        ),
    ],
)
def test_the_metrics_show_the_rate_of_each_step(engine, recipe, rate):
    run = train(engine, "m", "d", options(**recipe))
    table = metrics_of(engine, run).to_pylist()
    steps = [row["learning_rate"] for row in table if row["step"] != -1]
    assert steps == pytest.approx([rate(step) for step in range(4 * STEPS)])
    ends = [row["learning_rate"] for row in table if row["step"] == -1]
    assert ends == [steps[STEPS * epoch - 1] for epoch in range(1, 5)]


def test_a_plateau_lowers_the_rate_after_epochs_without_improvement(engine):
    recipe = {"schedule": "plateau", "decay": 0.25, "patience": 2, "epochs": 9, "learning_rate": 1.0}
    run = train(engine, "m", "d", options(**recipe))
    table = [row for row in metrics_of(engine, run).to_pylist() if row["step"] == -1]
    rate, best, waited = 1.0, math.inf, 0
    for row in table:
        assert row["learning_rate"] == pytest.approx(rate)
        if row["validation_loss"] < best * (1 - 1e-4):
            best, waited = row["validation_loss"], 0
        else:
            waited += 1
        if waited == 2:
            rate, waited = rate / 4, 0
    assert rate < 1.0
    without = train(engine, "m", "d", TrainingOptions(epochs=2, batch_size=8, schedule="plateau"))
    assert without.scores.validation_loss is None


# -- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"momentum": 0.9}, "momentum = 0.9 means nothing with optimizer = 'adam'"),
        ({"nesterov": True}, "nesterov = True means nothing"),
        ({"optimizer": "sgd", "nesterov": True}, "nesterov"),
        ({"optimizer": "sgd", "momentum": 1.0}, "momentum is 1.0"),
        ({"weight_decay": 0.0}, "weight_decay = 0.0 means nothing"),
        ({"optimizer": "adamw", "weight_decay": -1}, "weight_decay is -1"),
        ({"clip_norm": 0}, "clip_norm is 0"),
        ({"clip_value": -1.0}, "clip_value is -1.0"),
        ({"clip_norm": "1"}, "clip_norm is '1'"),
        ({"schedule": "linear"}, "no schedule 'linear'"),
        ({"decay": 0.5}, "decay = 0.5 means nothing with schedule = 'constant'"),
        ({"schedule": "step", "decay": 0.0}, "decay is 0.0"),
        ({"schedule": "plateau", "decay": 1.5}, r"(factor|decay) is 1.5"),
        ({"schedule": "step", "decay_epochs": 0}, "decay_epochs is 0"),
        ({"schedule": "step", "final_rate": 0.0}, "final_rate = 0.0 means nothing"),
        ({"schedule": "cosine", "final_rate": -0.1}, "final rate is -0.1"),
        ({"schedule": "cosine", "patience": 2}, "patience = 2 means nothing"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"gradient": "spsa", "spsa_directions": 0}, "spsa_directions is 0"),
        ({"gradient": "spsa", "spsa_step": 0.0}, "step 0.0"),
        ({"spsa_step": 0.1}, "spsa_step = 0.1 means nothing with gradient = 'auto'"),
        ({"damping": 0.1}, "damping = 0.1 means nothing with optimizer = 'adam'"),
        ({"optimizer": "natural", "damping": 0.0}, "damping is 0.0"),
        ({"freeze": "head bias"}, "selects no weights"),
        ({"freeze": 3}, "freeze is 3"),
        ({"optimizer": "rotosolve"}, "no optimizer 'rotosolve'"),
    ],
)
def test_options_that_mean_nothing_are_refused(wrong, word):
    with pytest.raises(InvalidArgumentError, match=word) as caught:
        TrainingOptions(**wrong)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("wrong", "spec", "word"),
    [
        ({"freeze": "body"}, {}, "'body'"),
        ({"warmup_steps": 4 * STEPS}, {}, "the run takes 24 step"),
        ({"freeze": "layer[2]"}, {}, "there are 2"),
        ({"freeze": "circuit[8]"}, {}, "there are 8"),
        ({"freeze": "circuit, head_weights, head_bias"}, {}, "Every weight"),
        ({"freeze": "head_weights, head_bias"}, {"train_circuit": False}, "Every weight"),
        ({"freeze": "circuit", "optimizer": "natural"}, {}, "'natural' needs a circuit"),
        ({"optimizer": "natural"}, {"train_circuit": False}, "'natural' needs a circuit"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_anything_is_written(engine, wrong, spec, word):
    create_model(engine, "m", ModelSpec(qubits=2, classes=2, layers=2, **spec), or_replace=True)
    version = engine.snapshot().version
    with pytest.raises(InvalidArgumentError, match=word):
        train(engine, "m", "d", options(**wrong))
    assert engine.snapshot().version == version


@table
def test_options_survive_json(recipe):
    chosen = options(**recipe)
    assert TrainingOptions.from_options(json.loads(json.dumps(chosen.to_json()))) == chosen


def test_freeze_may_be_a_list():
    assert options(freeze=["layer[0]", "head_bias"]) == options(freeze="layer[0], head_bias")


NEW = option_names()[option_names().index("momentum") :]


def test_runs_and_checkpoints_from_before_these_options_load_and_go_on(engine):
    whole = train(engine, "m", "d", options())
    with pytest.raises(TrainingInterruptedError):
        train(engine, "m", "d", options(), progress=Stop(7))
    run = find_run(engine.snapshot(), 2)
    content = engine.read_file(run.checkpoint.kind, run.checkpoint.name)
    arrays, document = checkpoints.unpack(content, name="x")
    put = run.put()
    record = json.loads(json.dumps(put.value))
    for name in NEW:
        del record["options"][name], document["options"][name]
    old = checkpoints.decode(checkpoints.pack(arrays, document), name="x")
    assert old.options == run.options
    engine.commit(WriteBatch([replace(put, value=record)]))
    assert find_run(engine.snapshot(), 2) == run
    assert bits(state_of(engine, resume(engine, 2))) == bits(state_of(engine, whole))
    # What Adam's state is called must not change, so that such a run can go on.
    names = ("circuit", "head_bias", "head_weights")
    moments = {f"{moment}_moment/{name}" for moment in ("first", "second") for name in names}
    assert set(old.state.optimizer_state) == {"step", *moments}


def test_call_train_takes_the_options_and_refuses_like_python(engine):
    procedure = training_procedures(engine, TrainedModels(engine))[0]
    names = [parameter.name for parameter in procedure.parameters]
    assert names == ["model", "dataset", *option_names(), *ALIASES]
    version = engine.snapshot().version
    with pytest.raises(InvalidArgumentError, match="means nothing"):
        procedure.call({"model": "m", "dataset": "d", "momentum": 0.9})
    assert engine.snapshot().version == version
    given = {
        "epochs": 1,
        "optimizer": "sgd",
        "momentum": 0.5,
        "nesterov": True,
        "schedule": "cosine",
        "warmup_steps": 1,
        "clip_norm": 1,
        "freeze": "layer[0]",
        "gradient_method": "parameter_shift",
    }
    (row,) = procedure.call({"model": "m", "dataset": "d", **given}).to_pylist()
    assert row["circuits"] == ROWS * (1 + 2 * WEIGHTS // 2)
    stored = find_run(engine.snapshot(), 1).options
    assert (stored.momentum, stored.schedule, stored.freeze, stored.clip_norm) == (0.5, "cosine", "layer[0]", 1.0)
