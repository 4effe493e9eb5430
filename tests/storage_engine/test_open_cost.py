"""Opening a database and answering the first question read no metadata: the manifest says the columns."""

import numpy as np
import pyarrow as pa
import pytest

from storage_engine.batch import CreateCollection, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import DamagedError
from storage_engine.schema import CollectionSchema, Metric
from storage_engine.segment.metadata import SegmentMetadata
from storage_engine.segment.reference import pack_columns, unpack_columns


def write(path, *, sealed, rows=300):
    table = pa.table(
        {
            "n": pa.array(range(rows), pa.int32()),
            "when": pa.array(range(rows), pa.timestamp("ms", tz="Europe/Zurich")),
            "nested": [[{"a": n, "b": [str(n)]}] for n in range(rows)],
        }
    )
    vectors = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    with Engine.open(path) as engine:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "a" * 32, 8, Metric.L2))]))
        engine.commit(WriteBatch([PutRows("c", [str(n) for n in range(rows)], vectors, metadata=table)]))
        if sealed:
            engine.seal()
        return vectors, dict(engine.snapshot().collection("c").columns)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("bulk", [False, True])
def test_no_metadata_is_read(tmp_path, monkeypatch, read_only, bulk):
    from storage_engine import bulk as bulk_rows

    if bulk:  # the rows are in a segment that only the log names
        monkeypatch.setattr(bulk_rows, "BATCH_BYTES", 1_000)
        monkeypatch.setattr("storage_engine.committer.BATCH_BYTES", 1_000)
    vectors, columns = write(tmp_path / "db", sealed=not bulk)
    opened = []
    original = SegmentMetadata._open
    monkeypatch.setattr(SegmentMetadata, "_open", lambda self: opened.append(self.name) or original(self))
    with Engine.open(tmp_path / "db", read_only=read_only) as engine:
        view = engine.snapshot().collection("c")
        found = view.search(vectors[7], 3)
        assert view.ids_at(found.slots)[0] == "7" and len(view) == 300
        assert dict(view.columns) == columns
        assert opened == []
        assert view.metadata_at(found.slots, ["n"]).column("n").to_pylist()[0] == 7
        assert len(set(opened)) == 1


def test_columns_survive_as_text():
    schema = pa.schema([("a", pa.list_(pa.struct([("x", pa.decimal128(10, 2))]))), ("b", pa.large_string())])
    assert unpack_columns(pack_columns(schema)).equals(schema)
    for wrong in ("", "####", "AAAA"):
        with pytest.raises(ValueError):
            unpack_columns(wrong)


def test_verify_compares_the_manifest_with_the_file(tmp_path, monkeypatch):
    write(tmp_path / "db", sealed=True)
    with Engine.open(tmp_path / "db") as engine:
        assert engine.verify() == []
        [state] = engine.snapshot().states()
        segment = state.rows.layout.chunks[0].segment
        monkeypatch.setattr(type(segment), "metadata_schema", lambda self: pa.schema([("other", pa.int8())]))
        with pytest.raises(DamagedError, match="other columns than the manifest says"):
            segment.verify()
