import datetime
import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.errors import DamagedError, InvalidMetadataError, QStoreError
from storage_engine.files import DiskError
from storage_engine.memory_disk import MemoryDisk
from storage_engine.real_disk import RealDisk
from storage_engine.segment.block_file import BLOCK_BYTES, BlockFile, BlockFileWriter
from storage_engine.segment.deletes import read_deletes, write_deletes
from storage_engine.segment.segment import Segment
from storage_engine.segment.tables import read_tables, write_tables
from storage_engine.segment.writer import RowChunk, SegmentRows, write_segment
from storage_engine.staged_file import StoredFile, publish
from storage_engine.testing.failing_disk import FailingDisk, Fault

COLLECTION = "c" * 32
SEGMENT = "5" * 32
SCHEMA = pa.schema([("n", pa.int64()), ("name", pa.string())])


@pytest.fixture(params=["real", "memory"])
def disk(request, tmp_path):
    made = MemoryDisk() if request.param == "memory" else RealDisk(tmp_path)
    made.make_directory("seg")
    yield made
    made.shut()


def memory():
    made = MemoryDisk()
    made.make_directory("seg")
    return made


def chunk(start, rows, dimension=5, metadata=True):
    rng = np.random.default_rng(start)
    names = [f"row {start + i} ü" for i in range(rows)]
    return RowChunk(
        ids=names,
        vectors=rng.standard_normal((rows, dimension)).astype(np.float32),
        norms=rng.random(rows).astype(np.float32),
        born=np.arange(start + 1, start + 1 + rows, dtype=np.uint64),
        metadata=pa.table({"n": list(range(start, start + rows)), "name": names}, SCHEMA) if metadata else None,
    )


def write(disk, chunks, dimension=5, schema=SCHEMA, uuid=SEGMENT):
    return write_segment(disk, COLLECTION, SegmentRows(dimension, chunks, schema), uuid=uuid)


def overwrite(disk, name, data):
    handle = disk.open(name)
    disk.truncate(handle, 0)
    disk.write(handle, 0, bytes(data))
    disk.close(handle)


def test_rows_come_back_bit_by_bit(disk):
    chunks = [chunk(0, 3), chunk(3, 1), chunk(4, 0), chunk(4, 700)]
    reference = write(disk, iter(chunks))
    assert (reference.uuid, reference.collection) == (SEGMENT, COLLECTION)
    assert (reference.rows, reference.dimension) == (704, 5)
    assert (reference.first_lsn, reference.last_lsn) == (1, 704)
    assert disk.list("seg") == [f"{SEGMENT}.ids", f"{SEGMENT}.meta", f"{SEGMENT}.vec"]
    segment = Segment.open(disk, reference)
    assert len(segment) == 704
    assert segment.vectors.tobytes() == b"".join(one.vectors.tobytes() for one in chunks)
    assert segment.norms.tobytes() == b"".join(one.norms.tobytes() for one in chunks)
    np.testing.assert_array_equal(segment.born, np.arange(1, 705))
    ids = [name for one in chunks for name in one.ids]
    assert segment.ids.at(range(704)) == ids
    assert [name for part in segment.ids.chunks(100) for name in part] == ids
    np.testing.assert_array_equal(segment.ids.lookup([*reversed(ids), "absent", ""]), [*range(703, -1, -1), -1, -1])
    assert segment.ids.lookup([]).tolist() == []
    assert segment.metadata() == pa.concat_tables([one.metadata for one in chunks])
    assert segment.metadata(["name"]).column_names == ["name"]
    assert segment.metadata_schema().equals(SCHEMA)
    segment.verify()


