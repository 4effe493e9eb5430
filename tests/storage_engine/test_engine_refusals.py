"""Whatever is wrong with a batch: a typed error that names it, and not one byte or version changes."""

import json

import numpy as np
import pyarrow as pa
import pytest

from storage_engine.batch import (
    AttachFile,
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DetachFile,
    DropCollection,
    FileReference,
    PutRecord,
    PutRows,
    WriteBatch,
)
from storage_engine.commit_queue import CommitRequest
from storage_engine.engine import Engine
from storage_engine.errors import (
    AlreadyExistsError,
    DimensionMismatchError,
    DuplicateIdError,
    InvalidArgumentError,
    InvalidIdError,
    InvalidMetadataError,
    InvalidVectorError,
    NotFoundError,
    UnknownCollectionError,
    UnknownIdError,
)
from storage_engine.schema import CollectionSchema, GraphOptions, Metric, Role

ONE = np.ones((1, 2), np.float32)


def schema(name="new", uuid="f" * 32, dimension=2, metric=Metric.COSINE, **others):
    return CollectionSchema(name, uuid, dimension, metric, **others)


def rows(ids=("n",), vectors=ONE, **others):
    return PutRows("c", list(ids), vectors, **others)


def put(**columns):
    return rows(metadata=pa.table(columns))


