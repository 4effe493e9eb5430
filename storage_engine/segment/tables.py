r"""The keyed tables of a snapshot: one text file, a record a line.

Each line is ``<CRC-32 in 8 hexadecimal digits> <JSON>\n``; the checksum is that of the JSON in UTF-8, seeded with the
checksum of the line before (0 for the first), so that no line can be lost, doubled or moved. Lines:

- ``{"format":1}``, the first
- ``["<table>","<key>",{…}]``, one a record, tables and keys in insertion order
- ``{"records":n}``, the last
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from zlib import crc32

from storage_engine.batch import JsonValue
from storage_engine.errors import DamagedError, FormatTooNewError
from storage_engine.files import Disk
from storage_engine.json_text import dump_json
from storage_engine.keyed_table import TableView
from storage_engine.staged_file import StagedFile, StoredFile, publish, read_file

Tables = Mapping[str, Mapping[str, Mapping[str, JsonValue]]]

_FORMAT = 1
_WRITE_BYTES = 1 << 20


def write_tables(disk: Disk, tables: Tables, *, uuid: str) -> StoredFile:
    """Write ``seg/<uuid>.tab``, durable under its name.

    Args:
        disk: Where; the directory ``seg`` exists.
        tables: Table name → key → record, in insertion order, which reading keeps.
        uuid: A fresh one for this file, 32 hexadecimal digits.

    Raises:
        InvalidArgumentError: A record holds what JSON cannot express.
        DiskError: The disk failed.
        DamagedError: What was read back differs from what was written.
    """
    staged = StagedFile(disk, f"seg/{uuid}.tab")
    try:
        crc, lines, size = 0, [], 0
        for text in _texts(tables):
            crc = crc32(text, crc)
            lines.append(b"%08x %s\n" % (crc, text))
            size += len(text)
            if size > _WRITE_BYTES:
                staged.write(b"".join(lines))
                lines, size = [], 0
        staged.write(b"".join(lines))
        file = staged.seal()
        publish(disk, [file])
    except BaseException:
        staged.abandon()
        raise
    return file


def _texts(tables: Tables) -> Iterator[bytes]:
    """The lines without their checksums."""
    yield dump_json({"format": _FORMAT}, "the header")
    count = 0
    for table, records in tables.items():
        name = dump_json(table, f"table {table!r}")
        for key, record in _records(table, records):
            yield b"[%s,%s,%s]" % (name, dump_json(key, f"a key of table {table!r}"), record)
            count += 1
    yield dump_json({"records": count}, "the end")


def _records(table: str, records: Mapping[str, Mapping[str, JsonValue]]) -> Iterator[tuple[str, bytes]]:
    """Keys with their records as JSON text, which a view has at hand."""
    if isinstance(records, TableView):
        for key, text in records.texts():
            yield key, text.encode()
        return
    for key, record in records.items():
        yield key, dump_json(dict(record), f"record {key!r} of table {table!r}")


def read_tables(disk: Disk, file: StoredFile) -> dict[str, dict[str, dict[str, JsonValue]]]:
    """Inverse of :func:`write_tables`, except that a table without records is absent.

    Raises:
        DamagedError: The file is missing or damaged; names file and offset.
        FormatTooNewError: A newer version wrote it.
    """
    data = read_file(disk, file)
    tables: dict[str, dict[str, dict[str, JsonValue]]] = {}
    crc, offset, count = 0, 0, -1
    ended = False
    for raw in data.splitlines(keepends=True):
        text = raw[9:-1]
        crc = crc32(text, crc)
        if ended or raw[:9] != b"%08x " % crc or raw[-1:] != b"\n":
            raise _damaged(file, offset)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _damaged(file, offset) from error
        match value:
            case {"format": int(version)} if count < 0:
                if version != _FORMAT:
                    raise FormatTooNewError(
                        f"{file.name} has layout version {version}; this Q-Store reads {_FORMAT}",
                        fix="Open the directory with a newer Q-Store.",
                        value=version,
                    )
                count = 0
            case [str(table), str(key), dict(record)] if count >= 0:
                tables.setdefault(table, {})[key] = record
                count += 1
            case {"records": int(total)} if total == count:
                ended = True
            case _:
                raise _damaged(file, offset)
        offset += len(raw)
    if not ended:
        raise _damaged(file, offset)
    return tables


def _damaged(file: StoredFile, offset: int) -> DamagedError:
    return DamagedError(
        f"{file.name} is damaged at offset {offset}",
        fix="Restore the file from a backup of the directory.",
        value=file.name,
    )
