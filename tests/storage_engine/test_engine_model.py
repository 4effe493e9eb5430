"""The engine against a dictionary and a brute-force search, step by random step."""

import copy
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage_engine.batch import (
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DropCollection,
    PutRecord,
    PutRows,
    WriteBatch,
)
from storage_engine.engine import Engine
from storage_engine.errors import QStoreError, UnknownVersionError
from storage_engine.filters.evaluate import evaluate
from storage_engine.filters.expression import And, Comparison, IsNull, Not, Or
from storage_engine.history.pins import PINS
from storage_engine.schema import CollectionSchema, GraphOptions, Metric, VectorType

DIMENSION = 3
NAMES = ["alpha", "beta"]
IDS = ["a", "b", "c", "d", "é", "\x00", "long" * 100, "語" * 20]
ids_in_batch = st.lists(st.sampled_from(IDS), min_size=1, max_size=5, unique=True)
numbers = st.sampled_from([-2.0, -1.0, 0.0, 1.0, 3.0])
vectors = st.tuples(numbers, numbers, numbers).filter(any)
tags = st.sampled_from([None, "x", "y", "ü\x00"])
points = st.sampled_from([None, 1, 2, 2.5])
FILTERS = [
    (Comparison("tag", "=", "x"), lambda row: row.get("tag") == "x"),
    (IsNull("tag"), lambda row: row.get("tag") is None),
    (Not(Comparison("tag", "=", "x")), lambda row: row.get("tag") not in (None, "x")),
    (
        Or((Comparison("tag", "=", "y"), And((Comparison("point", ">=", 2), Not(IsNull("tag")))))),
        lambda row: row.get("tag") == "y" or (row.get("tag") is not None and (row.get("point") or 0) >= 2),
    ),
]
SCALE = {VectorType.FLOAT32: 1.0, VectorType.FLOAT16: 0.1, VectorType.INT8: 1.0}  # a tenth is no float16


def stored_of(vector, dtype):
    """What a collection of this type keeps of a vector as it is given."""
    return np.array(vector, np.float32).astype(dtype.value).astype(np.float32)


class AbandonedError(Exception):
    pass


def norm(vector):
    return np.float32(np.sqrt(sum(float(x) * float(x) for x in vector)))


def brute_force(rows, query, top_k, metric, allowed):
    """Rows are a dict in slot order; exact in float64 for these small numbers."""
    scored = []
    for place, (row_id, (vector, _)) in enumerate(rows.items()):
        if row_id not in allowed:
            continue
        product = sum(float(a) * float(b) for a, b in zip(vector, query, strict=True))
        if metric is Metric.L2:
            score = np.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(vector, query, strict=True)))
        elif metric is Metric.IP:
            score = product
        else:
            length = np.sqrt(sum(float(b) * float(b) for b in query))
            score = np.clip(product / (length * float(norm(vector))), -1, 1)
        scored.append((score if metric is Metric.L2 else -score, place, row_id, score))
    return [(row_id, np.float32(score)) for _, _, row_id, score in sorted(scored)[:top_k]]


class Model:
    def __init__(self):
        self.collections = {}  # name → (metric, rows: id → (vector, metadata))
        self.types = {}  # name → type of the vectors
        self.records = {}
        self.version = 0


def check(snapshot, model):
    assert snapshot.version == model.version
    check_content(snapshot, model)


