"""Studies in a database: their trials, their best, and going on after any stop as if it had not been."""

import importlib.util
import json
import os
import signal
import threading

import numpy as np
import pytest
from small_runs import rows

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidLabelError,
    MissingDependencyError,
    ReadOnlyError,
    TrainingInterruptedError,
    TransactionError,
    UnknownCollectionError,
    UnknownDatasetError,
    UnknownModelError,
    UnknownRunError,
    UnknownStudyError,
    UnknownVersionError,
    WriteFailedError,
)
from qstore_db.hyperparameters import optuna_sampling
from qstore_db.hyperparameters.observation import Outcome
from qstore_db.training import hyperparameter_search, training_loop
from qstore_db.training.hyperparameter_search import resume_search, search_hyperparameters
from qstore_db.training.options import TrainingOptions
from qstore_db.training.past_trials import PAST_TRIALS, vector_of
from qstore_db.training.progress import Silence
from qstore_db.training.registry import all_runs

SPACE = {
    "depth": [1, 2],
    "entanglement": ["linear", "full"],
    "learning_rate": {"low": 0.01, "high": 0.5, "log": True},
    "batch_size": {"low": 8, "high": 16, "step": 8},
}
OPTIONS = TrainingOptions(epochs=3)
needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")
needs_torch = pytest.mark.skipif(
    None in (importlib.util.find_spec("optuna"), importlib.util.find_spec("torch")), reason="no optuna, or no PyTorch"
)


class KilledError(BaseException):
    """Stands for the end of the process: nothing that catches exceptions catches it."""


class After(Silence):
    """Ends the process, or presses Ctrl-C, at the n-th step of all runs that it watches."""

    def __init__(self, steps, error=KilledError):
        self.left, self.error = steps, error

    def stepped(self, report):
        self.left -= 1
        if self.left == 0:
            raise self.error


def fill(db):
    data, labels = rows(60, 1)
    db.store_training_data("d", data, labels)
    db.store_training_data("d", np.full((5, 4), 9.0), [7] * 5, split="test")  # labels that the model does not know
    db.create_model("m", qubits=2, layers=1, classes=2)
    return db


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        yield fill(db)


def told(report):
    return [
        (one.number, one.settings, one.outcome, one.value, one.epoch_values, one.error, one.run_id, one.version)
        for one in report.trials
    ]


def search(db, **arguments):
    given = {"trials": 5, "space": SPACE, "sampler": "random", "options": OPTIONS, **arguments}
    return search_hyperparameters(db._engine, "m", "d", **given)


def test_each_trial_is_an_ordinary_run_and_the_best_has_a_name(db):
    report = db.search_hyperparameters("m", "d", trials=4, space=SPACE, sampler="random", options=OPTIONS, seed=3)
    assert (report.name, len(report.trials), report.is_complete) == ("m.study1", 4, True)
    for trial in report.trials:
        run = db.run(trial.run_id).record
        assert run.status == "finished"
        assert (run.model, run.version, run.parent_version) == ("m.study1", trial.trained_version, trial.version)
        assert run.scores.validation_accuracy == trial.value == trial.epoch_values[-1]
        assert len(trial.epoch_values) == 3
        assert (run.options.seed, run.options.validation_fraction, run.options.split) == (3, 0.2, "train")
        assert run.options.learning_rate == trial.settings["learning_rate"]
        spec = json.loads(
            db.sql(
                "SELECT spec FROM model_versions WHERE model = $m AND version = $v", m=run.model, v=run.version
            ).fetchone()[0]
        )
        assert (spec["layers"], spec["entanglement"]) == (trial.settings["layers"], trial.settings["entanglement"])
    best = max(report.trials, key=lambda trial: (trial.value, -trial.number))
    assert report.best == best
    assert report.best_model == "m.study1@best"
    (alias,) = db.aliases("m.study1")
    assert (alias.version, alias.accuracy, alias.measured_on) == (best.trained_version, best.value, "validation")
    assert db.predict("m.study1@best", rows(3, 5)[0]).shape == (3,)
    assert db.sql("SELECT version, status FROM models WHERE name = 'm'").fetchall() == [(1, "created")]
    assert db.study("m.study1") == report
    assert db.studies() == [report]


def test_the_same_search_gives_the_same_and_what_differs_is_what_is_varied(db):
    first, again = search(db), search(db)
    assert [one[1:5] for one in told(first)] == [one[1:5] for one in told(again)]
    assert again.name == "m.study2"
    runs = [db.run(one.run_id).record for one in (*first.trials, *again.trials)]
    assert len({(run.dataset_digest, run.rows, run.validation_rows) for run in runs}) == 1


