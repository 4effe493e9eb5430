"""What is on the medium and what is only in the page cache, call by call; and what a power cut leaves of it.

The model gives what POSIX promises and no more:

- Bytes are durable after a successful ``sync`` of their file, names after ``sync_directory`` of their directory.
- Unsynced bytes may be there, in any selection of 512-byte sectors, in part, or replaced by zeros or garbage.
- Unsynced changes to one directory survive as a prefix of their order. Directories do not wait for each other, and a
  file's bytes do not wait for its name.
- A failed ``sync`` leaves any selection of the pending bytes on the medium, and later syncs do not write the rest: the
  kernel takes the pages for clean.
- A killed process (``kill -9``) loses no finished call, but what was unsynced stays unsynced.

Not modelled: sectors that change without being written, misdirected writes, drives that lie about their cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from storage_engine.files import ROOT, parent_of

SECTOR_BYTES = 512

CallKind = Literal[
    "create",
    "write",
    "truncate",
    "sync",
    "failed_sync",
    "make_directory",
    "sync_directory",
    "rename",
    "unlink",
]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a disk that changed something.

    Args:
        kind: Which; ``rename`` stands for ``replace`` too.
        name: The file or directory; the old name of a rename.
        target: The new name of a rename.
        number: The file behind a handle: files keep theirs when they are renamed.
        offset: Of a write; the new length of a truncate.
        data: Of a write.
    """

    kind: CallKind
    name: str
    target: str = ""
    number: int = -1
    offset: int = 0
    data: bytes = b""


@dataclass(slots=True)
class _File:
    content: bytearray  # what processes read
    durable: bytearray  # what is on the medium for certain
    pending: list[Call] = field(default_factory=list)  # writes and truncates since the last sync

    def apply(self, call: Call) -> None:
        _apply(self.content, call)
        self.pending.append(call)


class Medium:
    """A disk's contents as processes see them and as a power cut would leave them.

    Attributes:
        names: Number of the file behind each name that processes see.
        directories: The directories that processes see.
    """

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.directories: set[str] = {ROOT}
        self._files: dict[int, _File] = {}
        self._durable_names: dict[str, int] = {}
        self._durable_directories: set[str] = {ROOT}
        self._pending_names: dict[str, list[Call]] = {}
        self._next = 0

    @classmethod
    def of(cls, files: dict[str, bytes]) -> Medium:
        """A medium that holds these files, all durable."""
        medium = cls()
        for name, data in files.items():
            medium.directories.add(parent_of(name))
            number = medium.new_number()
            medium._files[number] = _File(bytearray(data), bytearray(data))
            medium.names[name] = number
        medium._durable_names = dict(medium.names)
        medium._durable_directories = set(medium.directories)
        return medium

    def new_number(self) -> int:
        """A number for a file to be created."""
        self._next += 1
        return self._next - 1

    def content(self, number: int) -> bytes:
        """A file's bytes as processes see them."""
        return bytes(self._files[number].content)

    def files(self) -> dict[str, bytes]:
        """Every file by name, as processes see it."""
        return {name: self.content(number) for name, number in self.names.items()}

    def step(self, call: Call, random: np.random.Generator | None = None) -> None:
        """Let one call happen.

        Args:
            call: Which.
            random: Needed for ``failed_sync`` only.
        """
        match call.kind:
            case "create":
                self._files[call.number] = _File(bytearray(), bytearray())
                self._next = max(self._next, call.number + 1)
                self._rename_later(call)
            case "write" | "truncate":
                self._files[call.number].apply(call)
            case "sync":
                # Only what is pending is written: bytes that a failed sync left behind are taken for written.
                file = self._files[call.number]
                for pending in file.pending:
                    _apply(file.durable, pending)
                file.pending = []
            case "failed_sync":
                file = self._files[call.number]
                if random is None:
                    raise ValueError("a failed sync needs a source of randomness")
                file.durable = _surviving(file, random)
                file.pending = []
            case "sync_directory":
                for pending in self._pending_names.pop(call.name, []):
                    _apply_name(self._durable_names, self._durable_directories, pending)
            case "make_directory" | "rename" | "unlink":
                self._rename_later(call)

    def _rename_later(self, call: Call) -> None:
        _apply_name(self.names, self.directories, call)
        self._pending_names.setdefault(parent_of(call.name), []).append(call)

    def killed(self) -> Medium:
        """What the next process finds after ``kill -9``; what was unsynced still is."""
        left = Medium()
        left.names, left.directories = dict(self.names), set(self.directories)
        left._files = {
            number: _File(bytearray(file.content), bytearray(file.durable), list(file.pending))
            for number, file in self._files.items()
        }
        left._durable_names = dict(self._durable_names)
        left._durable_directories = set(self._durable_directories)
        left._pending_names = {name: list(pending) for name, pending in self._pending_names.items()}
        left._next = self._next
        return left

    def power_cut(self, random: np.random.Generator) -> Medium:
        """What may be left after the power failed now: one of many possibilities, everything in it durable."""
        names, directories = dict(self._durable_names), set(self._durable_directories)
        for directory in sorted(self._pending_names):
            pending = self._pending_names[directory]
            for call in pending[: int(random.integers(0, len(pending) + 1))]:
                _apply_name(names, directories, call)
        left = Medium()
        left.directories = {name for name in directories if parent_of(name) in directories}
        for name in sorted(names):
            if parent_of(name) in left.directories:
                number = names[name]
                if number not in left._files:
                    file = self._files[number]
                    data = _surviving(file, random) if file.pending else file.durable
                    left._files[number] = _File(bytearray(data), bytearray(data))
                left.names[name] = number
        left._durable_names = dict(left.names)
        left._durable_directories = set(left.directories)
        left._next = self._next
        return left