def check_content(snapshot, model):
    assert [schema.name for schema in snapshot.collections()] == sorted(model.collections)
    assert dict(snapshot.table("t")) == model.records
    assert list(snapshot.table("t")) == list(model.records)
    for name, (metric, rows) in model.collections.items():
        view = snapshot.collection(name)
        assert len(view) == len(rows)
        live = np.flatnonzero(view.live())
        assert view.ids_at(live) == list(rows)
        slots = view.slots_of(IDS)
        assert (slots >= 0).tolist() == [row_id in rows for row_id in IDS]
        expected = np.array([vector for vector, _ in rows.values()], np.float32).reshape(-1, DIMENSION)
        assert view.vectors_at(live).tobytes() == expected.tobytes()
        if metric is Metric.COSINE:
            assert view.norms_at(live).tolist() == [norm(vector) for vector, _ in rows.values()]
        table = view.arrow()
        assert table.column("id").to_pylist() == list(rows)
        assert np.array(table.column("vector").to_pylist(), np.float32).reshape(-1, DIMENSION).tolist() == (
            expected.tolist()
        )
        stored = view.metadata_at(live).to_pylist()
        for row, (_, metadata) in zip(stored, rows.values(), strict=True):
            assert {key: value for key, value in row.items() if value is not None} == metadata
        for column in view.columns:
            whole = view.column(column)
            assert len(whole) == view.slot_count
            assert whole.take(pa.array(live)).to_pylist() == [row[column] for row in stored]
            assert table.column(column).to_pylist() == [row[column] for row in stored]
        for query in ((1.0, 0.0, 0.0), (1.0, -1.0, 3.0)):
            for top_k in (1, 3, 50):
                found = view.search(np.array(query, np.float32), top_k)
                got = list(zip(view.ids_at(found.slots), found.scores.tolist(), strict=True))
                assert got == brute_force(rows, query, top_k, metric, set(rows))
        mask = np.zeros(view.slot_count, np.bool_)
        allowed = set(IDS[::2]) & set(rows)
        mask[view.slots_of(sorted(allowed))] = True
        found = view.search(np.array([1, 1, 0], np.float32), 2, mask=mask)
        got = list(zip(view.ids_at(found.slots), found.scores.tolist(), strict=True))
        assert got == brute_force(rows, (1, 1, 0), 2, metric, allowed)
        if {"tag", "point"} <= set(view.columns):
            for predicate, holds in FILTERS:
                mask = evaluate(predicate, view.column, view.slot_count)
                allowed = {row_id for row_id, (_, metadata) in rows.items() if holds(metadata)}
                assert set(view.ids_at(np.flatnonzero(mask & view.live()))) == allowed
                found = view.search(np.array([1, 0, -1], np.float32), 3, mask=mask)
                got = list(zip(view.ids_at(found.slots), found.scores.tolist(), strict=True))
                assert got == brute_force(rows, (1, 0, -1), 3, metric, allowed)


