"""Building a graph: Q-Store's builder beside raw hnswlib, at the same M and ef_construction, in one run.

    python benchmarks/build.py [--rows N] [--rounds N] [--queries N] [--data DIRECTORY] [--sets NAME …] [--json PATH]

Data sets: Fashion-MNIST (bytes: codes lose nothing), the same rotated at random and its first 128 principal components
(codes lose something), and 1,000 Gaussian clusters in 128 dimensions; only the last where the file is not found. Both
build the same rows with one and with two threads, taking turns; the best of the rounds counts. Q-Store's time includes
codes and the calibration of its walks, hnswlib's nothing but adding the rows. Then both graphs are walked by the same
walker at the same breadths. CPU seconds are those of this process with all its threads; other work on the machine moves
the absolute figures, and wall clock more than CPU, so read the ratios.
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before NumPy is imported
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

from storage_engine.index.builder import build_graph
from storage_engine.index.graph import Graph
from storage_engine.index.hnswlib_builder import frozen
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric
from storage_engine.vectors.distance import exact_top_k

TOP_K = 10
EFS = (20, 40, 80, 160)
THREADS = (1, 2)
OPTIONS = GraphOptions()
SETS = ("fashion", "rotated", "pca", "gauss")
Rows = NDArray[np.float32]


def load(name: str, directory: Path, rows: int, queries: int) -> tuple[Rows, Rows] | None:
    """Rows and queries; ``None`` where their file is not there."""
    g = np.random.default_rng(0)
    if name == "gauss":
        centres = g.normal(size=(1000, 128))
        whole = centres[g.integers(0, 1000, rows + queries)] + 0.5 * g.normal(size=(rows + queries, 128))
        whole = whole.astype(np.float32)
        return whole[:rows], whole[rows:]
    file = directory / "fashion_mnist.npz"
    if not file.exists():
        return None
    with np.load(file, allow_pickle=False) as data:
        x = data["x_train"].reshape(len(data["x_train"]), -1).astype(np.float32)
        q = data["x_test"].reshape(len(data["x_test"]), -1).astype(np.float32)[:queries]
    if name == "rotated":
        turn = np.linalg.qr(g.normal(size=(x.shape[1], x.shape[1])))[0].astype(np.float32)
        x, q = x @ turn, q @ turn
    if name == "pca":
        middle = x.mean(axis=0)
        turn = np.linalg.svd((x - middle)[:10_000], full_matrices=False)[2][:128].T
        x, q = (x - middle) @ turn, (q - middle) @ turn
    return np.ascontiguousarray(x[:rows]), np.ascontiguousarray(q)


def by_hnswlib(x: Rows, threads: int) -> hnswlib.Index:
    index = hnswlib.Index("l2", x.shape[1])
    index.init_index(len(x), M=OPTIONS.m, ef_construction=OPTIONS.ef_construction, random_seed=OPTIONS.seed)
    index.add_items(x, num_threads=threads)
    return index


def by_own(x: Rows, threads: int) -> Graph:
    return build_graph(x, None, Metric.L2, OPTIONS, threads)


def timed(build: Callable[[Rows, int], object], x: Rows, threads: int) -> tuple[object, float, float]:
    """What was built, CPU and wall clock seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    built = build(x, threads)
    return built, time.process_time() - cpu, time.perf_counter() - wall


def recalls(graph: Graph, x: Rows, queries: Rows, bars: list[float]) -> list[float]:
    """At each breadth; rows as near as the last of the true neighbours count."""
    walker = Walker(graph, x, None, Metric.L2)
    shares = []
    for ef in EFS:
        walks = walker.search_many(queries, TOP_K, ef)
        good = [(walk.ranked.scores <= bar).sum() / TOP_K for walk, bar in zip(walks, bars, strict=True)]
        shares.append(float(np.mean(good)))
    return shares


def measured(name: str, x: Rows, queries: Rows, rounds: int) -> list[dict[str, object]]:
    """One data set: prints and returns its figures."""
    engines: dict[str, Callable[[Rows, int], object]] = {"hnswlib": by_hnswlib, "q-store": by_own}
    best: dict[tuple[str, int], tuple[float, float]] = {}
    built: dict[str, object] = {}
    for _ in range(rounds):
        for threads in THREADS:
            for engine, build in engines.items():
                built[engine], cpu, wall = timed(build, x, threads)
                before = best.get((engine, threads), (np.inf, np.inf))
                best[engine, threads] = (min(cpu, before[0]), min(wall, before[1]))
    lines = []
    print(f"\n{name}: {len(x):,} × {x.shape[1]}")
    for (engine, threads), (cpu, wall) in best.items():
        beside = best["hnswlib", threads]
        work = f"{name}, {threads} thread{'s' if threads > 1 else ''}"
        print(
            f"  {work:20} {engine:8} {cpu:7.2f} CPU s {wall:7.2f} s  {beside[0] / cpu:5.2f} × {beside[1] / wall:5.2f} ×"
        )
        lines += [line(engine, work, "CPU", cpu, "s"), line(engine, work, "time", wall, "s")]
        lines.append(line(engine, work, "speed / hnswlib, CPU", beside[0] / cpu, "ratio"))
        lines.append(line(engine, work, "speed / hnswlib, time", beside[1] / wall, "ratio"))
    own, index = built["q-store"], built["hnswlib"]
    if not isinstance(own, Graph) or not isinstance(index, hnswlib.Index):
        raise TypeError("an engine built something else")
    peer = dataclasses.replace(frozen(index.__getstate__()[0], OPTIONS.m), codes=own.codes)
    bars = [float(exact_top_k(query, x, TOP_K, Metric.L2).scores[-1]) for query in queries]
    for engine, graph in (("hnswlib", peer), ("q-store", own)):
        shares = recalls(graph, x, queries, bars)
        print(
            f"  recall {engine:8} " + "  ".join(f"ef {ef}: {share:.4f}" for ef, share in zip(EFS, shares, strict=True))
        )
        lines += [
            line(engine, name, f"recall at ef {ef}", share, "share") for ef, share in zip(EFS, shares, strict=True)
        ]
    return lines


def line(engine: str, work: str, metric: str, value: float, unit: str) -> dict[str, object]:
    return {"benchmark": "build", "engine": engine, "work": work, "metric": metric, "value": value, "unit": unit}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--data", type=Path, default=beside, help=f"directory of fashion_mnist.npz (default {beside})")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="which data sets")
    parser.add_argument("--json", help="write one JSON object a figure to this file")
    options = parser.parse_args(arguments)
    if options.rows < 1_000 or options.rounds < 1 or options.queries < 1:
        parser.error("--rows must be at least 1000, --rounds and --queries at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    by_own(
        np.random.default_rng(0).normal(size=(2_000, 64)).astype(np.float32), 2
    )  # compiles, where that is still to do
    lines: list[dict[str, object]] = []
    for name in options.sets:
        loaded = load(name, options.data, options.rows, options.queries)
        if loaded is None:
            print(f"not measured: {name} (no fashion_mnist.npz in {options.data})")
        else:
            lines += measured(name, *loaded, options.rounds)
    if options.json:
        Path(options.json).write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
