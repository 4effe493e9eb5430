import signal
import threading
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from qstore_db.errors import (
    DamagedError,
    EmptyDatasetError,
    InvalidArgumentError,
    InvalidLabelError,
    InvalidModelError,
    InvalidVectorError,
    TrainingInterruptedError,
    UnknownDatasetError,
    UnknownModelError,
    UnknownRunError,
)
from qstore_db.models.specification import ModelSpec
from qstore_db.training import checkpoints
from qstore_db.training.active_runs import in_training, is_in_training
from qstore_db.training.dataset import store_training_data
from qstore_db.training.evaluation import evaluate
from qstore_db.training.material import Features, gather
from qstore_db.training.metrics import parts_of, read_metrics
from qstore_db.training.options import TrainingOptions
from qstore_db.training.progress import Silence
from qstore_db.training.registration import create_model, drop_model
from qstore_db.training.registry import RunStatus, all_runs, all_versions, find_run, find_version
from qstore_db.training.trained_models import TrainedModels, predict, predict_proba
from qstore_db.training.trainer import resume, train
from storage_engine.batch import DeleteRows, PutRecord, WriteBatch
from storage_engine.engine import Engine
from storage_engine.history.pins import remove_pin

OPTIONS = TrainingOptions(epochs=4, batch_size=8, learning_rate=0.1, seed=3, validation_split="test")
TIMES = ("time", "samples_per_second", "batch_seconds", "seconds")


@dataclass
class Watcher(Silence):
    """Counts what happens, and stops the run like Ctrl-C at a given step or epoch."""

    stop_after_steps: int | None = None
    stop_after_epoch: int | None = None
    reports: list = field(default_factory=list)
    epochs: list = field(default_factory=list)
    ended: list = field(default_factory=list)

    def stepped(self, report):
        self.reports.append(report)
        if report.steps == self.stop_after_steps:
            raise KeyboardInterrupt

    def epoch_finished(self, row):
        self.epochs.append(row)
        if row.epoch == self.stop_after_epoch:
            raise KeyboardInterrupt

    def finished(self, run):
        self.ended.append(run.status)


