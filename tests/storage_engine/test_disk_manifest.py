import dataclasses
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.batch import FileReference
from storage_engine.errors import DamagedError
from storage_engine.files import DiskError
from storage_engine.manifest.manifest import (
    GraphFile,
    Manifest,
    SealedCollection,
    SealedSegment,
    manifest_name,
    manifest_number,
    pack_manifest,
    unpack_manifest,
)
from storage_engine.manifest.reader import choose_manifest, manifest_numbers, read_manifest
from storage_engine.manifest.writer import write_manifest
from storage_engine.memory_disk import MemoryDisk
from storage_engine.schema import CollectionSchema, Metric, Role, VectorType
from storage_engine.segment.reference import SegmentReference
from storage_engine.staged_file import StoredFile, store_file

DATABASE = "00112233445566778899aabbccddeeff"


def example(disk, number=1, previous="", wal=1):
    """A manifest with one file of every sort, all of them there."""
    stored = {
        suffix: store_file(disk, f"seg/{number}{suffix}", suffix.encode())
        for suffix in (".vec", ".ids", ".meta", ".del", ".tab")
    }
    graph = store_file(disk, f"idx/{number}.graph", b"graph")
    checkpoint = store_file(disk, f"ckpt/{number}.zip", b"zip")
    disk.create(f"wal/{wal:010d}.wal")
    schema = CollectionSchema("e$x", "c" * 32, 7, Metric.IP, Role.HIDDEN, 0.1, attributes=(("a", "ü"),))
    segment = SegmentReference("5" * 32, "c" * 32, 3, 7, 1, 2, stored[".vec"], stored[".ids"], stored[".meta"])
    return Manifest(
        number=number,
        database_uuid=DATABASE,
        created_at=1700000000.1,
        previous_sha256=previous,
        wal_number=wal,
        last_lsn=2**63 + 1,
        last_crc=2**32 - 1,
        collections=(
            SealedCollection(
                schema,
                (SealedSegment(segment, stored[".del"]), SealedSegment(segment)),
                GraphFile(graph, ("5" * 32,), 3),
            ),
            SealedCollection(schema),
        ),
        tables=stored[".tab"],
        files=(FileReference("ckpt", f"{number}.zip", checkpoint.length, checkpoint.sha256),),
    )


@pytest.fixture
def disk():
    return fresh()


def fresh():
    made = MemoryDisk()
    for directory in ("seg", "idx", "ckpt", "wal", "manifest"):
        made.make_directory(directory)
    return made


def chain(disk, count):
    previous, manifests = "", []
    for number in range(1, count + 1):
        manifest = example(disk, number, previous, wal=number)
        previous = write_manifest(disk, manifest).sha256
        manifests.append(manifest)
    return manifests


def damage(disk, name):
    handle = disk.open(name)
    byte = disk.read(name, disk.size(name) // 2, 1)[0]
    disk.write(handle, disk.size(name) // 2, bytes([byte ^ 1]))


def test_names():
    assert manifest_name(12) == "manifest/0000000012.man"
    assert manifest_number("0000000012.man") == 12
    for other in ("12.man", "0000000012.man.tmp", "0000000012.wal"):
        assert manifest_number(other) is None


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "seg/../../x", "seg/.hidden", "seg/A", "seg//x", ""]
)
def test_names_that_lead_elsewhere_are_damage(disk, name):
    manifest = example(disk)
    for changed in (
        replace(manifest, tables=StoredFile(name, 1, "0")),
        replace(manifest, files=(FileReference("ckpt", f"../{name}", 1, "0"),)),
        replace(
            manifest, collections=(replace(manifest.collections[0], graph=GraphFile(StoredFile(name, 1, ""), (), 1)),)
        ),
    ):
        with pytest.raises(DamagedError, match="may not name a file"):
            unpack_manifest(pack_manifest(changed), "m")


def test_a_segment_of_another_collection_is_damage(disk):
    manifest = example(disk)
    [sealed, *_] = manifest.collections[0].segments
    for change in ({"dimension": 8}, {"collection": "d" * 32}, {"dtype": VectorType.INT8}, {"rows": 0}):
        wrong = SealedCollection(manifest.collections[0].schema, (SealedSegment(replace(sealed.segment, **change)),))
        with pytest.raises(DamagedError, match="is not of collection"):
            unpack_manifest(pack_manifest(replace(manifest, collections=(wrong,))), "m")


def test_round_trip_and_what_is_named(disk):
    manifest = example(disk)
    stored = write_manifest(disk, manifest)
    assert read_manifest(disk, 1, DATABASE) == (manifest, stored.sha256)
    required = {file.name for file in manifest.required_files()}
    assert required == {"seg/1.vec", "seg/1.ids", "seg/1.meta", "seg/1.del", "seg/1.tab", "ckpt/1.zip"}
    assert manifest.file_names() == required | {"idx/1.graph"}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
