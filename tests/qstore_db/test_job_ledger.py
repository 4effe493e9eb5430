"""The ledger of jobs, in memory and in a database: one contract, and what survives the process."""

import base64
import contextlib
import json
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from qstore_db.backends.job_ledger import JobLedger, JobRecord, JobStatus, MemoryLedger, PlannedJob, counted
from qstore_db.backends.job_payload import requests_from_text, requests_to_text, results_from_text, results_to_text
from qstore_db.backends.local import local_backend
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import Counts, ExecutionResult
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import (
    AlreadyExistsError,
    BudgetExceededError,
    DamagedError,
    InvalidArgumentError,
    NotFoundError,
    UnsupportedRequestError,
)
from qstore_db.executor.executor import Executor
from qstore_db.training.job_ledger import JOBS, REQUESTS, RESULTS, DatabaseLedger, all_jobs
from storage_engine.engine import Engine

CIRCUIT = Circuit(2, (Operation("RY", (0,), (Weight(0, 0.1) + 2.0 * Data(0) + 0.3,)), Operation("CX", (0, 1))))


def requests(*weights):
    return tuple(ExecutionRequest(CIRCUIT, shots=10, weights=[one], data=[[1.0], [2.0]]) for one in weights)


def planned(tag="a", estimate="0.10", run=None, weights=(0.1, 0.2)):
    asked = requests(*weights)
    record = JobRecord(
        tag=tag,
        backend="b",
        target="t",
        sdk="s",
        identity="b t",
        fingerprints=tuple(one.fingerprint for one in asked),
        requests=len(asked),
        circuits=2 * len(asked),
        shots=20 * len(asked),
        estimate=Decimal(estimate),
        planned_at=5.0,
        run=run,
    )
    return PlannedJob(record, asked)


def results(count=2):
    one = Counts(2, np.array([0, 3]), np.array([4, 6]))
    return tuple(ExecutionResult("b", counts=(one, Counts(2, np.array([1]), np.array([10])))) for _ in range(count))


@pytest.fixture(params=["memory", "database"])
def ledger(request):
    if request.param == "memory":
        yield MemoryLedger()
        return
    with Engine.open(None) as engine:
        yield DatabaseLedger(engine)


def test_it_is_a_ledger_with_rows_in_the_order_of_planning(ledger):
    as_port: JobLedger = ledger
    for tag in ("b", "a", "c"):
        as_port.plan([planned(tag)], None)
    ledger.update(replace(ledger.records()[0], status=JobStatus.SENT, provider_id="7", sent_at=6.0))
    assert [record.tag for record in ledger.records()] == ["b", "a", "c"]
    assert ledger.records()[0].provider_id == "7"
    assert ledger.requests("a") == requests(0.1, 0.2)


def test_jobs_are_planned_together_or_not_at_all(ledger):
    ledger.plan([planned("a")], None)
    for wrong, error in (
        ([planned("b"), planned("a")], AlreadyExistsError),
        ([planned("b"), planned("b")], AlreadyExistsError),
        ([planned("b", run=3)], InvalidArgumentError),
    ):
        with pytest.raises(error):
            ledger.plan(wrong, None)
    assert [record.tag for record in ledger.records()] == ["a"]


def test_the_ceiling_counts_estimates_until_costs_are_known(ledger):
    ledger.plan([planned("a", "0.10"), planned("b", "0.20")], Decimal("0.30"))
    with pytest.raises(BudgetExceededError) as caught:
        ledger.plan([planned("c", "0.01")], Decimal("0.30"))
    assert (caught.value.estimate, caught.value.spent, caught.value.ceiling) == (
        Decimal("0.01"),
        Decimal("0.30"),
        Decimal("0.30"),
    )
    ledger.update(replace(ledger.records()[1], status=JobStatus.LOST, cost=Decimal(0)))
    ledger.plan([planned("c", "0.20")], Decimal("0.30"))
    assert counted(ledger.records()) == Decimal("0.30")


def test_results_are_kept_until_all_of_them_are_used(ledger):
    ledger.plan([planned("a")], None)
    done = replace(ledger.records()[0], status=JobStatus.DONE, cost=Decimal("0.10"), ended_at=7.0)
    with pytest.raises(NotFoundError):
        ledger.results("a")
    ledger.finish(done, results())
    assert [one.by_bitstring() for one in ledger.results("a")[1].counts] == [{"00": 4, "11": 6}, {"01": 10}]
    ledger.settle({"a": [1]})
    assert len(ledger.results("a")) == 2
    (record,) = ledger.records()
    assert (record.used, record.requests_used, record.is_closed) == ((1,), 1, False)
    ledger.settle({"a": [0]})
    (record,) = ledger.records()
    assert (record.fingerprints, record.requests_used, record.is_closed) == ((), 2, True)
    for gone in (ledger.results, ledger.requests):
        with pytest.raises(NotFoundError):
            gone("a")
    assert ledger.records()[0].cost == Decimal("0.10")
    ledger.settle({})


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.LOST])
def test_what_ended_without_results_is_closed(ledger, status):
    ledger.plan([planned("a")], None)
    ledger.update(replace(ledger.records()[0], status=status, cost=Decimal(0), ended_at=9.0, note="why"))
    (record,) = ledger.records()
    assert (record.is_closed, record.requests, record.requests_used, record.note) == (True, 2, 0, "why")
    with pytest.raises(NotFoundError):
        ledger.requests("a")


