"""The SQL procedure ``CALL vacuum(keep_seconds => …)``, which the statement ``VACUUM`` also runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import pyarrow as pa

from query.ports import Parameter
from storage_engine.engine import Engine

VACUUM_SCHEMA: Final = pa.schema(
    [
        ("version", pa.int64()),
        ("oldest_version", pa.int64()),
        ("rewritten", pa.list_(pa.string())),
        ("pinned", pa.list_(pa.int64())),
        ("bytes_before", pa.int64()),
        ("bytes_after", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Vacuum:
    """One row: what :meth:`qstore_db.verbs.versions.VersionVerbs.vacuum` reports.

    Args:
        engine: The database.
    """

    engine: Engine

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "vacuum"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """``keep_seconds``: versions replaced less long ago stay; 0 if left out."""
        return (Parameter("keep_seconds", "number"),)

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Vacuum and report."""
        report = self.engine.vacuum(float(cast(float, arguments.get("keep_seconds", 0.0))))
        row = {
            "version": report.version,
            "oldest_version": report.oldest_version,
            "rewritten": list(report.rewritten),
            "pinned": [version for version, _ in report.pinned],
            "bytes_before": report.bytes_before,
            "bytes_after": report.bytes_after,
        }
        return pa.Table.from_pylist([row], schema=VACUUM_SCHEMA)
