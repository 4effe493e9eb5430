"""Early stopping, the best epoch, losses by name and by function, balanced classes."""

import numpy as np
import pytest
from small_runs import Stop, bits, metrics_of, rows, state_of

from qstore_db import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, InvalidLabelError, TrainingInterruptedError
from qstore_db.models.losses import LOSSES, class_square_loss
from qstore_db.models.specification import ModelSpec
from qstore_db.training import checkpoints
from qstore_db.training.best_epoch import BestEpoch, after_epoch, is_over
from qstore_db.training.dataset import store_training_data
from qstore_db.training.loader import balanced_order
from qstore_db.training.metrics import read_metrics
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registration import create_model
from qstore_db.training.registry import RunStatus, Scores, find_run
from qstore_db.training.trained_models import TrainedModels, predict
from qstore_db.training.trainer import resume, train
from storage_engine.engine import Engine

BASE = {"epochs": 40, "batch_size": 8, "learning_rate": 0.4, "seed": 3, "validation_split": "test"}
STOPPING = TrainingOptions(**BASE, early_stopping=3)


def filled(engine):
    store_training_data(engine, "d", *rows(45, 0))
    store_training_data(engine, "d", *rows(20, 1), split="test")
    create_model(engine, "m", ModelSpec(qubits=2, classes=2, layers=2))
    return engine


@pytest.fixture
def engine():
    with Engine.open(None) as engine:
        yield filled(engine)


def epochs_of(engine, run):
    table = read_metrics(engine, engine.snapshot(), run.id).to_pylist()
    return [row for row in table if row["step"] == -1]


def test_a_run_stops_when_nothing_improves_and_keeps_the_best(engine):
    run = train(engine, "m", "d", STOPPING)
    losses = [row["validation_loss"] for row in epochs_of(engine, run)]
    best = int(np.argmin(losses)) + 1
    assert run.best_epoch == best and run.epochs_done == len(losses) == best + 3 < 40
    assert run.scores.validation_loss == min(losses)
    # The version has the parameters of that epoch: a run that ends there has the same bits.
    short = train(engine, "m", "d", TrainingOptions(**{**BASE, "epochs": best}))
    assert short.best_epoch is None
    data, _ = rows(20, 1)
    models = TrainedModels(engine)
    assert np.array_equal(predict(models, "m", data, version=2), predict(models, "m", data, version=3))
    kept, ended = state_of(engine, run).parameters, state_of(engine, short).parameters
    assert {name: array.tobytes() for name, array in kept.items()} == {
        name: array.tobytes() for name, array in ended.items()
    }


@pytest.mark.parametrize("after", [5, 20, 31])
def test_a_resumed_run_stops_at_the_same_epoch_with_the_same_bits(engine, after):
    straight = train(engine, "m", "d", STOPPING)
    with Engine.open(None) as cut:
        filled(cut)
        with pytest.raises(TrainingInterruptedError):
            train(cut, "m", "d", STOPPING, progress=Stop(after))
        resumed = resume(cut, 1)
        assert bits(state_of(engine, straight)) == bits(state_of(cut, resumed))
        assert metrics_of(engine, straight).equals(metrics_of(cut, resumed))
        assert (resumed.best_epoch, resumed.epochs_done) == (straight.best_epoch, straight.epochs_done)


def test_keep_best_goes_on_to_the_end(engine):
    options = TrainingOptions(**{**BASE, "epochs": 8}, keep_best=True, monitor="train_accuracy")
    run = train(engine, "m", "d", options)
    accuracies = [row["train_accuracy"] for row in epochs_of(engine, run)]
    assert len(accuracies) == 8 and run.best_epoch == int(np.argmax(accuracies)) + 1
    assert run.scores.train_accuracy == max(accuracies)
    saved = checkpoints.load(engine, run.checkpoint).state.best
    assert saved.epoch == run.best_epoch and saved.scores == run.scores


