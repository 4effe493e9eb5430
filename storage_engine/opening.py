"""Open a directory for writing: create or recover it, put right what a crash left, and start the log's next record."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from dataclasses import replace

from storage_engine.catalog import Catalog
from storage_engine.committer import Committer
from storage_engine.errors import DamagedError, NotADatabaseError, UnsafeDirectoryError
from storage_engine.files import ROOT, Disk, DiskError
from storage_engine.format_file import (
    FORMAT_NAME,
    KEEPS_VERSIONS,
    MINOR,
    Format,
    is_blank,
    read_format,
    write_format,
)
from storage_engine.history.archive import Archive
from storage_engine.lock import WriterLock
from storage_engine.manifest.manifest import Manifest, manifest_name
from storage_engine.manifest.reader import read_manifest
from storage_engine.manifest.writer import write_manifest
from storage_engine.real_disk import RealDisk, directory_facts
from storage_engine.recovery import LogPosition, Recovered, recover
from storage_engine.row_repair import Repair, damaged_since, recover_repaired
from storage_engine.staged_file import store_file
from storage_engine.sweeping import FOLDERS, sweep
from storage_engine.wal.reader import LogEnd, LogReader
from storage_engine.wal.record import FILE_HEADER_BYTES, log_name, log_number
from storage_engine.wal.watermark import Watermark, read_watermark
from storage_engine.wal.writer import MOST_ROOM, LogWriter
from storage_engine.writable import Writable

NETWORK_FILE_SYSTEMS = frozenset(
    (
        *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "ncpfs", "ceph", "lustre", "gpfs", "beegfs"),
        *("glusterfs", "orangefs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone"),
    )
)
"""Where locks, syncs or mapped memory do not mean what they mean on a local disk."""


def open_directory(path: str | os.PathLike[str], *, create: bool, unsafe_fs: bool = False) -> RealDisk:
    """The directory as a disk, made if it is missing and ``create`` is set.

    Args:
        path: The directory.
        create: Whether it may be made.
        unsafe_fs: Whether it may be on a network file system.

    Raises:
        NotADatabaseError: It is missing, or a file.
        UnsafeDirectoryError: Every user may write to it, or it is on a network file system.
        DiskError: It may not be entered.
    """
    try:
        disk = RealDisk(path, create=create)
    except DiskError as error:
        if not error.missing and not error.errno == errno.ENOTDIR:
            raise
        why = "is a file" if error.errno == errno.ENOTDIR else "does not exist"
        raise NotADatabaseError(
            f"{os.fspath(path)!r} {why}",
            fix="Give the path of a database, or of a new directory inside one that exists.",
            value=os.fspath(path),
        ) from error
    try:
        _refuse_unsafe(disk.path, unsafe_fs)
    except BaseException:
        disk.shut()
        raise
    return disk


def _refuse_unsafe(path: os.PathLike[str], unsafe_fs: bool) -> None:
    facts = directory_facts(path)
    name = os.fspath(path)
    if facts.world_writable:
        raise UnsafeDirectoryError(
            f"every user of this machine may write to {name!r}",
            fix="Take that right away: chmod o-w, on a directory of your own.",
            value=name,
        )
    if facts.file_system in NETWORK_FILE_SYSTEMS and not unsafe_fs:
        raise UnsafeDirectoryError(
            f"{name!r} is on a network file system ({facts.file_system}), which may lose commits and let two "
            "processes write at once",
            fix="Use a local disk; or open with unsafe_fs=True and answer for it yourself.",
            value=name,
        )


def open_writable(
    disk: Disk,
    *,
    create: bool,
    clock: Callable[[], float],
    sync_each: bool,
    build_threads: int | None,
    repair: Repair | None = None,
) -> Writable:
    """Take the lock, then create or recover the database.

    Args:
        disk: Where.
        create: Make an empty directory a database.
        clock: Seconds since the epoch.
        sync_each: Sync before acknowledging.
        build_threads: For graphs.
        repair: Give up what cannot be read; :mod:`storage_engine.repair`, :mod:`storage_engine.row_repair`.

    Raises:
        NotADatabaseError: The directory holds something else, or is empty and ``create`` is not set.
        DatabaseLockedError: Another process writes to it.
        FormatTooNewError: A newer version wrote it.
        DamagedError: Acknowledged commits cannot be read.
        DiskError: The disk failed.
    """
    if not disk.exists(FORMAT_NAME) and not (create and is_blank(disk)):
        read_format(disk)  # says what is wrong
        raise NotADatabaseError("the directory is not a Q-Store database", fix="Give another path.")
    lock = WriterLock.acquire(disk, now=clock())
    try:
        if not disk.exists(FORMAT_NAME):
            write_format(disk, Format(uuid.uuid4().hex, clock()))
        found = read_format(disk)
        if found.minor < MINOR:
            # What is written from here on has what this minor version added; older ones may ignore it.
            write_format(disk, replace(found, minor=MINOR, optional=found.optional | KEEPS_VERSIONS))
        database_uuid = found.database_uuid
        for folder in FOLDERS:
            disk.make_directory(folder)
        disk.sync_directory(ROOT)
        report = None
        if repair is None:
            recovered = recover(disk, database_uuid, read_watermark(disk, database_uuid))
        else:
            recovered, report = recover_repaired(disk, database_uuid, repair, clock())
        acknowledged = read_watermark(disk, database_uuid)
        if recovered is None:
            recovered = _begin(disk, database_uuid, clock())
        writable = _resume(disk, lock, database_uuid, recovered, acknowledged, clock, sync_each, build_threads)
        writable.repaired = report
    except BaseException:
        lock.release()
        raise
    if repair == "rows" and damaged_since(recovered.catalog, recovered.manifest):
        return _mended_after_seal(writable, clock, sync_each, build_threads)
    return writable


def _mended_after_seal(
    writable: Writable, clock: Callable[[], float], sync_each: bool, build_threads: int | None
) -> Writable:
    """A manifest that names what only the log named so far, so that it can be mended too."""
    first = writable.repaired
    try:
        writable.seal()
    finally:
        writable.close()
    again = open_writable(
        writable.disk, create=False, clock=clock, sync_each=sync_each, build_threads=build_threads, repair="rows"
    )
    if first is not None and again.repaired is not None:
        again.repaired.join(first)
    return again


def _begin(disk: Disk, database_uuid: str, now: float) -> Recovered:
    """The first log and the first manifest; also where creating the directory was interrupted before."""
    numbers = [number for entry in disk.list("wal") if (number := log_number(entry)) is not None]
    if numbers:
        if numbers != [1] or _has_records(disk, database_uuid):
            raise DamagedError(
                "manifest/ holds no manifest although there are logs with commits",
                fix="Restore the directory from a backup.",
                value="manifest",
            )
        disk.unlink(log_name(1))
    log = LogWriter.create(disk, database_uuid, 1, first_lsn=1, previous_crc=0, created_at=now)
    log.close()
    manifest = Manifest(1, database_uuid, now, "", 1, 0, 0)
    stored = write_manifest(disk, manifest)
    seed = LogReader(disk, 1, database_uuid).header.crc
    position = LogPosition(1, seed, LogEnd(log.size, 0, 0, 0), {1: set()})
    return Recovered(Catalog(), manifest, stored.sha256, position)


def _has_records(disk: Disk, database_uuid: str) -> bool:
    try:
        reader = LogReader(disk, 1, database_uuid)
    except DamagedError:
        return False  # no header: a crash came before it
    return any(True for _ in reader.entries())


def _resume(
    disk: Disk,
    lock: WriterLock,
    database_uuid: str,
    recovered: Recovered,
    acknowledged: int,
    clock: Callable[[], float],
    sync_each: bool,
    build_threads: int | None,
) -> Writable:
    position = recovered.position
    for rejected in recovered.rejected:
        _put_aside(disk, rejected.name, disk.read(rejected.name))
        disk.unlink(rejected.name)
    if recovered.stillborn is not None:
        disk.unlink(log_name(recovered.stillborn))
    if position.end.torn_bytes:
        name = log_name(position.number)
        _put_aside(disk, f"{name}-{position.end.offset}", disk.read(name, position.end.offset).rstrip(b"\0"))
    # A killed process may have named the newest manifest without syncing its name.
    disk.sync_directory("manifest")
    # Records come after a synced header, and the watermark and a manifest that names the log after synced records.
    durable = position.end.last_lsn <= acknowledged and (
        position.end.offset > FILE_HEADER_BYTES or position.number == recovered.manifest.wal_number
    )
    log = LogWriter.resume(
        disk,
        position.number,
        seed=position.seed,
        end=position.end.offset,
        last_lsn=position.end.last_lsn,
        last_crc=position.end.last_crc,
        anew=not durable,
    )
    log.most_room = MOST_ROOM
    watermark = Watermark(disk, database_uuid)
    # What recovery found is durable from here on and shown to everybody; readers may believe in it too.
    watermark.write(log.last_lsn)
    before = _manifest_before(disk, recovered.manifest)
    archive = Archive(disk, database_uuid)
    newest = archive.present(recovered.manifest)
    sweep(disk, database_uuid, newest, before, position.named, archive)
    committer = Committer(
        disk,
        database_uuid,
        clock,
        catalog=recovered.catalog,
        log=log,
        watermark=watermark,
        named=position.named,
        sync_each=sync_each,
    )
    manifests = (before, newest)
    return Writable(disk, lock, committer, manifests, recovered.manifest_sha256, archive, clock, build_threads)


def _manifest_before(disk: Disk, newest: Manifest) -> Manifest | None:
    if not disk.exists(manifest_name(newest.number - 1)):
        return None
    try:
        return read_manifest(disk, newest.number - 1, newest.database_uuid)[0]
    except DamagedError:
        return None  # the newest one is whole; nothing will fall back to this one


def _put_aside(disk: Disk, name: str, data: bytes) -> None:
    """Keep bytes that recovery takes out of use, for people who want to look at them."""
    kept = f"quarantine/{name.replace('/', '-')}"
    if not disk.exists(kept) and data:
        store_file(disk, kept, data)
