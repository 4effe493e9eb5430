"""Simulated power cuts at every kind of disk call, also inside recovery: what was not synced may be lost or torn."""

import numpy as np
import pyarrow as pa
import pytest

from storage_engine.batch import CreateCollection, DeleteRows, PutRecord, PutRows
from storage_engine.files import parent_of
from storage_engine.memory_disk import MemoryDisk, MemoryFile
from storage_engine.opening import open_writable
from storage_engine.schema import CollectionSchema, GraphOptions, Metric
from storage_engine.verify import verify

POINTS = 160
LAST = 26


class PowerCut(BaseException):
    """The machine is off."""


class CuttingDisk(MemoryDisk):
    """Keeps apart what is written and what is durable; turns the power off at the n-th changing call."""

    def __init__(self, cut_at):
        super().__init__()
        self.calls = 0
        self.cut_at = cut_at
        self.synced = {}  # MemoryFile → its durable bytes
        self.durable = {}  # name → MemoryFile
        self.pending = {}  # directory → changes of names since it was synced

    def _call(self):
        self.calls += 1
        if self.calls >= self.cut_at:
            raise PowerCut

    def _names_changed(self, directory, *changes):
        self.pending.setdefault(directory, []).append(changes)

    def create(self, name):
        self._call()
        handle = super().create(name)
        self._names_changed(parent_of(name), (name, self.names[name]))
        return handle

    def write(self, handle, offset, data):
        if self.calls >= self.cut_at:
            return len(data)  # finalizers of other libraries still run in this process; nothing reaches the disk
        if self.calls + 1 == self.cut_at:  # the power goes in the middle of a write
            super().write(handle, offset, bytes(data)[: len(data) // 2])
        self._call()
        return super().write(handle, offset, data)

    def truncate(self, handle, length):
        self._call()
        super().truncate(handle, length)

    def sync(self, handle):
        self._call()
        self.synced[handle.state] = bytes(handle.state.data)

    def sync_directory(self, directory):
        self._call()
        for changes in self.pending.pop(directory, []):
            _change(self.durable, changes)

    def unlink(self, name):
        self._call()
        super().unlink(name)
        self._names_changed(parent_of(name), (name, None))

    def _move(self, operation, source, target):
        self._call()
        super()._move(operation, source, target)
        self._names_changed(parent_of(target), (source, None), (target, self.names[target]))

    def after_power_is_back(self, rng, cut_at):
        """Another disk with what survived: of each directory a prefix of its changes, of each file old or torn data."""
        names = dict(self.durable)
        for changes in self.pending.values():
            for some in changes[: rng.integers(0, len(changes) + 1)]:
                _change(names, some)
        disk = CuttingDisk(cut_at)
        disk.directories = set(self.directories)
        for name, file in names.items():
            copy = disk.names[name] = disk.durable[name] = MemoryFile()
            copy.data[:] = self._survived(rng, file)
            disk.synced[copy] = bytes(copy.data)
        return disk

    def _survived(self, rng, file):
        old, new = self.synced.get(file, b""), bytes(file.data)
        kind = rng.integers(0, 4)
        if kind == 0 or old == new:
            return old
        if kind == 1 or len(new) < len(old):
            return new
        if kind == 2:
            return new[: rng.integers(min(len(old), len(new)), len(new) + 1)]
        sectors = bytearray(new)
        for start in range(0, len(new), 512):
            if rng.random() < 0.5:
                part = old[start : start + 512]
                sectors[start : start + len(part)] = part
                if len(part) < 512:  # beyond the old end: never written
                    stop = min(start + 512, len(new))
                    sectors[start + len(part) : stop] = bytes(stop - start - len(part))
        return bytes(sectors)


def _change(names, changes):
    for name, file in changes:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def operations(version):
    if version == 1:
        graph = GraphOptions(m=4, ef_construction=16)
        return [CreateCollection(CollectionSchema("c", "c" * 32, 40, Metric.L2, graph=graph))]
    rng = np.random.default_rng(version)
    count = 120 if version % 9 == 0 else int(rng.integers(1, 9))
    ids = [f"{number}" for number in rng.choice(150, count, replace=False)]
    vectors = rng.normal(size=(count, 40)).astype(np.float32)
    metadata = pa.table({"version": [version] * count})
    dead = [f"{number}" for number in rng.choice(150, 3, replace=False)]
    return [
        PutRows("c", ids, vectors, metadata=metadata),
        DeleteRows("c", dead, missing_ok=True),
        PutRecord("t", str(version % 3), {"version": version}),
    ]


def expected(version):
    rows, records = {}, {}
    for number in range(2, version + 1):
        put, delete, record = operations(number)
        for row_id, vector in zip(put.ids, put.vectors, strict=True):
            rows.pop(row_id, None)
            rows[row_id] = (vector.tobytes(), number)
        for row_id in delete.ids:
            rows.pop(row_id, None)
        records[record.key] = dict(record.value)
    return rows, records


def opened(disk):
    return open_writable(disk, create=True, clock=lambda: 0.0, sync_each=True, build_threads=1)


def work(disk, acknowledged):
    database = opened(disk)
    version = database.snapshot.version
    assert version >= acknowledged[0]
    while version < LAST:
        version += 1
        assert database.commit(operations(version)) == version
        acknowledged[0] = version
        if version % 5 == 0:
            database.seal()
        if version in (8, 21):
            database.build_graphs(None)
        if version == 14:
            database.close()
            database = opened(disk)
    database.close()


def check(disk, acknowledged):
    database = opened(disk)
    snapshot = database.snapshot
    assert acknowledged <= snapshot.version <= acknowledged + 1
    rows, records = expected(snapshot.version)
    if snapshot.version:
        view = snapshot.collection("c")
        live = np.flatnonzero(view.live())
        assert view.ids_at(live) == list(rows)
        versions = view.metadata_at(live).to_pydict().get("version", [])
        found = list(zip((vector.tobytes() for vector in view.vectors_at(live)), versions, strict=True))
        assert found == list(rows.values())
    assert dict(snapshot.table("t")) == records
    with database.undisturbed() as manifest:
        assert [one for one in verify(disk, snapshot, manifest, None) if one.severity == "error"] == []
    if snapshot.version < LAST:
        assert database.commit(operations(snapshot.version + 1)) == snapshot.version + 1
        database.seal()
    database.close()


def run_point(seed, calls):
    rng = np.random.default_rng(seed)
    disk = CuttingDisk(int(rng.integers(1, calls)))
    acknowledged = [0]
    while True:
        try:
            work(disk, acknowledged)
            break
        except PowerCut:
            again = rng.random() < 0.35
            disk = disk.after_power_is_back(rng, int(rng.integers(1, 60)) if again else 10**9)
            if not again:
                check(disk, acknowledged[0])
                break


@pytest.mark.crash
def test_power_cuts_lose_nothing_that_was_acknowledged(monkeypatch):
    monkeypatch.setattr("storage_engine.bulk.BATCH_BYTES", 10_000)
    monkeypatch.setattr("storage_engine.committer.BATCH_BYTES", 10_000)
    whole = CuttingDisk(10**9)
    work(whole, [0])
    assert whole.calls > POINTS
    for seed in range(POINTS):
        try:
            run_point(seed, whole.calls)
        except Exception as error:
            raise AssertionError(f"power cut {seed}: replay with run_point({seed}, {whole.calls})") from error