class EngineMachine(RuleBasedStateMachine):
    """Every rule does the same to the engine and to the model."""

    batches = Bundle("batches")

    @initialize()
    def begin(self):
        self.directory = Path(tempfile.mkdtemp(prefix="qstore-model-"))
        self.engine = Engine.open(self.directory / "db")
        self.reader = None
        self.model = Model()
        self.old = []
        self.uuid = 0
        self.history = {0: copy.deepcopy(self.model)}  # version → what it showed
        self.pinned = {}  # who → the version that they need

    def teardown(self):
        if hasattr(self, "engine"):
            if self.reader is not None:
                self.reader.close()
            self.engine.close()
            for snapshot, model in self.old:
                check(snapshot, model)
            shutil.rmtree(self.directory)

    def metadata(self, labels):
        return {key: value for key, value in labels.items() if value is not None}

    def operations(self, draw):
        """A few valid operations and the model after them."""

    def commit(self, operations, after):
        version = self.engine.commit(WriteBatch(list(operations)))
        self.committed(version, after)

    def committed(self, version, after):
        after.version = self.model.version + 1
        assert version == after.version
        self.model = after
        self.history[version] = copy.deepcopy(after)

    def after(self):
        return copy.deepcopy(self.model)

    @rule(name=st.sampled_from(NAMES), metric=st.sampled_from(list(Metric)), dtype=st.sampled_from(list(VectorType)))
    def create(self, name, metric, dtype):
        self.uuid += 1
        graph = GraphOptions(m=4, minimum_rows=3)
        schema = CollectionSchema(name, f"{self.uuid:032x}", DIMENSION, metric, graph=graph, dtype=dtype)
        if name in self.model.collections:
            with pytest.raises(QStoreError):
                self.engine.commit(WriteBatch([CreateCollection(schema)]))
            return
        after = self.after()
        after.collections[name] = (metric, {})
        after.types[name] = dtype
        self.commit([CreateCollection(schema)], after)

    def put_into(self, after, name, rows, mode, with_metadata):
        stored = after.collections[name][1]
        dtype = after.types[name]
        rows = [(row_id, np.array(vector, np.float32) * SCALE[dtype], *rest) for row_id, vector, *rest in rows]
        table = None
        if with_metadata:
            table = pa.table(
                {
                    "tag": pa.array([label for _, _, label, _ in rows], pa.string()),
                    "point": pa.array([point for _, _, _, point in rows]),
                }
            )
        for row_id, vector, label, point in rows:
            metadata = self.metadata({"tag": label, "point": point}) if with_metadata else {}
            if mode == "update":
                metadata = metadata if with_metadata else stored[row_id][1]
            stored.pop(row_id, None)
            stored[row_id] = (stored_of(vector, dtype), metadata)
        array = np.array([vector for _, vector, _, _ in rows], np.float32)
        return PutRows(name, [row_id for row_id, *_ in rows], array, metadata=table, mode=mode)

    @precondition(lambda self: self.model.collections)
    @rule(data=st.data(), with_metadata=st.booleans(), mode=st.sampled_from(["insert", "upsert", "update"]))
    def put(self, data, with_metadata, mode):
        name = data.draw(st.sampled_from(sorted(self.model.collections)))
        stored = self.model.collections[name][1]
        usable = [row_id for row_id in IDS if mode == "upsert" or (row_id in stored) == (mode == "update")]
        if not usable:
            return
        chosen = data.draw(st.lists(st.sampled_from(usable), min_size=1, max_size=4, unique=True))
        rows = [(row_id, data.draw(vectors), data.draw(tags), data.draw(points)) for row_id in chosen]
        after = self.after()
        self.commit([self.put_into(after, name, rows, mode, with_metadata)], after)

    @precondition(lambda self: any(rows for _, rows in self.model.collections.values()))
    @rule(data=st.data(), label=tags)
    def update_one_column(self, data, label):
        name = data.draw(st.sampled_from(sorted(n for n, (_, rows) in self.model.collections.items() if rows)))
        after = self.after()
        rows = after.collections[name][1]
        row_id = data.draw(st.sampled_from(list(rows)))
        vector, metadata = rows.pop(row_id)
        metadata = {key: value for key, value in metadata.items() if key != "tag"}
        rows[row_id] = (vector, metadata | self.metadata({"tag": label}))
        table = pa.table({"tag": pa.array([label], pa.string())})
        self.commit([PutRows(name, [row_id], None, metadata=table, mode="update")], after)

    @precondition(lambda self: self.model.collections)
    @rule(data=st.data(), ids=ids_in_batch)
    def delete(self, data, ids):
        name = data.draw(st.sampled_from(sorted(self.model.collections)))
        after = self.after()
        for row_id in ids:
            after.collections[name][1].pop(row_id, None)
        self.commit([DeleteRows(name, ids, missing_ok=True)], after)

    @rule(data=st.data(), key=st.sampled_from("pqr"), value=st.integers(0, 9))
    def several_at_once(self, data, key, value):
        after = self.after()
        operations = [PutRecord("t", key, {"value": value, "deep": [None, {"x": 0.5}]})]
        after.records[key] = {"value": value, "deep": [None, {"x": 0.5}]}
        for name in sorted(after.collections):
            first = [("a", data.draw(vectors), "x", 1), ("b", data.draw(vectors), None, 2)]
            operations.append(self.put_into(after, name, first, "upsert", True))
            operations.append(DeleteRows(name, ["a"]))
            after.collections[name][1].pop("a")
            second = [("b", data.draw(vectors), "y", None)]
            operations.append(self.put_into(after, name, second, "update", False))
        self.commit(operations, after)

    @precondition(lambda self: self.model.records)
    @rule(data=st.data())
    def delete_record(self, data):
        key = data.draw(st.sampled_from(list(self.model.records)))
        after = self.after()
        del after.records[key]
        self.commit([DeleteRecord("t", key)], after)

    @precondition(lambda self: self.model.collections)
    @rule(data=st.data())
    def drop(self, data):
        name = data.draw(st.sampled_from(sorted(self.model.collections)))
        after = self.after()
        del after.collections[name]
        self.commit([DropCollection(name)], after)

    @precondition(lambda self: self.model.collections)
    @rule(data=st.data(), vector=vectors)
    def refused_whole(self, data, vector):
        name = data.draw(st.sampled_from(sorted(self.model.collections)))
        good = PutRows(name, ["a"], np.array([vector], np.float32))
        bad = data.draw(
            st.sampled_from(
                [
                    DeleteRows(name, ["never stored"]),
                    PutRows(name, ["a"], np.array([[1, np.nan, 0]], np.float32)),
                    PutRows(name, ["a"], np.array([[1, 0]], np.float32)),
                    PutRows(name, ["never stored"], None, mode="update"),
                    PutRows(name, ["b"], np.array([vector], np.float32), metadata=pa.table({"tag": [b"\xff"]})),
                    DropCollection("nowhere"),
                    DeleteRecord("t", "never"),
                ]
            )
        )
        if isinstance(bad, PutRows) and bad.metadata is not None and "tag" not in self.columns(name):
            return
        with pytest.raises(QStoreError):
            self.engine.commit(WriteBatch([good, PutRecord("t", "p", {"value": -1}), bad]))

    def columns(self, name):
        return self.engine.snapshot().collection(name).columns

    @precondition(lambda self: self.model.collections)
    @rule(data=st.data(), abandoned=st.booleans())
    def transaction(self, data, abandoned):
        name = data.draw(st.sampled_from(sorted(self.model.collections)))
        after = self.after()
        before = self.engine.snapshot()
        try:
            with self.engine.transaction() as transaction:
                for row_id in ("a", "é"):
                    row = (row_id, data.draw(vectors), data.draw(tags), data.draw(points))
                    self.engine.commit(WriteBatch([self.put_into(after, name, [row], "upsert", True)]))
                    check_content(self.engine.snapshot(), after)
                after.collections[name][1].pop("a")
                after.records["q"] = {"value": 5}
                self.engine.commit(WriteBatch([DeleteRows(name, ["a"]), PutRecord("t", "q", {"value": 5})]))
                check_content(self.engine.snapshot(), after)
                if abandoned:
                    raise AbandonedError
        except AbandonedError:
            assert self.engine.snapshot() is before
        else:
            self.committed(transaction.version, after)

    @rule(data=st.data())
    def read_old_version(self, data):
        version = data.draw(st.sampled_from(sorted(self.history)))
        try:
            past = self.engine.at(version)
        except UnknownVersionError:
            assert version not in self.pinned.values() and version != self.model.version
            del self.history[version]
            return
        with past:
            check(past.snapshot(), self.history[version])

    @rule(data=st.data(), owner=st.sampled_from("uv"))
    def pin(self, data, owner):
        version = data.draw(st.sampled_from(sorted(self.history)))
        try:
            self.engine.at(version).close()
        except UnknownVersionError:
            return
        self.commit([PutRecord(PINS, owner, {"version": version})], self.after())
        self.pinned[owner] = version

    @precondition(lambda self: self.pinned)
    @rule(data=st.data())
    def unpin(self, data):
        owner = data.draw(st.sampled_from(sorted(self.pinned)))
        self.commit([DeleteRecord(PINS, owner)], self.after())
        del self.pinned[owner]

    @rule()
    def vacuum(self):
        report = self.engine.vacuum()
        assert report.version == self.model.version
        kept = {one.number for one in self.engine.versions()}
        assert {*self.pinned.values(), self.model.version} <= kept | {0}
        for version in self.pinned.values():
            with self.engine.at(version) as past:
                check(past.snapshot(), self.history[version])

    @rule()
    def as_after_a_kill(self):
        copied = self.directory / f"killed{self.uuid}"
        shutil.rmtree(copied, ignore_errors=True)
        with self.engine._writable().database.undisturbed():  # a copy takes longer than a kill
            shutil.copytree(self.directory / "db", copied)
        with Engine.open(copied) as engine:
            check(engine.snapshot(), self.model)
            assert [finding for finding in engine.verify() if finding.severity == "error"] == []

    @rule()
    def keep_snapshot(self):
        self.old = [*self.old[-3:], (self.engine.snapshot(), copy.deepcopy(self.model))]

    @rule()
    def seal(self):
        self.engine.seal()

    @rule()
    def build_graphs(self):
        self.engine.build_graphs()

    @rule()
    def reopen(self):
        self.engine.close()
        self.engine = Engine.open(self.directory / "db")

    @rule()
    def read_from_elsewhere(self):
        if self.reader is None:
            self.reader = Engine.open(self.directory / "db", read_only=True)
        assert self.reader.refresh() == self.model.version
        check(self.reader.snapshot(), self.model)

    @rule()
    def verify(self):
        assert [finding for finding in self.engine.verify() if finding.severity == "error"] == []

    @invariant()
    def same(self):
        if hasattr(self, "engine"):
            check(self.engine.snapshot(), self.model)

    @invariant()
    def old_snapshots_do_not_change(self):
        if getattr(self, "old", None):
            check(*self.old[0])


TestEngineModel = EngineMachine.TestCase
TestEngineModel.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
