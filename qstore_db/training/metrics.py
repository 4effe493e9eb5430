"""Training metrics: rows per step and per epoch, written in the background as Parquet parts.

A part is a file that becomes visible by a commit, together with its record in the keyed table ``metrics_parts``. Rows
that are not in a part yet are the tail: a crash loses them and nothing else, and resuming the run computes them again.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

import pyarrow as pa

from storage_engine.batch import (
    AttachFile,
    DeleteRecord,
    DetachFile,
    FileReference,
    JsonValue,
    Operation,
    PutRecord,
    WriteBatch,
)
from storage_engine.engine import Engine
from storage_engine.errors import DamagedError, UnknownVersionError
from storage_engine.snapshot import Snapshot

PARTS = "metrics_parts"
EPOCH_STEP = -1

SCHEMA = pa.schema(
    [
        pa.field("run_id", pa.int64(), nullable=False),
        pa.field("epoch", pa.int64(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("train_loss", pa.float64()),
        pa.field("train_accuracy", pa.float64()),
        pa.field("validation_loss", pa.float64()),
        pa.field("validation_accuracy", pa.float64()),
        pa.field("gradient_norm", pa.float64()),
        pa.field("learning_rate", pa.float64()),
        pa.field("rows", pa.int64()),
        pa.field("circuits", pa.int64()),
        pa.field("shots", pa.int64()),
        pa.field("samples_per_second", pa.float64()),
        pa.field("batch_seconds", pa.float64()),
        pa.field("seconds", pa.float64()),
        pa.field("gradient_max", pa.float64()),
        pa.field("gradient_min", pa.float64()),
        pa.field("gradient_variance", pa.float64()),
        pa.field("gradient_snr", pa.float64()),
        pa.field("layer_gradient_norms", pa.list_(pa.float64())),
        pa.field("head_gradient_norm", pa.float64()),
        pa.field("qubits", pa.int64()),
        pa.field("depth", pa.int64()),
        pa.field("two_qubit_gates", pa.int64()),
        pa.field("cost_usd", pa.float64()),
        pa.field("target", pa.string()),
        pa.field("entanglement", pa.float64()),
        pa.field("expressibility", pa.float64()),
        pa.field("bases", pa.int64()),
    ]
)
"""Columns of the table ``metrics``; see :class:`MetricRow`. New ones are added at the end."""

OLD_WIDTHS = (16,)
"""How many of the columns the parts of earlier versions have; the others are null in their rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One row of the table ``metrics``. ``None`` where a number has no meaning.

    Args:
        run_id: The run.
        epoch: From 1.
        step: From 1, counted over the whole run; -1 in the row of an epoch.
        time: Seconds since the epoch of the clock, when the row was made.
        train_loss: Mean over the rows of the step, or of the epoch; each row under the parameters before its step.
        train_accuracy: Share of those rows that were classified rightly; ``None`` for a model without classes, like
            ``validation_accuracy``.
        validation_loss: In the row of an epoch: mean over the validation rows, under the parameters at its end.
        validation_accuracy: In the row of an epoch: share of those rows that were classified rightly.
        gradient_norm: Of a step: Euclidean norm over all trained parameters.
        learning_rate: Of the step, as the schedule had it; in the row of an epoch, of its last step.
        rows: How many rows were trained on.
        circuits: How many circuits were evaluated; in the row of an epoch, those of the validation included.
        shots: Measurements of all circuits together; ``None`` where expectation values are exact.
        samples_per_second: ``rows`` over ``batch_seconds`` or ``seconds``.
        batch_seconds: Of a step: reading the batch, gradient and update.
        seconds: Of an epoch: from its first batch to the end of its validation, interruptions left out.
        gradient_max: Of a step: largest element of the gradient of all trained parameters, before clipping.
        gradient_min: Smallest element.
        gradient_variance: Variance of the elements about their mean.
        gradient_snr: |mean| over the root of that variance; ``None`` where all elements are equal.
        layer_gradient_norms: Norm over the circuit's weights of each layer, in order; empty where no circuit trains.
        head_gradient_norm: Norm over all other trained parameters.
        qubits: Of the model's circuit.
        depth: Of it, without what prepares amplitudes.
        two_qubit_gates: In it: gates on two qubits or more.
        entanglement: In the row of an epoch, where the options track it: mean Meyer–Wallach measure, in [0, 1], of the
            pure states that the circuit makes at its end of the first training rows.
        bases: In which a circuit is measured to read all that the model reads; ``None`` where values are exact.
        expressibility: As ``entanglement``: Kullback–Leibler divergence of the circuit from Haar-random states in bits.
        cost_usd: Of the jobs whose results were used here for the first time, in dollars; in the row of an epoch, of
            its steps and its validation. ``None`` where nothing is sent away.
        target: The remote provider's name of the device.
    """

    run_id: int
    epoch: int
    step: int
    time: float
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    gradient_norm: float | None = None
    learning_rate: float | None = None
    rows: int
    circuits: int
    shots: int | None = None
    samples_per_second: float | None = None
    batch_seconds: float | None = None
    seconds: float | None = None
    gradient_max: float | None = None
    gradient_min: float | None = None
    gradient_variance: float | None = None
    gradient_snr: float | None = None
    layer_gradient_norms: Sequence[float] | None = None
    head_gradient_norm: float | None = None
    qubits: int | None = None
    depth: int | None = None
    two_qubit_gates: int | None = None
    cost_usd: float | None = None
    target: str | None = None
    entanglement: float | None = None
    expressibility: float | None = None
    bases: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part of a run's metrics.

    Args:
        run_id: The run.
        number: Parts of a run are read in ascending order.
        rows: How many it holds.
        file: Where.
    """

    run_id: int
    number: int
    rows: int
    file: FileReference

    @property
    def key(self) -> str:
        """Key of its record; keys sort by run and number."""
        return f"{self.run_id:08d}/{self.number:06d}"

    def attaching(self) -> list[Operation]:
        """The operations that make it visible."""
        record: dict[str, JsonValue] = {
            "run_id": self.run_id,
            "number": self.number,
            "rows": self.rows,
            "file": dict(dataclasses.asdict(self.file)),
        }
        return [AttachFile(self.file), PutRecord(PARTS, self.key, record, must_be_new=True)]

    def detaching(self) -> list[Operation]:
        """The operations that give it up."""
        return [DeleteRecord(PARTS, self.key), DetachFile(self.file.kind, self.file.name)]