def test_vectors_are_mapped_aligned_and_cannot_be_changed(tmp_path):
    disk = RealDisk(tmp_path)
    disk.make_directory("seg")
    segment = Segment.open(disk, write(disk, [chunk(0, 10)]))
    vectors = segment.mapped_vectors
    assert not vectors.flags.owndata
    assert not vectors.flags.writeable
    assert vectors.flags.aligned and vectors.flags.c_contiguous
    assert vectors.ctypes.data % 64 == 0
    for name in disk.list("seg"):
        disk.unlink(f"seg/{name}")
    np.testing.assert_array_equal(segment.vectors, chunk(0, 10).vectors)
    assert segment.ids.at([9]) == chunk(0, 10).ids[9:]
    assert segment.metadata().num_rows == 10
    disk.shut()


def test_a_segment_without_metadata(disk):
    reference = write(disk, [chunk(0, 3, metadata=False)], schema=None)
    assert reference.metadata is None
    segment = Segment.open(disk, reference)
    assert segment.metadata() is None
    assert segment.metadata_schema() == pa.schema([])
    assert segment.metadata([]) is None
    with pytest.raises(KeyError):
        segment.metadata(["n"])
    segment.verify()


def test_chunks_may_lack_columns_and_have_narrower_types(disk):
    parts = [
        RowChunk(["a"], np.ones((1, 2), np.float32), np.ones(1, np.float32), np.ones(1, np.uint64), None),
        RowChunk(
            ["b"],
            np.ones((1, 2), np.float32),
            np.ones(1, np.float32),
            np.ones(1, np.uint64),
            pa.table({"n": pa.array([7], pa.int8())}),
        ),
    ]
    segment = Segment.open(disk, write(disk, parts, dimension=2))
    assert segment.metadata().to_pylist() == [{"n": None, "name": None}, {"n": 7, "name": None}]
    with pytest.raises(InvalidMetadataError, match="column 'n' is not among"):
        write(disk, [*parts, chunk(0, 1, 2)], dimension=2, schema=pa.schema([("other", pa.int8())]), uuid="6" * 32)
    with pytest.raises(InvalidMetadataError, match="cannot be stored"):
        write(disk, [chunk(0, 1, 2)], dimension=2, schema=SCHEMA.set(1, pa.field("name", pa.int8())), uuid="6" * 32)
    assert {name[:32] for name in disk.list("seg")} == {SEGMENT}


def test_column_types_survive(disk):
    table = pa.table(
        {
            "a.b": pa.array([1.5], pa.float32()),
            "a": pa.array([{"b": 1}], pa.struct([("b", pa.int8())])),
            "when": pa.array([datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)], pa.timestamp("ns", "UTC")),
            "day": pa.array([datetime.date(2026, 1, 2)]),
            "tags": pa.array([["x", None]], pa.list_(pa.string())),
            "kind": pa.array(["k"]).dictionary_encode(),
            "nothing": pa.nulls(1),
            "raw": pa.array([b"\0\xff"], pa.large_binary()),
            "big": pa.array([2**64 - 1], pa.uint64()),
        }
    )
    part = RowChunk(["i"], np.ones((1, 1), np.float32), np.ones(1, np.float32), np.ones(1, np.uint64), table)
    segment = Segment.open(disk, write(disk, [part], dimension=1, schema=table.schema))
    assert segment.metadata_schema().equals(table.schema)
    assert segment.metadata() == table
    for name in table.column_names:
        assert segment.metadata([name]) == table.select([name])
    assert segment.metadata(["big", "a"]).column_names == ["big", "a"]


def test_the_newest_of_several_rows_is_found_by_id(disk):
    part = RowChunk(
        ["x", "y", "x", "z", "x", "y"], np.ones((6, 1), np.float32), np.ones(6, np.float32), np.ones(6, np.uint64)
    )
    segment = Segment.open(disk, write(disk, [part], dimension=1, schema=None))
    assert segment.ids.lookup(["x", "y", "z", "w"]).tolist() == [4, 5, 3, -1]
    segment.verify()


