"""Tags and pins: versions that stay readable until somebody lets go of them. Both are records of keyed tables.

A tag is a name that people give to a version. A pin says that something else, its owner, needs a version; who owns what
is not this floor's business. Being records, they are written in the same commit as what they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from storage_engine.batch import DeleteRecord, PutRecord
from storage_engine.errors import InvalidArgumentError
from storage_engine.history.retention import Retention
from storage_engine.snapshot import Snapshot

TAGS = "tags"
PINS = "pins"
RETENTION = "retention"
_POLICY = "policy"
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Tag:
    """A named version.

    Args:
        name: Unique.
        version: What it names.
        created_at: When, seconds since the epoch.
    """

    name: str
    version: int
    created_at: float


def put_tag(name: str, version: int, now: float) -> PutRecord:
    """The operation that tags a version; the name must be free.

    Raises:
        InvalidArgumentError: The name is empty, longer than 200 characters or a whole number, which would be taken for
            a version.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME or name.strip() != name or name.isdecimal():
        raise InvalidArgumentError(
            f"{name!r} cannot name a version",
            fix="Give 1 to 200 characters that are no number, without blanks around.",
            value=name,
        )
    return PutRecord(TAGS, name, {"version": version, "created_at": now}, must_be_new=True)


def remove_tag(name: str) -> DeleteRecord:
    """The operation that gives a tag up."""
    return DeleteRecord(TAGS, name)


def tags(snapshot: Snapshot) -> dict[str, Tag]:
    """All tags by name, in the order in which they were given."""
    return {
        name: Tag(name, _number(record["version"]), float(cast(float, record["created_at"])))
        for name, record in snapshot.table(TAGS).items()
    }


def put_pin(owner: str, version: int) -> PutRecord:
    """The operation that makes ``owner`` need ``version``, instead of what it needed before."""
    return PutRecord(PINS, owner, {"version": version})


def remove_pin(owner: str) -> DeleteRecord:
    """The operation by which ``owner`` lets go."""
    return DeleteRecord(PINS, owner)


def pins(snapshot: Snapshot) -> dict[str, int]:
    """The version that each owner needs."""
    return {owner: _number(record["version"]) for owner, record in snapshot.table(PINS).items()}


def owners(snapshot: Snapshot) -> Mapping[int, list[str]]:
    """Who needs which version: tags as ``tag <name>``, then pins by owner."""
    found: dict[int, list[str]] = {}
    for tag in tags(snapshot).values():
        found.setdefault(tag.version, []).append(f"tag {tag.name}")
    for owner, version in pins(snapshot).items():
        found.setdefault(version, []).append(owner)
    return found


def put_retention(retention: Retention) -> PutRecord:
    """The operation that changes how long old versions are kept."""
    return PutRecord(RETENTION, _POLICY, retention.to_json())


def retention(snapshot: Snapshot) -> Retention:
    """How long old versions are kept."""
    return Retention.from_json(snapshot.table(RETENTION).get(_POLICY))


def _number(value: object) -> int:
    return int(cast(int, value))
