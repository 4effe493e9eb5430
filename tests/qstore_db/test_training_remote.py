"""Training on a remote provider: a ceiling, a ledger, and every job billed once whatever happens."""

from datetime import datetime
from decimal import Decimal

import pytest
from scripted_provider import CENT, LOST_ON_THE_WAY_BACK, REFUSED, UNREACHABLE, ScriptedProvider
from scripted_training import NAME, provider_at
from small_runs import Stop, bits, metrics_of, rows, state_of
from typer.testing import CliRunner

from qstore_db.backends.job_ledger import JobStatus
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.circuit import Circuit
from qstore_db.cli.app import app
from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    BudgetExceededError,
    InvalidArgumentError,
    TrainingInterruptedError,
    UnsupportedRequestError,
)
from qstore_db.models.specification import ModelSpec
from qstore_db.training import training_loop
from qstore_db.training.dataset import store_training_data
from qstore_db.training.job_ledger import REQUESTS, RESULTS, DatabaseLedger
from qstore_db.training.options import REMOTE_SHOTS, TrainingOptions
from qstore_db.training.progress import run_line, step_line
from qstore_db.training.recipe import executor_for
from qstore_db.training.registration import create_model
from qstore_db.training.registry import RunStatus, find_run
from qstore_db.training.trainer import resume, train
from storage_engine.engine import Engine

ROWS, BATCH = 8, 4
BASES = 3  # of the Pauli pairs of two qubits
STEP = BATCH * BASES * 3 * CENT  # by SPSA: the point itself and two more
VALIDATION = 4 * BASES * CENT
EPOCH = 2 * STEP + VALIDATION


@pytest.fixture
def engine():
    with Engine.open(None) as engine:
        store_training_data(engine, "d", *rows(ROWS, 0))
        store_training_data(engine, "d", *rows(4, 1), split="test")
        create_model(engine, "m", ModelSpec(qubits=2, classes=2, layers=1))
        yield engine


@pytest.fixture
def folder(tmp_path):
    with provider_at(tmp_path / "nobody"):  # reading a record needs the name of its backend
        yield tmp_path / "provider"


def options(**changes):
    given = {
        "epochs": 2,
        "batch_size": BATCH,
        "gradient": "spsa",
        "backend": NAME,
        "shots": 50,
        "seed": 1,
        "validation_split": "test",
        "max_cost_usd": 100.0,
    }
    return TrainingOptions(**{**given, **changes})


def test_a_run_on_a_provider_carries_its_circuits_shots_cost_and_target(engine, folder):
    reports = []

    class Watch(Stop):
        def stepped(self, report):
            reports.append(report)

    with provider_at(folder):
        run = train(engine, "m", "d", options(sdk="qiskit", target="qpu.other"), progress=Watch(0))
    assert run.status is RunStatus.FINISHED
    assert run.circuits == 2 * (2 * BATCH * BASES * 3 + 4 * BASES)
    assert run.cost_usd == float(2 * EPOCH)
    assert run.target == "qpu.other"
    provider = ScriptedProvider(folder)
    assert len(provider.billed()) * CENT <= 2 * EPOCH  # requests of several samples are billed by sample
    table = metrics_of(engine, run).to_pylist()
    assert [row["cost_usd"] for row in table if row["step"] > 0] == [float(STEP)] * 4
    assert [row["cost_usd"] for row in table if row["step"] == -1] == [float(EPOCH)] * 2
    assert {row["target"] for row in table} == {"qpu.other"}
    assert [row["shots"] for row in table if row["step"] > 0] == [50 * BATCH * BASES * 3] * 4
    assert [report.cost_usd for report in reports][:2] == [float(STEP), float(2 * STEP)]
    assert "$0.36" in step_line(reports[0])
    assert f"${2 * EPOCH}" in run_line(run)


def test_a_run_here_has_no_cost(engine):
    run = train(engine, "m", "d", TrainingOptions(epochs=1, batch_size=4, max_cost_usd=1.0))
    assert (run.cost_usd, run.target) == (None, None)
    assert "$" not in run_line(run)
    assert metrics_of(engine, run)["cost_usd"].null_count == 3