def test_ids_outside_the_segment_are_an_error(disk):
    segment = Segment.open(disk, write(disk, [chunk(0, 3)]))
    for rows in ([3], [-1]):
        with pytest.raises(IndexError):
            segment.ids.at(rows)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=60),
    st.lists(st.text(max_size=20), max_size=20),
)
def test_lookup_agrees_with_a_dict(ids, others):
    disk = memory()
    rows = len(ids)
    part = RowChunk(ids, np.ones((rows, 1), np.float32), np.ones(rows, np.float32), np.ones(rows, np.uint64))
    segment = Segment.open(disk, write(disk, [part], dimension=1, schema=None))
    newest = {name: row for row, name in enumerate(ids)}
    asked = [*others, *ids]
    assert segment.ids.lookup(asked).tolist() == [newest.get(name, -1) for name in asked]
    assert segment.ids.at(range(rows)) == ids
    segment.ids.verify()


def test_colliding_hashes_are_told_apart(disk, monkeypatch):
    monkeypatch.setattr(
        "storage_engine.segment.ids.hash_ids",
        lambda encoded: np.full(len(encoded), 2**64 - 1, dtype="<u8"),  # the last home: probing runs past it
    )
    segment = Segment.open(disk, write(disk, [chunk(0, 50)]))
    ids = chunk(0, 50).ids
    np.testing.assert_array_equal(segment.ids.lookup([*ids, "absent"]), [*range(50), -1])
    segment.verify()


@pytest.mark.parametrize("wrong", ["ids", "norms", "dimension", "none"])
def test_rows_that_do_not_fit_together_are_refused(disk, wrong):
    good = chunk(0, 2)
    parts = {
        "ids": [RowChunk(["a"], good.vectors, good.norms, good.born)],
        "norms": [RowChunk(good.ids, good.vectors, good.norms[:1], good.born)],
        "dimension": [chunk(0, 2, dimension=4)],
        "none": [],
    }[wrong]
    with pytest.raises(ValueError, match=r"rows|ids"):
        write(disk, parts)
    assert disk.list("seg") == []


@pytest.mark.crash
def test_any_failing_call_leaves_no_segment():
    disk = FailingDisk(None, Fault("full", at=-1))
    disk.make_directory("seg")
    write(disk, [chunk(0, 3)])
    assert disk.calls > 20
    for fail_at in range(1, disk.calls):
        failing = FailingDisk(None, Fault("full", at=fail_at))
        failing.make_directory("seg")
        with pytest.raises(DiskError):
            write(failing, [chunk(0, 3)])
        # Names that were already given stay, unnamed by any manifest; no temporary file is left.
        assert not [name for name in failing.list("seg") if name.endswith(".tmp")]
        assert len(failing.list("seg")) < 3


def verdict(check):
    """What a reader sees: a typed error, or the right values."""
    try:
        check()
    except QStoreError:
        return "refused"
    return "right"


@pytest.mark.crash
@pytest.mark.parametrize("suffix", ["vec", "ids", "meta"])
def test_every_flipped_bit_of_a_segment_is_noticed(suffix):
    disk = memory()
    part = chunk(0, 3, dimension=2)
    reference = write(disk, [part], dimension=2)
    name = f"seg/{SEGMENT}.{suffix}"
    good = disk.read(name)
    step = 1 if suffix != "meta" else 3

    def check():
        segment = Segment.open(disk, reference)
        assert segment.vectors.tobytes() == part.vectors.tobytes()
        assert segment.norms.tobytes() == part.norms.tobytes()
        assert segment.born.tolist() == [1, 2, 3]
        assert segment.ids.lookup(part.ids).tolist() == [0, 1, 2]
        assert segment.ids.at([2, 1, 0]) == part.ids[::-1]
        assert segment.metadata() == part.metadata

    for bit in range(0, 8 * len(good), step):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        overwrite(disk, name, data)
        # Reading gives the right values or a typed error, and a full check always finds the damage.
        verdict(check)
        with pytest.raises(DamagedError, match=f"{SEGMENT}.{suffix} is damaged at offset|{SEGMENT}.{suffix} .*bytes 0"):
            Segment.open(disk, reference).verify()


