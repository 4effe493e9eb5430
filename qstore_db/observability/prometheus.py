"""Numbers for Prometheus: what executors do now, and how runs stand, read when somebody asks.

The only file that imports prometheus-client. Nothing is counted here: executors count what they run
(:class:`qstore_db.executor.usage.Usage`), runs write the table ``metrics``, remote jobs stand in the table ``jobs``.
A run may train in another process: open the database with ``read_only=True`` and its numbers are those of its newest
commit, some seconds behind the steps.
"""

from __future__ import annotations

import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from qstore_db.errors import ExecutorClosedError, InvalidArgumentError, MissingDependencyError
from qstore_db.observability.run_numbers import RunNumbers
from qstore_db.training.job_ledger import all_jobs
from qstore_db.training.registry import Run, RunStatus, all_runs
from storage_engine.engine import Engine

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    from qstore_db.database import QuantumDatabase
    from qstore_db.executor.executor import Executor

LOOPBACK: Final = "127.0.0.1"
KEEP_SECONDS: Final = 900.0


class PrometheusEndpoint:
    """Answers ``GET /metrics`` until it is closed. A context manager.

        with PrometheusEndpoint(db, executors=[executor], port=9464) as endpoint:
            db.train(...)

    Metrics, with their labels:

    - ``qstore_training_loss``, ``qstore_training_accuracy`` {run, model, part}: of the newest epoch, ``part`` being
      ``train`` or ``validation``; ``qstore_training_step_loss`` {run, model}: of the newest step;
    - ``qstore_gradient_norm`` {run, model, layer}: of the newest step, ``layer`` from 0, or ``head``;
    - ``qstore_training_steps``, ``qstore_training_epochs``, ``qstore_training_circuits``,
      ``qstore_training_cost_usd``, ``qstore_training_samples_per_second`` {run, model};
    - ``qstore_training_step_seconds_total`` {run, model, target, qubits}: time in steps;
    - ``qstore_training_runs`` {status}: how many;
    - ``quantum_circuit_seconds_total`` {target, qubits}, ``quantum_circuits_total``, ``quantum_circuit_retries_total``
      {target}, ``quantum_circuit_errors_total`` {target, type}: of the executors given;
    - ``quantum_circuit_queue_length``, ``quantum_active_jobs`` {target}: of the executors now;
    - ``quantum_remote_jobs`` {target, status}: in the table ``jobs``.

    Runs are shown while they train and for ``keep_seconds`` after.

    Args:
        database: Whose runs and jobs are shown. A reader is refreshed at each request.
        executors: Whose work is shown; a closed one is left out. They are not kept alive.
        port: To listen on; 0 takes a free one.
        address: Where to listen. Nobody is asked for a password: on another address than the loopback interface, such
            as ``0.0.0.0`` in a container, whoever reaches the port reads the numbers.
        keep_seconds: For how long runs that ended are shown.

    Raises:
        MissingDependencyError: The extra ``prometheus`` is not installed.
        InvalidArgumentError: The port cannot be listened on.
    """

    def __init__(
        self,
        database: QuantumDatabase,
        *,
        executors: Iterable[Executor] = (),
        port: int = 0,
        address: str = LOOPBACK,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            fix = "pip install 'qstore-db[prometheus]'"
            raise MissingDependencyError("prometheus-client is not installed", fix=fix) from error
        self._collector = _Collector(database._engine, keep_seconds)
        for executor in executors:
            self.watch(executor)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self._collector)
        self._registry = registry
        try:
            self._server, self._thread = start_http_server(port, address, registry)
        except (OSError, OverflowError) as error:  # taken, forbidden; beyond 65,535
            raise InvalidArgumentError(
                f"port {port} of {address} cannot be listened on: {error}",
                fix="Give another port, or 0.",
                value=port,
            ) from error
        self._address = address

    @property
    def url(self) -> str:
        """What Prometheus is told to scrape."""
        return f"http://{self._address}:{self._server.server_port}/metrics"

    def watch(self, executor: Executor) -> None:
        """Show an executor's work, too."""
        self._collector.executors.add(executor)

    def text(self) -> str:
        """What a request gets, without the network."""
        from prometheus_client import generate_latest

        return str(generate_latest(self._registry), "utf-8")

    def close(self) -> None:
        """Stop answering. Idempotent."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Collector:
    """Makes all families anew for each request."""

    def __init__(self, engine: Engine, keep_seconds: float) -> None:
        self.executors: weakref.WeakSet[Executor] = weakref.WeakSet()
        self._engine = engine
        self._keep_seconds = keep_seconds
        self._numbers = RunNumbers(engine)

    def describe(self) -> list[Any]:
        """Nothing in advance: what there is depends on what runs."""
        return []

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Everything, read now."""
        self._engine.refresh()
        yield from self._of_executors()
        yield from self._of_runs()

    def _of_executors(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        seconds = _Sums(_counter("quantum_circuit_seconds", "Seconds in jobs that delivered.", "target", "qubits"))
        circuits = _Sums(_counter("quantum_circuits", "Circuits that were run.", "target"))
        retries = _Sums(_counter("quantum_circuit_retries", "Jobs that were sent again.", "target"))
        errors = _Sums(_counter("quantum_circuit_errors", "Jobs that failed.", "target", "type"))
        queue = _Sums(_gauge("quantum_circuit_queue_length", "Requests that wait for a job.", "target"))
        active = _Sums(_gauge("quantum_active_jobs", "Jobs under way.", "target"))
        for executor in list(self.executors):
            try:
                used, loaded = executor.usage(), executor.load()
            except ExecutorClosedError:
                continue
            for target, usage in used.items():
                circuits.add(usage.circuits, target)
                retries.add(usage.retries, target)
                for qubits, spent in usage.seconds_by_qubits.items():
                    seconds.add(spent, target, str(qubits))
                for kind, count in usage.failures_by_type.items():
                    errors.add(count, target, kind)
            for target, load in loaded.items():
                queue.add(load.queued + load.blocked, target)
                active.add(load.jobs, target)
        for sums in (seconds, circuits, retries, errors, queue, active):
            yield sums.family()

    def _of_runs(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        snapshot = self._engine.snapshot()
        runs = all_runs(snapshot)
        statuses = _gauge("qstore_training_runs", "Training runs.", "status")
        for status in RunStatus:
            statuses.add_metric((status.value,), sum(run.status is status for run in runs))
        yield statuses
        remote = _gauge("quantum_remote_jobs", "Jobs of remote providers.", "target", "status")
        for labels, count in sorted(Counter((job.target, job.status.value) for job in all_jobs(snapshot)).items()):
            remote.add_metric(labels, count)
        yield remote
        shown = [run for run in runs if self._is_shown(run)]
        families = _RunFamilies()
        self._numbers.forget_all_but({run.id for run in shown})
        for run in shown:
            families.add(run, self._numbers)
        yield from families.all

    def _is_shown(self, run: Run) -> bool:
        return run.finished_at is None or run.finished_at + self._keep_seconds > self._engine.clock()


class _Sums:
    """A family whose values come from several executors."""

    def __init__(self, empty: Any) -> None:
        self._empty = empty
        self._values: defaultdict[tuple[str, ...], float] = defaultdict(float)

    def add(self, value: float, *labels: str) -> None:
        """Add to the value of some labels."""
        self._values[labels] += value

    def family(self) -> Any:
        """The family with all values."""
        for labels, value in sorted(self._values.items()):
            self._empty.add_metric(labels, value)
        return self._empty


class _RunFamilies:
    """The families about single runs."""

    def __init__(self) -> None:
        one = ("run", "model")
        self._loss = _gauge("qstore_training_loss", "Loss of the newest epoch.", *one, "part")
        self._accuracy = _gauge("qstore_training_accuracy", "Accuracy of the newest epoch.", *one, "part")
        self._step_loss = _gauge("qstore_training_step_loss", "Loss of the newest step.", *one)
        self._norm = _gauge("qstore_gradient_norm", "Gradient norm of the newest step.", *one, "layer")
        self._steps = _gauge("qstore_training_steps", "Steps taken.", *one)
        self._epochs = _gauge("qstore_training_epochs", "Epochs finished.", *one)
        self._circuits = _gauge("qstore_training_circuits", "Circuits evaluated in steps.", *one)
        self._cost = _gauge("qstore_training_cost_usd", "Dollars that jobs count for.", *one)
        self._rate = _gauge("qstore_training_samples_per_second", "Of the newest step.", *one)
        self._seconds = _counter("qstore_training_step_seconds", "Seconds in steps.", *one, "target", "qubits")

    @property
    def all(self) -> tuple[Any, ...]:
        """Every family, in a fixed order."""
        return tuple(vars(self).values())

    def add(self, run: Run, numbers: RunNumbers) -> None:
        """Put one run's numbers in."""
        found = numbers.of(run.id)
        labels = (str(run.id), run.model)
        for family, value in (
            (self._steps, found.steps),
            (self._epochs, found.epochs),
            (self._circuits, found.circuits),
            (self._cost, run.cost_usd),
            (self._step_loss, found.step.get("train_loss")),
            (self._rate, found.step.get("samples_per_second")),
        ):
            if value is not None:
                family.add_metric(labels, value)
        for part in ("train", "validation"):
            for family, name in ((self._loss, "loss"), (self._accuracy, "accuracy")):
                value = found.epoch.get(f"{part}_{name}")
                if value is not None:
                    family.add_metric((*labels, part), value)
        for layer, norm in enumerate(found.step.get("layer_gradient_norms") or ()):
            self._norm.add_metric((*labels, str(layer)), norm)
        if found.step.get("head_gradient_norm") is not None:
            self._norm.add_metric((*labels, "head"), found.step["head_gradient_norm"])
        target = run.target or run.options.backend
        for qubits, seconds in sorted(found.seconds_by_qubits.items()):
            self._seconds.add_metric((*labels, target, str(qubits)), seconds)


def _gauge(name: str, meaning: str, *labels: str) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, meaning, labels=labels)


def _counter(name: str, meaning: str, *labels: str) -> Any:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(name, meaning, labels=labels)
