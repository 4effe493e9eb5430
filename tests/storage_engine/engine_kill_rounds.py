"""Rounds of: fork a child that commits and acknowledges through a pipe, kill it, reopen, compare with the model.

What commit number V does is a pure function of V, so the state at any version can be computed from nothing. Replay one
failing round with: python engine_kill_rounds.py DIRECTORY ROUNDS SEED
"""

import json
import os
import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from storage_engine import bulk, writable
from storage_engine.batch import CreateCollection, DeleteRows, PutRecord, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, GraphOptions, Metric

DIMENSION = 6
ROUNDS_A_DIRECTORY = 30
bulk.BATCH_BYTES = 4_000  # a commit of 40 rows or more takes the road of staged segments
writable.SEAL_ROWS = 300


def operations(version):
    if version == 1:
        graph = GraphOptions(m=4, ef_construction=16, minimum_rows=100)
        return [
            CreateCollection(CollectionSchema("a", "a" * 32, DIMENSION, Metric.L2, graph=graph)),
            CreateCollection(CollectionSchema("b", "b" * 32, DIMENSION, Metric.COSINE, graph=graph)),
        ]
    rng = np.random.default_rng(version)
    result = []
    for name in "ab":
        count = 60 if version % 11 == 0 else int(rng.integers(1, 5))
        ids = [f"{name}{number}\x00é" for number in rng.choice(200, count, replace=False)]
        vectors = rng.normal(size=(count, DIMENSION)).astype(np.float32)
        metadata = pa.table({"version": [version] * count, "text": [f"{version}/{row}" for row in range(count)]})
        result.append(PutRows(name, ids, vectors, metadata=metadata))
        dead = [f"{name}{number}\x00é" for number in rng.choice(200, 3, replace=False)]
        result.append(DeleteRows(name, dead, missing_ok=True))
    result.append(PutRecord("t", str(version % 7), {"version": version}))
    return result


class Model:
    def __init__(self):
        self.version = 0
        self.rows = {"a": {}, "b": {}}
        self.records = {}

    def advance(self, version):
        while self.version < version:
            self.version += 1
            for operation in operations(self.version):
                if isinstance(operation, PutRows):
                    for row, row_id in enumerate(operation.ids):
                        stored = self.rows[operation.collection]
                        stored.pop(row_id, None)
                        text = f"{self.version}/{row}"
                        stored[row_id] = (operation.vectors[row].tobytes(), self.version, text)
                elif isinstance(operation, DeleteRows):
                    for row_id in operation.ids:
                        self.rows[operation.collection].pop(row_id, None)
                elif isinstance(operation, PutRecord):
                    self.records[operation.key] = dict(operation.value)


def work(directory, acknowledge):
    """The child: commits until it is killed."""
    engine = Engine.open(directory, build_threads=1)
    version = engine.snapshot().version
    os.write(acknowledge, struct.pack("<Q", version))
    while True:
        version += 1
        assert engine.commit(WriteBatch(operations(version))) == version
        os.write(acknowledge, struct.pack("<Q", version))
        if version % 17 == 0:
            engine.seal()
        if version % 53 == 0:
            engine.build_graphs()
        if version % 61 == 0:
            engine.close()
            engine = Engine.open(directory, build_threads=1)


def kill_once(directory, seconds):
    """Versions that the child acknowledged before it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 3
        try:
            os.close(reading)
            work(directory, writing)
        finally:
            os._exit(status)
    os.close(writing)
    first = os.read(reading, 8)  # it is ready
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    data = first
    while part := os.read(reading, 1 << 16):
        data += part
    os.close(reading)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the child ended by itself with status {status}"
    return [number for (number,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8])]


def check(directory, model, acknowledged):
    with Engine.open(directory, build_threads=1) as engine:
        snapshot = engine.snapshot()
        found = snapshot.version
        assert acknowledged <= found <= acknowledged + 1, f"{acknowledged} acknowledged, {found} found"
        model.advance(found)
        if found:
            for name, rows in model.rows.items():
                view = snapshot.collection(name)
                live = np.flatnonzero(view.live())
                table = view.arrow()
                assert table.column("id").to_pylist() == list(rows), name
                vectors = view.vectors_at(live)
                stored = zip(
                    (vector.tobytes() for vector in vectors),
                    table.column("version").to_pylist() if len(rows) else [],
                    table.column("text").to_pylist() if len(rows) else [],
                    strict=True,
                )
                assert list(stored) == list(rows.values()), name
        assert dict(snapshot.table("t")) == model.records


def warm_up(directory):
    """Import everything here once, so that each child gets to work at once."""
    with Engine.open(directory, build_threads=1) as engine:
        for version in range(1, 12):
            engine.commit(WriteBatch(operations(version)))
        engine.build_graphs()


def main():
    base, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warm_up(base / "warm")
    rng = np.random.default_rng(seed)
    total = 0
    for number in range(rounds):
        if number % ROUNDS_A_DIRECTORY == 0:
            directory, model, known = base / f"db{number}", Model(), 0
        versions = kill_once(directory, float(rng.uniform(0, 0.03)))
        # The first number is what the child found when it opened; the others it has committed.
        assert not versions or versions[0] >= known
        total += max(0, len(versions) - 1)
        check(directory, model, max(known, *versions) if versions else known)
        known = model.version
    print(json.dumps({"rounds": rounds, "killed": rounds, "acknowledged": total, "seed": seed}))


if __name__ == "__main__":
    main()