def test_all_trials_read_one_version_though_the_data_set_changes(db):
    class Changing(Silence):
        def finished(self, run):
            db.collection("d").delete(f"train/{run.id}")

    report = search(db, progress=Changing)
    runs = [db.run(one.run_id).record for one in report.trials]
    assert {(run.dataset_version, run.rows + run.validation_rows) for run in runs} == {
        (report.study.dataset_version, 60)
    }
    assert db.pins()["study m.study1"] == report.study.dataset_version
    assert len(db.collection("d")) == 60


@pytest.mark.parametrize(
    ("sampler", "stop"),
    [
        ("random", 17),
        *(pytest.param("tpe", stop, marks=needs_optuna) for stop in (2, 90, 171)),
        pytest.param("gp", 90, marks=needs_torch),
        ("annealing", 90),
    ],
)
def test_a_killed_search_goes_on_as_if_nothing_had_been(tmp_path, sampler, stop):
    # 12 trials of 3 epochs with 3 or 6 steps; both samplers that learn do so from the 6th or the 11th on.
    given = {"trials": 12, "sampler": sampler, "pruner": "halving", "objective": "validation_loss"}
    with QuantumDatabase.open(":memory:", progress=False) as undisturbed:
        expected = told(search(fill(undisturbed), **given))
    with QuantumDatabase.open(tmp_path / "db", progress=False) as db:
        watch = After(stop)
        try:
            search(fill(db), **given, progress=lambda: watch)
        except KilledError:
            assert 0 < len(db.study("m.study1").trials) <= 12
            assert not db.study("m.study1").is_complete
        else:
            assert watch.left > 0
    with QuantumDatabase.open(tmp_path / "db", progress=False) as db:
        report = db.resume_search("m.study1")
        assert told(report) == expected
        assert {one.outcome for one in report.trials} == {Outcome.FINISHED, Outcome.PRUNED}
        assert db.resume_search("m.study1") == report