def rows(count, seed):
    """Two classes that a line divides, with some noise; four features."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    centres = np.array([[1.0, 0.2, 0.1, 0.3], [0.2, 1.0, 0.4, 0.1]])
    return (centres[labels] + 0.2 * rng.standard_normal((count, 4))).astype(np.float32), labels


def filled(engine):
    store_training_data(engine, "d", *rows(45, 0))
    store_training_data(engine, "d", *rows(20, 1), split="test")
    create_model(engine, "m", ModelSpec(qubits=2, classes=2, layers=1))
    return engine


@pytest.fixture
def engine():
    with Engine.open(None) as engine:
        yield filled(engine)


def parameters(engine, run):
    state = checkpoints.load(engine, run.checkpoint).state
    return {**state.parameters, **state.optimizer_state}


def assert_same_bits(left, right):
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.tobytes() == right[name].tobytes(), name


def test_a_run_learns_and_becomes_a_version(engine):
    run = train(engine, "m", "d", OPTIONS)
    assert (run.id, run.status, run.version, run.parent_version) == (1, RunStatus.FINISHED, 2, 1)
    assert (run.rows, run.validation_rows, run.epochs_done, run.steps_done) == (45, 20, 4, 24)
    assert run.circuits == 4 * (45 + 20)
    assert run.scores.validation_accuracy > 0.8
    assert find_run(engine.snapshot(), 1) == run
    version = find_version(engine.snapshot(), "m")
    assert (version.version, version.run_id, version.parent_version) == (2, 1, 1)
    assert (version.dataset, version.dataset_version, version.seed, version.backend) == ("d", 3, 3, "local")
    assert version.scores == run.scores
    assert version.checkpoint == run.checkpoint
    assert [file.name for file in engine.snapshot().files("ckpt")] == [run.checkpoint.name]


def test_a_second_run_starts_afresh_from_the_newest_specification(engine):
    first = train(engine, "m", "d", OPTIONS)
    second = train(engine, "m", "d", OPTIONS)
    assert (second.id, second.version, second.parent_version) == (2, 3, 2)
    assert_same_bits(parameters(engine, first), parameters(engine, second))
    third = train(engine, "m", "d", TrainingOptions(epochs=1, seed=4))
    assert parameters(engine, third)["circuit"].tobytes() != parameters(engine, first)["circuit"].tobytes()


def test_metrics_hold_every_step_and_epoch_in_one_part(engine):
    watcher = Watcher()
    run = train(engine, "m", "d", OPTIONS, progress=watcher)
    table = read_metrics(engine, engine.snapshot(), run.id)
    per_epoch = [1, 1, 1, 1, 1, 1, -1]
    assert table["epoch"].to_pylist() == [epoch for epoch in range(1, 5) for _ in per_epoch]
    assert table["step"].to_pylist() == [
        -1 if mark == -1 else 6 * epoch + position + 1 for epoch in range(4) for position, mark in enumerate(per_epoch)
    ]
    assert table["rows"].to_pylist()[:7] == [8, 8, 8, 8, 8, 5, 45]
    assert table["circuits"].to_pylist()[:7] == [8, 8, 8, 8, 8, 5, 65]
    step_rows = table.to_pylist()[:6]
    epoch_row = table.to_pylist()[6]
    mean = sum(row["train_loss"] * row["rows"] for row in step_rows) / 45
    assert epoch_row["train_loss"] == pytest.approx(mean, rel=1e-12)
    correct = sum(row["train_accuracy"] * row["rows"] for row in step_rows)
    assert epoch_row["train_accuracy"] == pytest.approx(correct / 45)
    assert step_rows[0]["train_loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert all(row["gradient_norm"] > 0 and row["batch_seconds"] > 0 for row in step_rows)
    assert table["validation_accuracy"][-1].as_py() == run.scores.validation_accuracy
    assert len(parts_of(engine.snapshot(), run.id)) == 1
    assert [report.steps for report in watcher.reports] == list(range(1, 25))
    assert watcher.reports[-1].circuits == 4 * 45 + 3 * 20
    assert watcher.reports[-1].seconds_left == 0
    assert [row.epoch for row in watcher.epochs] == [1, 2, 3, 4]
    assert watcher.ended == [RunStatus.FINISHED]


def test_validation_agrees_with_evaluation(engine):
    run = train(engine, "m", "d", OPTIONS)
    found = evaluate(engine, TrainedModels(engine), "m", "d")
    assert found.loss == pytest.approx(run.scores.validation_loss, rel=1e-12)
    assert found.accuracy == run.scores.validation_accuracy
    assert found.confusion.sum() == found.rows == 20
    assert np.trace(found.confusion) / 20 == found.accuracy


def test_a_confusion_has_right_classes_in_rows_and_guesses_in_columns(engine):
    run = train(engine, "m", "d", TrainingOptions(epochs=3, learning_rate=0.1))
    data, _ = rows(30, 4)
    guesses = predict(TrainedModels(engine), "m", data)
    store_training_data(engine, "e", data, np.ones(30, dtype=int), split="test")
    found = evaluate(engine, TrainedModels(engine), "m", "e", version=run.version)
    assert found.confusion.tolist() == [[0, 0], [30 - int(guesses.sum()), int(guesses.sum())]]
    assert 0 < guesses.sum() < 30


def without_times(table):
    return table.drop_columns(list(TIMES))


@pytest.mark.parametrize("stop", [1, 3, 6, 7, 13, 23, 24])
@pytest.mark.parametrize("spec", [{}, {"reduce": "pca", "encoding": "angle"}, {"dtype": "float64"}])
def test_an_interrupted_run_continues_bit_for_bit(engine, stop, spec):
    create_model(engine, "m", ModelSpec(qubits=2, classes=2, layers=1, **spec), or_replace=True)
    whole = train(engine, "m", "d", OPTIONS)
    with pytest.raises(TrainingInterruptedError) as caught:
        train(engine, "m", "d", OPTIONS, progress=Watcher(stop_after_steps=stop))
    assert caught.value.value == 2
    assert "resume(run_id => 2)" in str(caught.value)
    stopped = find_run(engine.snapshot(), 2)
    assert (stopped.status, stopped.steps_done, stopped.version) == (RunStatus.INTERRUPTED, stop, None)
    run = resume(engine, 2)
    assert run.status is RunStatus.FINISHED
    assert_same_bits(parameters(engine, run), parameters(engine, whole))
    assert (run.scores, run.circuits, run.steps_done) == (whole.scores, whole.circuits, whole.steps_done)
    snapshot = engine.snapshot()
    left, right = (without_times(read_metrics(engine, snapshot, run_id)).drop_columns("run_id") for run_id in (1, 2))
    assert left.equals(right)


def test_a_run_may_be_interrupted_again_and_again(engine):
    whole = train(engine, "m", "d", OPTIONS)
    with pytest.raises(TrainingInterruptedError):
        train(engine, "m", "d", OPTIONS, progress=Watcher(stop_after_steps=2))
    for step in (9, 10, 20):
        with pytest.raises(TrainingInterruptedError):
            resume(engine, 2, progress=Watcher(stop_after_steps=step))
    with pytest.raises(TrainingInterruptedError):
        resume(engine, 2, progress=Watcher(stop_after_epoch=4))
    run = resume(engine, 2)
    assert_same_bits(parameters(engine, run), parameters(engine, whole))
    assert without_times(read_metrics(engine, engine.snapshot(), 2)).num_rows == 28
    assert len(engine.snapshot().files("ckpt")) == 2


def test_a_crash_leaves_a_run_that_continues_from_its_last_checkpoint(engine, monkeypatch):
    # A process that dies commits nothing more: here, everything after the second epoch's checkpoint is lost but for a
    # part of the metrics that had reached the disk.
    whole = train(engine, "m", "d", OPTIONS)

    class Died(BaseException):
        pass

    class Killer(Silence):
        def stepped(self, report):
            if report.steps == 16:
                monkeypatch.setattr(session_metrics[0], "_rows_per_part", 1)
            if report.steps == 18:
                session_metrics[0].flush()
                raise Died

    from qstore_db.training import training_loop

    session_metrics = []
    writer = training_loop.MetricsWriter
    monkeypatch.setattr(
        training_loop, "MetricsWriter", lambda *a, **k: session_metrics.append(writer(*a, **k)) or session_metrics[-1]
    )
    with pytest.raises(Died):
        train(engine, "m", "d", OPTIONS, progress=Killer())
    monkeypatch.undo()
    left = find_run(engine.snapshot(), 2)
    assert (left.status, left.epochs_done, left.steps_done) == (RunStatus.RUNNING, 2, 12)
    assert max(read_metrics(engine, engine.snapshot(), 2)["step"].to_pylist()) == 18
    run = resume(engine, 2)
    assert_same_bits(parameters(engine, run), parameters(engine, whole))
    tables = [without_times(read_metrics(engine, engine.snapshot(), number)) for number in (1, 2)]
    assert tables[0].drop_columns("run_id").equals(tables[1].drop_columns("run_id"))


def test_ctrl_c_is_obeyed_after_the_step_and_the_handler_comes_back(engine):
    before = signal.getsignal(signal.SIGINT)

    class Presser(Silence):
        def stepped(self, report):
            if report.steps == 5:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingInterruptedError):
        train(engine, "m", "d", OPTIONS, progress=Presser())
    assert find_run(engine.snapshot(), 1).steps_done == 5
    assert signal.getsignal(signal.SIGINT) is before
    assert resume(engine, 1).steps_done == 24


def test_training_works_outside_the_main_thread(engine):
    found = []
    thread = threading.Thread(target=lambda: found.append(train(engine, "m", "d", OPTIONS)))
    thread.start()
    thread.join()
    assert found[0].status is RunStatus.FINISHED


def test_two_threads_get_numbers_and_versions_of_their_own(engine):
    found, errors = [], []

    def work():
        try:
            found.append(train(engine, "m", "d", OPTIONS))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(run.id for run in found) == [1, 2, 3, 4]
    assert sorted(run.version for run in found) == [2, 3, 4, 5]


def test_a_failing_step_marks_the_run_and_it_can_be_resumed(engine):
    class Breaker(Silence):
        def stepped(self, report):
            if report.steps == 9:
                raise ZeroDivisionError("something broke")

    with pytest.raises(ZeroDivisionError):
        train(engine, "m", "d", OPTIONS, progress=Breaker())
    run = find_run(engine.snapshot(), 1)
    assert (run.status, run.error, run.epochs_done) == (RunStatus.FAILED, "ZeroDivisionError: something broke", 1)
    resumed = resume(engine, 1)
    assert (resumed.status, resumed.error) == (RunStatus.FINISHED, None)


def test_a_loss_that_is_no_number_stops_the_run(engine, monkeypatch):
    from qstore_db.training import training_loop

    advance = training_loop.advance

    def diverging(*arguments):
        state, found = advance(*arguments)
        return (state, found) if state.steps < 3 else (state, replace(found, loss=float("nan")))

    monkeypatch.setattr(training_loop, "advance", diverging)
    with pytest.raises(InvalidArgumentError, match=r"nan.*step 3.*learning_rate = 0.1"):
        train(engine, "m", "d", OPTIONS)
    assert find_run(engine.snapshot(), 1).status is RunStatus.FAILED


def test_holding_out_rows_validates_on_them_and_trains_on_the_others(engine):
    options = TrainingOptions(epochs=1, validation_fraction=0.2)
    run = train(engine, "m", "d", options)
    labels = np.bincount(rows(45, 0)[1])
    held = sum(round(0.2 * count) for count in labels.tolist())
    assert (run.rows, run.validation_rows) == (45 - held, held)
    right = run.scores.validation_accuracy * held
    assert right == pytest.approx(round(right))
    assert 0 <= round(right) <= held


def test_checkpoints_are_written_as_often_as_asked(engine):
    class Reader(Silence):
        def __init__(self):
            self.seen = []

        def epoch_finished(self, row):
            self.seen.append(find_run(engine.snapshot(), 1).epochs_done)

    reader = Reader()
    options = TrainingOptions(epochs=7, checkpoint_every=3)
    train(engine, "m", "d", options, progress=reader)
    assert reader.seen == [0, 0, 0, 3, 3, 3, 6]
    assert len(engine.snapshot().files("ckpt")) == 1


def test_what_a_checkpoint_has_seen_is_in_the_metrics_when_it_is_committed(engine):
    found = []

    class Reader(Silence):
        def stepped(self, report):
            if report.steps == 13:
                found.extend(read_metrics(engine, engine.snapshot(), 1)["step"].to_pylist())

    train(engine, "m", "d", OPTIONS, progress=Reader())
    assert found == [1, 2, 3, 4, 5, 6, -1, 7, 8, 9, 10, 11, 12, -1]


def test_a_version_number_that_is_taken_meanwhile_is_skipped(engine, monkeypatch):
    commit = engine.commit

    def racing(batch):
        if any(isinstance(operation, PutRecord) and operation.key == "m/000002" for operation in batch.operations):
            monkeypatch.setattr(engine, "commit", commit)
            create_model(engine, "m", ModelSpec(qubits=3, classes=2), or_replace=True)
        return commit(batch)

    monkeypatch.setattr(engine, "commit", racing)
    run = train(engine, "m", "d", TrainingOptions(epochs=1))
    assert (run.version, run.parent_version) == (3, 1)
    versions = all_versions(engine.snapshot())
    assert [(found.version, found.spec.qubits) for found in versions] == [(1, 2), (2, 3), (3, 2)]
    assert find_version(engine.snapshot(), "m").version == 3


def test_a_model_dropped_meanwhile_fails_the_run(engine, monkeypatch):
    from qstore_db.training import registration

    class Dropper(Silence):
        def epoch_finished(self, row):
            monkeypatch.setattr(registration, "is_in_training", lambda *_: False)
            drop_model(engine, "m")

    with pytest.raises(UnknownModelError):
        train(engine, "m", "d", TrainingOptions(epochs=1), progress=Dropper())
    assert find_run(engine.snapshot(), 1).status is RunStatus.FAILED


def test_held_out_rows_keep_their_own_labels_and_are_not_trained_on(engine):
    data, labels = rows(45, 0)
    spec = ModelSpec(qubits=2, classes=2)
    material = gather(engine.snapshot(), "d", spec, TrainingOptions(validation_fraction=0.3))
    assert material.validation is not None
    view = material.rows.view
    for part, own in ((material.rows, material.targets), (material.validation, material.validation_targets)):
        numbers = [int(row_id.split("/")[1]) for row_id in view.ids_at(part.slots)]
        assert np.array_equal(own, labels[numbers])
        assert np.array_equal(view.vectors_at(part.slots), data[numbers])
    assert not set(material.rows.slots) & set(material.validation.slots)
    assert len(material.rows) + len(material.validation) == 45


def test_a_run_is_held_once(engine):
    with in_training(engine, 1):
        with in_training(engine, 2), pytest.raises(InvalidArgumentError), in_training(engine, 1):
            pass
        assert is_in_training(engine, 1)
    assert not is_in_training(engine, 1)
    assert not is_in_training(engine, 2)


def test_engines_of_one_directory_hold_runs_together(tmp_path):
    with Engine.open(tmp_path / "x.qdb") as one, Engine.open(tmp_path / "x.qdb") as two, in_training(one, 1):
        assert is_in_training(two, 1)
        with Engine.open(None) as other:
            assert not is_in_training(other, 1)


def test_kept_and_streamed_features_are_the_same_bits(engine):
    from qstore_db.models.classifier import Classifier

    spec = ModelSpec(qubits=2, classes=2, layers=1, reduce="projection", encoding="angle")
    material = gather(engine.snapshot(), "d", spec, OPTIONS)
    classifier = Classifier(spec, material.fit_reduction(spec, 0))
    kept = Features(classifier, material.rows)
    streamed = Features(classifier, material.rows, kept_bytes=0)
    positions = np.array([7, 3, 44, 0])
    assert kept._kept is not None
    assert streamed._kept is None
    assert kept.at(positions).tobytes() == streamed.at(positions).tobytes()


def test_bad_input_is_refused_before_anything_is_written(engine):
    store_training_data(engine, "unlabelled", rows(5, 0)[0])
    store_training_data(engine, "wide", np.ones((5, 9)), [0, 1, 0, 1, 0])
    store_training_data(engine, "zero", np.array([[1.0, 0, 0, 0], [0, 0, 0, 0]]), [0, 1])
    store_training_data(engine, "three", rows(3, 0)[0], [0, 1, 2])
    store_training_data(engine, "gone", rows(2, 0)[0], [0, 1])
    engine.commit(WriteBatch([DeleteRows("gone", ["train/0", "train/1"])]))
    version = engine.snapshot().version
    cases = [
        (("x", "d", None), UnknownModelError, "The models are: m"),
        (("m", "x", None), UnknownDatasetError, "The data sets are: d, gone"),
        (("m", "unlabelled", None), InvalidLabelError, "'train/0' of data set 'unlabelled'"),
        (("m", "wide", None), InvalidModelError, "9 numbers"),
        (("m", "zero", None), InvalidVectorError, "'train/1' of data set 'zero'"),
        (("m", "three", None), InvalidLabelError, "label 2.*classes = 3"),
        (("m", "gone", None), EmptyDatasetError, "no rows"),
        (("m", "d", TrainingOptions(split="dev")), EmptyDatasetError, "train, test"),
        (("m", "d", TrainingOptions(validation_split="dev")), EmptyDatasetError, "'dev'"),
        (("m", "d", TrainingOptions(validation_fraction=0.001)), InvalidArgumentError, "holds out no row"),
        (("m", "d", TrainingOptions(validation_fraction=0.99)), EmptyDatasetError, "no row to train"),
    ]
    for arguments, error, named in cases:
        with pytest.raises(error, match=named):
            train(engine, *arguments)
    assert engine.snapshot().version == version
    assert all_runs(engine.snapshot()) == []


def test_what_cannot_be_resumed_says_why(engine):
    with pytest.raises(UnknownRunError):
        resume(engine, 1)
    finished = train(engine, "m", "d", TrainingOptions(epochs=1))
    version = engine.snapshot().version
    assert resume(engine, 1) == finished
    assert engine.snapshot().version == version
    for _ in range(2):
        with pytest.raises(TrainingInterruptedError):
            train(engine, "m", "d", OPTIONS, progress=Watcher(stop_after_steps=2))
    store_training_data(engine, "d", *rows(1, 5), append=True)
    engine.commit(WriteBatch([remove_pin("run 2"), remove_pin("run 3")]))
    engine.vacuum()
    with pytest.raises(InvalidArgumentError, match="has changed since run 2 read it"):
        resume(engine, 2)
    engine.commit(WriteBatch([DeleteRows("d", ["train/45"])]))
    assert resume(engine, 2).status is RunStatus.FINISHED
    drop_model(engine, "m")
    with pytest.raises(UnknownModelError):
        resume(engine, 3)
    create_model(engine, "m", ModelSpec(qubits=2, classes=2))
    with pytest.raises(UnknownModelError, match="was dropped"):
        resume(engine, 3)


def test_a_run_in_training_is_neither_resumed_nor_dropped(engine):
    seen = []

    class Other(Silence):
        def stepped(self, report):
            if report.steps == 1:
                for action in (lambda: resume(engine, 1), lambda: drop_model(engine, "m")):
                    with pytest.raises((InvalidArgumentError, InvalidModelError), match="being trained") as caught:
                        action()
                    seen.append(caught.value)

    assert train(engine, "m", "d", OPTIONS, progress=Other()).status is RunStatus.FINISHED
    assert len(seen) == 2


def test_a_damaged_checkpoint_is_an_error_and_never_a_prediction(engine, monkeypatch):
    train(engine, "m", "d", TrainingOptions(epochs=1))
    read = engine.read_file

    def flipped(kind, name):
        content = bytearray(read(kind, name))
        content[len(content) // 2] ^= 1
        return bytes(content)

    monkeypatch.setattr(engine, "read_file", flipped)
    with pytest.raises(DamagedError):
        predict(TrainedModels(engine), "m", rows(2, 0)[0])


def test_predictions_are_those_of_the_checkpoint(engine):
    train(engine, "m", "d", OPTIONS)
    models = TrainedModels(engine)
    data, labels = rows(200, 9)
    found = predict(models, "m", data)
    assert found.dtype == np.int64
    assert np.mean(found == labels) > 0.8
    probabilities = predict_proba(models, "m", data)
    assert probabilities.shape == (200, 2)
    assert np.array_equal(probabilities.argmax(axis=1), found)
    alone = np.concatenate([predict_proba(models, "m", row) for row in data])
    assert alone.tobytes() == probabilities.tobytes()
    assert predict(models, "m", data.tolist()).tolist() == found.tolist()


def test_prediction_errors_are_typed(engine):
    models = TrainedModels(engine)
    with pytest.raises(InvalidModelError, match="not trained"):
        predict(models, "m", rows(1, 0)[0])
    with pytest.raises(UnknownModelError):
        predict(models, "x", rows(1, 0)[0])
    train(engine, "m", "d", TrainingOptions(epochs=1))
    for wrong in (np.zeros((1, 4)), np.full((1, 4), np.nan), np.ones((1, 3)), np.ones((1, 1, 4)), [["a"]]):
        with pytest.raises(InvalidVectorError):
            predict(models, "m", wrong)
    with pytest.raises(UnknownModelError, match="no version 9"):
        predict(models, "m", np.ones((1, 4)), version=9)
    with pytest.raises(InvalidModelError):
        predict(models, "m", np.ones((1, 4)), version=1)


def test_loaded_versions_are_kept_within_bounds_and_follow_the_registry(engine, monkeypatch):
    for seed in range(3):
        train(engine, "m", "d", TrainingOptions(epochs=1, seed=seed))
    loads = []
    load = checkpoints.load
    monkeypatch.setattr(checkpoints, "load", lambda *arguments: loads.append(1) or load(*arguments))
    models = TrainedModels(engine, capacity=2)
    assert models.load("m") is models.load("m", 4)
    for version in (2, 3, 4, 2):
        assert models.load("m", version).version.version == version
    assert len(loads) == 5
    drop_model(engine, "m")
    with pytest.raises(UnknownModelError):
        models.load("m")
    with pytest.raises(InvalidArgumentError):
        TrainedModels(engine, capacity=0)


def test_evaluating_on_wrong_rows_is_refused(engine):
    train(engine, "m", "d", TrainingOptions(epochs=1))
    models = TrainedModels(engine)
    store_training_data(engine, "three", rows(3, 0)[0], [0, 1, 2])
    with pytest.raises(InvalidLabelError):
        evaluate(engine, models, "m", "three", split="train")
    with pytest.raises(EmptyDatasetError):
        evaluate(engine, models, "m", "three")
    with pytest.raises(UnknownDatasetError):
        evaluate(engine, models, "m", "x")
