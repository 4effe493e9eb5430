"""How the databases in this folder were written: ``python tests/golden/write_golden.py format-<major>.<minor>.qdb``.

Run once for each format, by the version that introduced it, and never again: the files are what old versions left
behind. ``tests/test_golden.py`` opens every one of them.
"""

import platform
import socket
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from qstore_db import QuantumDatabase
from storage_engine.batch import DeleteRecord, PutRecord, WriteBatch

ROWS = 60


def vectors(seed: int, rows: int, dimension: int) -> np.ndarray:
    """Numbers that are the same on every machine."""
    steps = np.arange(rows * dimension, dtype=np.float64).reshape(rows, dimension)
    return np.sin(steps * 0.37 + seed).astype(np.float32)


def write(path: Path) -> None:
    """Every kind of file and record, in 200 kB."""
    platform.node = socket.gethostname = lambda: "golden"  # runs and locks name the machine
    ticks = iter(range(1_700_000_000, 1_800_000_000))
    with QuantumDatabase.open(path, clock=lambda: float(next(ticks)), build_threads=1, progress=False) as db:
        engine = db._engine
        items = db.create_collection("items", dimension=5, metric="l2", minimum_rows=20)
        metadata = pa.table(
            {
                "n": pa.array(range(ROWS), pa.int64()),
                "text": [None if n % 7 == 0 else f"row {n} ä" for n in range(ROWS)],
                "tags": [[str(n), "x"] for n in range(ROWS)],
                "when": pa.array([n * 1_000_000 for n in range(ROWS)], pa.timestamp("us", tz="UTC")),
            }
        )
        items.insert([f"i{n}" for n in range(ROWS)], vectors(0, ROWS, 5), metadata=metadata)
        engine.build_graphs()
        items.delete(["i3", "i4"])
        db.insert(id="doc", vectors={"a": [1.0, 0.0, 0.0], "b": [0.0, 2.0, 0.0]}, contexts=[("a", 0.25), ("b", 0.75)])
        data = vectors(1, 24, 4)
        db.store_training_data("toy", data=data, labels=(data[:, 0] > 0).astype(np.int64))
        db.create_model("m", qubits=2, layers=1, classes=2)
        db.train("m", "toy", epochs=1, seed=3)
        engine.commit(WriteBatch([PutRecord("t", "k", {"v": [1, "two", None, 3.5]}), PutRecord("t", "gone", {})]))
        engine.seal()
        if hasattr(db, "tag"):
            db.tag("first", db.version)
        items.update("i5", metadata={"n": -5})
        engine.commit(WriteBatch([DeleteRecord("t", "gone")]))
        items.insert("late", vectors(2, 1, 5)[0], metadata={"n": 1000})  # stands in the log alone
        for dtype, scale in (("float16", 1.0), ("int8", 100.0)):  # since format 1.2
            small = db.create_collection(dtype, dimension=35, metric="cosine", dtype=dtype, minimum_rows=20)
            rows = np.rint(scale * vectors(3, ROWS, 35)) if dtype == "int8" else vectors(3, ROWS, 35)
            small.insert([f"s{n}" for n in range(ROWS)], rows, metadata=[{"n": n} for n in range(ROWS)])
            engine.build_graphs(dtype)
            small.delete("s9")
            small.insert("fresh", rows[9] + (scale > 1))


if __name__ == "__main__":
    write(Path(__file__).parent / sys.argv[1])
