"""Damage at known places of a segment: what survives is bit-equal, what is lost is named, nothing is silent."""

import json

import numpy as np
import pyarrow as pa
import pytest

from storage_engine.batch import CreateCollection, DeleteRows, PutRecord, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import DamagedError
from storage_engine.schema import CollectionSchema, GraphOptions, Metric, VectorType

ROWS, DIMENSION, BLOCK = 3_000, 64, 1 << 16
DELETED = set(range(100, 140))
IDS = [f"identifier-{n:05d}" for n in range(ROWS)]
TEXT = 64 + -(-8 * (ROWS + 1) // 64) * 64  # where the ids begin in their file


def vectors(kind):
    rows = np.random.default_rng(1).normal(size=(ROWS, DIMENSION)) * 20
    return np.clip(np.rint(rows), -128, 127).astype(np.float32) if kind is VectorType.INT8 else rows.astype(np.float32)


def metadata(start, stop):
    numbers = range(start, stop)
    return pa.table(
        {
            "n": pa.array(numbers, pa.int64()),
            "text": [None if n % 5 == 0 else f"text of row {n} " * 3 for n in numbers],
            "nested": [{"x": n / 3, "tags": [str(n)] * (n % 3)} for n in numbers],
        }
    )


def fill(path, kind=VectorType.FLOAT32, metric=Metric.COSINE, *, norms=None, seals=2):
    """Rows of many commits in one segment; ``seals`` manifests name it."""
    rows = vectors(kind)
    with Engine.open(path, build_threads=1) as engine:
        schema = CollectionSchema("c", "c" * 32, DIMENSION, metric, dtype=kind, graph=GraphOptions(minimum_rows=10**6))
        engine.commit(WriteBatch([CreateCollection(schema)]))
        for start in range(0, ROWS, 500):
            part = slice(start, start + 500)
            given = None if norms is None else norms[part]
            put = PutRows("c", IDS[part], rows[part], norms=given, metadata=metadata(start, start + 500))
            engine.commit(WriteBatch([put, PutRecord("t", str(start), {"n": start})]))
        engine.seal()
        engine.commit(WriteBatch([DeleteRows("c", [IDS[n] for n in sorted(DELETED)])]))
        for number in range(seals):
            engine.commit(WriteBatch([PutRecord("t", "seal", {"n": number})]))
            engine.seal()
    return rows.astype(kind.value).astype(np.float32)


def only(path, pattern):
    [found] = (path / "seg").glob(pattern)
    return found


def flip(file, *places):
    data = bytearray(file.read_bytes())
    for place in places:
        data[place] ^= 4
    file.write_bytes(data)


def repaired(path, stored, lost, unnamed=(), norms=None):
    """Repair and check everything; ``lost`` and ``unnamed`` are row numbers."""
    damaged = {file.name: file.read_bytes() for file in (path / "seg").iterdir()}
    with Engine.open(path, build_threads=1, repair="rows") as engine:
        report = engine.repaired
        named = sorted(row_id for one in report.lost_rows for row_id in one.ids)
        assert named == [IDS[n] for n in sorted(set(lost) - DELETED)]
        assert sorted(row for one in report.lost_rows for row in one.unnamed) == sorted(set(unnamed) - DELETED)
        for copy in report.copies:
            file = path / copy
            if copy.startswith("quarantine/seg-"):
                assert file.read_bytes() == damaged[file.name.removeprefix("seg-")]
        check(engine, stored, lost, unnamed, norms)
        engine.commit(WriteBatch([PutRows("c", ["new"], stored[:1])]))
        engine.commit(WriteBatch([DeleteRows("c", ["new"])]))
    for more in ({}, {"read_only": True}, {"repair": "rows"}):
        with Engine.open(path, **more) as engine:
            check(engine, stored, lost, unnamed, norms)
            assert engine.repaired is None
    if lost or unnamed:
        [file] = (path / "quarantine").glob("*-lost.json")
        told = json.loads(file.read_text())
        assert told["ids"] == [IDS[n] for n in sorted(set(lost) - DELETED)] and told["collection"] == "c"
        assert told["rows_without_id"] == sorted(set(unnamed) - DELETED)
    return report


def check(engine, stored, lost, unnamed, norms):
    left = [n for n in range(ROWS) if n not in DELETED and n not in set(lost) | set(unnamed)]
    view = engine.snapshot().collection("c")
    assert len(view) == len(left)
    slots = view.slots_of([IDS[n] for n in left])
    assert (slots >= 0).all()
    assert view.vectors_at(slots).tobytes() == stored[left].tobytes()
    expected = np.linalg.norm(stored.astype(float), axis=1).astype(np.float32) if norms is None else norms
    assert view.norms_at(slots).tolist() == expected[left].tolist()
    some = left[:: max(1, len(left) // 200)]
    rows = view.metadata_at(view.slots_of([IDS[n] for n in some])).to_pylist()
    assert rows == [metadata(n, n + 1).to_pylist()[0] for n in some]
    assert len(engine.snapshot().table("t")) == ROWS // 500 + 1
    found = [one for one in engine.verify() if one.severity != "info"]
    assert found == []


def rows_of_block(block, width, start=64):
    first = (block * BLOCK - start) // width
    return [n for n in range(max(0, first), ROWS) if start + n * width < (block + 1) * BLOCK]


@pytest.mark.parametrize("kind", list(VectorType))
def test_a_flipped_bit_in_a_vector_costs_the_rows_of_its_block(tmp_path, kind):
    stored = fill(tmp_path / "db", kind)
    width = DIMENSION * stored.astype(kind.value).itemsize
    file = only(tmp_path / "db", "*.vec")
    flip(file, BLOCK + 17)
    repaired(tmp_path / "db", stored, rows_of_block(1, width))


def test_a_flipped_bit_in_a_norm_costs_that_row(tmp_path):
    stored = fill(tmp_path / "db")
    file = only(tmp_path / "db", "*.vec")
    at = 64 + 4 * DIMENSION * ROWS
    flip(file, at + 4 * 1_234 + 1)
    damaged = (at + 4 * 1_234 + 1) // BLOCK
    vectors_there = [n for n in range(ROWS) if 64 + (n + 1) * 4 * DIMENSION > damaged * BLOCK]
    assert len(vectors_there) < 300  # the last vectors stand in the same block
    repaired(tmp_path / "db", stored, {1_234, *vectors_there})


def test_norms_that_are_not_those_of_the_vectors_cannot_be_proven(tmp_path):
    norms = np.full(ROWS, 2.0, np.float32)
    stored = fill(tmp_path / "db", norms=norms)
    file = only(tmp_path / "db", "*.vec")
    at = 64 + 4 * DIMENSION * ROWS
    flip(file, at + 4 * 1_234 + 1)
    blocks = {at // BLOCK, (at + 4 * ROWS) // BLOCK}
    damaged = (at + 4 * 1_234 + 1) // BLOCK
    assert damaged in blocks
    first = max(0, (damaged * BLOCK - at) // 4)
    last = min(ROWS, ((damaged + 1) * BLOCK - at) // 4)
    vectors_there = [n for n in range(ROWS) if 64 + (n + 1) * 4 * DIMENSION > damaged * BLOCK]
    repaired(tmp_path / "db", stored, {*range(first, last), *vectors_there}, norms=norms)


def test_a_flipped_bit_in_the_commit_of_a_row_costs_no_more_than_its_block(tmp_path):
    stored = fill(tmp_path / "db", VectorType.INT8)
    at = 64 + DIMENSION * ROWS
    at = -(-(at + 4 * ROWS) // 64) * 64
    flip(only(tmp_path / "db", "*.vec"), at + 8 * 2_222, at + 8 * 1_500, at + 8 * 1_501 + 2)
    damaged = (at + 8 * 2_222) // BLOCK
    lost = [n for n in range(ROWS) if 64 + (n + 1) * DIMENSION > damaged * BLOCK]
    assert len(lost) < 1_000
    report = repaired(tmp_path / "db", stored, lost)
    with Engine.open(tmp_path / "db") as engine:
        view = engine.snapshot().collection("c")
        slots = view.slots_of([IDS[n] for n in range(ROWS)])
        born = view._state.rows.born_at(slots[slots >= 0]).tolist()
    # Row 1,500 began a run, so that it may have been written with the one before; its neighbour is no help either.
    assert "of 2 of them the commit that wrote them" in str(report)
    assert born == [2 + n // 500 for n in range(ROWS) if slots[n] >= 0]


@pytest.mark.parametrize("section", ["text", "offset", "hash", "table"])
def test_ids_prove_themselves(tmp_path, section):
    stored = fill(tmp_path / "db")
    file = only(tmp_path / "db", "*.ids")
    hashes = -(-(TEXT + sum(map(len, IDS))) // 64) * 64
    place, unnamed = {
        "text": (TEXT + 16 * 777 + 3, [777]),
        "offset": (64 + 8 * 777 + 1, [776, 777]),
        "hash": (hashes + 8 * 777, []),
        "table": (-(-(hashes + 8 * ROWS) // 64) * 64 + 5, []),
    }[section]
    flip(file, place)
    repaired(tmp_path / "db", stored, [], unnamed)


def test_damage_in_metadata_costs_the_rows_of_its_part(tmp_path):
    stored = fill(tmp_path / "db")
    file = only(tmp_path / "db", "*.meta")
    flip(file, 200)
    report = repaired_with_any_loss(tmp_path / "db", stored)
    assert all(one.ids for one in report.lost_rows)


def repaired_with_any_loss(path, stored):
    with Engine.open(path, build_threads=1, repair="rows") as engine:
        report = engine.repaired
        lost = [IDS.index(row_id) for one in report.lost_rows for row_id in one.ids]
        assert not any(one.unnamed for one in report.lost_rows)
        check(engine, stored, lost, [], None)
    return report


@pytest.mark.parametrize("suffix", [".vec", ".ids"])
@pytest.mark.parametrize("part", ["footer", "table", "header"])
def test_what_only_describes_rows_costs_none_or_one_block(tmp_path, suffix, part):
    stored = fill(tmp_path / "db")
    file = only(tmp_path / "db", f"*{suffix}")
    size = file.stat().st_size
    flip(file, {"footer": size - 100, "table": size - 256 - 1, "header": 20}[part])
    report = repaired_with_any_loss(tmp_path / "db", stored)
    lost = sum(len(one.ids) for one in report.lost_rows)
    if part == "footer" or suffix == ".ids":
        assert lost == 0
    else:
        assert lost <= BLOCK // (4 * DIMENSION) + 2 or part == "table"


@pytest.mark.parametrize("suffix", [".vec", ".ids", ".meta"])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_lost_file_names_what_was_in_it(tmp_path, suffix, how):
    stored = fill(tmp_path / "db")
    file = only(tmp_path / "db", f"*{suffix}")
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    live = [n for n in range(ROWS) if n not in DELETED]
    with Engine.open(tmp_path / "db", repair="rows") as engine:
        [lost] = engine.repaired.lost_rows
        if suffix != ".ids":
            assert list(lost.ids) == [IDS[n] for n in live] and not lost.unnamed
        elif how == "gone":
            assert list(lost.unnamed) == live and not lost.ids
        left = set(live) - {IDS.index(row_id) for row_id in lost.ids} - set(lost.unnamed)
        check(engine, stored, set(range(ROWS)) - left, [], None)


def test_several_damages_at_once(tmp_path):
    stored = fill(tmp_path / "db")
    flip(only(tmp_path / "db", "*.vec"), 3 * BLOCK + 1, 5 * BLOCK + 1)
    flip(only(tmp_path / "db", "*.ids"), TEXT + 16 * 10 + 3, TEXT + 16 * 2_500 + 3)
    lost = {*rows_of_block(3, 4 * DIMENSION), *rows_of_block(5, 4 * DIMENSION)}
    repaired(tmp_path / "db", stored, lost - {10, 2_500}, [10, 2_500])


def test_nothing_is_lost_while_the_log_still_holds_the_rows(tmp_path):
    stored = fill(tmp_path / "db", seals=0)
    flip(only(tmp_path / "db", "*.vec"), 3 * BLOCK + 1)
    flip(only(tmp_path / "db", "*.ids"), TEXT + 3)
    with Engine.open(tmp_path / "db", repair="rows") as engine:
        assert not engine.repaired.lost_rows and "nothing is lost" in str(engine.repaired)
        view = engine.snapshot().collection("c")
        left = [n for n in range(ROWS) if n not in DELETED]
        assert view.vectors_at(view.slots_of([IDS[n] for n in left])).tobytes() == stored[left].tobytes()
        assert [one for one in engine.verify() if one.severity != "info"] == []


@pytest.mark.parametrize("suffix", [".del", ".tab"])
def test_what_rows_cannot_be_told_from_is_left_to_people(tmp_path, suffix):
    fill(tmp_path / "db", seals=3)
    for file in (tmp_path / "db" / "seg").glob(f"*{suffix}"):
        flip(file, 70)
    before = {
        file: file.read_bytes() for file in (tmp_path / "db").rglob("*") if file.is_file() and file.name != "LOCK"
    }
    with pytest.raises(DamagedError):
        Engine.open(tmp_path / "db", repair="rows")
    after = {file: file.read_bytes() for file in (tmp_path / "db").rglob("*") if file.is_file() and file.name != "LOCK"}
    assert after == before


def test_a_segment_that_only_the_log_names_is_mended_too(tmp_path):
    rows = np.random.default_rng(5).normal(size=(20_000, 128)).astype(np.float32)
    ids = [str(n) for n in range(20_000)]
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, 128, Metric.L2))]))
        engine.commit(WriteBatch([PutRows("c", ids, rows)]))
    flip(only(tmp_path / "db", "*.vec"), 2 * BLOCK + 5)
    with Engine.open(tmp_path / "db", repair="rows") as engine:
        [lost] = engine.repaired.lost_rows
        gone = {int(row_id) for row_id in lost.ids}
        assert gone == {n for n in range(20_000) if 64 + n * 512 < 3 * BLOCK and 64 + (n + 1) * 512 > 2 * BLOCK}
        view = engine.snapshot().collection("c")
        left = sorted(set(range(20_000)) - gone)
        assert view.vectors_at(view.slots_of([str(n) for n in left])).tobytes() == rows[left].tobytes()
        assert [one for one in engine.verify() if one.severity != "info"] == []


def test_versions_that_needed_a_damaged_file_are_given_up_and_others_stay(tmp_path):
    stored = fill(tmp_path / "db")
    with Engine.open(tmp_path / "db") as engine:
        known = [one.number for one in engine.versions()]
    flip(only(tmp_path / "db", "*.vec"), 3 * BLOCK + 1)
    report = repaired(tmp_path / "db", stored, rows_of_block(3, 4 * DIMENSION))
    with Engine.open(tmp_path / "db") as engine:
        for one in engine.versions():
            assert one.number in known or one.number > known[-1]
            past = engine.at(one.number)
            for schema in past.snapshot().collections():
                view = past.snapshot().collection(schema.name)
                view.vectors_at(np.flatnonzero(view.live()))
            past.close()
    assert "can no longer be read" in str(report)


def test_an_undamaged_database_is_read_and_left_alone(tmp_path):
    fill(tmp_path / "db")
    before = {file: file.read_bytes() for file in (tmp_path / "db" / "manifest").iterdir()}
    with Engine.open(tmp_path / "db", repair="rows") as engine:
        assert engine.repaired is None
    assert {file: file.read_bytes() for file in (tmp_path / "db" / "manifest").iterdir()} == before
