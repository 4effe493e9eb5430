"""Training through IonQ's own libraries, over the loopback emulator, with answers that get lost."""

import pytest
from small_runs import Stop, metrics_of, rows

from qstore_db.database import QuantumDatabase
from qstore_db.emulators.ionq.emulator import IonqEmulator
from qstore_db.emulators.ionq.faults import Fault, FaultKind
from qstore_db.errors import BudgetExceededError, InvalidArgumentError, TrainingInterruptedError

LIBRARIES = {"cirq": "cirq_ionq", "qiskit": "qiskit_ionq"}
ASKED = {"epochs": 1, "batch_size": 4, "gradient": "spsa", "shots": 100, "seed": 1}


@pytest.fixture
def emulator(monkeypatch):
    with IonqEmulator(seed=1) as emulator:
        monkeypatch.setenv("IONQ_API_URL", emulator.url)
        monkeypatch.setenv("IONQ_API_KEY", emulator.api_key)
        yield emulator


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        vectors, labels = rows(8, 0)
        db.store_training_data("d", vectors, labels)
        db.create_model("m", qubits=2, classes=2, layers=1)
        yield db


@pytest.mark.parametrize("sdk", LIBRARIES)
def test_a_run_on_the_simulator_is_the_same_whatever_gets_lost(emulator, db, sdk):
    pytest.importorskip(LIBRARIES[sdk], reason="pip install 'qstore-db[ionq]' runs this")
    whole = db.train("m", "d", **ASKED, backend="ionq", sdk=sdk, max_cost_usd=5.0)
    assert (whole.status, whole.record.target, whole.record.cost_usd) == ("finished", "simulator", 0.0)
    sent = emulator.counters().posts
    emulator.inject(Fault(FaultKind.LOST_ANSWER), Fault(FaultKind.STATUS, status=429))
    with pytest.raises(TrainingInterruptedError):
        db.train("m", "d", **ASKED, backend="ionq_simulator", sdk=sdk, callbacks=[Stop(1)])
    run = db.resume(2)
    assert metrics_of(db._engine, run.record).equals(metrics_of(db._engine, whole.record))
    assert emulator.counters().posts - sent == sent + 1  # the one that was refused with 429
    jobs = db.jobs(2).arrow().to_pylist()
    assert {job["status"] for job in jobs} == {"done", "failed"}
    assert {job["sdk"] for job in jobs} == {sdk}


def test_a_device_runs_within_a_ceiling_and_on_no_other_terms(emulator, db):
    pytest.importorskip("cirq_ionq", reason="pip install 'qstore-db[ionq]' runs this")
    asked = {**ASKED, "backend": "ionq_qpu", "target": "qpu.aria-1", "batch_size": 1, "shots": 100}
    with pytest.raises(BudgetExceededError) as caught:
        db.train("m", "d", **asked)
    assert caught.value.ceiling == 0
    with pytest.raises(InvalidArgumentError, match=r"qpu\.none"):
        db.train("m", "d", **{**asked, "target": "qpu.none"})
    assert emulator.counters().posts == 0
    assert db.runs() == []
    with pytest.raises(BudgetExceededError, match="step 2"):
        db.train("m", "d", **asked, max_cost_usd=float(caught.value.estimate) * 1.5)
    (run,) = db.runs()
    assert (run.status, run.record.target) == ("over_budget", "qpu.aria-1")
    assert emulator.counters().billed == len(db.jobs()) > 0
    assert run.record.cost_usd == pytest.approx(float(caught.value.estimate))
    assert run.metrics(steps=True).arrow()["cost_usd"].to_pylist() == [pytest.approx(float(caught.value.estimate))]
