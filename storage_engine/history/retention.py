"""How much of the past is kept. Pure: facts in, what stays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from storage_engine.errors import InvalidArgumentError
from storage_engine.history.retained import Checkpoint, Retained, only_reachable

WEEK_SECONDS = 7 * 86_400.0
LEAST_BYTES = 64 << 20
SHARE_OF_LIVE = 0.1


@dataclass(frozen=True, slots=True)
class Retention:
    """When old versions are given up; tags and pins are kept whatever this says.

    The past is given up from its far end, a checkpoint at a time, as soon as one of the limits is passed.

    Args:
        keep_seconds: Versions replaced longer ago than this are given up.
        keep_versions: No more than about so many; ``None``: any number.
        keep_bytes: The files that only old versions need take no more than this; ``None``: a tenth of the live data, or
            64 MiB if that is more.
    """

    keep_seconds: float = WEEK_SECONDS
    keep_versions: int | None = None
    keep_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is None and name != "keep_seconds":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise InvalidArgumentError(f"{name} is {value!r}", fix="Give a number of at least 0.", value=value)

    def to_json(self) -> dict[str, Any]:
        """What the keyed table keeps."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any] | None) -> Retention:
        """The value whose :meth:`to_json` was stored; the default for ``None``."""
        return cls() if record is None else cls(**record)


NOTHING = Retention(keep_versions=0)
"""Keeps what is tagged or pinned and nothing else."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision needs to know.

    Args:
        newest: The manifest about to be written.
        newest_lsn: The newest commit.
        now: Seconds since the epoch.
        pinned: Versions that must stay readable.
        live: Names and lengths of files that the newest state needs.
        names_of: Names and lengths of the files that a checkpoint needs.
    """

    newest: Checkpoint
    newest_lsn: int
    now: float
    pinned: frozenset[int]
    live: Mapping[str, int]
    names_of: Callable[[Checkpoint], Mapping[str, int]]


def kept(retained: Retained, retention: Retention, facts: Facts) -> Retained:
    """What stays of the past.

    Args:
        retained: What there is, the manifest about to be replaced included.
        retention: The limits.
        facts: See the class.
    """
    retained = only_reachable(retained, facts.newest)
    window = _window(retained, retention, facts)
    bases: set[int] = set()
    logs: set[int] = set()
    for version in facts.pinned:
        base = _base_of(retained, version, facts.newest)
        if base is None or base in window:
            continue
        bases.add(base.number)
        logs |= _logs_up_to(retained, base, version)
    first_log = min((one.wal_number for one in window), default=facts.newest.wal_number)
    return only_reachable(
        Retained(
            tuple(one for one in retained.checkpoints if one in window or one.number in bases),
            tuple(one for one in retained.logs if one.number >= first_log or one.number in logs),
        ),
        facts.newest,
    )


def _window(retained: Retained, retention: Retention, facts: Facts) -> tuple[Checkpoint, ...]:
    """The newest checkpoints that no limit gives up."""
    budget = retention.keep_bytes
    if budget is None:
        budget = max(LEAST_BYTES, int(SHARE_OF_LIVE * sum(facts.live.values())))
    counted = dict(facts.live)
    spent, taken, after = 0, 0, facts.newest
    logs = {log.number: log for log in retained.logs}
    for checkpoint in reversed(retained.checkpoints):
        too_old = after.created_at < facts.now - retention.keep_seconds
        many = retention.keep_versions is not None and facts.newest_lsn - after.last_lsn >= retention.keep_versions
        needs = dict(facts.names_of(checkpoint))
        chain = range(checkpoint.wal_number, after.wal_number)
        for number in chain:
            if number in logs:
                needs[f"log {number}"] = logs[number].length
                needs.update(logs[number].names)
        spent += sum(length for name, length in needs.items() if name not in counted)
        counted.update(needs)
        if too_old or many or spent > budget or any(number not in logs for number in chain):
            break
        taken += 1
        after = checkpoint
    return retained.checkpoints[len(retained.checkpoints) - taken :]


def _base_of(retained: Retained, version: int, newest: Checkpoint) -> Checkpoint | None:
    if version >= newest.last_lsn:
        return None
    candidates = [one for one in retained.checkpoints if one.last_lsn <= version]
    return candidates[-1] if candidates else None


def _logs_up_to(retained: Retained, base: Checkpoint, version: int) -> set[int]:
    found = set()
    last = base.last_lsn
    for log in retained.logs:
        if log.number >= base.wal_number and last < version:
            found.add(log.number)
            last = log.last_lsn
    return found
