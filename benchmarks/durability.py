"""Durable writes, bulk load, opening and disk space: Q-Store beside what the machine allows and beside peers.

    python benchmarks/durability.py [--rows N] [--rounds N] [--directory DIRECTORY] [--data DIRECTORY] [--json PATH]

Rows are those of Fashion-MNIST (784 numbers) where its file is found, seeded Gaussians otherwise; the table says which.
The limit of a durable insert is a bare append of as many bytes as our log grows by, with fdatasync, to a file in the
same directory; the limit of a bulk load is raw hnswlib building the same graph in memory with as many threads. All take
turns within each round, figures are medians. Other work on the machine moves the absolute figures, so read the ratios.
A disk that acknowledges from a cache makes everybody quick and what is done beside the sync weigh more.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import hnswlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from qstore_db.collection import Collection
from qstore_db.database import QuantumDatabase

DIMENSION = 784
THREADS = 2
BATCHES = (100, 1_000)
SINGLES = 40  # single rows of each engine in a round
LOAD = 10_000  # rows a call of the bulk load
MEGABYTE = 1e6
FIRST_ANSWER = """
import json, sys, time
start = time.perf_counter()
import qstore_db
from qstore_db import QuantumDatabase
imported = time.perf_counter()
import numpy as np
query = np.load(sys.argv[2])
begun = time.perf_counter()
with QuantumDatabase.open(sys.argv[1], progress=False) as db:
    opened = time.perf_counter()
    hits = db.collection("items").query(query, 10)
    answered = time.perf_counter()
    assert len(hits.ids) == 10
try:
    with open("/proc/self/status") as lines:
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
except OSError:
    peak = None
print(json.dumps([imported - start, opened - begun, answered - begun, peak]))
"""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is written."""

    name: str
    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    prices: NDArray[np.float64]

    def ids(self, first: int, count: int) -> list[str]:
        return [f"item-{row:09d}" for row in range(first, first + count)]

    def some(self, first: int, count: int) -> tuple[NDArray[np.float32], dict[str, NDArray[np.generic]]]:
        """Vectors and metadata of rows in a circle."""
        chosen = np.arange(first, first + count) % len(self.vectors)
        return self.vectors[chosen], {"label": self.labels[chosen], "price": self.prices[chosen]}


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    Args:
        work: What was done.
        value: Our figure.
        beside: That of the limit, or ``None`` where the target is absolute.
        limit: What it is compared with.
        ratio: How they compare.
        target: The most it may be, or the least with ``at_least``; ``None``: no target, a peer.
    """

    work: str
    value: float
    unit: str
    beside: float | None
    limit: str
    ratio: float
    target: float | None
    at_least: bool = False

    def verdict(self) -> str:
        if self.target is None:
            return ""
        met = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return f"{'≥' if self.at_least else '≤'} {self.target:g} {'met' if met else 'MISSED'}"


def load(directory: Path, rows: int) -> Rows:
    file = directory / "fashion_mnist.npz"
    g = np.random.default_rng(0)
    if file.exists():
        with np.load(file, allow_pickle=False) as data:
            vectors = data["x_train"].reshape(len(data["x_train"]), -1).astype(np.float32)[:rows]
            labels = data["y_train"].astype(np.int64)[:rows]
        name = "Fashion-MNIST"
    else:
        vectors = g.standard_normal((rows, DIMENSION), dtype=np.float32)
        labels = g.integers(0, 10, rows)
        name = f"made up: Gaussians, seed 0 (no fashion_mnist.npz in {directory})"
    return Rows(name, vectors, labels, g.random(len(vectors)))


def timed(runs: dict[str, Callable[[int], None]], rounds: int, each: int, rows: int) -> dict[str, float]:
    """Median seconds a call; the engines take turns, ``each`` calls at a time. A call gets the number of its row."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    done = 0
    for turn in range(rounds + 1):
        for name, run in runs.items():
            for call in range(each):
                start = time.perf_counter()
                run((done + call) * rows)
                if turn:  # the first round warms up
                    spent[name].append(time.perf_counter() - start)
        done += each
    return {name: statistics.median(times) for name, times in spent.items()}


