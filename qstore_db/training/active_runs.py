"""Which runs this process is training right now, and which studies it carries on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from qstore_db.errors import InvalidArgumentError
from storage_engine.engine import Engine

_lock = threading.Lock()
_active: set[tuple[object, int | str]] = set()


@contextlib.contextmanager
def in_training(engine: Engine, run_id: int) -> Iterator[None]:
    """Hold a run while it is trained.

    One process at a time can write to a database, so a run that is not held here is held nowhere.

    Raises:
        InvalidArgumentError: Another thread holds it.
    """
    with _held(engine, run_id, f"Run {run_id} is being trained"):
        yield


@contextlib.contextmanager
def in_search(engine: Engine, study: str) -> Iterator[None]:
    """Hold a study while its trials are trained, likewise.

    Raises:
        InvalidArgumentError: Another thread holds it.
    """
    with _held(engine, study, f"Study {study!r} is being carried on"):
        yield


def is_in_training(engine: Engine, run_id: int) -> bool:
    """Whether a thread of this process trains the run."""
    with _lock:
        return (_place(engine), run_id) in _active


@contextlib.contextmanager
def _held(engine: Engine, what: int | str, happens: str) -> Iterator[None]:
    key = (_place(engine), what)
    with _lock:
        if key in _active:
            raise InvalidArgumentError(f"{happens} right now", fix="Wait until it ends.", value=what)
        _active.add(key)
    try:
        yield
    finally:
        with _lock:
            _active.discard(key)


def _place(engine: Engine) -> object:
    # Engines of one directory share their state; one in memory has its own.
    return id(engine) if engine.path is None else str(engine.path.resolve())
