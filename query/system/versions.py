"""``versions``: every commit that can still be read, with what it changed and what keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from query.system.moments import TIME
from storage_engine.engine import Engine
from storage_engine.history import pins
from storage_engine.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Versions:
    """``versions``: one row a readable version, oldest first.

    ``tags`` are the names given to it; ``pinned_by`` says what else keeps it, such as the runs that learnt from it.

    Args:
        engine: The database.
    """

    engine: Engine

    name: ClassVar[str] = "versions"
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("version", pa.int64()),
            ("time", TIME),
            ("changes", pa.string()),
            ("tags", pa.list_(pa.string())),
            ("pinned_by", pa.list_(pa.string())),
        ]
    )

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """The versions up to the snapshot's. Cost: reads the logs that are kept."""
        tags: dict[int, list[str]] = {}
        for tag in pins.tags(snapshot).values():
            tags.setdefault(tag.version, []).append(tag.name)
        owners: dict[int, list[str]] = {}
        for owner, number in pins.pins(snapshot).items():
            owners.setdefault(number, []).append(owner)
        listed = [version for version in self.engine.versions() if version.number <= snapshot.version]
        return pa.table(
            [
                [version.number for version in listed],
                [int(version.time * 1e6) for version in listed],
                [version.changes for version in listed],
                [sorted(tags.get(version.number, ())) for version in listed],
                [sorted(owners.get(version.number, ())) for version in listed],
            ],
            schema=self.schema,
        )