@pytest.mark.parametrize("outcome", [Outcome.FINISHED, Outcome.PRUNED])
def test_a_search_killed_between_a_run_and_its_trials_record(db, monkeypatch, outcome):
    given = {"trials": 10, "pruner": "halving", "objective": "validation_loss"}
    with QuantumDatabase.open(":memory:", progress=False) as undisturbed:
        expected = told(search(fill(undisturbed), **given))
    call = next(one[0] for one in expected if one[2] is outcome)
    calls, end = [], hyperparameter_search._Search._end

    def killed(self, *arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise KilledError
        end(self, *arguments)

    monkeypatch.setattr(hyperparameter_search._Search, "_end", killed)
    with pytest.raises(KilledError):
        search(db, **given)
    assert len(db.study("m.study1").trials) == call
    assert told(db.resume_search("m.study1")) == expected


def test_ctrl_c_says_how_to_go_on(db):
    with QuantumDatabase.open(":memory:", progress=False) as undisturbed:
        expected = told(search(fill(undisturbed)))
    watch = After(20, KeyboardInterrupt)
    with pytest.raises(TrainingInterruptedError, match=r"'m\.study1' was stopped after \d of 5 trials") as caught:
        search(db, progress=lambda: watch)
    assert "resume_search('m.study1')" in caught.value.fix
    assert sum(run.status == "interrupted" for run in all_runs(db._engine.snapshot())) == 1
    assert told(db.resume_search("m.study1")) == expected


def test_more_trials_can_be_asked_for(db):
    with QuantumDatabase.open(":memory:", progress=False) as other:
        expected = told(search(fill(other), trials=6))
    search(db, trials=2)
    assert told(db.resume_search("m.study1", trials=6)) == expected
    assert db.study("m.study1").study.trials == 6


def test_a_grid_ends_when_all_is_tried(db):
    report = search(db, sampler="grid", trials=50, space={"layers": [1, 2], "batch_size": [16, 32]})
    assert [tuple(one.settings.values()) for one in report.trials] == [(1, 16), (1, 32), (2, 16), (2, 32)]
    assert report.is_complete


def test_trials_that_cannot_be_trained_say_why_and_the_rest_goes_on(db):
    space = {"optimizer": ["adam", "sgd"], "momentum": [0.5], "encoding": ["amplitude", "angle"]}
    report = search(db, sampler="grid", space=space)
    outcomes = {tuple(one.settings.values()): one for one in report.trials}
    assert [one.outcome for one in outcomes.values()] == ["failed", "failed", "finished", "failed"]
    contradiction = outcomes["adam", 0.5, "amplitude"]
    assert "momentum" in contradiction.error
    assert (contradiction.run_id, contradiction.version) == (None, None)
    misfit = outcomes["sgd", 0.5, "angle"]
    assert misfit.error.startswith("InvalidModelError")
    assert misfit.version is not None
    assert report.best.settings["optimizer"] == "sgd"


def test_a_trial_whose_loss_is_lost_failed(db, monkeypatch):
    def diverging(*_arguments):
        raise InvalidArgumentError("The loss is nan")

    monkeypatch.setattr(training_loop, "advance", diverging)
    diverging = search(db, sampler="grid", space={"layers": [1]})
    assert [(one.outcome, one.value) for one in diverging.trials] == [("failed", None)]
    assert db.run(diverging.trials[0].run_id).status == "failed"
    assert (diverging.best, diverging.best_model) == (None, None)


def test_what_is_wrong_with_the_machine_stops_the_search_and_not_the_trial(db, monkeypatch):
    def full(*_arguments, **_options):
        raise WriteFailedError("the disk is full")

    monkeypatch.setattr(hyperparameter_search, "train", full)
    with pytest.raises(WriteFailedError):
        search(db)
    assert [one.outcome for one in db.study("m.study1").trials] == [Outcome.RUNNING]
    monkeypatch.undo()
    assert db.resume_search("m.study1").is_complete


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"trials": 0}, InvalidArgumentError, "trials is 0"),
        ({"trials": True}, InvalidArgumentError, "trials is True"),
        ({"workers": 0}, InvalidArgumentError, "workers is 0"),
        ({"space": {"colour": [1]}}, InvalidArgumentError, "cannot vary 'colour'"),
        ({"space": {"seed": [1]}}, InvalidArgumentError, "cannot vary 'seed'"),
        ({"space": {"validation_fraction": [0.1]}}, InvalidArgumentError, "cannot vary"),
        ({"space": {"layers": [1, 999]}}, InvalidArgumentError, "layers = 999 of the space cannot be tried"),
        ({"space": {"layers": {"low": 0, "high": 3}}}, InvalidArgumentError, "layers = 0 of the space"),
        ({"space": {"optimizer": ["lion"]}}, InvalidArgumentError, "optimizer = 'lion' of the space"),
        ({"space": {"momentum": [0.5], "optimizer": ["adam"]}}, InvalidArgumentError, "momentum = 0.5"),
        ({"sampler": "guess"}, InvalidArgumentError, "no sampler 'guess'"),
        ({"sampler": "grid"}, InvalidArgumentError, "every learning_rate"),
        ({"pruner": "all"}, InvalidArgumentError, "no pruner 'all'"),
        ({"objective": "accuracy"}, InvalidArgumentError, "objective of a classifier is 'accuracy'"),
        ({"options": TrainingOptions(validation_split="test")}, InvalidArgumentError, "not on the split 'test'"),
        ({"study": "no name"}, ValueError, "no name"),
        ({"study": "m"}, AlreadyExistsError, "a model 'm'"),
        ({"sampler": "grid", "space": {"layers": [1]}, "warm_start": True}, InvalidArgumentError, "grid"),
    ],
)
def test_a_wrong_search_is_refused_before_anything_is_written(db, arguments, error, says):
    version = db.version
    with pytest.raises(error, match=says):
        search(db, **arguments)
    assert db.version == version


def test_unknown_models_and_data_are_refused_before_anything_is_written(db):
    db.create_model("one", qubits=2, layers=1, classes=9)
    db.store_training_data("odd", *[rows(9, 1)[0], [5] * 9])
    version, engine = db.version, db._engine
    for model, dataset, error in (
        ("n", "d", UnknownModelError),
        ("m", "e", UnknownDatasetError),
        ("m", "odd", InvalidLabelError),
    ):
        with pytest.raises(error):
            search_hyperparameters(engine, model, dataset, sampler="random")
    with pytest.raises(UnknownStudyError, match="'s'"):
        db.resume_search("s")
    with pytest.raises(TransactionError), db.transaction():
        search(db)
    assert db.version == version


