"""Nearest neighbours: our walk and our engine beside raw hnswlib, in one run, interleaved, on one core.

    python benchmarks/ann.py [--data DIRECTORY] [--rows N] [--queries N] [--rounds N] [--json PATH]

Data is Fashion-MNIST (60,000 × 784) where its two files are found, seeded clustered Gaussians otherwise; the table
says which. Times are CPU time of this process per query, one query a call, best of the rounds: other work on the
machine moves the absolute figures, so read the ratios. Equal recall: both sides run at several ef, and ours is
compared with hnswlib's speed interpolated (in logarithms) at the recall that ours reached.
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before NumPy is imported: one core for everybody
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import hnswlib
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.batch import CreateCollection, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.index.nearest import nearest
from storage_engine.index.walker import Walker, prepare
from storage_engine.schema import CollectionSchema, GraphOptions, Metric
from storage_engine.vectors.distance import exact_top_k

TOP_K = 10
EFS = (20, 40, 80, 160)
Search = Callable[[NDArray[np.float32]], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Data:
    """Rows, queries and the true neighbours of each query."""

    name: str
    rows: NDArray[np.float32]
    queries: NDArray[np.float32]
    neighbours: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine at one setting."""

    engine: str
    work: str
    microseconds: float
    recall: float


def load(directory: Path, rows: int | None, queries: int) -> Data:
    images, known = directory / "fashion_mnist.npz", directory / "fashion_mnist_neighbors.npy"
    if images.exists() and known.exists():
        with np.load(images, allow_pickle=False) as file:
            x = file["x_train"].reshape(len(file["x_train"]), -1).astype(np.float32)
            q = file["x_test"].reshape(len(file["x_test"]), -1).astype(np.float32)[:queries]
            labels = file["y_train"].astype(np.int64)
        if rows is None or rows >= len(x):
            truth = np.load(known, allow_pickle=False)[: len(q), :TOP_K].astype(np.int64)
            return Data("Fashion-MNIST", x, q, truth, labels)
        x, labels, name = x[:rows], labels[:rows], f"Fashion-MNIST, first {rows} rows"
    else:
        x, q, labels = clustered(rows or 60_000, queries)
        name = f"made up: {len(x)} rows of 100 Gaussian clusters, 128 dimensions, seed 0 (no files in {directory})"
    truth = np.array([exact_top_k(query, x, TOP_K, Metric.L2).positions for query in q])
    return Data(name, x, q, truth, labels)


