"""A collection goes to a file and comes back equal; an interrupted import goes on where it was."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli import exporting, importing
from qstore_db.cli.exporting import export_file
from qstore_db.cli.importing import import_file
from qstore_db.errors import AlreadyExistsError, InvalidArgumentError, UnknownCollectionError, UnknownVersionError

ROWS = 250


@pytest.fixture
def db(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "BATCH_ROWS", 70)
    monkeypatch.setattr(importing, "BATCH_ROWS", 60)
    with QuantumDatabase.open(tmp_path / "a.qdb", progress=False) as db:
        vectors = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
        vectors[0] = [-0.0, 1e-45, 3.4e38]
        items = db.create_collection("items", dimension=3, metric="l2")
        metadata = {
            "price": [n / 3 for n in range(ROWS)],
            "name": [None if n % 5 == 0 else f'ä,"{n}"' for n in range(ROWS)],
            "tags": [["x", str(n)] for n in range(ROWS)],
        }
        items.insert([f"i{n}" for n in range(ROWS)], vectors, metadata=pa.table(metadata))
        items.delete(["i7", "i100"])
        yield db


def rows(db, name="items"):
    table = db._engine.snapshot().collection(name).arrow()
    return {row["id"]: row for row in table.to_pylist()}


def test_parquet_comes_back_equal(db, tmp_path):
    file = tmp_path / "out.parquet"
    assert export_file(db, "items", file) == ROWS - 2
    assert import_file(db, "copy", file) == ROWS - 2
    assert rows(db, "copy") == rows(db) and list(rows(db)) == list(rows(db, "copy"))
    assert db.collection("copy").schema.dimension == 3
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_csv_comes_back_with_equal_vectors(db, tmp_path):
    file = tmp_path / "out.csv"
    export_file(db, "items", file)
    import_file(db, "copy", file)
    back = rows(db, "copy")
    for row_id, row in rows(db).items():
        assert back[row_id]["vector"] == row["vector"] and back[row_id]["price"] == row["price"]
        assert (back[row_id]["name"] or None) == row["name"]


def test_vectors_alone(db, tmp_path):
    file = tmp_path / "out.npy"
    assert export_file(db, "items", file) == ROWS - 2
    expected = db._engine.snapshot().collection("items").arrow(["vector"]).column("vector").to_pylist()
    assert np.load(file).tolist() == expected
    import_file(db, "copy", file)
    assert [row["vector"] for row in rows(db, "copy").values()] == expected


def test_empty_collections(db, tmp_path):
    db.create_collection("none", dimension=4)
    for suffix in ("parquet", "csv", "npy"):
        assert export_file(db, "none", tmp_path / f"none.{suffix}") == 0
    assert np.load(tmp_path / "none.npy").shape == (0, 4)
    assert pq.read_table(tmp_path / "none.parquet").column_names == ["id", "vector"]


def test_an_old_version_is_exported(db, tmp_path):
    file = tmp_path / "old.parquet"
    assert export_file(db, "items", file, version=2) == ROWS
    with pytest.raises(UnknownVersionError):
        export_file(db, "items", tmp_path / "x.parquet", version=99)


def test_refusals(db, tmp_path):
    file = tmp_path / "there.csv"
    file.write_text("precious")
    with pytest.raises(AlreadyExistsError, match="exists already"):
        export_file(db, "items", file)
    assert file.read_text() == "precious"
    export_file(db, "items", file, overwrite=True)
    for wrong in (tmp_path / "x.xlsx", tmp_path / "no" / "x.csv"):
        with pytest.raises(InvalidArgumentError):
            export_file(db, "items", wrong)
    with pytest.raises(UnknownCollectionError):
        export_file(db, "nothing", tmp_path / "x.csv")


class StoppedError(Exception):
    pass


def interrupt_after(monkeypatch, batches):
    """Let the import die in the middle of its batch number ``batches + 1``."""
    split = importing._split
    seen = []

    def counting(*arguments):
        seen.append(arguments)
        if len(seen) > batches:
            raise StoppedError
        return split(*arguments)

    monkeypatch.setattr(importing, "_split", counting)
    return lambda: monkeypatch.setattr(importing, "_split", split)


@pytest.mark.parametrize("suffix", ["parquet", "npy"])
def test_an_interrupted_import_goes_on_where_it_was(db, tmp_path, monkeypatch, suffix):
    file = tmp_path / f"out.{suffix}"
    export_file(db, "items", file)
    again = interrupt_after(monkeypatch, 2)
    with pytest.raises(StoppedError):
        import_file(db, "copy", file)
    assert len(db.collection("copy")) == 120
    again()
    before = db.version
    assert import_file(db, "copy", file, resume=True) == ROWS - 2
    # Three batches were left, then the mark was removed.
    assert db.version == before + 4 and len(db.collection("copy")) == ROWS - 2
    assert [row["vector"] for row in rows(db, "copy").values()] == [row["vector"] for row in rows(db).values()]
    assert dict(db._engine.snapshot().table("imports")) == {}
    assert import_file(db, "copy", file, resume=True) == ROWS - 2


def test_a_file_that_has_changed_is_not_resumed(db, tmp_path, monkeypatch):
    file = tmp_path / "out.parquet"
    export_file(db, "items", file)
    again = interrupt_after(monkeypatch, 1)
    with pytest.raises(StoppedError):
        import_file(db, "copy", file)
    again()
    db.collection("items").delete("i1")
    export_file(db, "items", file, overwrite=True)
    with pytest.raises(InvalidArgumentError, match="has changed since 60 of its rows"):
        import_file(db, "copy", file, resume=True)
    assert import_file(db, "copy", file) == ROWS - 3
