"""Durable writes, bulk load, opening and disk space: Q-Store beside what the machine allows and beside peers.

    python benchmarks/durability.py [--rows N] [--rounds N] [--directory DIRECTORY] [--data DIRECTORY] [--json PATH]

Rows are those of Fashion-MNIST (784 numbers) where its file is found, seeded Gaussians otherwise; the table says which.
The limit of a durable insert is a bare write of as many bytes as our log grows by, with fdatasync, to a file in the
same directory. There are two: an append, which makes the file system keep account of a longer file, and a write over
zeros that were made durable before, which does not; making the zeros is not counted there, while our log pays for its
own. Targets are held against the append; the other row shows how much room is left below it. The limit of a bulk load
is raw hnswlib building the same graph in memory with as many threads. All take turns within each round, figures are
medians; making up rows and ids is not counted. Other work on the machine moves the absolute figures, so read the
ratios. A disk that acknowledges from a cache makes everybody quick and what is done beside the sync weigh more.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
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
from durability_peers import BARE, DuckDb, Ready, Rows, Sqlite, at_once, bare_logs, timed

from qstore_db.collection import Collection
from qstore_db.database import QuantumDatabase

DIMENSION = 784
THREADS = 2
WRITERS = 4  # threads that insert at once
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

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target

    def verdict(self) -> str:
        if self.target is None:
            return ""
        return f"{'≥' if self.at_least else '≤'} {self.target:g} {'met' if self.met else 'MISSED'}"


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


@contextmanager
def collection(path: Path, dimension: int) -> Iterator[Collection]:
    """An empty collection that builds no graph while commits are timed."""
    with QuantumDatabase.open(path, progress=False) as db:
        yield db.create_collection("items", dimension, "l2", minimum_rows=2**31 - 1)


def writing(items: Collection, rows: Rows, count: int, metadata: bool) -> Callable[[int], Ready]:
    def run(row: int) -> Ready:
        vectors, labels = rows.some(row, count)
        ids = rows.ids(row, count)
        return lambda: items.insert(ids, vectors, metadata=labels if metadata else None)

    return run


def log_growth(path: Path, insert: Callable[[int], Ready]) -> int:
    """Bytes by which the log grows for one insert, without the room behind it: one of ids that no round writes."""
    lengths = []
    for row in (10**8, 2 * 10**8):
        insert(row)()
        lengths.append(sum(len(file.read_bytes().rstrip(b"\0")) for file in (path / "wal").iterdir()))
    return lengths[1] - lengths[0]


def inserts(folder: Path, rows: Rows, rounds: int) -> list[Figure]:
    """Single rows with and without metadata, beside bare appends, SQLite and DuckDB."""
    dimension = rows.vectors.shape[1]
    figures = []
    with ExitStack() as stack:
        runs: dict[str, Callable[[int], Ready]] = {}
        for name, metadata in (("vector", False), ("vector and metadata", True)):
            path = folder / f"single-{metadata}"
            own = writing(stack.enter_context(collection(path, dimension)), rows, 1, metadata)
            bare = bare_logs(stack, path, log_growth(path, own), (rounds + 1) * SINGLES)
            runs |= {f"{name}: {limit}": run for limit, run in bare.items()} | {name: own}
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
        for limit in BARE:  # the target is about appends; writes over zeros show what room behind a log could save
            beside, target = spent[f"{name}: {limit}"], 1.5 if limit == BARE[0] else None
            work = f"durable insert of one row: {name}"
            figures.append(Figure(work, spent[name], "ms", beside, limit, spent[name] / beside, target))
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
            bare = bare_logs(stack, path, length, (rounds + 1) * 4)
            spent = timed({**bare, "own": own}, rounds, 4, count)
        rates = {name: length / seconds / MEGABYTE for name, seconds in spent.items()}
        for limit in BARE:
            share, target = rates["own"] / rates[limit], 0.6 if limit == BARE[0] and count == 1000 else None
            work = f"durable batches of {count:,} rows"
            figures.append(Figure(work, rates["own"], "MB/s", rates[limit], limit, share, target, at_least=True))
    return figures


def writers(folder: Path, rows: Rows, rounds: int) -> list[Figure]:
    """Single rows from several threads at once, which share syncs, beside as many connections of SQLite."""
    spent: dict[str, list[float]] = {"own": [], "SQLite": []}
    wall = dict.fromkeys(spent, 0.0)
    with ExitStack() as stack:
        own = writing(stack.enter_context(collection(folder / "writers", rows.vectors.shape[1])), rows, 1, True)
        connections = [Sqlite(folder / "writers.sqlite", rows) for _ in range(WRITERS)]
        for connection in connections:
            stack.callback(connection.close)
        runs: dict[str, Sequence[Callable[[int], Ready]]] = {
            "own": [own] * WRITERS,
            "SQLite": [connection.insert for connection in connections],
        }
        for turn in range(rounds + 1):
            for name, inserts_of in runs.items():
                calls, seconds = at_once(inserts_of, turn * WRITERS * SINGLES, SINGLES)
                if turn:
                    spent[name] += calls
                    wall[name] += seconds
    work, limit = f"durable insert of one row, {WRITERS} threads at once", f"SQLite, WAL, FULL, {WRITERS} connections"
    figures = []
    for what, place in (("median", 0.5), ("99 of 100 within", 0.99)):
        ours, theirs = (1000 * float(np.quantile(spent[name], place)) for name in ("own", "SQLite"))
        figures.append(Figure(f"{work}: {what}", ours, "ms", theirs, limit, ours / theirs, None))
    rates = [len(spent[name]) / wall[name] for name in ("own", "SQLite")]
    figures.append(Figure(f"{work}: rate", rates[0], "rows/s", rates[1], limit, rates[0] / rates[1], None))
    return figures


def bulk(folder: Path, rows: Rows, rounds: int) -> tuple[Path, list[Figure]]:
    """Everything at once, durable and with its graph, beside raw hnswlib in memory; the last directory stays."""
    spent: dict[str, list[float]] = {"own": [], "hnswlib": [], "visible": []}
    path = folder / "bulk"
    parts = []
    for at in range(0, len(rows.vectors), LOAD):
        part = slice(at, at + LOAD)
        metadata = {"label": rows.labels[part], "price": rows.prices[part]}
        parts.append((rows.ids(at, len(rows.vectors[part])), rows.vectors[part], metadata))
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
            for ids, vectors, metadata in parts:
                items.insert(ids, vectors, metadata=metadata)
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


def computed_codes(folder: Path, rows: Rows, rounds: int) -> list[Figure]:
    """Opening and disk space where codes are not stored but computed by whoever searches."""
    path = folder / "computed"
    with QuantumDatabase.open(path, progress=False, build_threads=THREADS) as db:
        items = db.create_collection("items", rows.vectors.shape[1], "l2", codes="computed")
        for at in range(0, len(rows.vectors), LOAD):
            vectors, metadata = rows.some(at, min(LOAD, len(rows.vectors) - at))
            items.insert(rows.ids(at, len(vectors)), vectors, metadata=metadata)
        items.build_graph()
    return opening(path, rows, rounds, ", computed codes") + disk(path, rows, ", computed codes")[:1]


def opening(path: Path, rows: Rows, rounds: int, kind: str = "") -> list[Figure]:
    """A fresh process: import, open, first answer, most memory. Without ``kind`` also what does not depend on it."""
    query = path.parent / "query.npy"
    np.save(query, rows.vectors[0])
    said = []
    for turn in range(2 * rounds + 1):
        command = [sys.executable, "-c", FIRST_ANSWER, str(path), str(query)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        if turn:  # the first may compile
            said.append(json.loads(output))
    imported, opened, answered = (statistics.median(one[place] for one in said) for place in range(3))
    figures = [Figure(f"open + first answer, in a fresh process{kind}", answered, "s", None, "", answered, 0.25)]
    if not kind:
        figures[:0] = [
            Figure("import qstore_db", imported, "s", None, "", imported, 0.3),
            Figure("open, in a fresh process", opened, "s", None, "", opened, None),
        ]
    if said[0][3] is None:
        print("not measured: peak memory, which this system does not tell")
    else:
        peak = statistics.median(one[3] for one in said) / MEGABYTE
        figures.append(Figure(f"peak resident memory of that process{kind}", peak, "MB", None, "", peak, 250))
    return figures


def disk(path: Path, rows: Rows, kind: str = "") -> list[Figure]:
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
        Figure(f"disk, as the bulk load left it{kind}", used, "MB", stored, limit, used / stored, 1.15),
        Figure("disk, after VACUUM", after, "MB", stored, limit, after / stored, 1.15),
    ]


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def report(figures: Sequence[Figure], conditions: dict[str, object]) -> list[dict[str, object]]:
    """Print the table; the figures as lines for a file, each with the conditions that it was measured under."""
    print(f"\n{'work':60} {'q-store':>17} {'limit or peer':>52} {'ratio':>6}  target")
    lines = []
    for one in figures:
        beside = "" if one.beside is None else f"{one.limit} {one.beside:10.3f} {one.unit:6}"
        ratio = "" if one.beside is None else f"{one.ratio:.2f}"
        print(f"{one.work:60} {one.value:10.3f} {one.unit:6} {beside:>52} {ratio:>6}  {one.verdict()}")
        lines.append(
            {
                "benchmark": "durability",
                "work": one.work,
                "value": one.value,
                "unit": one.unit,
                "limit": one.limit or None,
                "beside": one.beside,
                "ratio": one.ratio if one.beside is not None else None,
                "target": one.target,
                "met": one.met,
                "at_least": one.at_least,
                **conditions,
            }
        )
    return lines


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
        figures = inserts(folder, rows, options.rounds) + writers(folder, rows, options.rounds)
        figures += batches(folder, rows, options.rounds)
        path, loaded = bulk(folder, rows, min(3, options.rounds))
        figures += loaded + opening(path, rows, options.rounds) + disk(path, rows)
        figures += computed_codes(folder, rows, options.rounds)
    conditions = {"data": rows.name, "rows": len(rows.vectors), "rounds": options.rounds, "cores": os.cpu_count()}
    lines = report(figures, conditions)
    if options.json:
        Path(options.json).write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
