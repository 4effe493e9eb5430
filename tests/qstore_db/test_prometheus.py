"""What Prometheus reads: compared with what executors, runs and the table of jobs say."""

import json
import re
import socket
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")

from executor_scripting import ONE_BY_ONE, PATIENCE, ScriptedBackend, turn

from qstore_db import QuantumDatabase
from qstore_db.backends.local import local_backend
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.errors import (
    DamagedError,
    InvalidArgumentError,
    NotEnoughMemoryError,
    QStoreError,
    TrainingInterruptedError,
)
from qstore_db.executor.executor import Executor
from qstore_db.executor.options import ExecutorOptions
from qstore_db.observability import run_numbers
from qstore_db.observability.prometheus import PrometheusEndpoint
from qstore_db.training.progress import Silence


@pytest.fixture
def db(tmp_path):
    rng = np.random.default_rng(0)
    now = [1_000.0]
    with QuantumDatabase.open(tmp_path / "db", clock=lambda: now[0]) as opened:
        opened.now = now
        labels = np.arange(24) % 2
        opened.store_training_data("two", data=rng.normal(size=(24, 4)) + labels[:, None], labels=labels)
        opened.create_model("small", kind="classifier", qubits=2, layers=2, classes=2)
        yield opened


def scraped(endpoint):
    with urllib.request.urlopen(endpoint.url, timeout=10) as answer:
        text = answer.read().decode()
    found = {}
    for name, labels, value in re.findall(r"^(\w+)(?:\{(.*?)\})? (\S+)$", text, flags=re.MULTILINE):
        pairs = re.findall(r'(\w+)="(.*?)"', labels)
        found[name, frozenset(pairs)] = float(value)
    return found


def labelled(**labels):
    return frozenset(labels.items())


def test_work_of_executors_is_what_they_counted(db):
    circuit = {n: Circuit(n, [Operation("H", (qubit,)) for qubit in range(n)]) for n in (2, 3)}
    held_backend = ScriptedBackend(held=True)
    with (
        Executor(local_backend()) as executor,
        Executor(local_backend()) as other,
        Executor(held_backend, options=ExecutorOptions(batch=ONE_BY_ONE)) as held,
        PrometheusEndpoint(db, executors=[executor, other]) as endpoint,
    ):
        executor.run_batch([ExecutionRequest(circuit[n], shots=10, seed=n + k) for n in (2, 3) for k in range(4)])
        other.run(ExecutionRequest(circuit[2], shots=10, seed=1))
        endpoint.watch(held)
        waiting = [held.start(turn(angle)) for angle in range(4)]
        found = scraped(endpoint)
        target = next(iter(executor.usage()))
        used = [executor.usage()[target], other.usage()[target]]
        assert found["quantum_circuits_total", labelled(target=target)] == 9
        for qubits in (2, 3):
            wanted = sum(one.seconds_by_qubits.get(qubits, 0.0) for one in used)
            key = "quantum_circuit_seconds_total", labelled(target=target, qubits=str(qubits))
            assert found[key] == pytest.approx(wanted)
        total = sum(value for (name, _), value in found.items() if name == "quantum_circuit_seconds_total")
        assert total == pytest.approx(sum(one.seconds for one in used))
        assert found["quantum_circuit_queue_length", labelled(target=target)] == 0
        load = held.load()["scripted"]
        assert found["quantum_circuit_queue_length", labelled(target="scripted")] == load.queued + load.blocked > 0
        assert found["quantum_active_jobs", labelled(target="scripted")] == load.jobs == 1
        held_backend.release()
        for future in waiting:
            future.result(PATIENCE)
        assert scraped(endpoint)["quantum_active_jobs", labelled(target="scripted")] == 0
        executor.close()
        assert scraped(endpoint)["quantum_circuits_total", labelled(target=target)] == 1


def test_runs_show_the_newest_rows_of_the_table_metrics(db):
    run = db.train("small", dataset="two", epochs=3, batch_size=8, seed=1, validation_fraction=0.25)
    with PrometheusEndpoint(db) as endpoint:
        found = scraped(endpoint)
        one = {"run": "1", "model": "small"}
        epoch = run.metrics().df().iloc[-1]
        steps = run.metrics(steps=True).df().query("step > 0")
        for part in ("train", "validation"):
            for what in ("loss", "accuracy"):
                key = f"qstore_training_{what}", labelled(**one, part=part)
                assert found[key] == pytest.approx(epoch[f"{part}_{what}"])
        last = steps.iloc[-1]
        norms = [found["qstore_gradient_norm", labelled(**one, layer=str(layer))] for layer in range(2)]
        assert norms == pytest.approx(list(last["layer_gradient_norms"]))
        assert found["qstore_gradient_norm", labelled(**one, layer="head")] == pytest.approx(last["head_gradient_norm"])
        assert found["qstore_training_step_loss", labelled(**one)] == pytest.approx(last["train_loss"])
        assert found["qstore_training_steps", labelled(**one)] == len(steps)
        assert found["qstore_training_epochs", labelled(**one)] == 3
        assert found["qstore_training_circuits", labelled(**one)] == steps["circuits"].sum()
        seconds = found["qstore_training_step_seconds_total", labelled(**one, target="local", qubits="2")]
        assert seconds == pytest.approx(steps["batch_seconds"].sum())
        assert found["qstore_training_runs", labelled(status="finished")] == 1
        db.now[0] += 901
        assert ("qstore_training_steps", labelled(**one)) not in scraped(endpoint)
        assert scraped(endpoint)["qstore_training_runs", labelled(status="finished")] == 1


