"""Write a manifest: the commit point of sealing."""

from __future__ import annotations

from storage_engine.files import Disk
from storage_engine.manifest.manifest import Manifest, manifest_name, pack_manifest
from storage_engine.staged_file import StoredFile, store_file


def write_manifest(disk: Disk, manifest: Manifest) -> StoredFile:
    """Write, sync, read back, rename to a name that must be free, sync the directory.

    All files that it names must be durable before. When this returns, the manifest is the newest one for ever;
    its digest is the next one's ``previous_sha256``.

    Raises:
        DiskError: If ``error.operation`` is ``sync_directory``, the manifest may or may not be there after a power cut:
            the handle must be given up and the directory opened again. For all other operations it is not there.
        DamagedError: What was read back differs from what was written; the manifest is not there.
    """
    return store_file(disk, manifest_name(manifest.number), pack_manifest(manifest))