def test_circuits_start_in_the_rows_states_prepared_by_gates(engine, folder):
    """The provider starts in |0…0⟩: with many shots its run is that of the local simulator, which loads amplitudes."""
    given = {"epochs": 6, "batch_size": 8, "learning_rate": 0.5, "gradient": "spsa", "seed": 1}
    with provider_at(folder):
        away = train(engine, "m", "d", options(**given, shots=300_000, max_cost_usd=1000.0))
    here = train(engine, "m", "d", options(**given, backend="local", shots=100_000, max_cost_usd=None))
    assert here.scores.train_loss < 0.6
    assert away.scores.train_loss == pytest.approx(here.scores.train_loss, abs=0.02)
    assert away.scores.validation_loss == pytest.approx(here.scores.validation_loss, abs=0.02)


def test_the_first_step_is_priced_before_anything_is_written(engine, folder):
    version = engine.snapshot().version
    with provider_at(folder) as made:
        with pytest.raises(BudgetExceededError) as caught:
            train(engine, "m", "d", options(max_cost_usd=float(STEP) - 0.01))
        assert (caught.value.estimate, caught.value.spent) == (STEP, 0)
        assert caught.value.ceiling == STEP - CENT
        with pytest.raises(BudgetExceededError, match=r"\$0 of a ceiling of \$0"):
            train(engine, "m", "d", options(max_cost_usd=None))
        assert all(service.calls == [] and service.closed for service in made)
    assert engine.snapshot().version == version
    assert not ScriptedProvider(folder).jobs()


def test_what_costs_nothing_needs_no_ceiling(engine, folder):
    with provider_at(folder, price=Decimal(0)):
        run = train(engine, "m", "d", options(max_cost_usd=None, epochs=1))
    assert (run.status, run.cost_usd) == (RunStatus.FINISHED, 0.0)


@pytest.mark.parametrize("ceiling", [2 * STEP - CENT, 2 * STEP + CENT, EPOCH + CENT])
def test_a_run_stops_before_it_would_exceed_and_goes_on_with_more(engine, folder, ceiling):
    with provider_at(folder):
        whole = train(engine, "m", "d", options())
    other = folder.with_name("other")
    with provider_at(other):
        with pytest.raises(BudgetExceededError, match=r"run 2: (step|the validation)") as caught:
            train(engine, "m", "d", options(max_cost_usd=float(ceiling)))
        assert "db.resume(2, max_cost_usd" in caught.value.fix
        run = find_run(engine.snapshot(), 2)
        assert run.status is RunStatus.OVER_BUDGET
        assert "BudgetExceededError" in run.error
        assert run.cost_usd <= ceiling
        assert Decimal(str(run.cost_usd)) == DatabaseLedger(engine, 2).counted
        with pytest.raises(BudgetExceededError):
            resume(engine, 2)
        run = resume(engine, 2, max_cost_usd=100.0)
    assert (run.status, run.error, run.options.max_cost_usd) == (RunStatus.FINISHED, None, 100.0)
    assert bits(state_of(engine, run)) == bits(state_of(engine, whole))
    assert run.cost_usd == whole.cost_usd
    assert metrics_of(engine, run).equals(metrics_of(engine, whole))
    assert ScriptedProvider(other).billed() == ScriptedProvider(folder).billed()


@pytest.mark.parametrize("trouble", [
    {"send": [REFUSED, LOST_ON_THE_WAY_BACK]},
    {"state": [UNREACHABLE] * 3, "fetch": [UNREACHABLE] * 3},
    {"slow": 1},
])  # fmt: skip
def test_trouble_changes_nothing(engine, folder, trouble):
    with provider_at(folder):
        whole = train(engine, "m", "d", options(epochs=1))
    other = folder.with_name("other")
    with provider_at(other, **trouble):
        run = train(engine, "m", "d", options(epochs=1))
    assert bits(state_of(engine, run)) == bits(state_of(engine, whole))
    assert ScriptedProvider(other).billed() == ScriptedProvider(folder).billed()


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_run_pays_for_nothing_twice(engine, folder, after):
    with provider_at(folder):
        whole = train(engine, "m", "d", options())
    other = folder.with_name("other")
    with provider_at(other):
        with pytest.raises(TrainingInterruptedError):
            train(engine, "m", "d", options(), progress=Stop(after))
        run = resume(engine, 2)
    assert bits(state_of(engine, run)) == bits(state_of(engine, whole))
    assert metrics_of(engine, run).equals(metrics_of(engine, whole))
    assert ScriptedProvider(other).billed() == ScriptedProvider(folder).billed()