@pytest.mark.crash
@pytest.mark.parametrize("suffix", ["vec", "ids", "meta"])
def test_cut_extended_and_missing_files_do_not_open(suffix):
    disk = memory()
    reference = write(disk, [chunk(0, 3)])
    name = f"seg/{SEGMENT}.{suffix}"
    good = disk.read(name)
    for data in (b"", good[:-1], good[:100], good + b"\0"):
        overwrite(disk, name, data)
        with pytest.raises(DamagedError, match=f"{SEGMENT}.{suffix} has {len(data)} bytes"):
            Segment.open(disk, reference)
    disk.unlink(name)
    with pytest.raises(DamagedError, match=f"{SEGMENT}.{suffix} is missing"):
        Segment.open(disk, reference)


def test_another_segments_file_is_refused():
    disk = memory()
    one = write(disk, [chunk(0, 3)])
    write(disk, [chunk(0, 3)], uuid="6" * 32)
    for suffix in ("vec", "ids"):
        good = disk.read(f"seg/{SEGMENT}.{suffix}")
        overwrite(disk, f"seg/{SEGMENT}.{suffix}", disk.read(f"seg/{'6' * 32}.{suffix}"))
        with pytest.raises(DamagedError, match="expected"):
            Segment.open(disk, one)
        overwrite(disk, f"seg/{SEGMENT}.{suffix}", good)
    Segment.open(disk, one).verify()


def test_page_checksums_are_written_and_verified():
    # The whole-file digest comes first; here it is made to fit, so that the pages have to speak for themselves.
    disk = memory()
    text = [f"{i:08d}" for i in range(1000)]
    part = RowChunk(
        text,
        np.ones((1000, 1), np.float32),
        np.ones(1000, np.float32),
        np.ones(1000, np.uint64),
        pa.table({"n": np.random.default_rng(0).integers(0, 2**60, 1000)}),
    )
    reference = write(disk, [part], dimension=1, schema=pa.schema([("n", pa.int64())]))
    assert reference.metadata is not None
    name = reference.metadata.name
    data = bytearray(disk.read(name))
    data[3000] ^= 1
    overwrite(disk, name, data)
    forged = StoredFile(name, len(data), hashlib.sha256(data).hexdigest())
    from storage_engine.segment.metadata import SegmentMetadata

    with pytest.raises(DamagedError, match=r"(?i)crc"):
        SegmentMetadata(disk, forged, 1000).read()


def test_blocks_are_checked_where_they_are_touched():
    disk = memory()
    dimension, rows = 1024, 100  # 16 rows a block
    part = RowChunk(
        [str(i) for i in range(rows)],
        np.arange(rows * dimension, dtype=np.float32).reshape(rows, dimension),
        np.ones(rows, np.float32),
        np.ones(rows, np.uint64),
    )
    reference = write(disk, [part], dimension=dimension, schema=None)
    name = reference.vectors.name
    data = bytearray(disk.read(name))
    data[64 + 50 * 4 * dimension] ^= 1  # the first byte of row 50
    overwrite(disk, name, data)
    segment = Segment.open(disk, reference)
    segment.verify_rows(np.array([0, 3, 99, 33]))
    np.testing.assert_array_equal(segment.norms, np.ones(rows))
    offset = (64 + 50 * 4 * dimension) // BLOCK_BYTES * BLOCK_BYTES
    for check in (lambda: segment.verify_rows(np.array([3, 50])), lambda: segment.vectors, segment.verify):
        with pytest.raises(DamagedError, match=f"damaged at offset {offset}:"):
            check()
    segment.verify_rows(np.empty(0, np.int64))


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 200_000), max_size=3), st.integers(0, 2**31))
def test_block_files_of_any_size(sizes, seed):
    disk = memory()
    rng = np.random.default_rng(seed)
    contents = [rng.bytes(size) for size in sizes]
    writer = BlockFileWriter(disk, "seg/x.blk", b"TEST", SEGMENT)
    for content in contents:
        writer.begin()
        half = len(content) // 2
        writer.write(content[:half])
        writer.write(content[half:])
    file = writer.seal([1, 2, 3])
    publish(disk, [file])
    blocks = BlockFile(disk, file, b"TEST", SEGMENT, sections=len(sizes))
    assert blocks.numbers == (1, 2, 3, 0)
    assert [bytes(blocks.section(i)) for i in range(len(sizes))] == contents
    blocks.verify()
    blocks.verify_digest()
    del blocks
    data = bytearray(disk.read("seg/x.blk"))
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    overwrite(disk, "seg/x.blk", data)
    with pytest.raises(DamagedError, match="offset"):
        BlockFile(disk, file, b"TEST", SEGMENT, sections=len(sizes)).verify()