def _apply(content: bytearray, call: Call) -> None:
    if call.kind == "truncate":
        if len(content) < call.offset:
            content.extend(bytes(call.offset - len(content)))
        del content[call.offset :]
        return
    if len(content) < call.offset:
        content.extend(bytes(call.offset - len(content)))
    content[call.offset : call.offset + len(call.data)] = call.data


def _apply_name(names: dict[str, int], directories: set[str], call: Call) -> None:
    match call.kind:
        case "create":
            names[call.name] = call.number
        case "make_directory":
            directories.add(call.name)
        case "unlink":
            names.pop(call.name, None)
        case _:
            names.pop(call.name, None)
            names[call.target] = call.number


def _surviving(file: _File, random: np.random.Generator) -> bytearray:
    """The file's bytes after its pending calls were interrupted."""
    content = bytearray(file.durable)
    pending = file.pending
    match int(random.integers(0, 8)):
        case 0:
            return content
        case 1:
            return bytearray(file.content)
        case 2:  # in order, the last write in part
            done = int(random.integers(0, len(pending) + 1))
            for call in pending[:done]:
                _apply(content, call)
            if done < len(pending) and pending[done].kind == "write":
                call = pending[done]
                part = call.data[: int(random.integers(0, len(call.data) + 1))]
                _apply(content, Call("write", call.name, number=call.number, offset=call.offset, data=part))
            return content
        case 3 | 4:  # sectors in any order
            _scatter(content, pending, random, garbage=False)
        case 5 | 6:
            _scatter(content, pending, random, garbage=True)
        case _:  # the length is there, the bytes are not
            content.extend(bytes(max(0, len(file.content) - len(content))))
    return content


def _scatter(content: bytearray, pending: list[Call], random: np.random.Generator, *, garbage: bool) -> None:
    for call in pending:
        if call.kind == "truncate":
            if random.random() < 0.5:
                _apply(content, call)
            continue
        start = 0
        while start < len(call.data):
            end = min(len(call.data), start + SECTOR_BYTES - (call.offset + start) % SECTOR_BYTES)
            chance = random.random()
            if chance < 0.5:
                part = call.data[start:end]
            elif garbage and chance < 0.7:
                part = random.bytes(end - start)
            else:
                part = b""
            if part:
                _apply(content, Call("write", call.name, number=call.number, offset=call.offset + start, data=part))
            start = end