REFUSED = [
    (rows(vectors=np.array([[1, np.nan]], np.float32)), InvalidVectorError, "nan"),
    (rows(vectors=np.array([[np.inf, 1]], np.float32)), InvalidVectorError, "inf"),
    (rows(vectors=np.array([[1e300, 1.0]])), InvalidVectorError, "1e+300"),
    (rows(vectors=np.zeros((1, 2), np.float32)), InvalidVectorError, "zero"),
    (rows(vectors=np.full((1, 2), 3e38, np.float32)), InvalidVectorError, "too long"),
    (rows(vectors=np.ones((1, 3), np.float32)), DimensionMismatchError, "3"),
    (rows(vectors=np.ones((2, 2), np.float32)), InvalidVectorError, "2 vectors"),
    (rows(vectors=np.ones(2, np.float32)), InvalidVectorError, "shape"),
    (rows(vectors=np.array([["a", "b"]])), InvalidVectorError, "type"),
    (rows(vectors=np.ones((1, 2), np.complex64)), InvalidVectorError, "type"),
    (rows(vectors=None), InvalidVectorError, "missing"),
    (rows(norms=np.array([0], np.float32)), InvalidVectorError, "norm"),
    (rows(norms=np.array([np.nan], np.float32)), InvalidVectorError, "norm"),
    (rows(norms=np.array([1, 1], np.float32)), InvalidVectorError, "norms"),
    (rows(vectors=None, norms=np.ones(1, np.float32), mode="update"), InvalidVectorError, "norms"),
    (rows(ids=[""]), InvalidIdError, "0 bytes"),
    (rows(ids=["é" * 257]), InvalidIdError, "514 bytes"),
    (rows(ids=["\ud800"]), InvalidIdError, "Unicode"),
    (rows(ids=[7]), InvalidIdError, "int"),
    (PutRows("c", "n", ONE), InvalidIdError, "single"),
    (rows(ids=["n", "n"], vectors=np.ones((2, 2), np.float32)), DuplicateIdError, "'n'"),
    (rows(ids=["stored"], mode="insert"), DuplicateIdError, "'stored'"),
    (rows(ids=["nobody"], mode="update"), UnknownIdError, "'nobody'"),
    (rows(mode="replace"), InvalidArgumentError, "replace"),
    (put(number=["text"]), InvalidMetadataError, "'number'"),
    (put(real=[2**53 + 1]), InvalidMetadataError, "9007199254740993"),
    (put(whole=[0.5]), InvalidMetadataError, "'whole'"),
    (put(text=[b"bytes"]), InvalidMetadataError, "'text'"),
    (put(NUMBER=[1]), InvalidMetadataError, "'NUMBER'"),
    (put(id=["x"]), InvalidMetadataError, "reserved"),
    (put(Vector=["x"]), InvalidMetadataError, "reserved"),
    (put(_hidden=[1]), InvalidMetadataError, "reserved"),
    (rows(metadata=pa.table({"": [1]})), InvalidMetadataError, "empty"),
    (rows(metadata=pa.table({"a\x00": [1]})), InvalidMetadataError, "NUL"),
    (put(a=[1, 2]), InvalidMetadataError, "2 rows"),
    (put(a=[{}]), InvalidMetadataError, "cannot be stored"),
    (rows(metadata=pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])), InvalidMetadataError, "'a'"),
    (rows(metadata={"a": [1]}), InvalidMetadataError, "dict"),
    (PutRows("nowhere", ["n"], ONE), UnknownCollectionError, "'nowhere'"),
    (DeleteRows("c", ["nobody", "stored"]), UnknownIdError, "'nobody'"),
    (DeleteRows("c", ["stored", "stored"]), DuplicateIdError, "'stored'"),
    (DropCollection("nowhere"), UnknownCollectionError, "'nowhere'"),
    (CreateCollection(schema("c")), AlreadyExistsError, "'c'"),
    (CreateCollection(schema("C")), AlreadyExistsError, "'c'"),
    (CreateCollection(schema(uuid="c" * 32)), AlreadyExistsError, "uuid"),
    (CreateCollection(schema(uuid="C" * 32)), InvalidArgumentError, "uuid"),
    (CreateCollection(schema("9")), InvalidArgumentError, "'9'"),
    (CreateCollection(schema("a$b")), InvalidArgumentError, "'a$b'"),
    (CreateCollection(schema("a" * 129)), InvalidArgumentError, "name"),
    (CreateCollection(schema(dimension=0)), InvalidArgumentError, "dimension is 0"),
    (CreateCollection(schema(dimension=65_537)), InvalidArgumentError, "65537"),
    (CreateCollection(schema(dimension=2.0)), InvalidArgumentError, "2.0"),
    (CreateCollection(schema(metric="cosine-ish")), InvalidArgumentError, "cosine-ish"),
    (CreateCollection(schema(graph=GraphOptions(m=1))), InvalidArgumentError, "graph.m"),
    (PutRecord("t", "k", {"a": object()}), InvalidArgumentError, "object"),
    (PutRecord("t", "k", {"a": float("nan")}), InvalidArgumentError, "cannot be stored"),
    (PutRecord("t", "k", {1: 2}), InvalidArgumentError, "key 1"),
    (PutRecord("t", "k", [1]), InvalidArgumentError, "list"),
    (PutRecord("t", "", {}), InvalidArgumentError, "0 bytes"),
    (PutRecord("1t", "k", {}), InvalidArgumentError, "'1t'"),
    (PutRecord("t", "taken", {}, must_be_new=True), AlreadyExistsError, "'taken'"),
    (DeleteRecord("t", "nobody"), NotFoundError, "'nobody'"),
    (DetachFile("ckpt", "nothing.zip"), NotFoundError, "nothing.zip"),
    (AttachFile(FileReference("ckpt", "x.zip", 1, "0" * 64)), NotFoundError, "x.zip"),
    ("no operation", InvalidArgumentError, "no operation"),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with Engine.open(tmp_path_factory.mktemp("refusals") / "db") as opened:
        opened.commit(WriteBatch([CreateCollection(schema("c", "c" * 32))]))
        first = pa.table({"number": [1], "text": ["x"], "whole": [2**53 + 1], "real": [0.5]})
        opened.commit(WriteBatch([rows(["stored"], metadata=first), PutRecord("t", "taken", {"a": 1})]))
        opened.seal()
        opened.commit(WriteBatch([rows(["fresh"])]))
        yield opened


