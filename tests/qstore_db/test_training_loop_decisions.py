"""Layers that join one after the other, and the log of what a run decided by itself."""

import json

import numpy as np
import pytest
from small_runs import Stop, bits, metrics_of, rows, state_of

from qstore_db import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, TrainingInterruptedError
from qstore_db.training.decision_log import joined_layers
from qstore_db.training.options import TrainingOptions
from qstore_db.training.progress import Silence
from qstore_db.training.trainer import resume, train

LAYERWISE = TrainingOptions(epochs=6, batch_size=10, learning_rate=0.1, seed=2, layerwise=2)


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        db.store_training_data("d", *rows(40, 0))
        db.store_training_data("d", *rows(20, 1), split="test")
        db.create_model("m", qubits=2, classes=2, layers=3)
        yield db


def test_layers_join_one_after_the_other():
    joined = [joined_layers(LAYERWISE, 3, epoch) for epoch in range(1, 9)]
    assert joined == [1, 1, 2, 2, 3, 3, 3, 3]
    assert joined_layers(TrainingOptions(), 3, 1) == 3


def test_layers_that_have_not_joined_stay_at_zero_and_then_train(db):
    seen = []

    class Watcher(Silence):
        def epoch_finished(self, row):
            seen.append(row)

    run = db.train("m", "d", LAYERWISE, callbacks=[Watcher()])
    by_layer = [
        np.array(row["layer_gradient_norms"]).astype(bool)
        for row in run.metrics(steps=True).arrow().to_pylist()
        if row["step"] > 1  # before the first, the head carries nothing back
    ]
    steps = 4
    assert [moves.tolist() for moves in by_layer[: 2 * steps - 1]] == [[True, False, False]] * (2 * steps - 1)
    assert [moves.tolist() for moves in by_layer[2 * steps - 1 : 4 * steps - 1]] == [[True, True, False]] * 2 * steps
    assert [moves.tolist() for moves in by_layer[4 * steps - 1 :]] == [[True, True, True]] * 2 * steps
    circuit = state_of(db._engine, run.record).parameters["circuit"].reshape(3, 4)
    assert circuit.all() and len(seen) == 6
    with db.stepper("m", "d", LAYERWISE) as steps_by_hand:
        start = steps_by_hand.parameters["circuit"].reshape(3, 4)
        assert start[0].all() and not start[1:].any()
        for _ in range(6):
            for batch in steps_by_hand.batches():
                steps_by_hand.step(batch)
            steps_by_hand.end_epoch(0.0)
        by_hand = bits(steps_by_hand.state)
    assert by_hand == bits(state_of(db._engine, run.record))


@pytest.mark.parametrize("more", [{}, {"optimizer": "adamw", "freeze": "head_bias"}, {"gradient": "parameter_shift"}])
@pytest.mark.parametrize("after", [3, 8, 18])
def test_a_resumed_run_ends_in_the_same_bits(db, after, more):
    options = TrainingOptions.from_options({**LAYERWISE.to_json(), **more})
    straight = train(db._engine, "m", "d", options)
    with pytest.raises(TrainingInterruptedError):
        train(db._engine, "m", "d", options, progress=Stop(after))
    resumed = resume(db._engine, 2)
    assert bits(state_of(db._engine, straight)) == bits(state_of(db._engine, resumed))
    assert metrics_of(db._engine, straight).equals(metrics_of(db._engine, resumed))
    assert resumed.decisions == straight.decisions and len(resumed.decisions) == 2


def test_decisions_are_logged_with_their_reasons(db):
    run = db.train("m", "d", LAYERWISE)
    assert run.record.decisions == (
        {"epoch": 2, "what": "layer[1] trains", "reason": "layerwise = 2"},
        {"epoch": 4, "what": "layer[2] trains", "reason": "layerwise = 2"},
    )
    options = TrainingOptions(
        epochs=40, learning_rate=0.6, batch_size=10, schedule="plateau", patience=2, decay=0.5, early_stopping=5,
        validation_split="test", seed=1,
    )  # fmt: skip
    run = db.train("m", "d", options)
    *lowered, stopped = run.record.decisions
    assert lowered and all(one["what"] == "learning rate times 0.5" for one in lowered)
    assert stopped["what"] == "stopped" and stopped["epoch"] == run.record.epochs_done < 40
    assert stopped["reason"] == f"early_stopping = 5: validation_loss was best in epoch {run.record.best_epoch}"
    rates = {row["epoch"]: row["learning_rate"] for row in run.metrics().arrow().to_pylist()}
    for one in lowered:
        if one["epoch"] + 1 in rates:
            assert rates[one["epoch"] + 1] == pytest.approx(rates[one["epoch"]] / 2)
    (shown,) = db.sql("SELECT decisions FROM training_runs WHERE run_id = 2").fetchone()
    assert json.loads(shown) == list(run.record.decisions)
    assert db.sql("SELECT best_epoch FROM training_runs ORDER BY run_id").fetchall()[1] == (run.record.best_epoch,)
    assert db.train("m", "d", epochs=1).record.decisions == ()


def test_what_layerwise_cannot_mean_is_refused(db):
    with pytest.raises(InvalidArgumentError, match=r"last of 3 layers would join after epoch 6.*epochs = 7"):
        db.train("m", "d", TrainingOptions(epochs=6, layerwise=3))
    db.create_model("frozen", qubits=2, classes=2, train_circuit=False)
    with pytest.raises(InvalidArgumentError, match="means nothing with train_circuit = False"):
        db.train("frozen", "d", TrainingOptions(epochs=6, layerwise=1))
    db.train("m", "d", epochs=1)
    with pytest.raises(InvalidArgumentError, match="begins layers at 0"):
        db.fine_tune("m", "d", TrainingOptions(epochs=6, layerwise=1))
    with pytest.raises(InvalidArgumentError, match="layerwise is 0"):
        TrainingOptions(layerwise=0)
    assert len(db.runs()) == 1
