"""One process that inserts, updates, deletes, searches, seals and vacuums for long, and what it holds meanwhile.

The number of rows goes up and down around the same level, so whatever else grows leaks. After each round (some hundred
commits and searches, then a vacuum) it is written down what the process holds: anonymous memory, file descriptors,
bytes on the disk. The limit of the log is lowered, so that the thread in the background seals many times a round.
"""

import argparse
import collections
import faulthandler
import gc
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage_engine import writable
from storage_engine.batch import CreateCollection, DeleteRows, PutRecord, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, GraphOptions, Metric

DIMENSION = 192
LEVEL = 2_000  # rows
LOG_LIMIT = 256 << 10
STEPS = 60  # of a round
ROWS = 40  # of a step at most
RECORDS = 50
FEWEST = 8  # rounds


class Client:
    """Writes and searches, and knows what is stored."""

    def __init__(self, path, seed):
        self.random = np.random.default_rng(seed)
        self.path = path
        self.engine = Engine.open(path)
        schema = CollectionSchema(
            "items", "0" * 32, DIMENSION, Metric.COSINE, graph=GraphOptions(m=8, ef_construction=40, minimum_rows=500)
        )
        self.engine.commit(WriteBatch([CreateCollection(schema)]))
        self.reader = Engine.open(path, read_only=True)
        self.rows = {}  # id → its number in metadata
        self.number = 0
        self.operations = 0
        self.counts = collections.Counter()
        self.most_log = 0

    def round(self):
        for _ in range(STEPS):
            self.step()
        self.counts["rounds"] += 1

    def step(self):
        ids = list(self.rows)
        grow = len(ids) < LEVEL * (0.9 + 0.2 * self.random.random())
        names = [f"row-{self.number + n}" for n in range(ROWS)] if grow else []
        self.write(names, "insert")
        if ids:
            chosen = [ids[n] for n in self.random.choice(len(ids), min(ROWS, len(ids)) // 2, replace=False)]
            self.write(chosen, "upsert")
            self.label(chosen[::2])
            if not grow:
                self.delete([ids[n] for n in self.random.choice(len(ids), min(ROWS, len(ids)), replace=False)])
        self.engine.commit(WriteBatch([PutRecord("notes", str(self.random.integers(RECORDS)), {"n": self.number})]))
        self.operations += 1
        for engine in (self.engine, self.reader):
            self.search(engine)
        self.most_log = max(self.most_log, log_bytes(self.engine))

    def write(self, ids, mode):
        if not ids:
            return
        vectors = self.random.standard_normal((len(ids), DIMENSION)).astype(np.float32)
        self.engine.commit(WriteBatch([PutRows("items", ids, vectors, metadata=self.labels(ids), mode=mode)]))
        self.counts[f"rows by {mode}"] += len(ids)

    def label(self, ids):
        self.engine.commit(WriteBatch([PutRows("items", ids, None, metadata=self.labels(ids), mode="update")]))
        self.counts["rows by update"] += len(ids)

    def labels(self, ids):
        numbers = list(range(self.number, self.number + len(ids)))
        self.number += len(ids)
        self.operations += len(ids)
        self.rows |= dict(zip(ids, numbers, strict=True))
        texts = [f"text {number % 17}" for number in numbers]
        return pa.table({"number": pa.array(numbers, pa.int64()), "text": texts})

    def delete(self, ids):
        self.engine.commit(WriteBatch([DeleteRows("items", ids)]))
        self.operations += len(ids)
        for one in ids:
            del self.rows[one]
        self.counts["rows deleted"] += len(ids)

    def search(self, engine):
        engine.refresh()
        view = engine.snapshot().collection("items")
        query = self.random.standard_normal(DIMENSION).astype(np.float32)
        wish = ({}, {"exact": True}, {"ef": 10})[
            self.random.integers(3)
        ]  # of so few rows only the last walks the graph
        found = view.search(query, 10, **wish)
        names = view.ids_at(found.slots)
        numbers = view.metadata_at(found.slots, ["number"]).column("number").to_pylist()
        if len(names) != 10 or [self.rows.get(name) for name in names] != numbers:
            raise AssertionError(f"found {list(zip(names, numbers, strict=True))}")
        self.operations += 1
        self.counts["searches"] += 1
        self.counts["searches by graph"] += found.strategy in {"graph", "masked_graph"}

    def tidy(self):
        """An old version is read, readers move on, the rest is vacuumed; sometimes everything is opened anew."""
        with self.engine.at(self.engine.snapshot().version - 1) as past:
            len(past.snapshot().collection("items"))
        if self.counts["rounds"] % 5 == 0:
            self.engine.close()
            self.engine = Engine.open(self.path)
            self.counts["opened anew"] += 1
        self.reader.refresh()
        self.engine.wait_for_graphs()
        self.engine.vacuum()
        self.reader.refresh()
        self.engine.vacuum()  # once more, for what the reader still needed
        self.counts["vacuums"] += 2
        if len(self.engine.snapshot().collection("items")) != len(self.rows):
            raise AssertionError("a row is missing")

    def held(self, seconds):
        """What the process and the directory hold now."""
        gc.collect()
        view = self.engine.snapshot().collection("items")
        live = pa.BufferOutputStream()
        slots = np.flatnonzero(view.live())
        pq.write_table(view.metadata_at(slots).append_column("id", pa.array(view.ids_at(slots))), live)
        live_bytes = 4 * DIMENSION * len(view) + live.tell()
        return {
            "seconds": seconds,
            "operations": self.operations,
            "memory": anonymous_memory(),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "maps": sum(str(self.path) in line for line in Path("/proc/self/maps").read_text().splitlines()),
            "disk": bytes_of(self.path),
            "live": live_bytes,
            "log": bytes_of(self.path / "wal"),
        }

    def close(self):
        found = self.engine.verify()
        self.reader.close()
        self.engine.close()
        if found:
            raise AssertionError(f"verify finds {found[0]}")


def log_bytes(engine):
    """Bytes of the log that is written to, beyond what a manifest has sealed."""
    return engine._source.database.committer.log_bytes


def anonymous_memory():
    """Bytes of memory that no file backs: mapped vectors come and go as the system likes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    raise AssertionError("this system does not say how much memory a process holds")


def bytes_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def soak(path, seconds, seed):
    writable.SEAL_LOG_BYTES = LOG_LIMIT
    client = Client(path, seed)
    samples = []
    start = time.monotonic()
    while time.monotonic() - start < seconds or len(samples) < FEWEST:
        client.round()
        client.tidy()
        samples.append(client.held(time.monotonic() - start))
    client.close()
    return {"samples": samples, "counts": client.counts, "most_log": client.most_log, "log_limit": LOG_LIMIT}


def main():
    faulthandler.enable()
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faulthandler.dump_traceback_later(options.seconds + 200, exit=True)
    folder = Path(tempfile.mkdtemp(prefix="qstore-soak-"))
    try:
        print(json.dumps(soak(folder / "db", options.seconds, options.seed)))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
