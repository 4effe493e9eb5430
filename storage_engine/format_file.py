"""The file ``FORMAT``: what makes a directory a database, and which versions may open it.

60 bytes, little-endian::

    0    8  magic "QSTOREDB"        28   8  required feature flags: unknown bits forbid opening
    8   16  database uuid           36   8  optional feature flags: unknown bits are ignored
    24   2  major version           44   8  created at (float64, seconds)
    26   2  minor version           52   4  zero
                                    56   4  CRC-32 of bytes 0-55
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from zlib import crc32

from storage_engine.errors import DamagedError, FormatTooNewError, NotADatabaseError
from storage_engine.files import ROOT, Disk, DiskError, replace_file
from storage_engine.lock import LOCK_NAME

FORMAT_NAME = "FORMAT"
MAJOR = 1
MINOR = 2
COMPACT_VECTORS = 1
"""Required feature flag: a collection keeps its vectors as float16 or int8."""

KNOWN_FEATURES = COMPACT_VECTORS
"""Required feature flags that this version understands."""

KEEPS_VERSIONS = 1
"""Optional feature flag: manifests name what is kept of the past, segments say their columns."""

_MAGIC = b"QSTOREDB"
_LAYOUT = struct.Struct("<8s16sHHQQd4xI")


@dataclass(frozen=True, slots=True)
class Format:
    """What the file says.

    Args:
        database_uuid: 32 hexadecimal digits; logs and manifests carry the same.
        created_at: Seconds since the epoch.
        major: Raised when older versions can no longer read the directory.
        minor: Raised when they can, but do not know everything in it.
        required: Feature flags without which the directory must not be opened.
        optional: Feature flags that may be ignored.
    """

    database_uuid: str
    created_at: float
    major: int = MAJOR
    minor: int = MINOR
    required: int = 0
    optional: int = KEEPS_VERSIONS


def pack_format(value: Format) -> bytes:
    """The whole file."""
    body = _LAYOUT.pack(
        _MAGIC,
        bytes.fromhex(value.database_uuid),
        value.major,
        value.minor,
        value.required,
        value.optional,
        value.created_at,
        0,
    )[:-4]
    return body + struct.pack("<I", crc32(body))


def write_format(disk: Disk, value: Format) -> None:
    """Make the directory a database, atomically and durably.

    Raises:
        DiskError: The disk failed; the directory is what it was, or already a database.
    """
    replace_file(disk, FORMAT_NAME, pack_format(value))


def read_format(disk: Disk) -> Format:
    """What kind of database this is.

    Raises:
        NotADatabaseError: The file is missing or is something else.
        DamagedError: It is ours but fails its checksum.
        FormatTooNewError: It needs a newer version: another major number or an unknown required flag.
    """
    try:
        data = disk.read(FORMAT_NAME, 0, _LAYOUT.size + 1)
    except DiskError as error:
        if not error.missing:
            raise
        raise NotADatabaseError(
            "the directory is not a Q-Store database: it has no file FORMAT",
            fix="Give the path of a database, or of a new or empty directory.",
        ) from error
    if not data.startswith(_MAGIC):
        raise NotADatabaseError(
            "the directory is not a Q-Store database: its file FORMAT is something else",
            fix="Give the path of a database, or of a new or empty directory.",
        )
    if len(data) != _LAYOUT.size or crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise DamagedError(
            f"{FORMAT_NAME} is damaged at offset 0: {len(data)} bytes fail the checksum",
            fix="Restore the file from a backup of the directory.",
            value=FORMAT_NAME,
        )
    _, uuid, major, minor, required, optional, created_at, _ = _LAYOUT.unpack(data)
    unknown = required & ~KNOWN_FEATURES
    if major != MAJOR or unknown:
        raise FormatTooNewError(
            f"the database has format {major}.{minor} with required features {required:#x}; this Q-Store reads "
            f"{MAJOR}.{MINOR} and knows {KNOWN_FEATURES:#x}",
            fix="Open it with a newer Q-Store.",
            value=(major, minor, required),
        )
    return Format(uuid.hex(), created_at, major, minor, required, optional)


def require(disk: Disk, feature: int) -> None:
    """Let only versions that know a feature open the directory from now on; nothing to do if that is so already.

    Raises:
        DiskError: The disk failed; the directory is what it was, or the feature is required already.
    """
    found = read_format(disk)
    if found.required | feature != found.required:
        write_format(disk, replace(found, required=found.required | feature))


def is_blank(disk: Disk) -> bool:
    """Whether a directory may become a database: it holds nothing but what an interrupted creation left behind."""
    return all(entry == LOCK_NAME or entry == f"{FORMAT_NAME.lower()}.tmp" for entry in disk.list(ROOT))
