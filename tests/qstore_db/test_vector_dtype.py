"""``dtype`` from the face down: creating, reading, SQL, files in and out, and what is refused."""

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli.exporting import export_file
from qstore_db.cli.importing import import_file
from qstore_db.errors import InvalidArgumentError, InvalidStateError, InvalidVectorError

ROWS = np.rint(np.random.default_rng(0).normal(size=(50, 6)) * 30).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_sql_and_files_show_what_is_stored(tmp_path, dtype):
    given = ROWS + (0.1 if dtype == "float16" else 0)
    stored = given.astype(dtype).astype(np.float32)
    with QuantumDatabase.open(tmp_path / "db", progress=False) as db:
        items = db.create_collection("items", 6, "l2", dtype=dtype)
        items.insert([str(n) for n in range(50)], given)
        db._engine.seal()
        assert items.dtype == dtype
        assert db.sql("SELECT dtype FROM collections WHERE name = 'items'").fetchall() == [(dtype,)]
        [(vector,)] = db.sql("SELECT vector FROM items WHERE id = '7'").fetchall()
        assert np.array(vector, np.float32).tobytes() == stored[7].tobytes()
        nearest = db.sql("SELECT id FROM items ORDER BY vector <-> $q LIMIT 1", q=given[9]).fetchall()
        assert nearest == [("9",)]
        for suffix in ("parquet", "csv", "npy"):
            file = tmp_path / f"out.{suffix}"
            export_file(db, "items", file)
            name = f"back_{suffix}"
            import_file(db, name, file, dtype=dtype)
            assert db.collection(name).dtype == dtype
            back = np.stack([record.vector for record in db.collection(name).get([str(n) for n in range(50)])])
            assert back.tobytes() == stored.tobytes()


def test_what_is_refused(tmp_path):
    with QuantumDatabase.open(tmp_path / "db", progress=False) as db:
        with pytest.raises(InvalidArgumentError, match="no vector type 'float64'"):
            db.create_collection("wrong", 3, dtype="float64")
        small = db.create_collection("small", 3, "cosine", dtype="int8")
        with pytest.raises(InvalidVectorError, match=r"holds 0\.5 at position 1"):
            small.insert("a", [1, 0.5, 2])
        with pytest.raises(InvalidStateError, match="keeps int8"):
            small.insert(id="a", vectors={"x": [1, 0, 0], "y": [0, 1, 0]}, contexts=[("x", 0.5), ("y", 0.5)])
        assert len(small) == 0 and db.collections() == ["small"]
