"""Training rows that are superposed records: those that have outlived their coherence time can be left out."""

import numpy as np
import pytest
from set_clock import SetClock

from qstore_db import QuantumDatabase
from qstore_db.errors import EmptyDatasetError, InvalidArgumentError, InvalidStateError


@pytest.fixture
def world():
    clock = SetClock(0.0)
    with QuantumDatabase.open(":memory:", clock=clock) as db:
        rows = np.random.default_rng(0).normal(size=(4, 3))
        db.store_training_data("mixed", rows, [0, 1, 0, 1], metric="cosine")
        data = db.collection("mixed")
        for n, seconds in enumerate((10.0, 100.0, None), start=4):
            data.insert(
                id=f"train/{n}",
                vectors={"a": [1.0, 0.0, 0.0], "b": [0.0, 1.0, n]},
                coherence_time=seconds,
                metadata={"split": "train", "label": n % 2},
            )
        yield db, clock


def visited(db, **options):
    return [name for batch in db.data_loader("mixed", shuffle=False, batch_size=3, **options) for name in batch.ids]


def test_a_loader_leaves_out_what_has_dephased(world):
    db, clock = world
    every = [f"train/{n}" for n in range(7)]
    assert visited(db, coherent_only=True) == every
    clock.now = 10.0
    assert visited(db, coherent_only=True) == [name for name in every if name != "train/4"]
    clock.now = 100.0
    assert visited(db, coherent_only=True) == [*every[:4], "train/6"]
    assert visited(db) == every
    (batch,) = db.data_loader("mixed", batch_size=10, coherent_only=True, shuffle=False)
    assert batch.labels.tolist() == [0, 1, 0, 1, 0]
    assert np.allclose(batch.data[-1], [0.5, 0.5 / np.sqrt(37), 3 / np.sqrt(37)])  # the expected vector


def test_nothing_coherent_is_an_error(world):
    db, clock = world
    db.collection("mixed").delete([f"train/{n}" for n in (0, 1, 2, 3, 6)])
    clock.now = 1e6
    with pytest.raises(EmptyDatasetError, match="outlived"):
        db.data_loader("mixed", coherent_only=True)
    assert len(visited(db)) == 2


def test_the_metric_of_a_data_set(world):
    db, _ = world
    db.store_training_data("plain", np.ones((2, 3)), [0, 1])
    assert db.collection("plain").metric == "l2"
    assert db.collection("mixed").metric == "cosine"
    with pytest.raises(InvalidStateError):
        db.collection("plain").insert(id="s", vector=[1, 2, 3], contexts=["a", "b"])
    with pytest.raises(InvalidArgumentError, match="no metric 'angle'"):
        db.store_training_data("other", np.ones((2, 3)), [0, 1], metric="angle")
    assert "other" not in db.collections()
    assert [len(batch) for batch in db.data_loader("plain", coherent_only=True)] == [2]
