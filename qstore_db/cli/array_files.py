"""Arrays from ``.npy`` and ``.npz`` files of unknown origin: what they ask for is known before it is allocated.

A ``.npz`` file of a kilobyte may unpack to a megabyte, and a ``.npy`` header of 128 bytes may announce a terabyte. So
the header of each array is read first, its size is compared with a bound, and only then is it unpacked; no array takes
more than its header announced, whatever the archive says.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError, InvalidVectorError, NotEnoughMemoryError
from qstore_db.simulation.memory import available
from storage_engine.schema import MAX_DIMENSION

_PIECE = 1 << 20
_OF_FREE = 0.5  # what is unpacked may take so much of the free memory: it is converted and written from there


class _Announced(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes; exact, however large the numbers of the header are."""
        return math.prod(self.shape) * self.dtype.itemsize


def map_rows(file: Path) -> NDArray[Any]:
    """The vectors of an ``.npy`` file, one a row, mapped: nothing is read yet.

    Raises:
        InvalidArgumentError: It is no such file, or holds Python objects.
        InvalidVectorError: It is shorter or longer than it announces, not two-dimensional, or its rows are wider than
            any vector of a collection.
    """
    with file.open("rb") as stream:
        announced = _header(file, "its header", stream)
        start, end = stream.tell(), stream.seek(0, 2)
    if len(announced.shape) != 2 or not 1 <= announced.shape[1] <= MAX_DIMENSION:
        raise InvalidVectorError(
            f"{file.name} has shape {announced.shape}",
            fix=f"an .npy file holds one vector of at most {MAX_DIMENSION} numbers a row",
            value=announced.shape,
        )
    if end - start != announced.size:
        raise InvalidVectorError(
            f"{file.name} announces {announced.size} bytes and holds {end - start}",
            fix="give a whole .npy file",
            value=announced.size,
        )
    order: Literal["F", "C"] = "F" if announced.fortran else "C"
    if not announced.size:
        return np.empty(announced.shape, announced.dtype)
    return np.memmap(file, announced.dtype, "r", start, announced.shape, order)


def read_arrays(file: Path, names: Sequence[str], max_bytes: int | None = None) -> dict[str, NDArray[Any]]:
    """Some arrays of an ``.npz`` file.

    Args:
        file: Where.
        names: Which; others in the file are not looked at.
        max_bytes: How many bytes they may take together; by default half of the memory that is free, or without bound
            where the system does not say how much that is.

    Raises:
        NotEnoughMemoryError: They announce more than that. Nothing was unpacked.
        InvalidArgumentError: It is no ``.npz`` file, lacks an array, names one twice, or holds something else there:
            Python objects, or other bytes than its header and checksum announce.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(file, archive, names)
            announced = {}
            for name, member in members.items():
                with archive.open(member) as stream:
                    announced[name] = _header(file, name, stream)
            _check_room(file, sum(one.size for one in announced.values()), max_bytes)
            found = {}
            for name, member in members.items():
                with archive.open(member) as stream:
                    found[name] = _unpacked(file, name, stream, announced[name])
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise _refused(file, f"cannot be read: {error}") from error
    return found


def _members(file: Path, archive: zipfile.ZipFile, names: Sequence[str]) -> dict[str, zipfile.ZipInfo]:
    stored: dict[str, list[zipfile.ZipInfo]] = {}
    for member in archive.infolist():
        stored.setdefault(member.filename, []).append(member)
    missing = [name for name in names if f"{name}.npy" not in stored]
    if missing:
        raise InvalidArgumentError(
            f"{file.name} lacks {', '.join(missing)}", fix=f"it needs {', '.join(names)}", value=missing
        )
    twice = [name for name in names if len(stored[f"{name}.npy"]) > 1]
    if twice:
        raise _refused(file, f"holds {twice[0]} twice")
    return {name: stored[f"{name}.npy"][0] for name in names}


def _header(file: Path, name: str, stream: IO[bytes]) -> _Announced:
    """What an array announces; the stream is at its first byte afterwards."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        if version not in readers:
            raise ValueError(f"a header of version {version}")
        shape, fortran, dtype = readers[version](stream)
    except (ValueError, TypeError) as error:
        raise _refused(file, f"holds no array under {name}: {error}") from error
    if dtype.hasobject or any(length < 0 for length in shape):
        raise _refused(file, f"holds {'Python objects' if dtype.hasobject else f'shape {shape}'} under {name}")
    return _Announced(shape, fortran, dtype)


def _check_room(file: Path, size: int, max_bytes: int | None) -> None:
    free = available() if max_bytes is None else None
    bound = max_bytes if free is None else int(_OF_FREE * free)
    if bound is not None and size > bound:
        raise NotEnoughMemoryError(
            f"the arrays of {file.name} take {size:,} bytes, and {bound:,} are allowed",
            fix="import it in parts, or allow more by max_bytes (--max-bytes)",
            value=size,
        )


def _unpacked(file: Path, name: str, stream: IO[bytes], announced: _Announced) -> NDArray[Any]:
    _header(file, name, stream)
    data = bytearray()  # grows with the bytes that are there, not by those that were announced
    while len(data) < announced.size and (more := stream.read(min(_PIECE, announced.size - len(data)))):
        data += more
    if len(data) != announced.size or stream.read(1):  # the last read also compares the checksum
        raise _refused(file, f"holds more or less under {name} than the {announced.size} bytes that it announces")
    array: NDArray[Any] = np.frombuffer(data, announced.dtype)
    return array.reshape(announced.shape, order="F" if announced.fortran else "C")


def _refused(file: Path, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{file.name} {what}", fix="write it anew by numpy.save or numpy.savez")