def test_deletes_round_trip(disk):
    rows, lsns = np.array([9, 2, 5]), np.array([30, 20, 10], np.uint64)
    file = write_deletes(disk, uuid=SEGMENT, segment_rows=10, rows=rows, lsns=lsns)
    got_rows, got_lsns = read_deletes(disk, file, 10)
    assert (got_rows.tolist(), got_lsns.tolist()) == ([2, 5, 9], [20, 10, 30])
    empty = write_deletes(disk, uuid="6" * 32, segment_rows=10, rows=rows[:0], lsns=lsns[:0])
    assert read_deletes(disk, empty, 10)[0].tolist() == []
    with pytest.raises(DamagedError, match="11 rows"):
        read_deletes(disk, file, 11)
    for bad in ([10], [-1], [1, 1]):
        with pytest.raises(ValueError, match="do not fit"):
            write_deletes(disk, uuid="7" * 32, segment_rows=10, rows=np.array(bad), lsns=np.ones(len(bad), np.uint64))
    with pytest.raises(ValueError, match="do not fit"):
        write_deletes(disk, uuid="7" * 32, segment_rows=10, rows=rows, lsns=lsns[:2])


@pytest.mark.crash
def test_every_flipped_bit_of_deletes_is_noticed():
    disk = memory()
    file = write_deletes(disk, uuid=SEGMENT, segment_rows=10, rows=np.array([2, 5]), lsns=np.array([30, 20], np.uint64))
    good = disk.read(file.name)
    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        overwrite(disk, file.name, data)
        with pytest.raises(DamagedError, match=r"\.del is damaged at offset"):
            read_deletes(disk, file, 10)


TABLES = {
    "runs": {"2": {"a": [1, None, {"ü": -0.0}]}, "1": {}},
    "états\n": {"": {"x": "line\nbreak\r\u2028"}},
}


def test_tables_round_trip_in_order(disk):
    file = write_tables(disk, {**TABLES, "empty": {}}, uuid=SEGMENT)
    got = read_tables(disk, file)
    assert got == TABLES
    assert [*got], [*got["runs"]] == (["runs", "états\n"], ["2", "1"])
    assert read_tables(disk, write_tables(disk, {}, uuid="6" * 32)) == {}


@pytest.mark.crash
def test_damage_to_tables_is_noticed_by_digest_and_by_line():
    disk = memory()
    file = write_tables(disk, TABLES, uuid=SEGMENT)
    good = disk.read(file.name)
    lines = good.splitlines(keepends=True)
    changed = [
        bytes(good[:at]) + bytes([good[at] ^ 1 << bit]) + good[at + 1 :] for at in range(len(good)) for bit in range(8)
    ]
    for i in range(len(lines)):
        changed.append(b"".join(lines[:i] + lines[i + 1 :]))
        changed.append(b"".join(lines[:i] + lines[i : i + 1] * 2 + lines[i + 1 :]))
        changed.append(b"".join(lines[i + 1 :] + lines[: i + 1]) if i + 1 < len(lines) else b"")
    for data in changed:
        overwrite(disk, file.name, data)
        with pytest.raises(DamagedError, match=file.name):
            read_tables(disk, file)
        forged = StoredFile(file.name, len(data), hashlib.sha256(data).hexdigest())
        with pytest.raises(DamagedError, match=f"{file.name} is damaged at offset"):
            read_tables(disk, forged)
