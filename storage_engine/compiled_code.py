"""Whether this process runs compiled code: one explicit state for all databases.

Searching has two implementations of every step that give the same rows and scores: NumPy, which is there at once, and
machine code by Numba, which is ten to a hundred times as fast and takes about 0.5 s of CPU time and 100 MB to load. A
process begins with NumPy. Compiled code is loaded in a thread of its own once NumPy has worked for
``AFTER_SECONDS`` in all, or at once where a single task would take NumPy longer than loading does; from then on it does
everything. A process that asks a few questions never loads it.

Where Numba is not installed NumPy does everything; where it is installed and cannot be loaded, so too, and a warning
says why, once.
"""

from __future__ import annotations

import enum
import importlib.util
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Protocol

AFTER_SECONDS = 0.25
"""After so much CPU time of NumPy's, loading begins: some two hundred walks. Loading costs twice as much, so that no
program pays more than three times the CPU time that the better of the two would have cost."""

LOAD_SECONDS = 0.5
"""What loading takes, about: a task for which NumPy would need longer waits for compiled code."""


class Stage(enum.StrEnum):
    """Where a process is."""

    PORTABLE = "portable"
    LOADING = "loading"
    COMPILED = "compiled"
    UNAVAILABLE = "unavailable"


class Listener(Protocol):
    """Somebody who has something of his own to do when compiled code is there."""

    def compiled_code_is_ready(self) -> None:
        """Called once, in the thread that loaded; must not raise."""


class CompiledCodeWarning(UserWarning):
    """Numba is installed but cannot be used; NumPy does all the work, more slowly."""


class CompiledCode:
    """The state of a process. Safe to use from several threads, and across ``fork()``."""

    def __init__(self) -> None:
        self._stage = Stage.PORTABLE
        self._spent = 0.0
        self._why = ""
        self._warning = ""
        self._inside = False  # steps of loading ask too
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()  # of the attributes here; never held while code is loaded
        self._loading = threading.RLock()  # held while code is loaded; a fork waits for it
        self._listeners: weakref.WeakSet[Listener] = weakref.WeakSet()

    @property
    def stage(self) -> Stage:
        """Where this process is."""
        return self._stage

    @property
    def ready(self) -> bool:
        """Whether compiled code is loaded and used."""
        return self._stage is Stage.COMPILED

    @property
    def why_not(self) -> str:
        """Why compiled code cannot be used, for people; empty unless the stage is ``UNAVAILABLE``."""
        return self._why

    def use(self, seconds: float = 0.0) -> bool:
        """Whether a task is to be done by compiled code.

        Args:
            seconds: How long NumPy would take for it, about. From ``LOAD_SECONDS`` on the call loads compiled code.
        """
        if self._stage is Stage.COMPILED:
            return True
        if self._stage is Stage.UNAVAILABLE:
            self._warn()
            return False
        return seconds >= LOAD_SECONDS and self.load()

    def spent(self, seconds: float) -> None:
        """Say that NumPy has worked for so long; begins loading in the background when it is enough."""
        if self._stage is not Stage.PORTABLE:
            return
        with self._guard:
            self._spent += seconds
            if self._spent < AFTER_SECONDS or self._stage is not Stage.PORTABLE:
                return
            self._stage = Stage.LOADING
        # No daemon: nothing may be torn down while it is being loaded. The interpreter waits for a step; see `_load`.
        thread = threading.Thread(target=self._load_unless_over, name="qstore-compiled-code")
        thread.start()
        self._thread = thread

    def load(self) -> bool:
        """Load compiled code now, or wait until it is loaded; whether it can be used.

        Where no machine code is in Numba's cache yet, this compiles: some ten seconds, once a machine.
        """
        if self._stage is not Stage.COMPILED:
            with self._loading:
                if self._stage in (Stage.PORTABLE, Stage.LOADING) and not self._inside:
                    self._load(lambda: True)
        if self._stage is Stage.UNAVAILABLE:
            self._warn()
        return self.ready

    def tell(self, listener: Listener) -> None:
        """Have a listener called when compiled code is there; held weakly, forgotten where it is there already."""
        with self._guard:
            if self._stage in (Stage.PORTABLE, Stage.LOADING):
                self._listeners.add(listener)

    def _load_unless_over(self) -> None:
        with self._loading:
            if self._stage is Stage.LOADING:
                self._load(threading.main_thread().is_alive)

    def _load(self, in_time: Callable[[], bool]) -> None:
        """Load step by step for as long as ``in_time`` holds: a program that has ended waits for one step at most."""
        stage, why = Stage.UNAVAILABLE, "loading it failed; the traceback was shown then"
        self._inside = True
        try:
            if importlib.util.find_spec("numba") is None:
                why = "Numba is not installed"
                return
            for step in _STEPS:
                if not in_time():
                    stage, why = Stage.PORTABLE, ""
                    return
                step()
            stage, why = Stage.COMPILED, ""
        except (ImportError, OSError) as error:  # a library that is missing, or of another version or machine
            if isinstance(error, ImportError) and (error.name or "").startswith("storage_engine"):
                raise  # a defect of our own
            why = f"Numba cannot be loaded: {error}"
            self._warning = why
        finally:
            self._inside = False
            self._why = why
            with self._guard:
                self._stage = stage
                listeners = list(self._listeners)
        if stage is Stage.COMPILED:
            for listener in listeners:
                listener.compiled_code_is_ready()

    def _warn(self) -> None:
        with self._guard:
            warning, self._warning = self._warning, ""
        if warning:
            warnings.warn(f"{warning}. Searches go on without it, more slowly.", CompiledCodeWarning, stacklevel=4)

    def before_fork(self) -> None:
        """Wait until nothing is being loaded: a child would inherit locks of modules whose owner it has not."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()  # before the lock, which it may still be going to take
        self._loading.acquire()

    def after_fork(self) -> None:
        """In the parent."""
        self._loading.release()

    def after_fork_in_child(self) -> None:
        """In the child, which has no other threads."""
        self._loading = threading.RLock()
        self._guard = threading.Lock()
        self._thread = None
        if self._stage is Stage.LOADING:
            self._stage = Stage.PORTABLE


def _import_numba() -> None:
    import numba  # noqa: F401


def _import_kernels() -> None:
    import storage_engine.index.walker  # noqa: F401


def _run_kernels() -> None:
    from storage_engine.index.walker import prepare

    prepare()


_STEPS: tuple[Callable[[], None], ...] = (_import_numba, _import_kernels, _run_kernels)

process = CompiledCode()
"""That of this process."""

os.register_at_fork(
    before=process.before_fork, after_in_parent=process.after_fork, after_in_child=process.after_fork_in_child
)


class measured:  # noqa: N801 - reads as a statement: with measured():
    """Counts the CPU time that the thread spends inside as NumPy's work."""

    __slots__ = ("_start",)

    def __enter__(self) -> None:
        self._start = time.thread_time()

    def __exit__(self, *_: object) -> None:
        process.spent(time.thread_time() - self._start)