def test_a_study_outlives_its_data_set_and_not_its_model(db):
    expected = told(search(db, trials=4, study="whole"))
    search(db, trials=2)
    db.drop_collection("d")
    db.vacuum()
    assert [one[1:5] for one in told(db.resume_search("m.study1", trials=4))] == [one[1:5] for one in expected]
    db.sql('DROP MODEL "m.study1"')
    with pytest.raises(UnknownModelError, match=r"no model 'm\.study1'"):
        db.resume_search("m.study1", trials=5)
    db.create_model("m.study1", qubits=2, layers=1, classes=2)
    with pytest.raises(UnknownModelError, match=r"'m\.study1' of the study was dropped"):
        db.resume_search("m.study1", trials=5)
    assert len(db.study("m.study1").trials) == 4
    db.unpin("study whole")
    for run in range(1, 9):
        db.unpin(f"run {run}")
    db.unpin("study m.study1")
    db.vacuum()
    with pytest.raises(UnknownVersionError):
        db.resume_search("whole", trials=5)


def test_a_reader_may_look_and_not_search(tmp_path):
    with QuantumDatabase.open(tmp_path / "db", progress=False) as db:
        expected = search(fill(db), trials=2)
    with QuantumDatabase.open(tmp_path / "db", read_only=True) as db:
        assert db.study("m.study1") == db.resume_search("m.study1") == expected
        for attempt in (search, lambda db: db.resume_search("m.study1", trials=3)):
            with pytest.raises(ReadOnlyError):
                attempt(db)


def test_names_are_taken_once(db):
    search(db, trials=1, study="mine")
    with pytest.raises(AlreadyExistsError, match="a study 'mine'") as caught:
        search(db, trials=1, study="mine")
    assert "resume_search('mine')" in caught.value.fix
    with pytest.raises(UnknownStudyError, match="yours") as unknown:
        db.study("yours")
    assert "mine" in unknown.value.fix


def test_without_optuna_the_default_sampler_says_so(db, monkeypatch):
    monkeypatch.setattr(optuna_sampling.importlib.util, "find_spec", lambda package: None)
    version = db.version
    with pytest.raises(MissingDependencyError, match="optuna is not installed") as caught:
        db.search_hyperparameters("m", "d")
    assert "qstore-db[search]" in caught.value.fix
    assert db.version == version


@pytest.mark.parametrize(
    ("kind", "given"), [("regressor", {}), ("autoencoder", {"latent": 1}), ("classifier", {"classes": 2})]
)
def test_every_kind_of_model_is_searched_by_what_it_is_for(db, kind, given):
    data, labels = rows(40, 2)
    db.store_training_data("t", data, labels, targets=data[:, 0] - data[:, 1])
    db.create_model("k", kind, qubits=2, layers=1, **given)
    report = search_hyperparameters(db._engine, "k", "t", trials=3, space=SPACE, sampler="random", options=OPTIONS)
    assert report.study.objective == ("validation_accuracy" if kind == "classifier" else "validation_loss")
    values = [one.value for one in report.trials]
    assert report.best.value == (max(values) if kind == "classifier" else min(values))
    assert db.collection(PAST_TRIALS).get("k.study1/000001").metadata["kind"] == kind
    if kind != "classifier":
        with pytest.raises(InvalidArgumentError, match=f"The objective of a {kind} is 'validation_accuracy'"):
            search_hyperparameters(db._engine, "k", "t", sampler="random", objective="validation_accuracy")


def test_a_trial_that_keeps_its_best_epoch_has_that_epochs_value(db):
    options = TrainingOptions(epochs=4, keep_best=True, validation_fraction=0.2)
    report = search(db, objective="validation_loss", options=options, space={"learning_rate": [0.9, 0.01]})
    for trial in report.trials:
        assert trial.value == min(trial.epoch_values) == db.run(trial.run_id).record.scores.validation_loss


def test_several_workers_train_each_trial_once(db):
    names = set()

    class Noting(Silence):
        def started(self, run, total_steps):
            names.add(threading.current_thread().name)

    report = search(db, trials=8, workers=3, progress=Noting)
    assert [one.number for one in report.trials] == list(range(1, 9))
    assert all(one.outcome is Outcome.FINISHED for one in report.trials)
    assert len({one.run_id for one in report.trials}) == 8
    assert len(names) > 1
    expected = {repr(one[1]): one[3:5] for one in told(search(db, trials=8))}
    assert {repr(one.settings): (one.value, one.epoch_values) for one in report.trials} == expected
    with db.transaction():
        pass  # this thread is free


