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
from storage_engine.errors import QStoreError
from storage_engine.schema import CollectionSchema, GraphOptions, Metric

DIMENSION = 3
NAMES = ["alpha", "beta"]
IDS = ["a", "b", "c", "d", "é", "\x00", "long" * 100, "語" * 20]
ids_in_batch = st.lists(st.sampled_from(IDS), min_size=1, max_size=5, unique=True)
numbers = st.sampled_from([-2.0, -1.0, 0.0, 1.0, 3.0])
vectors = st.tuples(numbers, numbers, numbers).filter(any)
tags = st.sampled_from([None, "x", "y", "ü\x00"])
points = st.sampled_from([None, 1, 2, 2.5])


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
        self.records = {}
        self.version = 0


def check(snapshot, model):
    assert snapshot.version == model.version
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
        after.version = self.model.version + 1
        assert version == after.version
        self.model = after

    def after(self):
        return copy.deepcopy(self.model)

    @rule(name=st.sampled_from(NAMES), metric=st.sampled_from(list(Metric)))
    def create(self, name, metric):
        self.uuid += 1
        schema = CollectionSchema(name, f"{self.uuid:032x}", DIMENSION, metric, graph=GraphOptions(m=4, minimum_rows=3))
        if name in self.model.collections:
            with pytest.raises(QStoreError):
                self.engine.commit(WriteBatch([CreateCollection(schema)]))
            return
        after = self.after()
        after.collections[name] = (metric, {})
        self.commit([CreateCollection(schema)], after)

    def put_into(self, after, name, rows, mode, with_metadata):
        stored = after.collections[name][1]
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
            stored[row_id] = (np.array(vector, np.float32), metadata)
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
    max_examples=35,
    stateful_step_count=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