def test_a_run_that_failed_takes_up_the_results_it_paid_for(engine, folder):
    with provider_at(folder):
        whole = train(engine, "m", "d", options())
    other = folder.with_name("other")

    def fail(*_given):
        raise ZeroDivisionError

    with provider_at(other):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training_loop, "timed", fail)  # after the first step's results were used
            with pytest.raises(ZeroDivisionError):
                train(engine, "m", "d", options())
        assert find_run(engine.snapshot(), 2).cost_usd == float(STEP)
        assert all(record.used == () for record in DatabaseLedger(engine, 2).records())
        run = resume(engine, 2)
    assert bits(state_of(engine, run)) == bits(state_of(engine, whole))
    assert ScriptedProvider(other).billed() == ScriptedProvider(folder).billed()
    assert run.cost_usd == whole.cost_usd


def test_what_was_paid_for_is_not_priced_again(engine, folder):
    def fail(*_given):
        raise ZeroDivisionError

    with provider_at(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training_loop, "timed", fail)
            with pytest.raises(ZeroDivisionError):
                train(engine, "m", "d", options(max_cost_usd=float(STEP)))
        with pytest.raises(BudgetExceededError, match="step 2"):
            resume(engine, 1)  # the ceiling is spent, and the first step still goes through: it is paid for
    run = find_run(engine.snapshot(), 1)
    assert (run.steps_done, run.cost_usd) == (1, float(STEP))


def test_results_are_given_up_with_the_checkpoint_that_needs_them_no_more(engine, folder):
    with provider_at(folder):
        run = train(engine, "m", "d", options(epochs=1))
    records = DatabaseLedger(engine, run.id).records()
    assert records
    assert all(record.status is JobStatus.DONE and record.is_closed for record in records)
    tables = engine.snapshot()
    assert (dict(tables.table(REQUESTS)), dict(tables.table(RESULTS))) == ({}, {})


def test_long_epochs_are_checkpointed_in_between(engine, folder, monkeypatch):
    monkeypatch.setattr(training_loop, "CHECKPOINT_SECONDS", 0.0)
    kept = []

    class Watch(Stop):
        def stepped(self, report):
            tables = engine.snapshot()
            kept.append((find_run(tables, 1).steps_done, len(tables.table(RESULTS))))

    with provider_at(folder):
        run = train(engine, "m", "d", options(epochs=1, batch_size=2), progress=Watch(0))
    assert [steps for steps, _ in kept] == [0, 1, 2, 3]
    assert len({results for _, results in kept}) == 1  # those of one step, not of all
    assert metrics_of(engine, run).num_rows == 5


def test_natural_gradients_and_auto_are_priced_as_they_will_be(engine, folder):
    for number, changes in enumerate(({"gradient": "auto"}, {"optimizer": "natural"}, {"gradient": "parameter_shift"})):
        where = folder.with_name(f"case{number}")
        with provider_at(where):
            run = train(engine, "m", "d", options(epochs=1, validation_split=None, **changes))
            found = [row["cost_usd"] for row in metrics_of(engine, run).to_pylist() if row["step"] > 0]
            with pytest.raises(BudgetExceededError) as caught:
                train(engine, "m", "d", options(max_cost_usd=0.0, **changes))
        assert float(caught.value.estimate) == found[0]


def test_options_for_providers(engine, folder):
    with provider_at(folder) as made:
        assert options(shots=None).shots == REMOTE_SHOTS
        wrong = {"sdk": "pytket", "max_cost_usd": -1.0, "gradient": "adjoint", "target": ""}
        for name, value in wrong.items():
            with pytest.raises(InvalidArgumentError):
                options(**{name: value})
        create_model(engine, "wide", ModelSpec(qubits=12, classes=2, layers=1))
        with pytest.raises(UnsupportedRequestError, match="12 qubits"):
            train(engine, "wide", "d", options())
        assert TrainingOptions.from_options(options().to_json()) == options()
    assert made == []
    for name in ("sdk", "target"):
        with pytest.raises(InvalidArgumentError, match="no remote one"):
            TrainingOptions(**{name: "cirq"})


