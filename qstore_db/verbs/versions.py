"""The verbs of a database about versions and transactions."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Self

from qstore_db import versioning
from qstore_db.errors import InvalidArgumentError
from storage_engine.batch import WriteBatch
from storage_engine.engine import Engine
from storage_engine.history import pins
from storage_engine.history.naming import number_at, number_of
from storage_engine.history.pins import Tag
from storage_engine.history.retention import WEEK_SECONDS, Retention
from storage_engine.history.vacuum import VacuumReport
from storage_engine.history.versions import Version
from storage_engine.transaction import Transaction


class VersionVerbs(ABC):
    """Each verb is a few lines over the storage floor."""

    _engine: Engine

    @classmethod
    @abstractmethod
    def _over(cls, engine: Engine) -> Self:
        """A database that shows what an engine shows."""

    def versions(self) -> list[Version]:
        """Every version that can be read, oldest first: ``number``, ``time`` (seconds since the epoch), ``changes``.

        Cost: reads the logs that are kept.
        """
        return self._engine.versions()

    def at(self, version: int | str | None = None, *, time: float | datetime.datetime | None = None) -> Self:
        """The database as it was: read-only, with the same reading verbs, rows, states, models and metrics alike.

        Args:
            version: A number, or the name of a tag.
            time: Instead: the newest version made at or before it, in seconds since the epoch or as a datetime (without
                a zone: UTC).

        Returns:
            A database of its own. While it is open the version cannot be given up; close it, or use it in ``with``.

        Raises:
            UnknownVersionError: There is no such version or tag, or it is not kept any more.
            InvalidArgumentError: Neither or both are given.
        """
        if (version is None) == (time is None):
            raise InvalidArgumentError("at() needs a version or a time, one of them", fix='Write at(12) or at("v1").')
        if time is not None:
            return self._over(self._engine.at(number_at(self._engine, _seconds(time))))
        return self._over(self._engine.at(number_of(self._engine, version)))

    def tag(self, name: str, version: int | None = None) -> int:
        """Give a version a name; it can be read until the tag is taken away.

        Args:
            name: New, 1 to 200 characters and not a number.
            version: ``None`` is the newest.

        Returns:
            The version that has the name.

        Raises:
            AlreadyExistsError: The name is taken.
            UnknownVersionError: There is no such version any more.
            InvalidArgumentError: The name is none.
        """
        return versioning.tag_version(self._engine, name, version)

    def untag(self, name: str) -> None:
        """Take a tag away; its version is given up when it is old.

        Raises:
            UnknownVersionError: There is no such tag.
        """
        versioning.untag_version(self._engine, name)

    def tags(self) -> dict[str, Tag]:
        """All tags by name, oldest first."""
        return pins.tags(self._engine.snapshot())

    def pins(self) -> dict[str, int]:
        """Versions that something needs, by what needs it: each training run pins the version that it learnt from."""
        return pins.pins(self._engine.snapshot())

    def unpin(self, owner: str) -> None:
        """Let go of a pinned version.

        Raises:
            UnknownVersionError: Nothing of that name pins one.
        """
        versioning.unpin_version(self._engine, owner)

    @property
    def retention(self) -> Retention:
        """How long old versions are kept."""
        return pins.retention(self._engine.snapshot())

    def set_retention(
        self,
        *,
        keep_seconds: float = WEEK_SECONDS,
        keep_versions: int | None = None,
        keep_bytes: int | None = None,
    ) -> int:
        """Change how long old versions are kept; :class:`storage_engine.history.retention.Retention` has the limits.

        Tagged and pinned versions are kept in any case. It takes effect at the next seal.

        Raises:
            InvalidArgumentError: A limit is negative.
        """
        limits = Retention(keep_seconds, keep_versions, keep_bytes)
        return self._engine.commit(WriteBatch([pins.put_retention(limits)]))

    def vacuum(self, keep_seconds: float = 0.0) -> VacuumReport:
        """Give up old versions and free their space; what was deleted is gone from the disk afterwards.

        Args:
            keep_seconds: Versions replaced less long ago stay, and what was deleted since stays on the disk.

        Returns:
            What was done; ``pinned`` lists older versions that a tag or a run keeps, with what only they hold.
        """
        return self._engine.vacuum(keep_seconds)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Make all that this thread writes in the block one commit, or nothing if the block raises.

        Reading in the block sees the newest commit at its beginning and what the block wrote. Training and vacuum
        cannot be in it.

        Raises:
            TransactionError: This thread is in a transaction already.
            ConflictError: At the end: another commit changed what the block wrote. Nothing was written; run it again.
        """
        return self._engine.transaction()


def _seconds(time: float | datetime.datetime) -> float:
    if isinstance(time, datetime.datetime):
        return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise InvalidArgumentError(f"time is {time!r}", fix="Give seconds since the epoch or a datetime.", value=time)
    return float(time)