def contents(engine):
    files = sorted(path for path in engine.path.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize(("operation", "error", "named"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_refused_operation_changes_nothing(engine, operation, error, named):
    before, version = contents(engine), engine.snapshot().version
    good = [rows(["other"]), PutRecord("t", "other", {}), CreateCollection(schema("fine", "e" * 32))]
    with pytest.raises(error) as caught:
        engine.commit(WriteBatch([*good, operation]))
    assert type(caught.value) is error
    assert named in str(caught.value)
    assert engine.snapshot().version == version
    assert contents(engine) == before
    assert not engine.snapshot().has_collection("fine")
    assert engine.snapshot().collection("c").slots_of(["other", "n"]).tolist() == [-1, -1]


def test_an_empty_batch_is_refused(engine):
    with pytest.raises(InvalidArgumentError, match="no operation"):
        engine.commit(WriteBatch())


def test_a_refused_batch_leaves_the_others_of_its_group_alone(engine):
    committer = engine._source.database.committer
    good, bad, after = (
        CommitRequest([rows(["one"])]),
        CommitRequest([rows(["two"]), DeleteRows("c", ["nobody"])]),
        CommitRequest([rows(["two"], mode="insert"), DeleteRows("c", ["one"])]),
    )
    committer._commit_waiting([good, bad, after])
    assert isinstance(bad.error, UnknownIdError)
    assert (good.error, after.error) == (None, None)
    assert after.version == good.version + 1
    assert (engine.snapshot().collection("c").slots_of(["one", "two"]) >= 0).tolist() == [False, True]


def test_a_zero_vector_with_a_given_norm_and_hidden_names_are_allowed():
    with Engine.open(None) as engine:
        hidden = CollectionSchema("a$b", "a" * 32, 2, Metric.COSINE, Role.HIDDEN)
        row = PutRows("a$b", ["x" * 2048], np.zeros((1, 2), np.float32), norms=np.ones(1, np.float32))
        engine.commit(WriteBatch([CreateCollection(hidden), row]))
        view = engine.snapshot().collection("a$b")
        assert view.search(np.array([1, 0], np.float32), 5).scores.tolist() == [0.0]


def test_what_a_caller_changes_after_a_commit_does_not_reach_the_database():
    with Engine.open(None) as engine:
        engine.commit(WriteBatch([CreateCollection(schema("c", "c" * 32))]))
        vectors, numbers, record, ids = ONE.copy(), np.array([1, 2]), {"deep": [1]}, ["a", "b"]
        metadata = pa.table({"number": pa.array(numbers)})
        batch = WriteBatch(
            [PutRows("c", ids, np.repeat(vectors, 2, 0), metadata=metadata), PutRecord("t", "k", record)]
        )
        engine.commit(batch)
        batch.operations[0].vectors[:] = 9
        numbers[:] = 9
        ids[0] = "other"
        record["deep"].append(2)
        view = engine.snapshot().collection("c")
        assert view.ids_at([0, 1]) == ["a", "b"]
        assert view.vectors_at([0]).tolist() == [[1, 1]]
        assert view.metadata_at([0, 1]).to_pydict() == {"number": [1, 2]}
        assert engine.snapshot().table("t")["k"] == {"deep": [1]}
        engine.snapshot().table("t")["k"]["deep"].append(3)
        assert json.dumps(dict(engine.snapshot().table("t"))) == '{"k": {"deep": [1]}}'


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"top_k": 0}, InvalidArgumentError),
        ({"top_k": -1}, InvalidArgumentError),
        ({"top_k": 10_001}, InvalidArgumentError),
        ({"top_k": 1.5}, InvalidArgumentError),
        ({"top_k": True}, InvalidArgumentError),
        ({"top_k": 1, "ef": 0}, InvalidArgumentError),
        ({"top_k": 1, "mask": np.ones(1, np.bool_)}, InvalidArgumentError),
        ({"top_k": 1, "mask": [True, True]}, InvalidArgumentError),
        ({"query": np.array([np.nan, 0], np.float32), "top_k": 1}, InvalidVectorError),
        ({"query": np.zeros(2, np.float32), "top_k": 1}, InvalidVectorError),
        ({"query": np.ones(3, np.float32), "top_k": 1}, DimensionMismatchError),
    ],
    ids=str,
)
def test_a_wrong_search_is_refused(engine, arguments, error):
    view = engine.snapshot().collection("c")
    with pytest.raises(error):
        view.search(**({"query": np.ones(2, np.float32)} | arguments))
