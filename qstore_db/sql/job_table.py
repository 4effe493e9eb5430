"""The table ``jobs``: every job that was ever sent to a remote provider, or was about to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa

from qstore_db.sql.registry_table import RegistryTable
from qstore_db.training.job_ledger import all_jobs
from query.system.moments import TIME, moment
from storage_engine.snapshot import Snapshot

SCHEMA: Final = pa.schema(
    [
        ("tag", pa.string()),
        ("run_id", pa.int64()),
        ("backend", pa.string()),
        ("target", pa.string()),
        ("sdk", pa.string()),
        ("status", pa.string()),
        ("provider_id", pa.string()),
        ("requests", pa.int64()),
        ("circuits", pa.int64()),
        ("shots", pa.int64()),
        ("estimate_usd", pa.float64()),
        ("cost_usd", pa.float64()),
        ("planned_at", TIME),
        ("sent_at", TIME),
        ("ended_at", TIME),
        ("used", pa.int64()),
        ("note", pa.string()),
    ]
)
"""``used`` counts the requests whose results were used for good; ``cost_usd`` is null while a job is open."""


def _rows(snapshot: Snapshot) -> Iterable[Mapping[str, Any]]:
    # In the order in which they were planned.
    for job in all_jobs(snapshot):
        yield {
            "tag": job.tag,
            "run_id": job.run,
            "backend": job.backend,
            "target": job.target,
            "sdk": job.sdk,
            "status": job.status.value,
            "provider_id": job.provider_id,
            "requests": job.requests,
            "circuits": job.circuits,
            "shots": job.shots,
            "estimate_usd": float(job.estimate),
            "cost_usd": None if job.cost is None else float(job.cost),
            "planned_at": moment(job.planned_at),
            "sent_at": None if job.sent_at is None else moment(job.sent_at),
            "ended_at": None if job.ended_at is None else moment(job.ended_at),
            "used": job.requests_used,
            "note": job.note,
        }


JOBS_TABLE: Final = RegistryTable("jobs", SCHEMA, _rows)
"""For the session of a database."""