class MetricsWriter:
    """Writes the rows of one run in a thread of its own; used by one other thread.

    A part is handed to the thread once it has ``rows_per_part`` rows or ``seconds_per_part`` passed. No row is dropped:
    if ``queued_parts`` parts are waiting, :meth:`append` waits for one of them; if a part cannot be written, the next
    call raises what happened, and so does every call after it.

    Args:
        engine: The database.
        run_id: The run.
        first_part: Number of the first part.
        rows_per_part: When a part is full.
        seconds_per_part: When a part is handed over though it is not full.
        queued_parts: How many parts may wait.
        monotonic: A clock in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        run_id: int,
        *,
        first_part: int = 1,
        rows_per_part: int = 4096,
        seconds_per_part: float = 5.0,
        queued_parts: int = 4,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._run_id = run_id
        self._next_part = first_part
        self._rows_per_part = rows_per_part
        self._seconds_per_part = seconds_per_part
        self._queued_parts = queued_parts
        self._monotonic = monotonic
        self._rows: list[MetricRow] = []
        self._first_row_at = 0.0
        self._waiting: deque[Future[None]] = deque()
        self._failed = threading.Event()
        self._thread = ThreadPoolExecutor(1, "metrics")

    def append(self, row: MetricRow) -> None:
        """Take a row.

        Raises:
            QStoreError: A part could not be written.
        """
        self._raise_failures()
        now = self._monotonic()
        if not self._rows:
            self._first_row_at = now
        self._rows.append(row)
        if len(self._rows) >= self._rows_per_part or now - self._first_row_at >= self._seconds_per_part:
            self._hand_over()

    def flush(self) -> None:
        """Return once every row taken so far is committed.

        Raises:
            QStoreError: A part could not be written.
        """
        self._hand_over()
        while self._waiting:
            self._settle()

    def close(self) -> None:
        """Flush and stop the thread. Idempotent.

        Raises:
            QStoreError: A part could not be written.
        """
        try:
            self.flush()
        finally:
            self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        # The error that is on its way says more than what the writer may meet because of it.
        self._thread.shutdown()

    def _hand_over(self) -> None:
        self._raise_failures()
        if not self._rows:
            return
        while len(self._waiting) >= self._queued_parts:
            self._settle()
        self._waiting.append(self._thread.submit(self._write, self._next_part, self._rows))
        self._next_part += 1
        self._rows = []

    def _raise_failures(self) -> None:
        while self._waiting and self._waiting[0].done():
            self._settle()

    def _settle(self) -> None:
        # A failed part stays at the head of the queue, so that every later call raises it again.
        self._waiting[0].result()
        self._waiting.popleft()

    def _write(self, number: int, rows: list[MetricRow]) -> None:
        if self._failed.is_set():
            return  # rows after a gap are not written; the failure is at the head of the queue
        try:
            part = stage_part(self._engine, self._run_id, number, table_of(rows))
            self._engine.commit(WriteBatch(part.attaching()))
        except BaseException:
            self._failed.set()
            raise


def table_of(rows: list[MetricRow]) -> pa.Table:
    """Rows as an Arrow table with ``SCHEMA``."""
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    columns["time"] = [round(value * 1e6) for value in columns["time"]]
    return pa.table(columns, schema=SCHEMA)


def stage_part(engine: Engine, run_id: int, number: int, table: pa.Table) -> Part:
    """Write a part's file; it belongs to the database once its :meth:`Part.attaching` is committed."""
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    content = buffer.getvalue()

    def write(sink: BinaryIO) -> None:
        sink.write(memoryview(content))

    return Part(run_id, number, table.num_rows, engine.stage_file("metrics", ".parquet", write))


