"""The versions of a database as a table."""

from __future__ import annotations

import pyarrow as pa

from qstore_db.database import QuantumDatabase
from query.result import QueryResult


def version_table(db: QuantumDatabase) -> QueryResult:
    """Every readable version, oldest first: number, time (UTC), what changed, tags and pins."""
    names: dict[int, list[str]] = {}
    for tag in db.tags().values():
        names.setdefault(tag.version, []).append(tag.name)
    for owner, version in db.pins().items():
        names.setdefault(version, []).append(owner)
    listed = db.versions()
    return QueryResult(
        pa.table(
            {
                "version": pa.array([one.number for one in listed], pa.int64()),
                "time": pa.array([int(one.time * 1e6) for one in listed], pa.timestamp("us", tz="UTC")),
                "changes": pa.array([one.changes for one in listed], pa.string()),
                "kept_for": pa.array([", ".join(names.get(one.number, [])) for one in listed], pa.string()),
            }
        )
    )