numbers = st.integers(0, 2**64 - 1)
names = st.from_regex(r"[a-z0-9_-][a-z0-9._-]{0,20}", fullmatch=True)
files = st.builds(StoredFile, names.map("seg/{}".format), numbers, texts)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.builds(
        Manifest,
        number=numbers,
        database_uuid=texts,
        created_at=st.floats(allow_nan=False, allow_infinity=False),
        previous_sha256=texts,
        wal_number=numbers,
        last_lsn=numbers,
        last_crc=numbers,
        tables=st.none() | files,
        files=st.lists(st.builds(FileReference, names, names, numbers, texts), max_size=3).map(tuple),
    )
)
def test_any_manifest_comes_back(manifest):
    assert unpack_manifest(pack_manifest(manifest), "m") == manifest


def test_every_flipped_bit_and_every_cut_is_refused(disk):
    good = pack_manifest(example(disk))
    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedError, match="m is damaged at offset"):
            unpack_manifest(bytes(data), "m")
    for length in range(len(good)):
        with pytest.raises(DamagedError, match="m is damaged at offset"):
            unpack_manifest(good[:length], "m")
    with pytest.raises(DamagedError):
        unpack_manifest(good + b"\0", "m")


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.recursive(st.none() | st.integers() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_an_undamaged_file_of_another_shape_is_refused(value):
    import json
    from zlib import crc32

    body = json.dumps(value).encode()
    data = b"QSTORMAN" + len(body).to_bytes(8, "little") + body
    with pytest.raises(DamagedError):
        unpack_manifest(data + crc32(data).to_bytes(4, "little"), "m")


def test_no_manifest_is_none(disk):
    assert choose_manifest(disk, DATABASE) is None


def test_the_newest_one_counts(disk):
    manifests = chain(disk, 12)
    choice = choose_manifest(disk, DATABASE)
    assert choice is not None
    assert choice.manifest == manifests[-1]
    assert choice.rejected == ()
    assert manifest_numbers(disk) == list(range(1, 13))
    assert read_manifest(disk, 12, DATABASE)[1] == choice.sha256


def test_a_number_is_used_once(disk):
    manifest = chain(disk, 1)[0]
    with pytest.raises(DiskError) as caught:
        write_manifest(disk, dataclasses.replace(manifest, created_at=2.0))
    assert caught.value.exists
    assert read_manifest(disk, 1, DATABASE)[0] == manifest


@pytest.mark.crash
@pytest.mark.parametrize(
    "lost", ["manifest", "seg/3.vec", "seg/3.ids", "seg/3.meta", "seg/3.del", "seg/3.tab", "ckpt/3.zip", "wal"]
)
def test_a_manifest_that_cannot_be_used_is_reported_and_passed_over(lost):
    disk = fresh()
    manifests = chain(disk, 3)
    if lost == "manifest":
        damage(disk, manifest_name(3))
    elif lost == "wal":
        disk.unlink("wal/0000000003.wal")
    elif lost == "seg/3.ids":
        disk.truncate(disk.open(lost), 1)
    else:
        disk.unlink(lost)
    choice = choose_manifest(disk, DATABASE)
    assert choice is not None
    assert choice.manifest == manifests[1]
    assert [(one.name, one.number) for one in choice.rejected] == [("manifest/0000000003.man", 3)]
    assert (lost if "/" in lost else "0000000003") in str(choice.rejected[0].error)


def test_a_missing_graph_is_no_reason_to_reject(disk):
    manifests = chain(disk, 2)
    disk.unlink("idx/2.graph")
    choice = choose_manifest(disk, DATABASE)
    assert choice is not None
    assert (choice.manifest, choice.rejected) == (manifests[1], ())


def test_a_damaged_predecessor_does_not_matter(disk):
    manifests = chain(disk, 3)
    damage(disk, manifest_name(2))
    choice = choose_manifest(disk, DATABASE)
    assert choice is not None
    assert (choice.manifest, choice.rejected) == (manifests[2], ())


@pytest.mark.crash
def test_an_old_copy_put_back_breaks_the_chain(disk):
    manifests = chain(disk, 2)
    other = dataclasses.replace(manifests[1], created_at=5.0, previous_sha256="0" * 64)
    disk.unlink(manifest_name(2))
    write_manifest(disk, other)
    choice = choose_manifest(disk, DATABASE)
    assert choice is not None
    assert choice.manifest == manifests[0]
    assert "does not follow" in str(choice.rejected[0].error)


def test_only_unusable_manifests_are_an_error(disk):
    chain(disk, 2)
    for name in (manifest_name(1), manifest_name(2)):
        damage(disk, name)
    with pytest.raises(DamagedError, match="0000000002"):
        choose_manifest(disk, DATABASE)


def test_another_databases_manifest_is_refused(disk):
    write_manifest(disk, example(disk))
    with pytest.raises(DamagedError, match="number 1 of database"):
        read_manifest(disk, 1, DATABASE[::-1])
    disk.rename(manifest_name(1), manifest_name(2))
    with pytest.raises(DamagedError, match="number 1 of database"):
        read_manifest(disk, 2, DATABASE)
    with pytest.raises(DamagedError, match="missing"):
        read_manifest(disk, 1, DATABASE)