def clustered(rows: int, queries: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Points of 100 clusters, each spread along 16 directions of its own."""
    g = np.random.default_rng(0)
    centres, directions = 0.6 * g.normal(size=(100, 128)), g.normal(size=(100, 16, 128)) / 4
    labels = g.integers(0, 100, rows + queries)
    points = np.empty((rows + queries, 128), np.float32)
    for label in range(100):
        of_label = np.flatnonzero(labels == label)
        spread = g.normal(size=(len(of_label), 16)) @ directions[label]
        points[of_label] = centres[label] + spread + 0.1 * g.normal(size=(len(of_label), 128))
    return points[:rows], points[rows:], labels[:rows] % 10


def timed(runs: dict[str, Search], queries: NDArray[np.float32], rounds: int) -> dict[str, tuple[float, list[NDArray]]]:
    """CPU microseconds a query, best of the rounds, and the rows found; engines take turns within each round."""
    best: dict[str, tuple[float, list[NDArray]]] = {}
    for _ in range(rounds):
        for name, search in runs.items():
            for query in queries[:100]:
                search(query)  # its own steady state of the caches
            start = time.process_time()
            found = [search(query) for query in queries]
            spent = (time.process_time() - start) / len(queries) * 1e6
            best[name] = (min(spent, best[name][0]) if name in best else spent, found)
    return best


def recall(found: Sequence[NDArray], truth: Sequence[NDArray]) -> float:
    shares = [len(set(f.tolist()) & set(t.tolist())) / len(t) for f, t in zip(found, truth, strict=True) if len(t)]
    return float(np.mean(shares))


def at_recall(peer: Sequence[Measured], wanted: float) -> float | None:
    """The peer's microseconds at a recall, between its two nearest settings; ``None`` beyond its range."""
    points = sorted((one.recall, one.microseconds) for one in peer)
    for (low, fast), (high, slow) in itertools.pairwise(points):
        if low <= wanted <= high:
            share = (
                0.0
                if high == low
                else (math.log(1 - low + 1e-9) - math.log(1 - wanted + 1e-9))
                / (math.log(1 - low + 1e-9) - math.log(1 - high + 1e-9))
            )
            return float(math.exp((1 - share) * math.log(fast) + share * math.log(slow)))
    return None


def stored(data: Data, threads: int) -> tuple[Engine, float]:
    """The rows in an engine in memory, graph built; seconds of wall clock."""
    engine = Engine.open(None, build_threads=threads)
    start = time.perf_counter()
    schema = CollectionSchema("ann", "0" * 32, data.rows.shape[1], Metric.L2)
    engine.commit(WriteBatch([CreateCollection(schema)]))
    for at in range(0, len(data.rows), 10_000):
        part = slice(at, at + 10_000)
        ids = [f"item-{row:06d}" for row in range(at, at + len(data.rows[part]))]
        table = pa.table({"label": data.labels[part]})
        engine.commit(WriteBatch([PutRows("ann", ids, data.rows[part], metadata=table)]))
    engine.build_graphs()
    return engine, time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    data = load(options.data, options.rows, options.queries)
    print(
        f"{data.name}: {data.rows.shape[0]} × {data.rows.shape[1]}, {len(data.queries)} queries, top {TOP_K}, one core"
    )
    threads = os.cpu_count() or 1
    lines: list[dict[str, object]] = []

    start = time.perf_counter()
    peer = hnswlib.Index(space="l2", dim=data.rows.shape[1])
    settings = GraphOptions()
    peer.init_index(len(data.rows), M=settings.m, ef_construction=settings.ef_construction, random_seed=settings.seed)
    peer.add_items(data.rows, num_threads=threads)
    peer_seconds = time.perf_counter() - start
    peer.set_num_threads(1)
    engine, engine_seconds = stored(data, threads)
    with engine:
        view = engine.snapshot().collection("ann")
        walker = walker_of(data, threads)
        prepare()
        print(
            f"build, {threads} threads: hnswlib {peer_seconds:.1f} s, "
            f"engine with ids and metadata {engine_seconds:.1f} s"
        )
        lines += [
            line("hnswlib", "build", "time", peer_seconds, "s"),
            line("engine", "build", "time", engine_seconds, "s"),
        ]

        measured = unfiltered(data, peer, walker, view, options.rounds)
        table(measured)
        for one in measured:
            lines += [
                line(one.engine, one.work, "time", one.microseconds, "us"),
                line(one.engine, one.work, "recall", one.recall, "share"),
            ]
        for engine_name, ef, ratio in ratios(measured):
            lines.append(line(engine_name, ef, "speed at equal recall / hnswlib", ratio, "ratio"))
        lines += filtered(data, peer, walker, view, options.rounds)
    if options.json:
        Path(options.json).write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=beside, help=f"directory of fashion_mnist.npz (default {beside})")
    parser.add_argument("--rows", type=int, help="only the first so many rows")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="write one JSON object a figure to this file")
    options = parser.parse_args(arguments)
    if (options.rows is not None and options.rows < 100) or options.queries < 1 or options.rounds < 1:
        parser.error("--rows must be at least 100, --queries and --rounds at least 1")
    return options


def walker_of(data: Data, threads: int) -> Walker:
    from storage_engine.index.builder import build_graph

    return Walker(build_graph(data.rows, None, Metric.L2, GraphOptions(), threads), data.rows, None, Metric.L2)


def unfiltered(data: Data, peer: hnswlib.Index, walker: Walker, view, rounds: int) -> list[Measured]:
    results = []
    for ef in EFS:
        peer.set_ef(ef)
        runs: dict[str, Search] = {
            "hnswlib": lambda q: peer.knn_query(q, TOP_K)[0][0],
            "walk": lambda q, ef=ef: walker.search(q, TOP_K, ef).ranked.positions,
            "engine": lambda q, ef=ef: view.search(q, TOP_K, ef=ef).slots,
        }
        for name, (spent, found) in timed(runs, data.queries, rounds).items():
            results.append(Measured(name, f"ef {ef}", spent, recall(found, data.neighbours)))
    return results


