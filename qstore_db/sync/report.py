"""What a sync did, or would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from query.frames import to_pandas

if TYPE_CHECKING:
    import pandas

CHANGES: Final = pa.schema(
    [
        ("id", pa.string()),
        ("action", pa.string()),
        ("conflict", pa.bool_()),
        ("local_version", pa.int64()),
    ]
)
"""Columns of :attr:`SyncReport.changes`."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A row that both sides had changed to different content since they last agreed.

    Args:
        id: Its id.
        winner: ``local``, ``remote``, or ``neither`` if both were left as they are.
        local_version: The version of the database that wrote the local content, before the sync; 0 if the row had been
            deleted. Content that lost to the index is read by ``db.at`` at a version before the sync.
    """

    id: str
    winner: str
    local_version: int


@dataclass(frozen=True, slots=True, repr=False)
class SyncReport:
    """What became of a sync. With ``dry_run``: what it would do, with nothing sent and nothing written.

    Args:
        collection: Its name.
        index: The index's name.
        namespace: Of the index.
        direction: ``push``, ``pull`` or ``both``.
        dry_run: Whether it is only a plan.
        version: Every local change up to this version is at the index, or was overruled by it.
        pushed: Rows written to the index.
        deleted_remote: Rows deleted there.
        pulled: Rows written to the collection.
        deleted_local: Rows deleted there.
        agreed: Rows that had come to be equal on both sides by themselves.
        left: Rows that differ and were left so: by the direction, or by ``prefer``.
        requests: Calls of Pinecone's SDK, those made again included.
        retries: Calls made again; the SDK itself may send each up to three times more.
        seconds: It took.
        changes: A row for each row that was written, deleted or left: ``id``, ``action`` (``pushed``,
            ``deleted_remote``, ``pulled``, ``deleted_local``, ``left``), ``conflict``, ``local_version``.
    """

    collection: str
    index: str
    namespace: str
    direction: str
    dry_run: bool
    version: int
    pushed: int
    deleted_remote: int
    pulled: int
    deleted_local: int
    agreed: int
    left: int
    requests: int
    retries: int
    seconds: float
    changes: pa.Table

    @property
    def conflicts(self) -> list[Conflict]:
        """Rows that both sides had changed, in the order in which they were met."""
        winners = {"pushed": "local", "deleted_remote": "local", "pulled": "remote", "deleted_local": "remote"}
        return [
            Conflict(row["id"], winners.get(row["action"], "neither"), row["local_version"])
            for row in self.changes.filter(self.changes.column("conflict")).to_pylist()
        ]

    def df(self) -> pandas.DataFrame:
        """:attr:`changes` as a pandas frame.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return to_pandas(self.changes)

    def __repr__(self) -> str:
        done = {
            "pushed": self.pushed,
            "deleted there": self.deleted_remote,
            "pulled": self.pulled,
            "deleted here": self.deleted_local,
            "conflicts": len(self.conflicts),
            "left": self.left,
        }
        counts = ", ".join(f"{count} {what}" for what, count in done.items() if count) or "nothing to do"
        plan = "plan: " if self.dry_run else ""
        return (
            f"SyncReport({self.collection!r} {self.direction} {self.index!r}: {plan}{counts}, version {self.version})"
        )
