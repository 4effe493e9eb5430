"""VACUUM: give up old versions and write anew what holds deleted rows, so that their bytes are gone from the disk."""

from __future__ import annotations

from dataclasses import dataclass

from storage_engine.files import Disk, DiskError
from storage_engine.history.pins import owners
from storage_engine.history.retention import NOTHING, Retention
from storage_engine.sealed import SealedChunk
from storage_engine.sweeping import FOLDERS
from storage_engine.writable import Writable


@dataclass(frozen=True, slots=True)
class VacuumReport:
    """What a vacuum did.

    Args:
        version: The newest version.
        oldest_version: The oldest one that can still be read.
        rewritten: Collections that were written anew without their deleted rows.
        pinned: Older versions that stayed, with who needs them: what was deleted after them is still on the disk.
        bytes_before: Size of all files before.
        bytes_after: Size of all files after.
    """

    version: int
    oldest_version: int
    rewritten: tuple[str, ...]
    pinned: tuple[tuple[int, tuple[str, ...]], ...]
    bytes_before: int
    bytes_after: int


def vacuum(database: Writable, keep_seconds: float) -> VacuumReport:
    """Give up versions older than ``keep_seconds`` that nobody tagged, pinned or reads, and free what only they need.

    Cost: writes each collection that has deleted rows once, with its graph where it is large enough for one. Commits go
    on meanwhile. Bytes that recovery put aside in ``quarantine/`` are left to people.

    Raises:
        DiskError, DamagedError: The disk failed; the database is as it was, or partly vacuumed.
    """
    limits = Retention(keep_seconds=keep_seconds) if keep_seconds else NOTHING
    with database.undisturbed():
        before = directory_bytes(database.disk)
        database.seal()
        rewritten = []
        for name, state in list(database.committer.catalog.collections.items()):
            if any(isinstance(chunk, SealedChunk) and chunk.dead_count for chunk in state.rows.layout.chunks):
                database.build_graph(state, rewrite=True)
                rewritten.append(name)
        database.give_up_past(limits)
        snapshot, manifest = database.snapshot, database.manifest
        kept = {one.last_lsn for one in (*manifest.retained.checkpoints, manifest.checkpoint)}
        needed = owners(snapshot)
        return VacuumReport(
            snapshot.version,
            min(kept),
            tuple(rewritten),
            tuple((version, tuple(needed[version])) for version in sorted(needed) if version < snapshot.version),
            before,
            directory_bytes(database.disk),
        )


def directory_bytes(disk: Disk) -> int:
    """Size of all files in the database's folders; one that a reader removes meanwhile, its mark, counts as nothing."""
    total = 0
    for name in [f"{folder}/{entry}" for folder in FOLDERS for entry in disk.list(folder)]:
        try:
            total += disk.size(name)
        except DiskError as error:
            if not error.missing:
                raise
    return total