def parts_of(snapshot: Snapshot, run_id: int | None = None) -> list[Part]:
    """The parts of one run, or of all, by run and number."""
    parts = []
    for record in snapshot.table(PARTS).values():
        fields = dict(record)
        if run_id is None or fields["run_id"] == run_id:
            parts.append(Part(**{**fields, "file": FileReference(**fields["file"])}))  # type: ignore[arg-type]
    return sorted(parts, key=lambda part: part.key)


def read_part(engine: Engine, part: Part, snapshot: Snapshot) -> pa.Table:
    """The rows of a part, verified.

    Args:
        engine: Where the file is.
        part: Attached at the snapshot.
        snapshot: Of any version that is kept.

    Raises:
        DamagedError: The file fails its digest, or is not what its record says.
    """
    import pyarrow.parquet as pq

    content = engine.read_file(part.file.kind, part.file.name, snapshot)
    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(part, str(error)) from error
    if table.num_columns in OLD_WIDTHS and table.schema.equals(pa.schema(list(SCHEMA)[: table.num_columns])):
        for column in list(SCHEMA)[table.num_columns :]:
            table = table.append_column(column, pa.nulls(table.num_rows, column.type))
    if table.num_rows != part.rows or not table.schema.equals(SCHEMA):
        raise _damaged(part, f"it holds {table.num_rows} rows of {table.schema.names}")
    return table


def read_metrics(engine: Engine, snapshot: Snapshot, run_id: int | None = None) -> pa.Table:
    """All metrics of one run, or of all runs by number, in the order in which they were made.

    If the snapshot's version was given up meanwhile and its parts compacted, the newest version is read instead: it has
    the same rows.

    Raises:
        DamagedError: A part's file is damaged.
    """
    parts = parts_of(snapshot, run_id)
    try:
        tables = [read_part(engine, part, snapshot) for part in parts]
    except DamagedError:
        newest = engine.snapshot()
        if newest.version == snapshot.version or _is_kept(engine, snapshot.version):
            raise
        return read_metrics(engine, newest, run_id)
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


def _is_kept(engine: Engine, version: int) -> bool:
    try:
        engine.at(version).close()
    except UnknownVersionError:
        return False
    return True


def compaction(engine: Engine, run_id: int, *, steps_done: int, epochs_done: int) -> list[Operation]:
    """The operations that put all parts of a run into one; none where there is nothing to do.

    Rows that were made after a checkpoint are left out when the run goes on from there: they will be made again.

    Args:
        engine: The database; the new part's file is staged in it.
        run_id: The run.
        steps_done: Rows of later steps are left out.
        epochs_done: Rows of later epochs' ends are left out.
    """
    import pyarrow.compute as pc

    snapshot = engine.snapshot()
    parts = parts_of(snapshot, run_id)
    if not parts:
        return []
    rows = pa.concat_tables([read_part(engine, part, snapshot) for part in parts])
    limit = pc.if_else(pc.equal(rows["step"], EPOCH_STEP), epochs_done, steps_done)
    counted = pc.if_else(pc.equal(rows["step"], EPOCH_STEP), rows["epoch"], rows["step"])
    kept = rows.filter(pc.less_equal(counted, limit))
    if kept.num_rows == rows.num_rows and len(parts) == 1:
        return []
    operations = [operation for part in parts for operation in part.detaching()]
    if kept.num_rows:
        operations += stage_part(engine, run_id, parts[-1].number + 1, kept.combine_chunks()).attaching()
    return operations


def _damaged(part: Part, what: str) -> DamagedError:
    return DamagedError(
        f"The metrics file {part.file.name} of run {part.run_id} is damaged: {what}",
        fix="Restore the file from a backup of the directory.",
        value=part.file.name,
    )
