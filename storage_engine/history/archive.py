"""The past as files: what a writer knows about older manifests and logs when it decides which of them stay."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from storage_engine.errors import DamagedError
from storage_engine.files import Disk, DiskError
from storage_engine.history.pins import owners
from storage_engine.history.reader_pin import PinnedManifest
from storage_engine.history.retained import KeptLog, Retained
from storage_engine.history.retention import Facts, Retention, kept
from storage_engine.manifest.manifest import Manifest
from storage_engine.manifest.reader import read_manifest
from storage_engine.snapshot import Snapshot
from storage_engine.wal.record import FILE_HEADER_BYTES, LogHeader, log_name, unpack_header


class Archive:
    """Reads old manifests once and remembers which files they name. Used under the writer's locks.

    Args:
        disk: Where.
        database_uuid: From the file ``FORMAT``.
    """

    def __init__(self, disk: Disk, database_uuid: str) -> None:
        self._disk = disk
        self._uuid = database_uuid
        self._lengths: dict[int, Mapping[str, int]] = {}

    def lengths(self, number: int) -> Mapping[str, int]:
        """Names and lengths of the files that a manifest needs; nothing for one that cannot be read."""
        if number not in self._lengths:
            with contextlib.suppress(DamagedError, DiskError):
                self._lengths[number] = read_manifest(self._disk, number, self._uuid)[0].file_lengths()
        return self._lengths.get(number, {})

    def planned(
        self,
        before: Manifest,
        after: Manifest,
        named: Mapping[int, set[str]],
        retention: Retention,
        snapshot: Snapshot,
        readers: Iterable[PinnedManifest],
    ) -> Retained:
        """What the next manifest says is kept of the past.

        Args:
            before: The newest manifest.
            after: The one about to be written.
            named: Files that records name, by log.
            retention: The limits.
            snapshot: The newest state: it holds tags and pins.
            readers: Marks of live readers.
        """
        self._lengths[before.number] = before.file_lengths()
        logs = (*before.retained.logs, *self._closed(range(before.wal_number, after.wal_number), named))
        pinned = frozenset(owners(snapshot)) | {reader.version for reader in readers if reader.version >= 0}
        facts = Facts(
            after.checkpoint,
            snapshot.version,
            after.created_at,
            pinned,
            after.file_lengths(),
            lambda checkpoint: self.lengths(checkpoint.number),
        )
        whole = Retained((*before.retained.checkpoints, before.checkpoint), logs)
        return kept(whole, retention, facts)

    def needed(self, retained: Retained, readers: Iterable[PinnedManifest]) -> set[str]:
        """Names of the files that the past and live readers need, manifests and logs included."""
        numbers = {one.number for one in retained.checkpoints} | {reader.number for reader in readers}
        names = {name for number in numbers for name in self.lengths(number)}
        names |= {name for log in retained.logs for name, _ in log.names}
        return names

    def present(self, manifest: Manifest) -> Manifest:
        """The manifest without checkpoints and logs that are not there: a newer one had given them up."""
        retained = manifest.retained
        numbers = set(self._disk.list("manifest"))
        logs = set(self._disk.list("wal"))
        found = Retained(
            tuple(one for one in retained.checkpoints if f"{one.number:010d}.man" in numbers),
            tuple(one for one in retained.logs if f"{one.number:010d}.wal" in logs),
        )
        return manifest if found == retained else replace(manifest, retained=found)

    def forget(self, numbers: Iterable[int]) -> None:
        """Remember nothing about these manifests any more."""
        for number in numbers:
            self._lengths.pop(number, None)

    def _closed(self, numbers: range, named: Mapping[int, set[str]]) -> list[KeptLog]:
        """What there is to know about logs that were just closed; one that cannot be read leads nowhere."""
        found = []
        for number in numbers:
            with contextlib.suppress(DiskError):
                header, after = self._header(number), self._header(number + 1)
                if header is not None and after is not None:
                    names = tuple(sorted((name, self._size(name)) for name in named.get(number, ())))
                    size = self._disk.size(log_name(number))
                    found.append(KeptLog(number, header.first_lsn, after.first_lsn - 1, size, names))
        return found

    def _header(self, number: int) -> LogHeader | None:
        return unpack_header(self._disk.read(log_name(number), 0, FILE_HEADER_BYTES))

    def _size(self, name: str) -> int:
        try:
            return self._disk.size(name)
        except DiskError:
            return 0
