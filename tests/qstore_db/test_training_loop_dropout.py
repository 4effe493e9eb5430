"""Entangling gates left out of steps by chance: which, how often, never outside of training, the same when resumed."""

import numpy as np
import pytest
from small_runs import Stop, bits, metrics_of, rows, state_of

from qstore_db import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, InvalidModelError, TrainingInterruptedError
from qstore_db.models.classifier import Classifier
from qstore_db.models.reduction import fit_reduction
from qstore_db.models.specification import ModelSpec
from qstore_db.training.options import TrainingOptions
from qstore_db.training.recipe import entanglers, recipe_for
from qstore_db.training.trainer import resume, train

DROPPING = TrainingOptions(epochs=3, batch_size=10, learning_rate=0.1, seed=6, entangler_dropout=0.5)


def made(qubits=3):
    spec = ModelSpec(qubits=qubits, classes=2, layers=2, entanglement="full", dtype="float64")
    data = np.random.default_rng(0).normal(size=(6, 2**qubits))
    model = Classifier(spec, fit_reduction(spec, data))
    rng = np.random.default_rng(1)
    return model, {name: rng.normal(size=shape) for name, shape in model.shapes.items()}, data


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        db.store_training_data("d", *rows(30, 0))
        db.store_training_data("d", *rows(20, 1), split="test")
        db.create_model("m", qubits=2, classes=2, layers=3)
        yield db


def test_a_thinned_model_is_the_circuit_without_those_gates():
    model, parameters, data = made()
    places = entanglers(model)
    assert len(places) == 6 and all(model.plan.circuit.operations[place].gate == "CX" for place in places)
    thinned = model.without_gates(set(places))
    assert [gate.gate for gate in thinned.plan.circuit.operations] == ["RY", "RZ"] * 6
    assert type(thinned) is Classifier and thinned.shapes == model.shapes and len(entanglers(model)) == 6
    assert not np.allclose(thinned.logits(parameters, data), model.logits(parameters, data))
    assert model.without_gates(()).logits(parameters, data).tobytes() == model.logits(parameters, data).tobytes()
    for wrong in (0, 99, -1):
        with pytest.raises(InvalidModelError, match=f"Gate {wrong} of the circuit"):
            model.without_gates({wrong})


def test_each_gate_is_left_out_with_the_chance():
    model, _, _ = made()
    recipe = recipe_for(TrainingOptions(entangler_dropout=0.3, seed=4), model, 6)
    kept = [len(entanglers(recipe.thinned(model, step))) for step in range(400)]
    assert np.mean(kept) == pytest.approx(0.7 * 6, abs=4 * np.sqrt(6 * 0.3 * 0.7 / 400))
    again = recipe.thinned(model, 7).plan.circuit
    assert again == recipe.thinned(model, 7).plan.circuit
    assert len({recipe.thinned(model, step).plan.circuit.digest for step in range(20)}) > 5
    assert recipe_for(TrainingOptions(), model, 6).thinned(model, 7) is model


def test_only_steps_are_thinned(db):
    options = TrainingOptions(**{**DROPPING.to_json(), "validation_split": "test"})
    run = db.train("m", "d", options)
    found = db.evaluate("m", "d")
    assert run.record.scores.validation_loss == pytest.approx(found.loss, rel=1e-12)
    assert len(entanglers(db._plugins().trained_models.load("m").model)) == 3
    plain = db.train("m", "d", TrainingOptions(**{**options.to_json(), "entangler_dropout": None}))
    assert bits(state_of(db._engine, run.record)) != bits(state_of(db._engine, plain.record))


@pytest.mark.parametrize("more", [{}, {"optimizer": "natural"}, {"gradient": "parameter_shift", "epochs": 2}])
def test_a_resumed_run_leaves_out_the_same_gates(db, more):
    options = TrainingOptions(**{**DROPPING.to_json(), **more})
    straight = train(db._engine, "m", "d", options)
    with pytest.raises(TrainingInterruptedError):
        train(db._engine, "m", "d", options, progress=Stop(4))
    resumed = resume(db._engine, 2)
    assert bits(state_of(db._engine, straight)) == bits(state_of(db._engine, resumed))
    assert metrics_of(db._engine, straight).equals(metrics_of(db._engine, resumed))


def test_the_gradient_is_that_of_the_thinned_circuit(db):
    with db.stepper("m", "d", DROPPING) as steps:
        (batch, *_) = steps.batches()
        steps.step(batch)
        found = steps.gradient(batch)
        recipe = recipe_for(DROPPING, steps.model, 30)
        thinned = recipe.thinned(steps.model, 1)
        assert len(entanglers(thinned)) < 3
        expected = thinned.loss_and_gradient_of_features(steps.parameters, batch.features, batch.targets)
        assert found.gradients["circuit"].tobytes() == expected.gradients["circuit"].tobytes()
        assert found.loss == expected.loss == steps.step(batch).loss


@pytest.mark.parametrize("chance", [0, 1, 1.5, -0.1])
def test_a_chance_is_between_none_and_all(chance):
    with pytest.raises(InvalidArgumentError, match="entangler_dropout is"):
        TrainingOptions(entangler_dropout=chance)


def test_a_circuit_without_entanglers_is_refused(db):
    db.create_model("one", qubits=1, classes=2, reduce="truncate")
    with pytest.raises(InvalidArgumentError, match="without entangling gates"):
        db.train("one", "d", DROPPING)
