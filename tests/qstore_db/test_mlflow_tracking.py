"""Training runs in an MLflow tracking store, read back by MLflow's own client."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
from qstore_db import QuantumDatabase
from qstore_db.errors import AlreadyExistsError, InvalidArgumentError, TrackingError, TrainingInterruptedError
from qstore_db.observability.mlflow_tracking import MlflowTracking, export_run
from qstore_db.training import checkpoints
from qstore_db.training.progress import Silence
from qstore_db.training.registry import find_run

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*", "ignore::FutureWarning:mlflow")


@pytest.fixture
def db():
    rng = np.random.default_rng(0)
    with QuantumDatabase.open(":memory:") as opened:
        labels = np.arange(24) % 2
        opened.store_training_data("two", data=rng.normal(size=(24, 4)) + labels[:, None], labels=labels)
        opened.create_model("small", kind="classifier", qubits=2, layers=1, classes=2, encoding="angle", reduce="pca")
        yield opened


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("mlflow")  # making its tables takes seconds
    return {"uri": f"sqlite:///{place}/mlflow.db", "artifacts": f"file://{place}/artifacts"}


@pytest.fixture(scope="module")
def client(store):
    from mlflow import MlflowClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MlflowClient(store["uri"])


def only_run(client, experiment):
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert len(runs) == 1
    return runs[0]


def history(client, run, key):
    return [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, key)]


def content(client, run, path, tmp_path):
    return Path(client.download_artifacts(run.info.run_id, path, str(tmp_path))).read_bytes()


def check_contents(client, found, run, db, tmp_path):
    epochs, steps = run.metrics().df(), run.metrics(steps=True).df().query("step > 0")
    assert sorted(history(client, found, "epoch/train_loss")) == list(
        zip(epochs["epoch"], epochs["train_loss"], strict=True)
    )
    assert history(client, found, "step/train_loss") == list(zip(steps["step"], steps["train_loss"], strict=True))
    norms = [row[0] for row in steps["layer_gradient_norms"]]
    assert [value for _, value in history(client, found, "step/layer_gradient_norms/0")] == norms
    assert found.data.params["dataset"] == "two"
    assert found.data.params["model.qubits"] == "2"
    assert found.data.params["training.learning_rate"] == str(run.record.options.learning_rate)
    assert found.data.tags["qstore.status"] == "finished"
    assert found.data.tags["qstore.version"] == str(run.record.version)
    assert (found.info.status, found.info.start_time) == ("FINISHED", round(run.record.started_at * 1_000))
    checkpoint = checkpoints.decode(content(client, found, "model/checkpoint.zip", tmp_path), name="from MLflow")
    kept = checkpoints.load(db._engine, run.record.checkpoint)
    np.testing.assert_array_equal(checkpoint.state.parameters["circuit"], kept.state.parameters["circuit"])
    assert json.loads(content(client, found, "model/specification.json", tmp_path))["layers"] == 1
    drawing = content(client, found, f"circuits/epoch_{run.record.epochs_done:05d}.txt", tmp_path).decode()
    assert "x0" in drawing
    assert f"{kept.state.parameters['circuit'][0]:.4g}"[:5] in drawing


def test_a_finished_run_is_exported_whole_and_once(db, store, client, tmp_path):
    run = db.train("small", dataset="two", epochs=3, batch_size=8, seed=1)
    name = run.to_mlflow(**store)
    found = only_run(client, "small")
    assert found.info.run_id == name
    check_contents(client, found, run, db, tmp_path)
    with pytest.raises(AlreadyExistsError, match=name):
        run.to_mlflow(**store)
    assert run.to_mlflow(**store, experiment="elsewhere") != name


def test_a_run_is_written_while_it_trains(db, store, client, tmp_path):
    seen = []

    class Looks(Silence):
        def epoch_finished(self, row):
            seen.append(len(history(client, only_run(client, "live"), "epoch/train_loss")))

    tracking = MlflowTracking(db, **store, experiment="live", drawing_every=2)
    run = db.train("small", dataset="two", epochs=5, batch_size=8, seed=1, callbacks=[tracking, Looks()])
    assert seen == [1, 2, 3, 4, 5]
    found = only_run(client, "live")
    check_contents(client, found, run, db, tmp_path)
    drawings = [one.path for one in client.list_artifacts(found.info.run_id, "circuits")]
    assert drawings == [f"circuits/epoch_{epoch:05d}.txt" for epoch in (0, 2, 4, 5)]
    assert len({content(client, found, path, tmp_path) for path in drawings}) == 4  # the weights moved in between


def test_a_resumed_run_goes_on_where_it_was(db, store, client, tmp_path):
    class Stop(Silence):
        def epoch_finished(self, row):
            if row.epoch == 2:
                raise KeyboardInterrupt

    tracking = MlflowTracking(db, **store, experiment="resumed")
    with pytest.raises(TrainingInterruptedError):
        db.train("small", dataset="two", epochs=4, batch_size=8, seed=1, callbacks=[tracking, Stop()])
    assert only_run(client, "resumed").info.status == "KILLED"
    run = db.resume(1, callbacks=[MlflowTracking(db, **store, experiment="resumed")])
    check_contents(client, only_run(client, "resumed"), run, db, tmp_path)


def test_what_cannot_be_is_refused(db, store):
    with pytest.raises(InvalidArgumentError, match="drawing_every is -1"):
        MlflowTracking(db, **store, drawing_every=-1)
    with pytest.raises(TrackingError, match="MLflow failed"):
        MlflowTracking(db, "nonsense://store")


def test_a_store_that_fails_stops_the_run_where_it_can_be_resumed(db, store, client, tmp_path, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    written = MlflowClient.log_batch

    def fails_in_the_second_epoch(self, run_id, metrics=(), **others):
        if any(metric.key.startswith("epoch/") and metric.step == 2 for metric in metrics):
            raise MlflowException("the disk is full")
        written(self, run_id, metrics=metrics, **others)

    options = {**store, "experiment": "failing"}
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", fails_in_the_second_epoch)
        with pytest.raises(TrackingError, match="the disk is full"):
            db.train("small", dataset="two", epochs=3, batch_size=8, seed=1, callbacks=[MlflowTracking(db, **options)])
    assert db.run(1).status == "failed"
    run = db.resume(1, callbacks=[MlflowTracking(db, **options)])
    assert run.status == "finished"
    check_contents(client, only_run(client, "failing"), run, db, tmp_path)  # with the rows that had been refused


def test_a_store_that_fails_at_the_end_leaves_a_finished_run(db, store, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fails(*_arguments):
        raise MlflowException("gone")

    monkeypatch.setattr(MlflowClient, "set_terminated", fails)
    tracking = MlflowTracking(db, **store, experiment="ends badly")
    with pytest.raises(TrackingError, match="gone"):
        db.train("small", dataset="two", epochs=1, batch_size=8, seed=1, callbacks=[tracking])
    assert db.run(1).status == "finished"


def test_a_store_that_cannot_be_written_is_an_error_of_tracking(db, store, tmp_path):
    (tmp_path / "file").write_text("in the way")
    options = {"uri": store["uri"], "experiment": "no room", "artifacts": f"file://{tmp_path}/file/below"}
    run = db.train("small", dataset="two", epochs=1, seed=0, callbacks=[Silence()])
    with pytest.raises(TrackingError, match="Not a directory"):
        export_run(db._engine, find_run(db._engine.snapshot(), run.id), **options)