def ratios(measured: Sequence[Measured]) -> list[tuple[str, str, float]]:
    peer = [one for one in measured if one.engine == "hnswlib"]
    found = [(one.engine, one.work, at_recall(peer, one.recall)) for one in measured if one.engine != "hnswlib"]
    spent = {(one.engine, one.work): one.microseconds for one in measured}
    return [(name, work, theirs / spent[name, work]) for name, work, theirs in found if theirs is not None]


def table(measured: Sequence[Measured]) -> None:
    equal = {(name, work): ratio for name, work, ratio in ratios(measured)}
    print(f"\n{'work':8} {'engine':8} {'µs':>8} {'queries/s':>10} {'recall':>7} {'× hnswlib at equal recall':>26}")
    for one in measured:
        ratio = equal.get((one.engine, one.work))
        shown = "" if one.engine == "hnswlib" else "beyond its range" if ratio is None else f"{ratio:.2f}"
        print(
            f"{one.work:8} {one.engine:8} {one.microseconds:8.1f} {1e6 / one.microseconds:10.0f} "
            f"{one.recall:7.4f} {shown:>26}"
        )


def filtered(data: Data, peer: hnswlib.Index, walker: Walker, view, rounds: int) -> list[dict[str, object]]:
    """Filters of 1, 10 and 50 %, random and following a label; hnswlib's own way is a Python callable."""
    g = np.random.default_rng(0)
    chance = g.random(len(data.rows))
    masks = {
        "random 1 %": chance < 0.01,
        "random 10 %": chance < 0.1,
        "random 50 %": chance < 0.5,
        "label = 3": data.labels == 3,
        "labels 1-5": (data.labels >= 1) & (data.labels <= 5),
    }
    queries = data.queries[:200]
    peer.set_ef(40)
    lines = []
    print(f"\n{'filter':12} {'engine':8} {'µs':>8} {'recall':>7} {'short':>6}  road")
    for name, mask in masks.items():
        truth = [exact_top_k(query, data.rows, TOP_K, Metric.L2, None, mask).positions for query in queries]
        allowed = mask.tolist()

        def theirs(q: NDArray[np.float32], allowed: list[bool] = allowed) -> NDArray[np.int64]:
            try:
                return peer.knn_query(q, TOP_K, filter=lambda row: allowed[row])[0][0]
            except RuntimeError:  # it found fewer than were asked for
                return np.empty(0, np.int64)

        runs: dict[str, Search] = {
            "hnswlib": theirs,
            "walk": lambda q, mask=mask: (
                nearest(q, data.rows, None, Metric.L2, TOP_K, walker=walker, mask=mask, ef=40).ranked.positions
            ),
            "engine": lambda q, mask=mask: view.search(q, TOP_K, mask=mask, ef=40).slots,
        }
        roads = {
            "walk": nearest(queries[0], data.rows, None, Metric.L2, TOP_K, walker=walker, mask=mask, ef=40).strategy,
            "engine": view.search(queries[0], TOP_K, mask=mask, ef=40).strategy,
        }
        for engine, (spent, found) in timed(runs, queries, max(1, rounds - 2)).items():
            short = sum(len(f) < len(t) for f, t in zip(found, truth, strict=True))
            print(f"{name:12} {engine:8} {spent:8.1f} {recall(found, truth):7.4f} {short:6d}  {roads.get(engine, '')}")
            lines += [
                line(engine, name, "time", spent, "us"),
                line(engine, name, "recall", recall(found, truth), "share"),
                line(engine, name, "short answers", short, "queries"),
            ]
    return lines


def line(engine: str, work: str, metric: str, value: float, unit: str) -> dict[str, object]:
    return {"benchmark": "ann", "engine": engine, "work": work, "metric": metric, "value": value, "unit": unit}


if __name__ == "__main__":
    sys.exit(main())