def test_what_is_best_and_when_it_is_over():
    options = TrainingOptions(epochs=9, early_stopping=2, min_improvement=0.1, monitor="train_loss")

    def scores(loss):
        return Scores(train_loss=loss, train_accuracy=0.5)

    best = None
    for epoch, loss in enumerate([1.0, 0.95, 0.89, 0.88, 0.87], 1):
        assert not is_over(best, options, epochs_done=epoch - 1)
        best = after_epoch(best, options, epoch=epoch, parameters={}, scores=scores(loss))
    assert (best.epoch, best.value) == (3, 0.89)
    assert is_over(best, options, epochs_done=5) and not is_over(best, options, epochs_done=4)
    assert is_over(None, options, epochs_done=9)
    rising = TrainingOptions(keep_best=True, monitor="train_accuracy")
    held = BestEpoch(1, 0.5, {}, scores(1.0))
    assert after_epoch(held, rising, epoch=2, parameters={}, scores=scores(0.1)) is held  # the earlier of equals
    assert after_epoch(None, TrainingOptions(), epoch=1, parameters={}, scores=scores(1.0)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "train_loss"}, "means nothing without early_stopping"),
        ({"min_improvement": 0.1}, "means nothing without early_stopping"),
        ({"keep_best": True, "monitor": "loss"}, "no monitor 'loss'"),
        ({"early_stopping": 2, "monitor": "validation_loss"}, "nothing is validated"),
        ({"early_stopping": 0}, "early_stopping is 0"),
        ({"early_stopping": 2, "min_improvement": -1}, "min_improvement is -1"),
        ({"keep_best": "yes"}, "keep_best is 'yes'"),
        ({"balanced": True, "shuffle": False}, "balanced = True means nothing with shuffle"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        TrainingOptions.from_options(options)


@pytest.mark.parametrize("name", LOSSES["classifier"])
def test_every_loss_trains(engine, name):
    run = train(engine, "m", "d", TrainingOptions(**{**BASE, "epochs": 6, "learning_rate": 0.1}, loss=name))
    first, *_, last = epochs_of(engine, run)
    assert last["train_loss"] < first["train_loss"] and run.scores.validation_accuracy > 0.7
    assert run.options.loss == name


def test_naming_the_default_loss_changes_no_bit(engine):
    plain = train(engine, "m", "d", TrainingOptions(epochs=2))
    named = train(engine, "m", "d", TrainingOptions(epochs=2, loss="cross_entropy"))
    assert bits(state_of(engine, plain)) == bits(state_of(engine, named))


def test_a_function_is_a_loss_and_is_needed_again_to_resume(engine):
    options = TrainingOptions(epochs=3, learning_rate=0.1)
    named = train(engine, "m", "d", TrainingOptions(epochs=3, learning_rate=0.1, loss="mse"))

    def own(outputs, targets):
        return class_square_loss(outputs, targets)

    with pytest.raises(TrainingInterruptedError):
        train(engine, "m", "d", options, loss=own, progress=Stop(2))
    assert find_run(engine.snapshot(), 2).options.loss == "custom"
    before = engine.snapshot().version
    with pytest.raises(InvalidArgumentError, match="no database stores"):
        resume(engine, 2)
    assert engine.snapshot().version == before and find_run(engine.snapshot(), 2).status is RunStatus.INTERRUPTED
    assert bits(state_of(engine, resume(engine, 2, loss=own))) == bits(state_of(engine, named))
    with pytest.raises(InvalidArgumentError, match="and loss = 'hinge' beside it"):
        train(engine, "m", "d", TrainingOptions(loss="hinge"), loss=own)
    with pytest.raises(InvalidArgumentError, match=r"The loss returned float"):
        train(engine, "m", "d", options, loss=lambda outputs, targets: 0.5)


def test_sql_names_losses_and_refuses_functions():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        filled(db._engine)
        db.sql("CALL train(model => 'm', dataset => 'd', loss => 'hinge', early_stopping => 2, balanced => true)")
        with pytest.raises(InvalidArgumentError, match=r"a Python function.*db.train"):
            db.sql("CALL train(model => 'm', dataset => 'd', loss => 'custom')")
        with pytest.raises(InvalidArgumentError, match="no loss 'brier'"):
            db.train("m", "d", loss="brier")
        assert len(db.runs()) == 1


def test_a_balanced_epoch_visits_every_class_equally_often():
    labels = np.array([0] * 50 + [1] * 7 + [2] * 4)
    order = balanced_order(labels, seed=5, epoch=2)
    assert len(order) == 61 and np.bincount(labels[order]).tolist() == [21, 20, 20]
    visits = np.bincount(order, minlength=61)
    assert visits[:50].max() == 1 and set(visits[50:57]) == {2, 3} and set(visits[57:]) == {5}
    assert np.array_equal(order, balanced_order(labels, seed=5, epoch=2))
    assert not np.array_equal(order, balanced_order(labels, seed=5, epoch=3))


def test_balanced_training_and_loading(engine):
    data, _ = rows(40, 4)
    store_training_data(engine, "skewed", data, np.array([0] * 36 + [1] * 4))
    options = TrainingOptions(epochs=3, learning_rate=0.1, balanced=True)
    straight = train(engine, "m", "skewed", options)
    with pytest.raises(TrainingInterruptedError):
        train(engine, "m", "skewed", options, progress=Stop(3))
    assert bits(state_of(engine, straight)) == bits(state_of(engine, resume(engine, 2)))
    plain = train(engine, "m", "skewed", TrainingOptions(epochs=3, learning_rate=0.1))
    assert bits(state_of(engine, straight)) != bits(state_of(engine, plain))
    store_training_data(engine, "bare", data)
    with QuantumDatabase.open(":memory:", progress=False) as db:
        store_training_data(db._engine, "skewed", data, np.array([0] * 36 + [1] * 4))
        seen = np.concatenate([batch.labels for batch in db.data_loader("skewed", balanced=True, prefetch=1)])
        assert np.bincount(seen).tolist() == [20, 20]
        db.store_training_data("bare", data)
        with pytest.raises(InvalidLabelError, match="has no label"):
            db.data_loader("bare", balanced=True)
