"""What ``qstore doctor`` does: examine without writing, and mend what can be mended without losing a readable row."""

from __future__ import annotations

from pathlib import Path

from qstore_db.database import QuantumDatabase
from qstore_db.errors import DamagedError
from storage_engine.verify import Finding

_MENDING = (
    "qstore doctor --repair keeps the commits before the damage and copies what it changes; a backup is better, if "
    "there is one."
)


def examine(database: Path) -> list[Finding]:
    """All findings, the worst first; a database that cannot be opened is one finding.

    Raises:
        NotADatabaseError, FormatTooNewError: There is nothing to examine.
    """
    try:
        with QuantumDatabase.open(database, create=False, read_only=True) as db:
            return db.verify()
    except DamagedError as error:
        return [Finding("error", str(error.value or ""), None, error.what, _MENDING)]


def mend(database: Path) -> list[str]:
    """Repair logs and manifests, and build damaged graphs anew; returns what was done, a line each.

    Damaged rows inside a segment are not cut away: :func:`examine` goes on naming their file.

    Raises:
        DatabaseLockedError: Somebody writes to it.
        DamagedError: There is no commit that could be kept.
    """
    done: list[str] = []
    with QuantumDatabase.open(database, create=False, repair="prefix", progress=False) as db:
        if db.repaired is not None:
            done += str(db.repaired).splitlines()
        try:
            done += [f"the graph of {name} was built anew" for name in db._engine.rebuild_damaged_graphs()]
        except DamagedError as error:
            done.append(f"a graph cannot be built anew, because rows under it are damaged: {error.what}")
    return done or ["nothing to repair"]
