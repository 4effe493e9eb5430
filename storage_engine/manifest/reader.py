"""Choose the manifest with which a database opens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from storage_engine.errors import DamagedError
from storage_engine.files import Disk, DiskError
from storage_engine.manifest.manifest import Manifest, manifest_name, manifest_number, unpack_manifest
from storage_engine.staged_file import check_present
from storage_engine.wal.record import log_name


@dataclass(frozen=True, slots=True)
class RejectedManifest:
    """A manifest that cannot be used.

    Args:
        name: ``manifest/<n>.man``.
        number: Its number.
        error: What is wrong with it or with the files it names.
        manifest: What it says, if that can be read: commits up to ``last_lsn``, and perhaps some in log ``wal_number``,
            were acknowledged.
    """

    name: str
    number: int
    error: DamagedError
    manifest: Manifest | None = None


@dataclass(frozen=True, slots=True)
class ManifestChoice:
    """The newest usable manifest and what was passed over to find it.

    Args:
        manifest: The one to open with.
        sha256: Its digest: ``previous_sha256`` of the next one.
        rejected: Newer ones that are damaged, newest first. If there are any, every log from ``manifest.wal_number`` on
            must be there and be replayed, or the database must be refused: commits are in them.
    """

    manifest: Manifest
    sha256: str
    rejected: tuple[RejectedManifest, ...]


def manifest_numbers(disk: Disk) -> list[int]:
    """Numbers of all manifest files, ascending."""
    return sorted(number for entry in disk.list("manifest") if (number := manifest_number(entry)) is not None)


def read_manifest(disk: Disk, number: int, database_uuid: str) -> tuple[Manifest, str]:
    """One manifest and its digest, checked by itself.

    Raises:
        DamagedError: It is missing, damaged, or belongs to another database or number.
    """
    name = manifest_name(number)
    try:
        data = disk.read(name)
    except DiskError as error:
        if not error.missing:
            raise
        raise DamagedError(
            f"{name} is missing", fix="Restore the file from a backup of the directory.", value=name
        ) from error
    manifest = unpack_manifest(data, name)
    if manifest.number != number or manifest.database_uuid != database_uuid:
        raise DamagedError(
            f"{name} at offset 16 says that it is number {manifest.number} of database {manifest.database_uuid}",
            fix="Restore the file from a backup of the directory.",
            value=name,
        )
    return manifest, hashlib.sha256(data).hexdigest()


def choose_manifest(disk: Disk, database_uuid: str) -> ManifestChoice | None:
    """The newest manifest that is undamaged, follows its predecessor, and whose files are all there in full length.

    Contents of those files are not read: they are verified when they are first used.

    Returns:
        ``None`` if there is no manifest file at all.

    Raises:
        DamagedError: There are manifests and none of them is usable; the newest one's reason.
    """
    rejected: list[RejectedManifest] = []
    for number in reversed(manifest_numbers(disk)):
        manifest: Manifest | None = None
        try:
            manifest, sha256 = read_manifest(disk, number, database_uuid)
            check_chain(disk, manifest)
            for file in manifest.required_files():
                check_present(disk, file)
            _check_log(disk, manifest)
        except DamagedError as error:
            rejected.append(RejectedManifest(manifest_name(number), number, error, manifest))
        else:
            return ManifestChoice(manifest, sha256, tuple(rejected))
    if rejected:
        raise rejected[0].error
    return None


def _check_log(disk: Disk, manifest: Manifest) -> None:
    name = log_name(manifest.wal_number)
    if not disk.exists(name):
        raise DamagedError(
            f"{name}, which manifest {manifest.number} continues with, is missing",
            fix="Restore the file from a backup of the directory.",
            value=name,
        )


def check_chain(disk: Disk, manifest: Manifest) -> None:
    """Check that a predecessor that is itself undamaged is the one that the manifest names.

    Raises:
        DamagedError: It is another one.
    """
    before = manifest.number - 1
    if not disk.exists(manifest_name(before)):
        return
    try:
        _, sha256 = read_manifest(disk, before, manifest.database_uuid)
    except DamagedError:
        return  # the older one is damaged, not this one
    if sha256 != manifest.previous_sha256:
        raise DamagedError(
            f"{manifest_name(manifest.number)} does not follow {manifest_name(before)}: one of them is an old copy",
            fix="Restore the directory as a whole from a backup.",
            value=manifest_name(manifest.number),
        )