class BareLog:
    """A file that is appended to and synced: as little as a durable write can be."""

    def __init__(self, path: Path, length: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._data = np.random.default_rng(0).bytes(length)
        self._sync = getattr(os, "fdatasync", os.fsync)

    def append(self, row: int) -> None:
        os.write(self._descriptor, self._data)
        self._sync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class Sqlite:
    """A table with the vector as bytes; every insert a transaction of its own, synced before it returns."""

    def __init__(self, path: Path, rows: Rows) -> None:
        self._rows = rows
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE items (id TEXT PRIMARY KEY, vector BLOB, label INTEGER, price REAL)")

    def insert(self, row: int) -> None:
        vectors, metadata = self._rows.some(row, 1)
        values = (f"item-{row}", vectors.tobytes(), int(metadata["label"][0]), float(metadata["price"][0]))
        self._connection.execute("INSERT INTO items VALUES (?, ?, ?, ?)", values)

    def close(self) -> None:
        self._connection.close()


class DuckDb:
    """A table with a FLOAT[784]; every insert a transaction of its own."""

    def __init__(self, path: Path, rows: Rows) -> None:
        import duckdb

        self._rows = rows
        self._connection = duckdb.connect(str(path))
        kinds = f"id VARCHAR PRIMARY KEY, vector FLOAT[{rows.vectors.shape[1]}], label BIGINT, price DOUBLE"
        self._connection.execute(f"CREATE TABLE items ({kinds})")

    def insert(self, row: int) -> None:
        vectors, metadata = self._rows.some(row, 1)
        values = [f"item-{row}", vectors[0].tolist(), int(metadata["label"][0]), float(metadata["price"][0])]
        self._connection.execute("INSERT INTO items VALUES (?, ?, ?, ?)", values)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def collection(path: Path, dimension: int) -> Iterator[Collection]:
    """An empty collection that builds no graph while commits are timed."""
    with QuantumDatabase.open(path, progress=False) as db:
        yield db.create_collection("items", dimension, "l2", minimum_rows=2**31 - 1)


def writing(items: Collection, rows: Rows, count: int, metadata: bool) -> Callable[[int], None]:
    def insert(row: int) -> None:
        vectors, labels = rows.some(row, count)
        items.insert(rows.ids(row, count), vectors, metadata=labels if metadata else None)

    return insert


def log_growth(path: Path, insert: Callable[[int], None]) -> int:
    """Bytes by which the log grows for one insert: one of ids that no round writes."""
    before = bytes_of(path / "wal")
    insert(10**8)
    return bytes_of(path / "wal") - before


def inserts(folder: Path, rows: Rows, rounds: int) -> list[Figure]:
    """Single rows with and without metadata, beside bare appends, SQLite and DuckDB."""
    dimension = rows.vectors.shape[1]
    figures = []
    with ExitStack() as stack:
        runs: dict[str, Callable[[int], None]] = {}
        for name, metadata in (("vector", False), ("vector and metadata", True)):
            path = folder / f"single-{metadata}"
            own = writing(stack.enter_context(collection(path, dimension)), rows, 1, metadata)
            bare = BareLog(folder / f"{path.name}.bare", log_growth(path, own))
            stack.callback(bare.close)
            runs |= {f"bare {name}": bare.append, name: own}
        peers: list[Sqlite | DuckDb] = [Sqlite(folder / "sqlite", rows)]
        if importlib.util.find_spec("duckdb"):
            peers.append(DuckDb(folder / "duckdb", rows))
        else:
            print("not measured: DuckDB is not installed")
        for peer in peers:
            stack.callback(peer.close)
            runs[type(peer).__name__] = peer.insert
        spent = {name: 1000 * seconds for name, seconds in timed(runs, rounds, SINGLES, 1).items()}
    for name in ("vector", "vector and metadata"):
        ratio = spent[name] / spent[f"bare {name}"]
        work = f"durable insert of one row: {name}"
        figures.append(Figure(work, spent[name], "ms", spent[f"bare {name}"], "bare append + fdatasync", ratio, 1.5))
    for peer in peers:
        kind, ours = type(peer).__name__, spent["vector and metadata"]
        limit = "SQLite, WAL, FULL" if kind == "Sqlite" else "DuckDB, bound list"
        figures.append(
            Figure(
                "durable insert of one row: vector and metadata",
                ours,
                "ms",
                spent[kind],
                limit,
                ours / spent[kind],
                None,
            )
        )
    return figures


def batches(folder: Path, rows: Rows, rounds: int) -> list[Figure]:
    """Many rows a commit, as share of the rate of bare appends of the same bytes."""
    figures = []
    for count in BATCHES:
        path = folder / f"batch-{count}"
        with collection(path, rows.vectors.shape[1]) as items, ExitStack() as stack:
            own = writing(items, rows, count, True)
            length = log_growth(path, own)
            bare = BareLog(folder / f"{path.name}.bare", length)
            stack.callback(bare.close)
            spent = timed({"bare": bare.append, "own": own}, rounds, 4, count)
        rates = [length / spent[name] / MEGABYTE for name in ("own", "bare")]
        share = rates[0] / rates[1]
        work = f"durable batches of {count:,} rows"
        figures.append(Figure(work, rates[0], "MB/s", rates[1], "bare append + fdatasync", share, 0.6, at_least=True))
    return figures


def bulk(folder: Path, rows: Rows, rounds: int) -> tuple[Path, list[Figure]]:
    """Everything at once, durable and with its graph, beside raw hnswlib in memory; the last directory stays."""
    spent: dict[str, list[float]] = {"own": [], "hnswlib": [], "visible": []}
    path = folder / "bulk"
    for _ in range(rounds):
        start = time.perf_counter()
        index = hnswlib.Index("l2", rows.vectors.shape[1])
        index.init_index(len(rows.vectors), M=16, ef_construction=200, random_seed=100)
        index.add_items(rows.vectors, num_threads=THREADS)
        spent["hnswlib"].append(time.perf_counter() - start)
        del index
        shutil.rmtree(path, ignore_errors=True)
        start = time.perf_counter()
        with QuantumDatabase.open(path, progress=False, build_threads=THREADS) as db:
            items = db.create_collection("items", rows.vectors.shape[1], "l2")
            for at in range(0, len(rows.vectors), LOAD):
                count = min(LOAD, len(rows.vectors) - at)
                vectors, metadata = rows.some(at, count)
                items.insert(rows.ids(at, count), vectors, metadata=metadata)
            found = items.query(rows.vectors[-1], 1, exact=True)
            spent["visible"].append(time.perf_counter() - start)
            if len(items) != len(rows.vectors) or found.scores[0] != 0:  # type: ignore[union-attr]
                raise AssertionError("a row that was acknowledged is not found")
            items.build_graph()
            spent["own"].append(time.perf_counter() - start)
    own, raw, visible = (statistics.median(spent[name]) for name in ("own", "hnswlib", "visible"))
    name, limit = f"bulk load of {len(rows.vectors):,} rows", f"raw hnswlib, {THREADS} threads"
    return path, [
        Figure(f"{name}, durable, with graph", own, "s", raw, limit, own / raw, 1.25),
        Figure(f"{name}, durable, found exactly", visible, "s", raw, limit, visible / raw, None),
    ]


def opening(path: Path, rows: Rows, rounds: int) -> list[Figure]:
    """A fresh process: import, open, first answer, most memory."""
    query = path.parent / "query.npy"
    np.save(query, rows.vectors[0])
    said = []
    for turn in range(2 * rounds + 1):
        command = [sys.executable, "-c", FIRST_ANSWER, str(path), str(query)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        if turn:  # the first may compile
            said.append(json.loads(output))
    imported, opened, answered = (statistics.median(one[place] for one in said) for place in range(3))
    figures = [
        Figure("import qstore_db", imported, "s", None, "", imported, 0.3),
        Figure("open, in a fresh process", opened, "s", None, "", opened, None),
        Figure("open + first answer, in a fresh process", answered, "s", None, "", answered, 0.25),
    ]
    if said[0][3] is None:
        print("not measured: peak memory, which this system does not tell")
    else:
        peak = statistics.median(one[3] for one in said) / MEGABYTE
        figures.append(Figure("peak resident memory of that process", peak, "MB", None, "", peak, 250))
    return figures


def disk(path: Path, rows: Rows) -> list[Figure]:
    """Bytes of the closed directory, and once more after a vacuum."""
    metadata = pa.table({"id": rows.ids(0, len(rows.vectors)), "label": rows.labels, "price": rows.prices})
    parquet = path.parent / "metadata.parquet"
    pq.write_table(metadata, parquet)
    stored = (rows.vectors.nbytes + parquet.stat().st_size) / MEGABYTE
    used = bytes_of(path) / MEGABYTE
    with QuantumDatabase.open(path, progress=False) as db:
        db.vacuum()
    after = bytes_of(path) / MEGABYTE
    limit = "float32 vectors + Parquet"
    return [
        Figure("disk, as the bulk load left it", used, "MB", stored, limit, used / stored, 1.15),
        Figure("disk, after VACUUM", after, "MB", stored, limit, after / stored, 1.15),
    ]


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def report(figures: Sequence[Figure]) -> list[dict[str, object]]:
    """Print the table; the figures as lines for a file."""
    print(f"\n{'work':52} {'q-store':>10} {'limit or peer':>40} {'ratio':>8}  target")
    lines = []
    for one in figures:
        beside = "" if one.beside is None else f"{one.limit} {one.beside:10.3f} {one.unit:4}"
        ratio = "" if one.beside is None else f"{one.ratio:.2f}"
        print(f"{one.work:52} {one.value:10.3f} {one.unit:4} {beside:>40} {ratio:>8}  {one.verdict()}")
        lines.append(line("q-store", one.work, "value", one.value, one.unit))
        if one.beside is not None:
            lines.append(line(one.limit, one.work, "value", one.beside, one.unit))
            lines.append(line("q-store", one.work, f"ratio / {one.limit}", one.ratio, "ratio"))
    return lines


def line(engine: str, work: str, metric: str, value: float, unit: str) -> dict[str, object]:
    return {"benchmark": "durability", "engine": engine, "work": work, "metric": metric, "value": value, "unit": unit}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--rows", type=int, default=60_000, help="of the bulk load (default 60000)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds; bulk loads take three at most")
    parser.add_argument("--directory", type=Path, help="where to write; its disk is what is measured")
    parser.add_argument("--data", type=Path, default=beside, help=f"directory of fashion_mnist.npz (default {beside})")
    parser.add_argument("--json", help="write one JSON object a figure to this file")
    options = parser.parse_args(arguments)
    if options.rows < 10 or options.rounds < 1:
        parser.error("--rows must be at least 10, --rounds at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    rows = load(options.data, options.rows)
    with tempfile.TemporaryDirectory(prefix="qstore-durability-", dir=options.directory) as name:
        folder = Path(name)
        print(f"{rows.name}: {len(rows.vectors):,} × {rows.vectors.shape[1]}, in {folder}, {os.cpu_count()} cores")
        if len(rows.vectors) != 60_000:
            print("the targets of the bulk load, of opening and of disk space are meant for 60,000 rows")
        figures = inserts(folder, rows, options.rounds) + batches(folder, rows, options.rounds)
        path, loaded = bulk(folder, rows, min(3, options.rounds))
        figures += loaded + opening(path, rows, options.rounds) + disk(path, rows)
    lines = report(figures)
    if options.json:
        Path(options.json).write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
