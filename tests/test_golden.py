"""Every database that an old version wrote opens for ever, with the same content; see tests/golden/write_golden.py."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from storage_engine.format_file import MAJOR, MINOR

GOLDEN = Path(__file__).parent / "golden"
DATABASES = sorted(path.name for path in GOLDEN.glob("*.qdb"))


@pytest.fixture(params=DATABASES)
def golden(request, tmp_path):
    copy = tmp_path / request.param
    shutil.copytree(GOLDEN / request.param, copy)
    for folder, _, _ in os.walk(copy):
        Path(folder).chmod(0o700)  # whatever the umask of the checkout was
    return copy


def vectors(seed, rows, dimension):
    steps = np.arange(rows * dimension, dtype=np.float64).reshape(rows, dimension)
    return np.sin(steps * 0.37 + seed).astype(np.float32)


def check(db):
    """What tests/golden/write_golden.py wrote."""
    items = db.collection("items")
    assert len(items) == 59 and "i3" not in items
    expected = vectors(0, 60, 5)
    for n in (0, 5, 59):
        row = items.get(f"i{n}")
        # Sines may differ in the last bit between machines; what was stored is what was computed then.
        assert np.allclose(row.vector, expected[n], atol=1e-6)
        assert row.metadata["n"] == (-5 if n == 5 else n)
        assert row.metadata["text"] == (None if n % 7 == 0 else f"row {n} ä")
        assert row.metadata["tags"] == [str(n), "x"] and row.metadata["when"].second == n
    assert items.get("late").metadata["n"] == 1000
    assert items.query(expected[5], top_k=1).ids == ["i5"]
    assert items.query(expected[5], top_k=1, ef=30).ids == ["i5"]
    assert db.get("doc").probabilities == {"a": 0.25, "b": 0.75}
    assert db.get("doc").vectors["b"].tolist() == [0.0, 2.0, 0.0]
    assert db.query([0.0, 1.0, 0.0], context="b", top_k=3).ids == ["doc"]
    assert db.sql("SELECT count(*) FROM training_data WHERE dataset = 'toy'").fetchall() == [(24,)]
    assert db.sql("SELECT name, version FROM models").fetchall() == [("m", 2)]
    assert db.sql("SELECT count(*) FROM metrics").fetchall() == [(2,)]
    assert db.predict("m", vectors(1, 24, 4)).shape == (24,)
    assert dict(db._engine.snapshot().table("t")) == {"k": {"v": [1, "two", None, 3.5]}}


def check_types(db):
    """The collections of float16 and int8, since format 1.2."""
    wide = vectors(3, 60, 35)
    for dtype, given in (("float16", wide), ("int8", np.rint(100 * wide))):
        small = db.collection(dtype)
        assert small.dtype == dtype and len(small) == 60 and "s9" not in small
        row = small.get("s5")
        expected = given[5].astype(dtype).astype(np.float32)
        assert np.allclose(row.vector, expected, rtol=2e-3, atol=1.5 if dtype == "int8" else 1e-3)
        assert row.vector.astype(dtype).astype(np.float32).tobytes() == row.vector.tobytes()
        assert row.metadata == {"n": 5}
        assert small.query(row.vector, top_k=1).ids == ["s5"] and small.query(row.vector, top_k=1, ef=30).ids == ["s5"]
        assert "fresh" in small


def test_there_is_one_for_this_format():
    assert f"format-{MAJOR}.{MINOR}.qdb" in DATABASES
    size = sum(file.stat().st_size for file in GOLDEN.rglob("*") if file.is_file())
    assert size < 200_000 * len(DATABASES)


def test_it_opens_for_reading(golden):
    before = {file: file.read_bytes() for file in golden.rglob("*") if file.is_file()}
    with QuantumDatabase.open(golden, read_only=True) as db:
        check(db)
        if golden.name >= "format-1.2":
            check_types(db)
        assert [finding for finding in db.verify() if finding.severity != "info"] == []
    assert {file: file.read_bytes() for file in golden.rglob("*") if file.is_file()} == before


def test_it_opens_for_writing_and_goes_on(golden):
    with QuantumDatabase.open(golden, progress=False) as db:
        check(db)
        version = db.version
        if (golden.name, "first" in db.tags()) == ("format-1.0.qdb", False):
            db.tag("first", version)  # format 1.0 kept no versions
        else:
            with db.at("first") as past:
                assert len(past.collection("items")) == 58
        db.collection("items").insert("new", [1, 2, 3, 4, 5])
        db.vacuum()
        with db.at("first") as past:
            assert "new" not in past.collection("items")
        assert [finding for finding in db.verify() if finding.severity != "info"] == []
    with QuantumDatabase.open(golden) as db:
        db.collection("items").delete("new")
        check(db)
        if golden.name >= "format-1.2":
            check_types(db)
        assert (golden / "FORMAT").read_bytes()[24:28] == bytes([MAJOR, 0, MINOR, 0])
