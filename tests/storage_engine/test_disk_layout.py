"""The bytes on disk, read by hand as docs/file_format.md describes them: what is written once is read for ever."""

import hashlib
import itertools
import json
import struct
from zlib import crc32

import numpy as np

from storage_engine.batch import DropCollection, PutRows
from storage_engine.format_file import Format, pack_format
from storage_engine.history.retained import Checkpoint, KeptLog, Retained
from storage_engine.manifest.manifest import Manifest, pack_manifest
from storage_engine.memory_disk import MemoryDisk
from storage_engine.segment.deletes import write_deletes
from storage_engine.segment.tables import write_tables
from storage_engine.segment.writer import RowChunk, SegmentRows, write_segment
from storage_engine.wal.entry import encode_operations
from storage_engine.wal.watermark import Watermark
from storage_engine.wal.writer import LogWriter

DATABASE = "00112233445566778899aabbccddeeff"
SEGMENT = "5" * 32


def memory():
    disk = MemoryDisk()
    for directory in ("seg", "wal"):
        disk.make_directory(directory)
    return disk


def test_format():
    data = pack_format(Format(DATABASE, 1.5, required=1, optional=3))  # format 1.2
    expected = b"QSTOREDB" + bytes.fromhex(DATABASE) + struct.pack("<HHQQdI", 1, 2, 1, 3, 1.5, 0)
    assert data == expected + struct.pack("<I", crc32(expected))


def test_log():
    disk = memory()
    writer = LogWriter.create(disk, DATABASE, 3, first_lsn=5, previous_crc=77, created_at=1.5)
    writer.append([b"ab"], time=2.5)
    writer.append([b"c"], time=3.5)
    header = b"QSTORWAL" + bytes.fromhex(DATABASE) + struct.pack("<QQdIQ", 3, 5, 1.5, 77, 0)
    seed = crc32(header)
    first = b"QSWR" + struct.pack("<IQQdIHH", 2, 5, 4, 2.5, 77, 1, 0) + b"ab"
    first_crc = crc32(first, seed)
    second = b"QSWR" + struct.pack("<IQQdIHH", 1, 6, 5, 3.5, first_crc, 1, 0) + b"c"
    assert disk.read("wal/0000000003.wal") == b"".join(
        [
            header,
            struct.pack("<I", seed),
            first,
            struct.pack("<I", first_crc),
            second,
            struct.pack("<I", crc32(second, seed)),
        ]
    )


def test_watermark():
    disk = memory()
    mark = Watermark(disk, DATABASE)
    mark.write(9)
    slots = []
    for sequence, lsn in ((2, 9), (1, 0)):
        body = b"QSTORSYN" + bytes.fromhex(DATABASE) + struct.pack("<QQ", sequence, lsn) + bytes(468)
        slots.append(body + struct.pack("<I", crc32(body)))
    assert disk.read("SYNCED") == b"".join(slots)


def test_operations():
    vectors = np.array([[1.0, -0.0]], np.float32)
    payload = encode_operations([PutRows("c", ["é"], vectors, np.array([2.0], np.float32)), DropCollection("d")])
    body = struct.pack("<I1sII2sI", 1, b"c", 1, 2, "é".encode(), 2) + struct.pack("<3f", 1.0, -0.0, 2.0)
    rows = struct.pack("<BBHI", 3, 1 | 2 | 1 << 4, 0, len(body)) + body
    assert payload == struct.pack("<I", 2) + rows + struct.pack("<BBHII1s", 2, 0, 0, 5, 1, b"d")


def test_manifest():
    retained = Retained((Checkpoint(2, 5, 0.5, 1.0, 1),), (KeptLog(1, 6, 8, 640, (("seg/x.vec", 77),)),))
    data = pack_manifest(Manifest(4, DATABASE, 1.5, "ab", 3, 9, 11, last_time=1.25, retained=retained))
    body = {
        "number": 4,
        "database_uuid": DATABASE,
        "created_at": 1.5,
        "previous_sha256": "ab",
        "wal_number": 3,
        "last_lsn": 9,
        "last_crc": 11,
        "collections": [],
        "tables": None,
        "files": [],
        "last_time": 1.25,
        "retained": {"checkpoints": [[2, 5, 0.5, 1.0, 1]], "logs": [[1, 6, 8, 640, [["seg/x.vec", 77]]]]},
    }
    assert json.loads(data[16:-4]) == body
    assert data[:16] == b"QSTORMAN" + struct.pack("<Q", len(data) - 20)
    assert data[-4:] == struct.pack("<I", crc32(data[:-4]))