def test_a_run_is_seen_while_it_trains_and_counted_once(db):
    seen = []

    class Looks(Silence):
        def started(self, run, total_steps):
            seen.append(scraped(endpoint)["qstore_training_runs", labelled(status="running")])

        def epoch_finished(self, row):
            if row.epoch == 3:
                raise KeyboardInterrupt

    with PrometheusEndpoint(db) as endpoint:
        with pytest.raises(TrainingInterruptedError):
            db.train("small", dataset="two", epochs=4, batch_size=8, seed=1, callbacks=[Looks()])
        assert seen == [1]
        steps = "qstore_training_steps", labelled(run="1", model="small")
        circuits = "qstore_training_circuits", labelled(run="1", model="small")
        stopped = scraped(endpoint)
        assert stopped[steps] == 9
        run = db.resume(1)  # joins the parts
        table = run.metrics(steps=True).df().query("step > 0")
        found = scraped(endpoint)
        assert (found[steps], found[circuits]) == (12, table["circuits"].sum())
        assert (found[steps], found[circuits]) == (scraped(endpoint)[steps], scraped(endpoint)[circuits])


def test_a_reader_follows_a_run_of_another_handle(db, tmp_path):
    with QuantumDatabase.open(tmp_path / "db", read_only=True) as reader, PrometheusEndpoint(reader) as endpoint:
        assert scraped(endpoint)["qstore_training_runs", labelled(status="finished")] == 0
        db.train("small", dataset="two", epochs=1, batch_size=8, seed=1)
        assert scraped(endpoint)["qstore_training_runs", labelled(status="finished")] == 1


def test_it_listens_on_the_loopback_interface_and_ends(db):
    endpoint = PrometheusEndpoint(db)
    port = int(endpoint.url.split(":")[2].split("/")[0])
    assert endpoint.url.startswith("http://127.0.0.1:")
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", port))
    with pytest.raises(InvalidArgumentError, match=f"port {port}"):
        PrometheusEndpoint(db, port=port)
    assert "qstore_training_runs" in endpoint.text()
    endpoint.close()
    endpoint.close()
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.1", port))


def test_errors_are_shown_by_type(db):
    broken = [QStoreError("it broke"), NotEnoughMemoryError("too large")]
    with (
        Executor(ScriptedBackend(failures=broken), options=ExecutorOptions(batch=ONE_BY_ONE)) as executor,
        PrometheusEndpoint(db, executors=[executor]) as endpoint,
    ):
        for number in range(2):
            with pytest.raises(QStoreError):
                executor.run(turn(number))
        found = scraped(endpoint)
        for kind in ("QStoreError", "NotEnoughMemoryError"):
            assert found["quantum_circuit_errors_total", labelled(target="scripted", type=kind)] == 1


def test_the_dashboard_asks_for_what_there_is(db):
    dashboard = json.loads((Path(__file__).parents[2] / "deploy/grafana/qstore.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\b(?:qstore|quantum)_\w+", target["expr"])
    }
    with PrometheusEndpoint(db) as endpoint:
        text = endpoint.text()
    known = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, flags=re.MULTILINE):
        known.add(name)
        assert kind in {"gauge", "counter"}
    assert asked <= known
    assert len(asked) == 16
    shown = {name for name in known if not name.endswith("_created")}
    assert shown - asked == {"qstore_training_step_loss", "qstore_training_circuits"}


def test_what_is_no_port_is_refused(db):
    with pytest.raises(InvalidArgumentError, match="70000"):
        PrometheusEndpoint(db, port=70_000)


def test_a_part_that_could_not_be_read_once_is_counted_once(db, monkeypatch):
    there, damaged = ["a"], []
    rows = pa.table({"step": [1], "epoch": [1], "circuits": [5], "qubits": [2], "batch_seconds": [0.5]})

    def read(engine, part, snapshot):
        if part in damaged:
            raise DamagedError("not now", fix="Ask again.")
        return rows

    monkeypatch.setattr(run_numbers, "parts_of", lambda snapshot, run_id: list(there))
    monkeypatch.setattr(run_numbers, "read_part", read)
    numbers = run_numbers.RunNumbers(db._engine)
    before = numbers.of(1)
    there += ["b", "c"]
    damaged.append("c")
    with pytest.raises(DamagedError):
        numbers.of(1)
    damaged.clear()
    after = numbers.of(1)
    assert (after.circuits, after.seconds_by_qubits) == (15, {2: 1.5})
    assert (before.circuits, before.seconds_by_qubits) == (5, {2: 0.5})  # who asked earlier may still be reading it
