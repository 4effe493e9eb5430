"""Runs whose steps are computed in micro-batches, here or by Ray's workers."""

from importlib.util import find_spec

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, MissingDependencyError, TrainingInterruptedError
from qstore_db.training.options import TrainingOptions
from qstore_db.training.progress import Silence

SETTINGS = {"epochs": 2, "batch_size": 24, "learning_rate": 0.05, "seed": 3}


@pytest.fixture
def db(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 4))
    with QuantumDatabase.open(tmp_path / "spread.qdb") as opened:
        opened.store_training_data("points", data=rows, labels=(rows[:, 0] > rows[:, 1]).astype(int), split="train")
        opened.create_model("sign", kind="classifier", qubits=2, layers=2, encoding="amplitude", classes=2)
        yield opened


def losses(db, callbacks=(), loss=None, **options):
    run = db.train("sign", "points", TrainingOptions(**(SETTINGS | options)), callbacks=callbacks, loss=loss)
    return run, run.metrics(steps=True).arrow().column("train_loss").to_pylist()


def test_micro_batches_train_the_same_up_to_rounding(db):
    whole = losses(db)[1]
    spread = losses(db, micro_batch=7)[1]
    assert spread == pytest.approx(whole, rel=1e-5)
    assert spread != whole  # other sums
    assert losses(db, micro_batch=7)[1] == spread


def test_a_run_in_micro_batches_resumes_to_the_same_bits(db):
    wanted = losses(db, micro_batch=5, epochs=4)[1]

    class Stop(Silence):
        def epoch_finished(self, row):
            if row.epoch == 3:
                raise KeyboardInterrupt

    with pytest.raises(TrainingInterruptedError):
        losses(db, micro_batch=5, epochs=4, callbacks=[Stop()])
    (stopped,) = [run for run in db.runs() if run.status == "interrupted"]
    assert db.resume(stopped.id).metrics(steps=True).arrow().column("train_loss").to_pylist() == wanted


def test_sql_takes_them(db):
    wanted = losses(db, micro_batch=16)[1]
    db.sql("CALL train(model => 'sign', dataset => 'points', epochs => 2, batch_size => 24, learning_rate => 0.05,"
           " seed => 3, micro_batch => 16)")  # fmt: skip
    found = db.sql("SELECT train_loss FROM metrics WHERE run_id = 2 ORDER BY epoch, step = -1, step").fetchall()
    assert [row[0] for row in found] == wanted


@pytest.mark.parametrize(
    "beside", [{"gradient": "parameter_shift"}, {"backend": "local_noisy"}, {"shots": 100}, {"entangler_dropout": 0.5}]
)
def test_options_that_do_not_go_together_are_refused(beside):
    with pytest.raises(InvalidArgumentError, match="micro_batch = 8 means nothing with"):
        TrainingOptions(micro_batch=8, **beside)
    with pytest.raises(InvalidArgumentError, match="workers"):
        TrainingOptions(workers=0)


def test_a_loss_of_the_callers_is_refused_before_anything_is_recorded(db):
    def loss(outputs, targets):
        return outputs[:, 0] ** 2, np.stack([2 * outputs[:, 0], 0 * outputs[:, 1]], axis=1)

    with pytest.raises(InvalidArgumentError, match="custom"):
        losses(db, micro_batch=8, loss=loss)
    assert db.runs() == []


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_workers_without_ray_are_refused_before_anything_is_recorded(db):
    with pytest.raises(MissingDependencyError, match=r"qstore-db\[ray\]"):
        losses(db, workers=2)
    assert db.runs() == []


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_any_number_of_workers_gives_the_bits_of_none(db):
    wanted = losses(db, micro_batch=7)[1]
    for workers in (1, 2):
        assert losses(db, micro_batch=7, workers=workers)[1] == wanted
