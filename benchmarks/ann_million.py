"""A large directory: building, memory, search, opening, and how their cost grows from a tenth of the rows."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hnswlib
import numpy as np
from ann_data import TOP_K, clustered
from numpy.typing import NDArray

from qstore_db.collection import Collection
from qstore_db.database import QuantumDatabase
from storage_engine.schema import Metric
from storage_engine.vectors.distance import exact_top_k

_OPEN = """
import time, sys, numpy as np
start = time.perf_counter()
from qstore_db import QuantumDatabase
imported = time.perf_counter()
query = np.load(sys.argv[2], allow_pickle=False)
with QuantumDatabase.open(sys.argv[1], read_only=True) as db:
    items = db.collection("items")
    opened = time.perf_counter()
    items.query(query, top_k=10).ids
    first = time.perf_counter()
with open("/proc/self/status", encoding="ascii") as status:
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(imported - start, opened - imported, first - opened, resident)
"""


def million(rows: int, dimension: int, queries: int) -> list[dict[str, object]]:
    """Prints and returns the figures of ``rows`` rows and of a tenth of them."""
    lines = []
    for count in (rows // 10, rows):
        lines += measured(count, dimension, queries)
    return lines


def measured(rows: int, dimension: int, queries: int) -> list[dict[str, object]]:
    x, q, labels = clustered(rows, queries, dimension)
    truth = [exact_top_k(query, x, TOP_K, Metric.L2).positions for query in q]
    print(f"\n{rows:,} × {dimension}, clustered, seed 0, {queries} queries, top {TOP_K}")
    figures: list[tuple[str, str, float, str]] = []
    place = Path(tempfile.mkdtemp(prefix="qstore-million-"))
    try:
        figures += of_qstore(place / "db", x, q, labels, truth)
        figures += opening(place / "db", q[0], place / "query.npy")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    figures += of_hnswlib(x, q, truth)
    for engine, metric, value, unit in figures:
        print(f"  {engine:8} {metric:38} {value:12.4g} {unit}")
    return [
        {
            "benchmark": "ann",
            "engine": one,
            "work": f"{rows} × {dimension}",
            "metric": name,
            "value": value,
            "unit": unit,
        }
        for one, name, value, unit in figures
    ]


def of_qstore(
    path: Path,
    x: NDArray[np.float32],
    q: NDArray[np.float32],
    labels: NDArray[np.int64],
    truth: list[NDArray[np.int64]],
) -> list[tuple[str, str, float, str]]:
    found: list[tuple[str, str, float, str]] = []
    with QuantumDatabase.open(path, progress=False) as db:
        items = db.create_collection("items", dimension=x.shape[1], metric="l2")
        start, cpu = time.perf_counter(), time.process_time()
        for at in range(0, len(x), 50_000):
            part = slice(at, at + 50_000)
            ids = [f"item-{row:07d}" for row in range(at, min(at + 50_000, len(x)))]
            items.insert(ids, x[part], metadata={"label": labels[part]})
        written = time.perf_counter()
        items.build_graph()
        found += [
            ("q-store", "insert, all cores", written - start, "s"),
            ("q-store", "build, all cores", time.perf_counter() - written, "s"),
            ("q-store", "insert and build, CPU", time.process_time() - cpu, "s"),
            ("q-store", "resident memory after it", resident(), "MB"),
        ]
        wishes: tuple[tuple[str, dict[str, object]], ...] = (
            ("default", {}),
            ("ef 40", {"ef": 40}),
            ("ef 160", {"ef": 160}),
            ("exact", {"exact": True}),
        )
        for name, wish in wishes:
            spent, share = one_by_one(items, q if name != "exact" else q[:40], truth, wish)
            found += [
                ("q-store", f"{name}: queries a second", 1e6 / spent, "1/s"),
                ("q-store", f"{name}: recall", share, "share"),
            ]
        start = time.perf_counter()
        items.query(np.tile(q, (5, 1)), TOP_K, include=[])
        found.append(
            ("q-store", "batch, all cores: queries a second", 5 * len(q) / (time.perf_counter() - start), "1/s")
        )
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    found.append(("q-store", "directory", size / 2**20, "MB"))
    return found


def one_by_one(
    items: Collection, q: NDArray[np.float32], truth: list[NDArray[np.int64]], wish: dict[str, object]
) -> tuple[float, float]:
    spent = []
    for _ in range(3):
        start = time.process_time()
        answers = [items.query(query, TOP_K, **wish).ids for query in q]  # type: ignore[arg-type, union-attr]
        spent.append((time.process_time() - start) / len(q) * 1e6)
    wanted = [{f"item-{row:07d}" for row in one.tolist()} for one in truth]
    shares = [len(set(ids) & true) / len(true) for ids, true in zip(answers, wanted, strict=False)]
    return statistics.median(spent), float(np.mean(shares))


def opening(path: Path, query: NDArray[np.float32], file: Path) -> list[tuple[str, str, float, str]]:
    """In processes of their own: import, open, first answer; the quickest of three, since others use the machine."""
    np.save(file, query, allow_pickle=False)
    runs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _OPEN, str(path), str(file)], check=True, capture_output=True, text=True
        )
        runs.append([float(number) for number in done.stdout.split()])
    best = np.min(runs, axis=0)
    return [
        ("q-store", "import", best[0], "s"),
        ("q-store", "open", best[1], "s"),
        ("q-store", "first answer after that", best[2], "s"),
        ("q-store", "resident memory of that process", best[3] / 1024, "MB"),
    ]


def of_hnswlib(
    x: NDArray[np.float32], q: NDArray[np.float32], truth: list[NDArray[np.int64]]
) -> list[tuple[str, str, float, str]]:
    index = hnswlib.Index(space="l2", dim=x.shape[1])
    index.init_index(len(x), M=16, ef_construction=200, random_seed=100)
    start, cpu = time.perf_counter(), time.process_time()
    index.add_items(x, num_threads=os.cpu_count() or 1)
    found = [
        ("hnswlib", "build, all cores", time.perf_counter() - start, "s"),
        ("hnswlib", "build, CPU", time.process_time() - cpu, "s"),
    ]
    index.set_num_threads(1)
    for ef in (40, 160):
        index.set_ef(ef)
        spent = []
        for _ in range(3):
            start = time.process_time()
            answers = [index.knn_query(query, TOP_K)[0][0] for query in q]
            spent.append((time.process_time() - start) / len(q) * 1e6)
        shares = [len(set(a.tolist()) & set(t.tolist())) / TOP_K for a, t in zip(answers, truth, strict=True)]
        found += [
            ("hnswlib", f"ef {ef}: queries a second", 1e6 / statistics.median(spent), "1/s"),
            ("hnswlib", f"ef {ef}: recall", float(np.mean(shares)), "share"),
        ]
    return found


def resident() -> float:
    """Megabytes of this process, the rows it made up included."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
