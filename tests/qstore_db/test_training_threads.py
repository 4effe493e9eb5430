"""Training on two threads: the same parameters, and the second thread is gone afterwards."""

import threading

import numpy as np
import pytest

from qstore_db.errors import InvalidArgumentError
from qstore_db.models.specification import ModelSpec
from qstore_db.simulation import lanes_engine, workers
from qstore_db.training import checkpoints
from qstore_db.training.dataset import store_training_data
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registration import create_model
from qstore_db.training.registry import find_run
from qstore_db.training.trainer import train
from storage_engine.engine import Engine


def trained(threads):
    rng = np.random.default_rng(5)
    with Engine.open(None) as engine:
        rows = rng.normal(size=(96, 8)).astype(np.float32)
        store_training_data(engine, "rows", rows, rng.integers(0, 3, 96))
        create_model(engine, "m", ModelSpec(qubits=3, layers=2, classes=3))
        run = train(engine, "m", "rows", TrainingOptions(epochs=2, batch_size=40, threads=threads))
        return checkpoints.load(engine, find_run(engine.snapshot(), run.id).checkpoint).state.parameters


def test_two_threads_train_the_same_parameters(monkeypatch):
    monkeypatch.setattr(lanes_engine, "SHARED_WORK", 1)
    started = []
    start = workers.Worker._start
    monkeypatch.setattr(workers.Worker, "_start", lambda self, kernel: (started.append(kernel), start(self, kernel)))
    alone = trained(1)
    assert not started
    alive = threading.active_count()
    together = trained(2)
    assert len(started) == 1
    assert threading.active_count() == alive
    assert workers.current() is None
    for name, value in alone.items():
        assert np.array_equal(value, together[name])


def test_a_second_thread_is_used_only_where_a_processor_is_free(monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    for load, wanted in ((0.2, 2), (1.4, 2), (1.9, 1), (10.0, 1)):
        monkeypatch.setattr(workers.os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert workers.spare_threads() == wanted


@pytest.mark.parametrize("threads", [0, 3, 1.5, "two"])
def test_other_numbers_of_threads_are_refused(threads):
    with pytest.raises(InvalidArgumentError, match="threads"):
        TrainingOptions(threads=threads)