@pytest.mark.parametrize("verb", ["update", "finish", "settle"])
def test_unknown_jobs_are_refused(ledger, verb):
    given = {"update": (planned().record,), "finish": (planned().record, results()), "settle": ({"a": [0]},)}
    with pytest.raises(NotFoundError):
        getattr(ledger, verb)(*given[verb])


def test_everything_survives_in_the_database(tmp_path):
    with Engine.open(tmp_path / "d.qdb") as engine:
        ledger = DatabaseLedger(engine, 4)
        ledger.plan([planned("a", run=4), planned("b", run=4)], None)
        ledger.finish(replace(ledger.records()[0], status=JobStatus.DONE, cost=Decimal("0.1")), results())
        DatabaseLedger(engine, 5).plan([planned("c", run=5)], None)
        before = engine.snapshot().version
        ledger.update(replace(ledger.records()[1], status=JobStatus.SENT, provider_id="x"))
        assert engine.snapshot().version == before + 1  # one commit a change
        kept = ledger.records()
    with Engine.open(tmp_path / "d.qdb") as engine:
        ledger = DatabaseLedger(engine, 4)
        assert ledger.records() == kept
        assert ledger.counted == Decimal("0.20")
        assert ledger.requests("b") == requests(0.1, 0.2)
        assert ledger.results("a")[0].counts[0].by_bitstring() == {"00": 4, "11": 6}
        assert [record.tag for record in all_jobs(engine.snapshot())] == ["a", "b", "c"]
        ledger.settle({"a": [0, 1]})
        tables = engine.snapshot()
        assert (list(tables.table(REQUESTS)), list(tables.table(RESULTS))) == (["b", "c"], [])
        assert list(tables.table(JOBS)) == ["a", "b", "c"]


def test_settling_can_be_part_of_another_commit():
    with Engine.open(None) as engine:
        ledger = DatabaseLedger(engine)
        ledger.plan([planned("a")], None)
        version = engine.snapshot().version
        records, operations = ledger.settling({"a": [0, 1]})
        assert engine.snapshot().version == version
        assert not ledger.records()[0].is_closed
        assert len(operations) == 2  # the row, and the requests that are given up; there are no results yet
        ledger.note_settled(records)
        assert ledger.records()[0].is_closed


def test_requests_come_back_with_equal_fingerprints():
    rng = np.random.default_rng(0)
    circuit = hardware_efficient(3, 2)
    asked = [
        *requests(0.1, -1e-300),
        ExecutionRequest(circuit, [PauliString("XYZ"), 0.1 * PauliString("ZZI") - 3.0 * PauliString("III")],
                         weights=rng.normal(size=circuit.number_of_weights), tags={"k": "v"}),
        ExecutionRequest(circuit, shots=7, seed=2**63 - 1, weights=rng.normal(size=circuit.number_of_weights)),
    ]  # fmt: skip
    read = requests_from_text(requests_to_text(asked))
    assert [one.fingerprint for one in read] == [one.fingerprint for one in asked]
    with Executor(local_backend()) as executor:
        for one, other in zip(executor.run_batch(asked[2:3]), executor.run_batch(read[2:3]), strict=True):
            assert (one.values == other.values).all()


def test_equal_circuits_and_data_are_written_once():
    circuit = hardware_efficient(6, 4)
    rng = np.random.default_rng(0)
    asked = [ExecutionRequest(circuit, shots=10, weights=rng.normal(size=circuit.number_of_weights)) for _ in range(50)]
    document = json.loads(zlib.decompress(base64.b64decode(requests_to_text(asked))))
    assert (len(document["circuits"]), len(document["arrays"])) == (1, 51)  # 50 sets of weights, one of data


def test_results_come_back_to_the_last_bit():
    rng = np.random.default_rng(0)
    given = [
        ExecutionResult("b", values=rng.normal(size=(2, 5))),
        ExecutionResult("b", probabilities=rng.dirichlet(np.ones(8), size=3)),
        *results(),
    ]
    for one, other in zip(given, results_from_text(results_to_text(given)), strict=True):
        assert one.backend == other.backend
        for name in ("values", "probabilities"):
            mine, others = getattr(one, name), getattr(other, name)
            assert (mine is None) == (others is None)
            assert mine is None or mine.tobytes() == others.tobytes()
        assert [c.by_bitstring() for c in one.counts or ()] == [c.by_bitstring() for c in other.counts or ()]


def test_what_is_not_a_payload_is_damage():
    text = requests_to_text(requests(0.1))
    for wrong in ("", "AAAA", text[:-8], text.replace(text[20], "A" if text[20] != "A" else "B"), results_to_text([])):
        with pytest.raises(DamagedError):
            requests_from_text(wrong)
    with pytest.raises(DamagedError):
        results_from_text(text)
    with pytest.raises(UnsupportedRequestError):
        requests_to_text([ExecutionRequest(Circuit(1), shots=1, amplitudes=[[1.0, 1.0]])])


def test_places_that_two_threads_settle_together_are_all_settled(tmp_path, monkeypatch):
    with Engine.open(tmp_path / "d.qdb") as engine:
        ledger = DatabaseLedger(engine)
        job = planned()
        ledger.plan([job], None)
        ledger.finish(replace(job.record, status=JobStatus.DONE), results())
        commit, met = engine.commit, threading.Barrier(2)

        def slowly(batch):
            with contextlib.suppress(threading.BrokenBarrierError):
                met.wait(0.5)  # both have read the row, if nothing keeps them apart
            return commit(batch)

        monkeypatch.setattr(engine, "commit", slowly)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(ledger.settle, [{"a": [0]}, {"a": [1]}]))
        assert ledger.records()[0].is_closed
        assert all_jobs(engine.snapshot())[0].is_closed
