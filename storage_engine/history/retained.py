"""What a database keeps of its past: checkpoints (older manifests) and the logs that lead from one to the next.

A version ``v`` is read by loading the newest checkpoint at or before ``v`` and replaying the logs after it up to ``v``:
the same code that recovery uses, so rows, keyed tables and attached files all come out as they were. What is kept is
named by the newest manifest; everything here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from storage_engine.errors import UnknownVersionError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A manifest that is kept although a newer one took its place.

    Args:
        number: The manifest's.
        last_lsn: The version that it holds by itself.
        last_time: When that version was committed, seconds since the epoch; 0 if unknown.
        created_at: When the manifest was written.
        wal_number: The log with the versions after it.
    """

    number: int
    last_lsn: int
    last_time: float
    created_at: float
    wal_number: int


@dataclass(frozen=True, slots=True)
class KeptLog:
    """A log that nobody writes to any more.

    Args:
        number: Its number.
        first_lsn: Of its first record; ``last_lsn + 1`` if it has none.
        last_lsn: Of its last record.
        length: In bytes.
        names: Names and lengths of the segment and attached files that its records name.
    """

    number: int
    first_lsn: int
    last_lsn: int
    length: int
    names: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Retained:
    """Checkpoints and logs, both by rising number.

    Args:
        checkpoints: Manifests older than the one that says this, which is one itself.
        logs: Logs older than the one that it continues with.
    """

    checkpoints: tuple[Checkpoint, ...] = ()
    logs: tuple[KeptLog, ...] = ()

    def base(self, version: int, newest: Checkpoint) -> Checkpoint:
        """The checkpoint from which a version is read.

        Args:
            version: 0 up to the newest commit.
            newest: The manifest that says this.

        Raises:
            UnknownVersionError: The version is not kept any more.
        """
        found = None
        for checkpoint in (*self.checkpoints, newest):
            if checkpoint.last_lsn <= version and self._reaches(checkpoint, version, newest):
                found = checkpoint
        if found is None:
            kept = [one.last_lsn for one in (*self.checkpoints, newest)]
            raise UnknownVersionError(
                f"version {version} is not kept any more; the oldest one that is kept is {min(kept)}",
                fix="Tag versions that must stay (db.tag), or keep more of them (db.set_retention).",
                value=version,
            )
        return found

    def _reaches(self, checkpoint: Checkpoint, version: int, newest: Checkpoint) -> bool:
        last, number = checkpoint.last_lsn, checkpoint.wal_number
        logs = {log.number: log for log in self.logs}
        while last < version and number < newest.wal_number:
            log = logs.get(number)
            if log is None:
                return False
            last, number = log.last_lsn, number + 1
        return True

    def to_json(self) -> dict[str, Any]:
        """A JSON object of plain values."""
        return {
            "checkpoints": [
                [one.number, one.last_lsn, one.last_time, one.created_at, one.wal_number] for one in self.checkpoints
            ],
            "logs": [
                [one.number, one.first_lsn, one.last_lsn, one.length, [list(pair) for pair in one.names]]
                for one in self.logs
            ],
        }

    @classmethod
    def from_json(cls, value: Any) -> Retained:
        """Inverse of :meth:`to_json`.

        Raises:
            ValueError, TypeError, KeyError: The value has another shape.
        """
        return cls(
            tuple(
                Checkpoint(int(number), int(lsn), float(time), float(created), int(wal))
                for number, lsn, time, created, wal in value["checkpoints"]
            ),
            tuple(
                KeptLog(int(number), int(first), int(last), int(length), _names(names))
                for number, first, last, length, names in value["logs"]
            ),
        )


NOTHING_RETAINED = Retained()


def _names(value: Any) -> tuple[tuple[str, int], ...]:
    return tuple((str(name), int(length)) for name, length in value)


def only_reachable(retained: Retained, newest: Checkpoint) -> Retained:
    """The same without logs that no checkpoint leads to, and without checkpoints that a later one makes needless."""
    checkpoints = [one for one, after in pairwise((*retained.checkpoints, newest)) if one.last_lsn != after.last_lsn]
    wanted = _wanted_logs(checkpoints, retained.logs, newest)
    return Retained(tuple(checkpoints), tuple(log for log in retained.logs if log.number in wanted))


def _wanted_logs(checkpoints: Sequence[Checkpoint], logs: Iterable[KeptLog], newest: Checkpoint) -> set[int]:
    present = {log.number for log in logs}
    wanted: set[int] = set()
    for checkpoint in checkpoints:
        number = checkpoint.wal_number
        while number < newest.wal_number and number in present and number not in wanted:
            wanted.add(number)
            number += 1
    return wanted