def test_ctrl_c_stops_all_workers(db):
    class Pressing(Silence):
        def epoch_finished(self, row):
            if row.run_id == 2 and row.epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingInterruptedError, match="was stopped after"):
        search(db, trials=300, workers=2, progress=Pressing)
    assert not db.study("m.study1").is_complete
    assert all(run.status in ("finished", "interrupted") for run in all_runs(db._engine.snapshot()))
    assert db.resume_search("m.study1", trials=6).is_complete


def test_where_one_worker_fails_the_others_stop_and_all_can_be_resumed(db):
    first = threading.Event()

    class Failing(Silence):
        def stepped(self, report):
            if not first.is_set():
                first.set()
                raise WriteFailedError("the disk is full")

    with pytest.raises(WriteFailedError):
        search(db, trials=6, workers=2, progress=Failing)
    assert not db.study("m.study1").is_complete
    report = db.resume_search("m.study1", workers=2)
    assert [one.outcome for one in report.trials] == [Outcome.FINISHED] * 6


def test_a_study_is_carried_on_by_one_caller_at_a_time(db):
    refused = []

    class Second(Silence):
        def started(self, run, total_steps):
            with pytest.raises(InvalidArgumentError, match="is being carried on right now") as caught:
                resume_search(db._engine, "m.study1")
            refused.append(caught.value)

    search(db, trials=2, progress=Second)
    assert len(refused) == 2


# -- past trials ----------------------------------------------------------------------------------------------------


def test_finished_trials_are_vectors_that_can_be_searched(db):
    report = search(db, trials=6, pruner="halving")
    past = db.collection(PAST_TRIALS)
    finished = [one for one in report.trials if one.outcome is Outcome.FINISHED]
    assert past.get([f"m.study1/{one.number:06d}" for one in finished])
    assert len(past) == len(finished)
    like = past.query(past.get("m.study1/000001").vector, top_k=3, where="dataset = 'd'")
    assert like.ids[0] == "m.study1/000001"
    assert like.scores[0] == 0.0
    row = past.get("m.study1/000001").metadata
    assert (row["run_id"], row["value"], json.loads(row["settings"])) == (
        report.trials[0].run_id,
        report.trials[0].value,
        report.trials[0].settings,
    )
    nearest = db.sql(
        "SELECT t.trial, t.value FROM past_trials p JOIN trials t ON t.study = p.study AND t.trial = p.trial"
        " ORDER BY p.vector <-> $q LIMIT 1",
        q=past.get("m.study1/000001").vector,
    ).fetchone()
    assert nearest == (1, report.trials[0].value)


def test_any_run_finds_the_trials_like_it(db):
    report = search(db, trials=6)
    third = report.trials[2]
    hits = db.trials_like(third.run_id, top_k=2)
    assert (hits.ids[0], hits.scores[0]) == ("m.study1/000003", 0.0)
    assert db.trials_like(third.run_id, where="trial <> 3").ids[0] == hits.ids[1]
    values = {name: third.settings[name] for name in ("learning_rate", "batch_size")}
    run = db.train("m", "d", TrainingOptions(epochs=3, validation_fraction=0.2, **values))
    db.drop_collection("d")
    distances = dict(zip(*(getattr(db.trials_like(run.id), name) for name in ("ids", "scores")), strict=True))
    # The model has one layer with linear links, on the same rows.
    different = (third.settings["layers"] != 1) + (third.settings["entanglement"] != "linear")
    assert distances["m.study1/000003"] == pytest.approx(different**0.5)
    with pytest.raises(UnknownRunError):
        db.trials_like(99)


def test_without_a_past_there_is_nothing_to_find(db):
    run = db.train("m", "d", TrainingOptions(epochs=1))
    with pytest.raises(UnknownCollectionError, match=PAST_TRIALS):
        db.trials_like(run.id)


def test_like_settings_lie_near_each_other(db):
    study = search(db, trials=1).study
    base = {"layers": 1, "entanglement": "linear", "learning_rate": 0.01, "batch_size": 8}

    def distance(**other):
        return float(np.linalg.norm(vector_of(study, base) - vector_of(study, {**base, **other})))

    assert distance() == 0
    assert 0 < distance(learning_rate=0.011) < 0.1 < distance(learning_rate=0.1)
    assert distance(entanglement="full") == pytest.approx(1.0)
    assert distance(layers=2) == pytest.approx(1.0)


