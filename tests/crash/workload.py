"""A random client of the engine: what it writes, and a dictionary of what must be there afterwards."""

import contextlib
import uuid
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from fingerprint import expected_fingerprint, fingerprint

from storage_engine import bulk, committer
from storage_engine.batch import (
    AttachFile,
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DetachFile,
    DropCollection,
    PutRecord,
    PutRows,
)
from storage_engine.commit_queue import CommitRequest
from storage_engine.errors import QStoreError, UnknownVersionError
from storage_engine.history.pins import PINS
from storage_engine.history.vacuum import vacuum
from storage_engine.opening import open_writable
from storage_engine.schema import CollectionSchema, GraphOptions, Metric, VectorType
from storage_engine.staged_file import StoredFile, read_file

BULK_BYTES = 6_000
COLUMNS = {"n": pa.int64(), "s": pa.string(), "b": pa.binary()}
SHAPES = {"alpha": (5, Metric.L2), "beta": (160, Metric.COSINE)}
TYPES = {"alpha": list(VectorType), "beta": [VectorType.FLOAT32]}
GRAPH = GraphOptions(m=4, ef_construction=8)


@contextlib.contextmanager
def deterministic(seed):
    """Uuids from a seed, and a bulk path that small batches take; one block at a time in a process."""
    random = np.random.default_rng([seed, 77])
    before = uuid.uuid4, bulk.BATCH_BYTES, committer.BATCH_BYTES
    uuid.uuid4 = lambda: uuid.UUID(bytes=random.bytes(16), version=4)
    bulk.BATCH_BYTES = committer.BATCH_BYTES = BULK_BYTES
    try:
        yield
    finally:
        uuid.uuid4, bulk.BATCH_BYTES, committer.BATCH_BYTES = before


