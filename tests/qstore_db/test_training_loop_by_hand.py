"""Loops of the caller's own, and callbacks: the trainer's numbers, and runs that can be resumed."""

import numpy as np
import pytest
from small_runs import bits, metrics_of, rows, state_of

from qstore_db import QuantumDatabase
from qstore_db.errors import TrainingInterruptedError
from qstore_db.models.losses import hinge_loss
from qstore_db.training.options import TrainingOptions
from qstore_db.training.progress import Silence
from qstore_db.training.registry import RunStatus

CASES = {
    "adam": {},
    "sgd, clipped, frozen": {"optimizer": "sgd", "clip_norm": 0.1, "freeze": "layer[0]"},
    "natural": {"optimizer": "natural"},
    "balanced, cosine": {"balanced": True, "schedule": "cosine"},
    "plateau": {"schedule": "plateau", "patience": 1, "learning_rate": 0.5},
    "shots": {"backend": "local_noisy", "shots": 50, "gradient": "spsa", "epochs": 2},
    "hinge": {"loss": "hinge"},
}


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        db.store_training_data("d", *rows(20, 0))
        db.create_model("m", qubits=2, classes=2, layers=2)
        yield db


def by_hand(steps, epochs):
    """The trainer's loop, written by a caller."""
    for _ in range(epochs):
        losses = []
        for batch in steps.batches():
            gradient = steps.gradient(batch)
            found = steps.step(batch)
            assert found.loss == gradient.loss and found.circuits >= gradient.circuits
            assert found.gradient.norm == pytest.approx(
                np.sqrt(sum(np.square(part).sum() for part in gradient.gradients.values()))
            )
            losses.append(found.loss * len(batch))
        steps.end_epoch(sum(losses) / 20)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_loop_by_hand_reaches_the_bits_of_the_trainer(db, case):
    options = TrainingOptions(**{"epochs": 3, "batch_size": 8, "learning_rate": 0.1, "seed": 4, **case})
    run = db.train("m", "d", options)
    with db.stepper("m", "d", options) as steps:
        by_hand(steps, options.epochs)
        assert bits(steps.state) == bits(state_of(db._engine, run.record))
        assert steps.state.gradient_log == state_of(db._engine, run.record).gradient_log


def test_forward_is_what_the_step_sees(db):
    with db.stepper("m", "d", TrainingOptions(batch_size=20)) as steps:
        (batch,) = steps.batches()
        scores = steps.forward(batch)
        assert scores.shape == (20, 2) and not scores.any()  # the head starts at zero
        assert steps.gradient(batch).loss == pytest.approx(np.log(2))
        steps.step(batch)
        after = steps.forward(batch)
        assert after.any() and list(steps.batches()) == []


def test_a_function_as_loss_and_a_registered_result(db):
    with db.stepper("m", "d", TrainingOptions(learning_rate=0.1), loss=hinge_loss) as steps:
        for _ in range(3):
            for batch in steps.batches():
                steps.step(batch)
            steps.end_epoch(0.0)
        parameters = steps.parameters
        run = steps.register()
    assert (run.status, run.version, run.epochs_done, run.steps_done) == (RunStatus.FINISHED, 2, 3, 3)
    assert run.options.loss == "custom" and run.scores.train_loss is None
    data, _ = rows(20, 0)
    trained = db._plugins().trained_models.load("m")
    assert {name: array.tobytes() for name, array in trained.parameters.items()} == {
        name: array.tobytes() for name, array in parameters.items()
    }
    assert db.predict("m", data).shape == (20,) and db.run(run.id).metrics().fetchall() == []


class Recorder(Silence):
    def __init__(self):
        self.calls = []

    def started(self, run, total_steps):
        self.calls.append(("started", total_steps))

    def stepped(self, report):
        self.calls.append(("step", report.steps))

    def epoch_finished(self, row):
        self.calls.append(("epoch", row.epoch))

    def finished(self, run):
        self.calls.append(("finished", run.status.value))


def test_callbacks_are_called_in_order(db):
    first, second = Recorder(), Recorder()
    db.train("m", "d", epochs=2, batch_size=10, callbacks=[first, second])
    assert first.calls == second.calls
    assert first.calls == [
        ("started", 4),
        *(("step", 1), ("step", 2), ("epoch", 1)),
        *(("step", 3), ("step", 4), ("epoch", 2)),
        ("finished", "finished"),
    ]


@pytest.mark.parametrize("where", ["started", "stepped", "epoch_finished"])
def test_an_error_in_a_callback_leaves_a_run_that_goes_on_where_it_stood(db, where):
    options = TrainingOptions(epochs=3, batch_size=8, learning_rate=0.1, checkpoint_every=3)
    straight = db.train("m", "d", options)

    class Failing(Silence):
        armed = True

    def fail(self, given, *_):
        if where == "started" or getattr(given, "steps", getattr(given, "epoch", 0)) == 2:
            raise ZeroDivisionError("in the callback")

    setattr(Failing, where, fail)
    with pytest.raises(ZeroDivisionError, match="in the callback"):
        db.train("m", "d", options, callbacks=[Failing()])
    record = db.run(2).record
    assert (record.status, record.error) == (RunStatus.FAILED, "ZeroDivisionError: in the callback")
    assert record.steps_done == {"started": 0, "stepped": 2, "epoch_finished": 6}[where]
    resumed = db.resume(2)
    assert (resumed.status, resumed.record.error) == ("finished", None)
    assert bits(state_of(db._engine, resumed.record)) == bits(state_of(db._engine, straight.record))
    assert metrics_of(db._engine, resumed.record).equals(metrics_of(db._engine, straight.record))


def test_a_callback_interrupts_like_ctrl_c(db):
    class Impatient(Silence):
        def epoch_finished(self, row):
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterruptedError):
        db.train("m", "d", epochs=3, callbacks=[Impatient()])
    assert db.resume(1, callbacks=[Recorder()]).status == "finished"
