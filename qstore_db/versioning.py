"""Naming and keeping versions: what the verbs in Python and the procedures in SQL share."""

from __future__ import annotations

from qstore_db.errors import UnknownVersionError
from storage_engine.batch import WriteBatch
from storage_engine.engine import Engine
from storage_engine.history import pins
from storage_engine.history.naming import number_of


def tag_version(engine: Engine, name: str, version: int | None = None) -> int:
    """Give a version a name; it can be read until the tag is taken away.

    Args:
        engine: The database.
        name: New, 1 to 200 characters and not a number.
        version: ``None`` is the newest.

    Returns:
        The version that has the name.

    Raises:
        AlreadyExistsError: The name is taken.
        UnknownVersionError: There is no such version any more.
        InvalidArgumentError: The name is none.
    """
    engine.refuse_transaction("a tag")
    if version is None:
        engine.seal()  # so that reading it needs no log, which would hold what is written later as well
    number = engine.snapshot().version if version is None else version
    with engine.at(number):
        engine.commit(WriteBatch([pins.put_tag(name, number, engine.clock())]))
    return number


def untag_version(engine: Engine, name: str) -> int:
    """Take a tag away; its version is given up when it is old.

    Returns:
        The version that had the name.

    Raises:
        UnknownVersionError: There is no such tag.
    """
    number = number_of(engine, name if isinstance(name, str) else "")
    engine.commit(WriteBatch([pins.remove_tag(name)]))
    return number


def unpin_version(engine: Engine, owner: str) -> int:
    """Let go of a pinned version.

    Returns:
        The version.

    Raises:
        UnknownVersionError: Nothing of that name pins one.
    """
    pinned = pins.pins(engine.snapshot())
    if owner not in pinned:
        raise UnknownVersionError(
            f"{owner!r} pins no version", fix="db.pins() and the table versions list what does.", value=owner
        )
    engine.commit(WriteBatch([pins.remove_pin(owner)]))
    return pinned[owner]