class Clock:
    """A second passes at each look."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        self.now += 1
        return self.now


def open_database(disk, **more):
    return open_writable(disk, create=True, clock=Clock(), sync_each=True, build_threads=1, **more)


def fingerprint_of(disk, snapshot):
    def read(kind, name):
        file = next(file for file in snapshot.files(kind) if file.name == name)
        return read_file(disk, StoredFile(f"{kind}/{name}", file.length, file.sha256))

    return fingerprint(snapshot, read)


@dataclass
class Row:
    vector: np.ndarray
    norm: np.float32
    born: int
    metadata: dict


@dataclass
class Collection:
    schema: CollectionSchema
    columns: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)


@dataclass
class Model:
    """What the database holds after a commit, as plain Python."""

    version: int = 0
    collections: dict = field(default_factory=dict)
    tables: dict = field(default_factory=dict)  # name → key → record
    files: dict = field(default_factory=dict)  # (kind, name) → content

    @classmethod
    def of(cls, disk, snapshot):
        """The model of a snapshot that was found to be right."""
        model = cls(snapshot.version)
        for state in snapshot.states():
            view = snapshot.collection(state.schema.name)
            live = np.flatnonzero(view.live())
            values = [view.ids_at(live), view.vectors_at(live), view.norms_at(live), state.rows.born_at(live).tolist()]
            labels = view.metadata_at(live).to_pylist() or [{}] * len(live)
            rows = {row_id: Row(*rest) for row_id, *rest in zip(*values, labels, strict=True)}
            columns = {name: str(kind) for name, kind in view.columns.items()}
            model.collections[state.schema.name] = Collection(state.schema, columns, rows)
        model.tables = {name: dict(snapshot.table(name)) for name in snapshot.tables()}
        for file in snapshot.files("ckpt"):
            stored = StoredFile(f"ckpt/{file.name}", file.length, file.sha256)
            model.files["ckpt", file.name] = read_file(disk, stored)
        return model

    def next(self):
        """A copy for the next commit; rows, records and files are values that nobody changes."""
        collections = {
            name: replace(one, columns=dict(one.columns), rows=dict(one.rows)) for name, one in self.collections.items()
        }
        tables = {name: dict(records) for name, records in self.tables.items()}
        return Model(self.version + 1, collections, tables, dict(self.files))

    def put(self, table, key, record):
        """Write a record and return the operation that does."""
        self.tables.setdefault(table, {})[key] = record
        return PutRecord(table, key, record)

    def remove(self, table, key):
        """Remove a record and return the operation that does."""
        del self.tables[table][key]
        return DeleteRecord(table, key)


class Workload:
    """A seeded client that keeps writing; after each acknowledged commit it compares the engine with its model.

    Half of the seeds write records of one length only, often several a sync: then stale bytes line up with records.

    Attributes:
        prints: Fingerprint of the state after each commit, by version.
        events: (length of the disk's journal, newest version begun, newest version acknowledged), in order.
    """

    def __init__(self, seed, disk, *, steps=None, open_with=open_database):
        self.random = np.random.default_rng([seed, 1])
        self.disk = disk
        self.open_with = open_with
        self.steps = steps or int(self.random.integers(5, 12))
        self.same_length = self.chance(0.5)
        self.model = Model()
        self.prints = {0: expected_fingerprint(self.model)}
        self.events = [(0, 0, 0)]
        self.database = None

    def run(self):
        self.database = self.open_with(self.disk)
        self.check()
        for _ in range(self.steps):
            self.step()
        if self.chance(0.5):
            self.database.close()

    def step(self):
        model = self.model.next()
        missing = [name for name in SHAPES if name not in model.collections]
        if missing and (self.same_length or self.chance(0.7)):
            self.commit(model, [self.create(model, missing[-1])])
            return
        actions = [self.write, self.write_group, self.seal, self.compact, self.reopen, self.pin, self.vacuum]
        weights = [2, 7, 2, 0.6, 0.6, 0, 0.4] if self.same_length else [5, 4, 2, 0.6, 0.6, 1.2, 0.6]
        if not self.same_length:
            actions += [self.write_bulk, self.attach]
            weights += [2, 1.5]
        weights = np.array(weights)
        actions[self.random.choice(len(actions), p=weights / weights.sum())]()

    # -- actions ---------------------------------------------------------------------------------------------------

    def write(self):
        model = self.model.next()
        if self.same_length:
            self.commit(model, [self.one_row(model)])
        else:
            self.commit(model, [self.operation(model) for _ in range(self.random.integers(1, 4))])

    def write_group(self):
        """Several commits that share one sync."""
        model, models, batches = self.model, [], []
        for _ in range(self.integer(2, 5)):
            model = model.next()
            batches.append([self.one_row(model) if self.same_length else self.put(model, rows=1)])
            models.append(model)
        self.send(models, batches)

    def write_bulk(self):
        """A batch so large that it goes to a segment file first."""
        model = self.model.next()
        name = self.any_collection(model)
        if name is None:
            return
        rows = self.integer(9, 15) if name == "beta" else self.integer(140, 170)
        operations = [self.put(model, name, rows)]
        if self.chance(0.5):
            operations.append(self.operation(model))
        self.commit(model, operations)

    def attach(self):
        model = self.model.next()
        if model.files and self.chance(0.4):
            kind, name = self.any_of(model.files)
            del model.files[kind, name]
            self.commit(model, [DetachFile(kind, name)])
            return
        data = self.random.bytes(self.integer(1, 3000))
        reference = self.database.stage_file("ckpt", ".zip", lambda stream: stream.write(data))
        model.files["ckpt", reference.name] = data
        self.commit(model, [AttachFile(reference), self.record(model)])

    def seal(self):
        self.database.seal()

    def compact(self):
        """Segments written anew without dead rows, and a graph over them."""
        self.database.build_graphs(None)

    def pin(self):
        """Say that an old version is needed, or not any more."""
        model = self.model.next()
        owner = f"o{self.integer(0, 3)}"
        if owner in model.tables.get(PINS, {}) and self.chance(0.5):
            self.commit(model, [model.remove(PINS, owner)])
            return
        with self.database.undisturbed() as manifest:
            oldest = min(one.last_lsn for one in (*manifest.retained.checkpoints, manifest.checkpoint))
        version = self.integer(oldest, self.model.version + 1)
        if is_kept(self.database, version):
            self.commit(model, [model.put(PINS, owner, {"version": version})])

    def vacuum(self):
        """Give up every old version that nobody needs, and what was deleted."""
        vacuum(self.database, 0.0)

    def reopen(self):
        self.database.close()
        self.database = self.open_with(self.disk)
        self.check()

    # -- operations: each changes the model and returns what changes the engine --------------------------------------

    def operation(self, model):
        kind = self.random.random()
        if kind < 0.45:
            return self.put(model)
        if kind < 0.65:
            return self.delete(model)
        name = self.any_collection(model)
        if kind < 0.95 or name is None:
            return self.record(model)
        del model.collections[name]
        return DropCollection(name)

    def create(self, model, name):
        dimension, metric = SHAPES[name]
        dtype = self.any_of(TYPES[name])
        schema = CollectionSchema(name, self.random.bytes(16).hex(), dimension, metric, graph=GRAPH, dtype=dtype)
        model.collections[name] = Collection(schema)
        return CreateCollection(schema)

    def one_row(self, model):
        """Always the same number of bytes in the log."""
        return self.put(model, "beta", 1, with_metadata=False)

    def put(self, model, name=None, rows=None, with_metadata=None):
        name = name or self.any_collection(model)
        if name is None:
            return self.record(model)
        rows = rows or self.integer(1, 4)
        collection = model.collections[name]
        ids = [f"{name}{number:03}" for number in self.random.choice(max(12, 2 * rows), rows, replace=False)]
        dtype = collection.schema.dtype
        wide = 20 * self.random.standard_normal((rows, SHAPES[name][0]))
        vectors = (np.rint(wide) if dtype is VectorType.INT8 else wide).astype(np.float32)
        stored = vectors.astype(dtype.value).astype(np.float32)
        norms = (1 + self.random.random(rows)).astype(np.float32)
        metadata = None
        if self.chance(0.6) if with_metadata is None else with_metadata:
            metadata = self.metadata(rows)
            for column in metadata.column_names:
                collection.columns.setdefault(column, str(COLUMNS[column]))
        given = metadata.to_pylist() if metadata is not None else [{}] * rows
        for row_id, *values in zip(ids, stored, norms, given, strict=True):
            collection.rows.pop(row_id, None)
            vector, norm, labels = values
            collection.rows[row_id] = Row(vector, norm, model.version, labels)
        return PutRows(name, ids, vectors, norms, metadata)

    def metadata(self, rows):
        chosen = [name for name in COLUMNS if self.chance(0.6)] or ["n"]
        most = 1500 if rows < 5 else 40
        values = {
            "n": lambda: self.integer(-(2**63), 2**63),
            "s": lambda: "é\x00ß"[: self.integer(0, 4)] * self.integer(0, most // 5),
            "b": lambda: self.random.bytes(self.integer(0, most)),
        }
        return pa.table(
            {
                name: pa.array([None if self.chance(0.2) else values[name]() for _ in range(rows)], COLUMNS[name])
                for name in chosen
            }
        )

    def delete(self, model):
        name = self.any_collection(model)
        if name is None:
            return self.record(model)
        ids = [f"{name}{number:03}" for number in self.random.choice(12, self.integer(1, 5), replace=False)]
        for row_id in ids:
            model.collections[name].rows.pop(row_id, None)
        return DeleteRows(name, ids, missing_ok=True)

    def record(self, model):
        records = model.tables.get("t")
        if records and self.chance(0.3):
            return model.remove("t", self.any_of(records))
        record = {"x": self.random.bytes(self.integer(0, 500)).hex(), "y": [None, {"z": -0.5}]}
        return model.put("t", f"k{self.integer(0, 8)}", record)

    # -- commits ---------------------------------------------------------------------------------------------------

    def commit(self, model, operations):
        self.send([model], [operations])

    def send(self, models, batches):
        self.begin(models)
        self.sent(models, commit_together(self.database, batches))

    def begin(self, models):
        for model in models:
            self.prints[model.version] = expected_fingerprint(model)
        self.events.append((len(self.disk.journal), models[-1].version, self.model.version))

    def sent(self, models, results):
        for model, result in zip(models, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            assert result == model.version
        self.acknowledge(models[-1])

    def acknowledge(self, model):
        self.model = model
        self.events.append((len(self.disk.journal), model.version, model.version))
        self.check()

    def check(self):
        snapshot = self.database.snapshot
        assert snapshot.version == self.model.version
        assert fingerprint_of(self.disk, snapshot) == self.prints[self.model.version]

    # -- chance ----------------------------------------------------------------------------------------------------

    def chance(self, probability):
        return bool(self.random.random() < probability)

    def integer(self, low, high):
        return int(self.random.integers(low, high))

    def any_of(self, values):
        return list(values)[self.integer(0, len(values))]

    def any_collection(self, model):
        return self.any_of(sorted(model.collections)) if model.collections else None


def is_kept(database, version):
    """Whether a version can still be read."""
    with database.undisturbed() as manifest:
        try:
            manifest.retained.base(version, manifest.checkpoint)
        except UnknownVersionError:
            return False
    return True


def commit_together(database, batches):
    """Commit batches in one group, as threads that came while the log was busy; versions or exceptions, in order."""
    if len(batches) == 1:
        try:
            return [database.commit(batches[0])]
        except QStoreError as error:
            return [error]
    requests = [CommitRequest(batch) for batch in batches]
    database.committer._commit_waiting(requests)
    return [request.error or request.version for request in requests]