def test_a_warm_start_tries_the_best_of_like_studies_first(db):
    near = search(db, trials=5, seed=1)
    db.store_training_data("wide", np.hstack([rows(30, 3)[0]] * 4), rows(30, 3)[1])
    db.create_model("w", qubits=4, layers=1, classes=2)
    far = search_hyperparameters(
        db._engine, "w", "wide", trials=2, space={"layers": [5, 6]}, sampler="random", options=OPTIONS
    )
    report = search(db, trials=3, warm_start=True, seed=9)
    first, second = report.study.enqueued
    assert [one.settings for one in report.trials[:2]] == [first, second]
    assert first == near.best.settings
    # What the far study did not vary is what its model and options were; five or six layers are no choice here.
    assert far.best.settings["layers"] not in SPACE["depth"]
    assert second["layers"] in SPACE["depth"]
    assert (second["entanglement"], second["learning_rate"], second["batch_size"]) == ("linear", 0.01, 16)
    assert report.study.space.holds(first)
    assert report.study.space.holds(second)


def test_a_warm_start_without_a_past_is_a_cold_one(db):
    warm = search(db, trials=3, warm_start=True)
    assert warm.study.enqueued == ()
    with QuantumDatabase.open(":memory:", progress=False) as other:
        assert [one[1] for one in told(warm)] == [one[1] for one in told(search(fill(other), trials=3))]


def test_another_collection_of_that_name_is_not_written_to(db):
    db.create_collection(PAST_TRIALS, dimension=64, metric="l2")
    version = db.version
    with pytest.raises(InvalidArgumentError, match="is not the one in which searches keep"):
        search(db)
    assert db.version == version


# -- SQL and the command line ----------------------------------------------------------------------------------------


def test_sql_searches_resumes_and_lists(db):
    row = db.sql(
        "CALL search_hyperparameters(model => 'm', dataset => 'd', trials => 3, sampler => 'random', epochs => 2,"
        """ space => '{"depth": [1, 2], "learning_rate": {"low": 0.01, "high": 0.5, "log": true}}', seed => 4)"""
    ).df()
    assert row["name"].tolist() == ["m.study1"]
    assert row[["trials", "finished", "pruned", "failed"]].to_numpy().tolist() == [[3, 3, 0, 0]]
    assert row["best_model"].tolist() == ["m.study1@best"]
    assert json.loads(row["options"][0])["epochs"] == 2
    given = {"layers": [1], "learning_rate": [0.1]}
    db.sql("CALL search_hyperparameters('m', 'd', 1, $space, 'grid', study => 'second', n_epochs => 1)", space=given)
    trials = db.sql("SELECT study, trial, status, settings, epoch_values FROM trials ORDER BY ALL").fetchall()
    assert [one[:3] for one in trials] == [("m.study1", n, "finished") for n in (1, 2, 3)] + [("second", 1, "finished")]
    assert json.loads(trials[-1][3]) == {"layers": 1, "learning_rate": 0.1}
    assert len(trials[-1][4]) == 1
    resumed = db.sql("CALL resume_search('m.study1', trials => 4)").df()
    assert resumed["finished"].tolist() == [4]
    assert db.sql("SELECT name FROM studies").fetchall() == [("m.study1",), ("second",)]
    with pytest.raises(InvalidArgumentError, match="The space is no JSON"):
        db.sql("CALL search_hyperparameters('m', 'd', space => 'layers')")


def test_the_command_line_searches_and_resumes(tmp_path):
    from typer.testing import CliRunner

    from qstore_db.cli.app import app

    with QuantumDatabase.open(tmp_path / "db.qdb", progress=False) as db:
        fill(db)
    (tmp_path / "space.toml").write_text(
        "[space]\nlayers = [1, 2]\nlearning_rate = {low = 0.01, high = 0.5, log = true}"
    )
    command = ["search-hyperparameters", str(tmp_path / "db.qdb"), "m", "--dataset", "d", "--trials", "2"]
    arguments = ["--sampler", "random", "--space", str(tmp_path / "space.toml"), "--epochs", "1", "-o", "batch_size=20"]
    done = CliRunner().invoke(app, [*command, *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    assert "best: m.study1@best, validation_accuracy" in done.output
    done = CliRunner().invoke(app, ["resume-search", str(tmp_path / "db.qdb"), "m.study1", "--trials", "3"])
    assert done.exit_code == 0
    with QuantumDatabase.open(tmp_path / "db.qdb", progress=False) as db:
        report = db.study("m.study1")
        assert len(report.trials) == 3
        assert report.study.options == TrainingOptions(epochs=1, batch_size=20, validation_fraction=0.2)
