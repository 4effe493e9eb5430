"""What ``qstore doctor`` does: examine without writing, and mend what can be mended without losing a readable row."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from qstore_db.database import QuantumDatabase
from qstore_db.errors import DamagedError
from qstore_db.simulation.plan import engine_name
from storage_engine.compiled_code import CompiledCodeWarning, process
from storage_engine.verify import Finding

_MENDING = (
    "qstore doctor --repair keeps what can be read, copies what it changes and names what is lost; a backup is better, "
    "if there is one."
)


def examine(database: Path) -> list[Finding]:
    """All findings, the worst first; a database that cannot be opened is one finding.

    Raises:
        NotADatabaseError, FormatTooNewError: There is nothing to examine.
    """
    try:
        with QuantumDatabase.open(database, create=False, read_only=True) as db:
            return [_with_mending(finding) for finding in db.verify()] + _of_this_machine()
    except DamagedError as error:
        return [Finding("error", str(error.value or ""), None, error.what, _MENDING), *_of_this_machine()]


def _of_this_machine() -> list[Finding]:
    """What keeps searches and simulations from being as quick as they could be."""
    return [*_of_searches(), *_of_simulations()]


def _of_simulations() -> list[Finding]:
    if engine_name() == "lanes":
        return []
    what = "circuits are simulated in NumPy, some seventy times as slowly as in compiled code: Numba is not installed"
    return [Finding("info", "", None, what, "Install a Numba that fits this Python and this NumPy.")]


def _of_searches() -> list[Finding]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompiledCodeWarning)  # said here instead
        if process.load():
            return []
    what = f"searches run in NumPy, some thirty times as slowly as in compiled code: {process.why_not}"
    return [Finding("info", "", None, what, "Install a Numba that fits this Python and this NumPy.")]


def _with_mending(finding: Finding) -> Finding:
    if finding.severity != "error" or not finding.file.startswith("seg/"):
        return finding
    return replace(
        finding, fix=f"{finding.fix} Without one, qstore doctor --repair keeps the rows that are proven right."
    )


def mend(database: Path) -> list[str]:
    """Repair logs, manifests and segments, and build damaged graphs anew; returns what was done, a line each.

    Raises:
        DatabaseLockedError: Somebody writes to it.
        DamagedError: There is no commit that could be kept.
    """
    done: list[str] = []
    with QuantumDatabase.open(database, create=False, repair="rows", progress=False) as db:
        if db.repaired is not None:
            done += str(db.repaired).splitlines()
        try:
            done += [f"the graph of {name} was built anew" for name in db._engine.rebuild_damaged_graphs()]
        except DamagedError as error:
            done.append(f"a graph cannot be built anew, because rows under it are damaged: {error.what}")
    return done or ["nothing to repair"]