def sections(data, kind, uuid):
    """Footer and sections of a block file, by hand."""
    header = b"QSTORBLK" + kind + struct.pack("<I", 1) + bytes.fromhex(uuid) + bytes(28)
    assert data[:64] == header + struct.pack("<I", crc32(header))
    footer = data[-256:]
    assert footer[252:] == struct.pack("<I", crc32(footer[:252]))
    assert footer[:32] == b"QSTOREND" + kind + struct.pack("<I", 1) + bytes.fromhex(uuid)
    end, table_crc, count = struct.unpack_from("<QII", footer, 32)
    table = data[end:-256]
    assert table_crc == crc32(table)
    assert table == b"".join(struct.pack("<I", crc32(data[at : min(at + 65536, end)])) for at in range(0, end, 65536))
    numbers = struct.unpack_from("<4Q", footer, 48)
    spans = [struct.unpack_from("<QQ", footer, 80 + 16 * i) for i in range(count)]
    assert all(offset % 64 == 0 for offset, _ in spans)
    return numbers, [data[offset : offset + length] for offset, length in spans]


def test_segment():
    disk = memory()
    rows = 20_000
    ids = [f"id-{i}" for i in range(rows)]
    vectors = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    norms, born = np.arange(rows, dtype=np.float32), np.arange(rows, dtype=np.uint64)
    reference = write_segment(disk, "c" * 32, SegmentRows(3, [RowChunk(ids, vectors, norms, born)]), uuid=SEGMENT)

    numbers, parts = sections(disk.read(f"seg/{SEGMENT}.vec"), b"VEC1", SEGMENT)
    assert numbers == (rows, 3, 0, 0)
    assert parts == [vectors.tobytes(), norms.tobytes(), born.tobytes()]

    numbers, (offsets, text, hashes, table) = sections(disk.read(f"seg/{SEGMENT}.ids"), b"IDX1", SEGMENT)
    assert numbers[0] == rows
    assert numbers[3] == 0
    starts = np.frombuffer(offsets, "<u8")
    assert [text[a:b].decode() for a, b in itertools.pairwise(starts)] == ids
    places, bits = np.frombuffer(table, "<u4"), numbers[1]
    assert (len(places), places[-1]) == (numbers[2], 0)
    for row in (0, 1, 777, rows - 1):
        hashed = hashlib.blake2b(ids[row].encode(), digest_size=8).digest()
        assert hashes[8 * row : 8 * row + 8] == hashed
        place = int.from_bytes(hashed, "little") >> (64 - bits)
        while places[place] != row + 1:
            assert places[place] != 0
            place += 1
    assert hashlib.sha256(disk.read(f"seg/{SEGMENT}.vec")).hexdigest() == reference.vectors.sha256


def test_deletes():
    disk = memory()
    write_deletes(disk, uuid=SEGMENT, segment_rows=9, rows=np.array([5, 2]), lsns=np.array([7, 8], np.uint64))
    numbers, parts = sections(disk.read(f"seg/{SEGMENT}.del"), b"DEL1", SEGMENT)
    assert numbers == (2, 9, 0, 0)
    assert parts == [struct.pack("<2Q", 2, 5), struct.pack("<2Q", 8, 7)]


def test_tables():
    disk = memory()
    file = write_tables(disk, {"t": {"k": {"x": "ü"}}}, uuid=SEGMENT)
    crc, lines = 0, []
    for text in (b'{"format":1}', '["t","k",{"x":"ü"}]'.encode(), b'{"records":1}'):
        crc = crc32(text, crc)
        lines.append(b"%08x %s\n" % (crc, text))
    assert disk.read(file.name) == b"".join(lines)
