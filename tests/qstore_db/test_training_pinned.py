"""A run goes on with the rows that it began with, whatever became of its data set meanwhile."""

import pytest
from small_runs import Stop, bits, metrics_of, rows, state_of

from qstore_db.database import QuantumDatabase
from qstore_db.errors import TrainingInterruptedError
from qstore_db.models.specification import ModelSpec
from qstore_db.training.dataset import store_training_data
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registration import create_model
from qstore_db.training.trainer import resume, train
from storage_engine.batch import DeleteRows, DropCollection, WriteBatch
from storage_engine.engine import Engine

OPTIONS = TrainingOptions(epochs=3, batch_size=8, learning_rate=0.1, seed=3, validation_fraction=0.25)


def begin(path):
    engine = Engine.open(path)
    store_training_data(engine, "d", *rows(40, 1))
    create_model(engine, "m", ModelSpec(qubits=2, layers=1, classes=2))
    return engine


def delete(engine):
    engine.commit(WriteBatch([DeleteRows("d", ["train/0", "train/17"])]))


def append(engine):
    store_training_data(engine, "d", *rows(9, 2), append=True)


def drop(engine):
    engine.commit(WriteBatch([DropCollection("d")]))


def put_other_rows_in_their_place(engine):
    drop(engine)
    store_training_data(engine, "d", *rows(40, 7))


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("change", [delete, append, drop, put_other_rows_in_their_place])
def test_a_changed_data_set_changes_no_bit(tmp_path, change, in_memory):
    with begin(None) as undisturbed:
        whole = train(undisturbed, "m", "d", OPTIONS)
        expected, told = bits(state_of(undisturbed, whole)), metrics_of(undisturbed, whole)
    with begin(None if in_memory else tmp_path / "db") as engine:
        with pytest.raises(TrainingInterruptedError):
            train(engine, "m", "d", OPTIONS, progress=Stop(6))
        change(engine)
        engine.vacuum()
        run = resume(engine, 1)
        assert bits(state_of(engine, run)) == expected
        assert metrics_of(engine, run).equals(told)
        assert run.dataset_version == engine.snapshot().table("pins")["run 1"]["version"]


def test_it_stays_so_in_another_process_life(tmp_path):
    with begin(None) as undisturbed:
        expected = bits(state_of(undisturbed, train(undisturbed, "m", "d", OPTIONS)))
    with begin(tmp_path / "db") as engine:
        with pytest.raises(TrainingInterruptedError):
            train(engine, "m", "d", OPTIONS, progress=Stop(4))
        put_other_rows_in_their_place(engine)
    with QuantumDatabase.open(tmp_path / "db", progress=False) as db:
        assert db.resume(1).status == "finished"
        assert bits(state_of(db._engine, db.run(1).record)) == expected
