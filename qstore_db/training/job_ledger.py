"""The ledger of remote jobs in a database: it survives the process, and a crash in the middle of anything.

Three keyed tables hold it. ``jobs`` has a row for every job there ever was, ``job_requests`` and ``job_results`` what a
job asks and what it found, by tag, until every result was used for good.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, cast

from qstore_db.backends.job_ledger import (
    JobRecord,
    JobStatus,
    PlannedJob,
    check_budget,
    check_planned,
    counted,
    known_job,
    settled,
    written,
)
from qstore_db.backends.job_payload import requests_from_text, requests_to_text, results_from_text, results_to_text
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult
from storage_engine.batch import DeleteRecord, JsonValue, Operation, PutRecord, WriteBatch
from storage_engine.engine import Engine
from storage_engine.snapshot import Snapshot

JOBS: Final = "jobs"
REQUESTS: Final = "job_requests"
RESULTS: Final = "job_results"
_TEXT: Final = "text"


class DatabaseLedger:
    """The jobs of one run, or of no run; see :class:`~qstore_db.backends.job_ledger.JobLedger`.

    Every call that writes is one commit. One ledger of a run is used at a time: it keeps the rows in memory.

    Args:
        engine: The database.
        run: Number of the run, or ``None``.
    """

    __slots__ = ("_engine", "_lock", "_records", "run")

    def __init__(self, engine: Engine, run: int | None = None) -> None:
        self._engine, self.run = engine, run
        self._lock = threading.Lock()
        self._records = {record.tag: record for record in jobs_of(engine.snapshot(), run)}

    @property
    def counted(self) -> Decimal:
        """What all jobs count for together, in dollars, open ones included."""
        with self._lock:
            return counted(self._records.values())

    def plan(self, jobs: Sequence[PlannedJob], ceiling: Decimal | None) -> None:
        """See :class:`~qstore_db.backends.job_ledger.JobLedger`."""
        with self._lock:
            check_planned(jobs, self._records, self.run)
            check_budget(jobs, counted(self._records.values()), ceiling)
            operations: list[Operation] = []
            for job in jobs:
                tag = job.record.tag
                operations += [
                    PutRecord(JOBS, tag, _to_json(job.record), must_be_new=True),
                    PutRecord(REQUESTS, tag, {_TEXT: requests_to_text(job.requests)}),
                ]
            self._engine.commit(WriteBatch(operations))
            self._records |= {job.record.tag: job.record for job in jobs}

    def update(self, record: JobRecord) -> None:
        """See :class:`~qstore_db.backends.job_ledger.JobLedger`."""
        kept = written(record)
        with self._lock:
            known_job(self._records, record.tag)
            self._engine.commit(WriteBatch(self._putting(kept, self._engine.snapshot())))
            self._records[record.tag] = kept

    def finish(self, record: JobRecord, results: Sequence[ExecutionResult]) -> None:
        """See :class:`~qstore_db.backends.job_ledger.JobLedger`."""
        kept = PutRecord(RESULTS, record.tag, {_TEXT: results_to_text(results)})
        with self._lock:
            known_job(self._records, record.tag)
            self._engine.commit(WriteBatch([PutRecord(JOBS, record.tag, _to_json(record)), kept]))
            self._records[record.tag] = record

    def records(self) -> tuple[JobRecord, ...]:
        """See :class:`~qstore_db.backends.job_ledger.JobLedger`."""
        with self._lock:
            return tuple(self._records.values())

    def requests(self, tag: str) -> tuple[ExecutionRequest, ...]:
        """See :class:`~qstore_db.backends.job_ledger.JobLedger`."""
        return requests_from_text(_text(self._engine.snapshot(), REQUESTS, tag))

    def results(self, tag: str) -> tuple[ExecutionResult, ...]:
        """See :class:`~qstore_db.backends.job_ledger.JobLedger`."""
        return results_from_text(_text(self._engine.snapshot(), RESULTS, tag))

    def settle(self, used: Mapping[str, Iterable[int]]) -> None:
        """See :class:`~qstore_db.backends.job_ledger.JobLedger`."""
        with self._lock:  # of one job, several threads may settle different places
            records, operations = self._settling(used)
            if operations:
                self._engine.commit(WriteBatch(operations))
            self._note_settled(records)

    def settling(self, used: Mapping[str, Iterable[int]]) -> tuple[list[JobRecord], list[Operation]]:
        """What :meth:`settle` would write, for a caller that puts more into the same commit.

        Returns:
            The rows as they will be, for :meth:`note_settled`, and the operations.
        """
        with self._lock:
            return self._settling(used)

    def note_settled(self, records: Iterable[JobRecord]) -> None:
        """The rows that :meth:`settling` gave are committed."""
        with self._lock:
            self._note_settled(records)

    def _settling(self, used: Mapping[str, Iterable[int]]) -> tuple[list[JobRecord], list[Operation]]:
        tables = self._engine.snapshot()
        records = [settled(known_job(self._records, tag), places) for tag, places in used.items()]
        return records, [operation for record in records for operation in self._putting(record, tables)]

    def _note_settled(self, records: Iterable[JobRecord]) -> None:
        self._records |= {record.tag: record for record in records}

    def _putting(self, record: JobRecord, tables: Snapshot) -> list[Operation]:
        # The row; of a closed one what it asked and found goes.
        gone = (REQUESTS, RESULTS) if record.is_closed else ()
        return [
            PutRecord(JOBS, record.tag, _to_json(record)),
            *(DeleteRecord(name, record.tag) for name in gone if record.tag in tables.table(name)),
        ]


def all_jobs(snapshot: Snapshot) -> list[JobRecord]:
    """Every job there ever was, in the order in which they were planned."""
    return [_from_json(record) for record in snapshot.table(JOBS).values()]


def jobs_of(snapshot: Snapshot, run: int | None) -> list[JobRecord]:
    """The jobs of one run, or of no run, in the order in which they were planned."""
    rows = snapshot.table(JOBS).values()
    return [_from_json(record) for record in rows if record["run"] == run]


def _text(snapshot: Snapshot, table: str, tag: str) -> str:
    return str(known_job(snapshot.table(table), tag)[_TEXT])


def _to_json(record: JobRecord) -> dict[str, JsonValue]:
    # Dollars as text: they are decimal numbers, and sums of them are exact.
    fields: dict[str, Any] = {item.name: getattr(record, item.name) for item in dataclasses.fields(record)}
    fields["status"] = record.status.value
    fields["estimate"] = str(record.estimate)
    fields["cost"] = None if record.cost is None else str(record.cost)
    fields["fingerprints"], fields["used"] = list(record.fingerprints), list(record.used)
    return cast(dict[str, JsonValue], fields)


def _from_json(record: Mapping[str, JsonValue]) -> JobRecord:
    fields = dict(cast(Any, record))
    fields["status"] = JobStatus(fields["status"])
    fields["estimate"] = Decimal(fields["estimate"])
    fields["cost"] = None if fields["cost"] is None else Decimal(fields["cost"])
    fields["fingerprints"], fields["used"] = tuple(fields["fingerprints"]), tuple(fields["used"])
    return JobRecord(**fields)