def test_a_loop_written_by_hand_keeps_the_ceiling_and_the_connection(folder):
    asked = options(sdk="qiskit", target="t", max_cost_usd=0.05)
    measured = ExecutionRequest(Circuit(2), shots=10)
    with provider_at(folder) as made, executor_for(asked) as executor:
        assert (made[-1].sdk, made[-1].target) == ("qiskit", "t")
        assert len(executor.run_batch([measured] * 4)) == 4
        with pytest.raises(BudgetExceededError):
            executor.run_batch([measured] * 2)
    assert len(ScriptedProvider(folder).billed()) == 4


@pytest.mark.parametrize(
    ("name", "meant"),
    [("mock", "local"), ("mock_ideal", "local"), ("mock_noisy", "local_noisy"), ("ionq", "ionq_simulator")],
)
def test_names_of_earlier_programs_stand_for_what_really_computes(name, meant):
    assert TrainingOptions(backend=name).backend == meant


def test_the_command_trains_within_a_ceiling_and_resumes_with_more(tmp_path, folder):
    with QuantumDatabase.open(tmp_path / "d.qdb", progress=False) as db:
        vectors, labels = rows(ROWS, 0)
        db.store_training_data("d", vectors, labels)
        db.create_model("m", qubits=2, classes=2, layers=1)
    given = ["--backend", NAME, "--sdk", "qiskit", "--target", "t", "--shots", 50, "--gradient", "spsa", "--epochs", 1]
    command = ["train", tmp_path / "d.qdb", "m", "--dataset", "d", *given, "--batch-size", 4]
    with provider_at(folder):
        stopped = CliRunner().invoke(app, [str(part) for part in (*command, "--max-cost-usd", 0.4)])
        assert isinstance(stopped.exception, BudgetExceededError)
        done = CliRunner().invoke(app, ["resume", str(tmp_path / "d.qdb"), "1", "--max-cost-usd", "1"])
        assert (done.exit_code, "train_loss" in done.output) == (0, True), done.output
        shown = CliRunner().invoke(app, ["jobs", str(tmp_path / "d.qdb")])
        with QuantumDatabase.open(tmp_path / "d.qdb") as db:
            (run,) = db.runs()
            assert (run.status, run.record.options.sdk, run.record.target) == ("finished", "qiskit", "t")
            assert len(db.jobs()) == shown.output.count("qstore-") > 1


def test_the_face_and_sql_show_the_jobs(tmp_path, folder):
    with provider_at(folder), QuantumDatabase.open(tmp_path / "d.qdb", progress=False) as db:
        vectors, labels = rows(ROWS, 0)
        db.store_training_data("d", vectors, labels)
        db.create_model("m", qubits=2, classes=2, layers=1)
        given = {"epochs": 1, "batch_size": 4, "gradient": "spsa", "shots": 50, "backend": NAME}
        run = db.train("m", "d", **given, sdk="cirq", target="qpu.scripted", max_cost_usd=5.0)
        jobs = db.jobs(run.id)
        assert len(jobs) == len(db.jobs()) == len(ScriptedProvider(folder).jobs())
        first = jobs.arrow().to_pylist()[0]
        assert (first["status"], first["target"], first["sdk"], first["run_id"]) == ("done", "qpu.scripted", "cirq", 1)
        assert isinstance(first["planned_at"], datetime)
        assert first["planned_at"] <= first["sent_at"] <= first["ended_at"]
        (total,) = db.sql("SELECT sum(cost_usd) FROM jobs WHERE run_id = $run", run=run.id).fetchone()
        assert total == pytest.approx(run.record.cost_usd)
        with pytest.raises(BudgetExceededError):
            db.sql(
                "CALL train(model => 'm', dataset => 'd', epochs => 2, batch_size => 4, gradient => 'spsa',"
                f" shots => 50, backend => '{NAME}', max_cost_usd => 0.5)"
            )
        row = db.sql("CALL resume(run_id => 2, max_cost_usd => 3)").arrow().to_pylist()[0]
        assert (row["status"], row["cost_usd"]) == ("finished", pytest.approx(4 * float(STEP)))
        shown = "SELECT status, target, total_shots, cost_usd, max_cost_usd FROM training_runs WHERE run_id = 2"
        assert db.sql(shown).fetchone() == ("finished", "qpu.scripted", 50 * 4 * 36, pytest.approx(1.44), 3.0)
        assert {name for (name,) in db.sql("SELECT name FROM backends").fetchall()} >= {"ionq_simulator", "ionq_qpu"}
