"""Finding the number of a version by a tag or by a time."""

from __future__ import annotations

from storage_engine.engine import Engine
from storage_engine.errors import InvalidArgumentError, UnknownVersionError
from storage_engine.history.pins import tags


def number_of(engine: Engine, version: object) -> int:
    """The number that a version or tag stands for.

    Raises:
        UnknownVersionError: There is no such tag.
        InvalidArgumentError: It is neither a whole number nor a text.
    """
    if isinstance(version, int) and not isinstance(version, bool):
        return version
    if not isinstance(version, str):
        raise InvalidArgumentError(
            f"version is {version!r}", fix="Give the number of a version, or the name of a tag.", value=version
        )
    known = tags(engine.origin.snapshot())
    if version not in known:
        listed = ", ".join(known) or "none yet"
        raise UnknownVersionError(f"there is no tag {version!r}", fix=f"Tags are: {listed}.", value=version)
    return known[version].version


def number_at(engine: Engine, time: float) -> int:
    """The newest version that was made at or before a time; 0 if the first one came later. Cost: as ``versions``.

    Args:
        engine: The database.
        time: Seconds since the epoch, by the clock that wrote the versions.

    Raises:
        UnknownVersionError: What was the newest one then is not kept any more.
    """
    listed = engine.versions()
    earlier = [version.number for version in listed if version.time <= time]
    if earlier:
        return max(earlier)
    if not listed or listed[0].number == 1:
        return 0
    raise UnknownVersionError(
        f"versions as old as {time} are not kept any more; the oldest one is {listed[0].number}",
        fix="Tag versions that must stay (db.tag), or keep more of them (db.set_retention).",
        value=time,
    )
