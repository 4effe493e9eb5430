"""Nearest neighbours: Q-Store beside raw hnswlib, or beside all embedded peers, in one run, interleaved, on one core.

    python benchmarks/ann.py [--peers [NAME …]] [--data DIRECTORY] [--rows N] [--queries N] [--rounds N] [--json PATH]

Data is Fashion-MNIST (60,000 × 784) where its two files are found, seeded clustered Gaussians otherwise; the table
says which. Every hit carries id, label and price. Times are CPU time of this process per query, one query a call, the
median of the rounds, engines taking turns within each; the batch is wall clock on all cores. Other work on the machine
moves the absolute figures, so read the ratios. Equal recall: everybody runs at several breadths, and Q-Store is
compared with a peer's speed interpolated (in logarithms) at the recall that Q-Store reached. Filters are measured with
a condition that was asked before (cached) and with one that never was (fresh).

Without ``--peers`` only raw hnswlib is beside Q-Store. A peer that is not installed is named and left out:
``make bench-peers`` installs those of ``benchmarks/peers.txt``.
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
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ann_peers import Filter, Hits, Hnswlib, Peer, Rows, Workplace, available
from numpy.typing import NDArray

from qstore_db.collection import Collection
from qstore_db.database import QuantumDatabase
from storage_engine.index.codes import encode
from storage_engine.index.graph import Graph
from storage_engine.index.walker import Walker
from storage_engine.schema import Metric
from storage_engine.vectors.distance import exact_top_k

TOP_K = 10
EFS = (20, 40, 80, 160)
ENOUGH = 0.99
FILTERS = (
    Filter("price < 1 %", below=0.01),
    Filter("price < 10 %", below=0.1),
    Filter("price < 50 %", below=0.5),
    Filter("label = 3", labels=(3,)),
    Filter("labels 1-5", labels=(1, 2, 3, 4, 5)),
)
Search = Callable[[NDArray[np.float32]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Data:
    """Rows, queries and the ids of the true neighbours of each query."""

    name: str
    rows: Rows
    queries: NDArray[np.float32]
    neighbours: list[list[str]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine at one setting."""

    engine: str
    work: str
    microseconds: float
    recall: float


def load(directory: Path, rows: int | None, queries: int) -> Data:
    images, known = directory / "fashion_mnist.npz", directory / "fashion_mnist_neighbors.npy"
    truth = None
    if images.exists():
        with np.load(images, allow_pickle=False) as file:
            x = file["x_train"].reshape(len(file["x_train"]), -1).astype(np.float32)
            q = file["x_test"].reshape(len(file["x_test"]), -1).astype(np.float32)[:queries]
            labels = file["y_train"].astype(np.int64)
        name = "Fashion-MNIST"
        if rows is not None and rows < len(x):
            x, labels, name = x[:rows], labels[:rows], f"Fashion-MNIST, first {rows} rows"
        elif known.exists():
            truth = np.load(known, allow_pickle=False)[: len(q), :TOP_K]
    else:
        x, q, labels = clustered(rows or 60_000, queries)
        name = f"made up: {len(x)} rows of 100 Gaussian clusters, 128 dimensions, seed 0 (no files in {directory})"
    if truth is None:
        truth = np.array([exact_top_k(query, x, TOP_K, Metric.L2).positions for query in q])
    ids = [f"item-{row:06d}" for row in range(len(x))]
    prices = np.random.default_rng(0).random(len(x))
    return Data(name, Rows(x, ids, labels, prices), q, [[ids[row] for row in one] for one in truth])


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


def timed(
    runs: dict[str, Search], queries: NDArray[np.float32], rounds: int
) -> dict[str, tuple[float, list[Sequence[str]]]]:
    """CPU microseconds a query, median of the rounds, and the ids found; engines take turns within each round."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, list[Sequence[str]]] = {}
    for _ in range(rounds):
        for name, search in runs.items():
            for query in queries[:50]:
                search(query)  # its own steady state of the caches
            start = time.process_time()
            found[name] = [search(query) for query in queries]
            spent[name].append((time.process_time() - start) / len(queries) * 1e6)
    return {name: (statistics.median(spent[name]), found[name]) for name in runs}


def recall(found: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> float:
    return float(np.mean([len(set(f) & set(t)) / len(t) for f, t in zip(found, truth, strict=True) if len(t)]))


def at_recall(peer: Sequence[Measured], wanted: float) -> float | None:
    """The peer's microseconds at a recall, between its two nearest settings; ``None`` beyond its range."""
    points = sorted((one.recall, one.microseconds) for one in peer)
    for (low, fast), (high, slow) in itertools.pairwise(points):
        if low <= wanted <= high:
            scale = [math.log(1 - share + 1e-9) for share in (low, wanted, high)]
            share = 0.0 if high == low else (scale[0] - scale[1]) / (scale[0] - scale[2])
            return float(math.exp((1 - share) * math.log(fast) + share * math.log(slow)))
    return None


def stored(db: QuantumDatabase, data: Data) -> tuple[Collection, float]:
    """The rows in a collection, graph built; seconds of wall clock."""
    start = time.perf_counter()
    rows = data.rows
    items = db.create_collection("items", dimension=rows.vectors.shape[1], metric="l2")
    for at in range(0, len(rows.ids), 10_000):
        part = slice(at, at + 10_000)
        metadata = {"label": rows.labels[part], "price": rows.prices[part]}
        items.insert(rows.ids[part], rows.vectors[part], metadata=metadata)
    items.build_graph()
    return items, time.perf_counter() - start


def with_metadata(items: Collection, query: NDArray[np.float32], **wish: object) -> list[str]:
    """Ids, with label and price of each hit read into Python as a caller would."""
    hits = items.query(query, TOP_K, **wish)  # type: ignore[arg-type]
    columns = hits.to_pydict()  # type: ignore[union-attr]
    list(zip(columns["id"], columns["label"], columns["price"], strict=True))
    return columns["id"]


def ids_of(hits: Hits) -> list[str]:
    return [hit[0] for hit in hits]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    data = load(options.data, options.rows, options.queries)
    shape = data.rows.vectors.shape
    print(f"{data.name}: {shape[0]} × {shape[1]}, {len(data.queries)} queries, top {TOP_K}, one core")
    classes, missing = available(options.peers) if options.peers is not None else ([Hnswlib], {})
    for name, why in missing.items():
        print(f"left out: {name} is not installed ({why})")
    lines: list[dict[str, object]] = []
    with QuantumDatabase.open(":memory:", progress=False) as db, Workplace() as directory:
        peers: list[Peer] = []
        for kind in classes:
            start = time.perf_counter()
            peers.append(kind(data.rows, TOP_K, directory))
            lines.append(line(kind.name, "build", "time", time.perf_counter() - start, "s"))
        items, seconds = stored(db, data)
        lines.append(line("q-store", "build", "time", seconds, "s"))
        for one in lines:
            print(f"build, all cores: {one['engine']} {one['value']:.1f} s")
        lines += unfiltered(data, peers, items, options.rounds)
        lines += batch(data, peers[0], items, options.rounds)
        lines += scans(data, options.rounds)
        lines += filtered(data, peers, items, options.rounds)
    if options.json:
        Path(options.json).write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--peers", nargs="*", metavar="NAME", help="beside all peers that are installed, or these")
    parser.add_argument("--data", type=Path, default=beside, help=f"directory of fashion_mnist.npz (default {beside})")
    parser.add_argument("--rows", type=int, help="only the first so many rows")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="write one JSON object a figure to this file")
    options = parser.parse_args(arguments)
    if (options.rows is not None and options.rows < 2_000) or options.queries < 1 or options.rounds < 1:
        parser.error("--rows must be at least 2000, --queries and --rounds at least 1")
    return options


def unfiltered(data: Data, peers: Sequence[Peer], items: Collection, rounds: int) -> list[dict[str, object]]:
    measured = []
    for place, ef in enumerate(EFS):
        runs: dict[str, Search] = {}
        for peer in peers:
            if place < len(peer.efs):
                runs[peer.name] = lambda q, peer=peer, ef=peer.efs[place]: ids_of(peer.query(q, ef))
        runs["q-store"] = lambda q, ef=ef: with_metadata(items, q, ef=ef)
        runs["q-store, ids only"] = lambda q, ef=ef: items.query(q, TOP_K, ef=ef, include=[]).ids
        for name, (spent, found) in timed(runs, data.queries, rounds).items():
            breadth = next((peer.efs[place] for peer in peers if peer.name == name), ef)
            measured.append(Measured(name, f"ef {breadth}", spent, recall(found, data.neighbours)))
    names = [peer.name for peer in peers]
    header = " ".join(f"{'× ' + name:>13}" for name in names)
    print(f"\n{'engine':18} {'setting':8} {'µs':>8} {'queries/s':>10} {'recall':>7} at equal recall: {header}")
    lines = []
    for one in sorted(measured, key=lambda item: (item.engine, item.recall)):
        lines += [
            line(one.engine, one.work, "time", one.microseconds, "us"),
            line(one.engine, one.work, "recall", one.recall, "share"),
        ]
        ratios = []
        for name in names if one.engine.startswith("q-store") else ():
            theirs = at_recall([other for other in measured if other.engine == name], one.recall)
            ratios.append("beyond" if theirs is None else f"{theirs / one.microseconds:.2f}")
            if theirs is not None:
                ratio = theirs / one.microseconds
                lines.append(line(one.engine, one.work, f"speed at equal recall / {name}", ratio, "ratio"))
        shown = " ".join(f"{ratio:>13}" for ratio in ratios)
        rate = 1e6 / one.microseconds
        print(f"{one.engine:18} {one.work:8} {one.microseconds:8.1f} {rate:10.0f} {one.recall:7.4f} {'':16} {shown}")
    return lines


def batch(data: Data, peer: Peer, items: Collection, rounds: int) -> list[dict[str, object]]:
    """All queries in one call, all cores, wall clock."""
    if not isinstance(peer, Hnswlib):
        return []
    cores = os.cpu_count() or 1
    theirs, ours = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        found = [ids_of(hits) for hits in peer.batch(data.queries, 40, cores)]
        theirs.append(time.perf_counter() - start)
        start = time.perf_counter()
        own = [hits.ids for hits in items.query(data.queries, TOP_K, ef=40, include=[])]  # type: ignore[union-attr]
        ours.append(time.perf_counter() - start)
    count = len(data.queries)
    rates = [count / statistics.median(times) for times in (theirs, ours)]
    shares = [recall(one, data.neighbours) for one in (found, own)]
    print(
        f"\nbatch of {count} on {cores} cores at ef 40, queries/s (recall): hnswlib {rates[0]:.0f} ({shares[0]:.4f}), "
    )
    print(f"q-store {rates[1]:.0f} ({shares[1]:.4f}): {rates[1] / rates[0]:.2f} ×")
    return [line("q-store", f"batch of {count}", "speed / hnswlib", rates[1] / rates[0], "ratio")]


def scans(data: Data, rounds: int) -> list[dict[str, object]]:
    """Exact answers among given rows: float32 rows, and codes with what they leave open."""
    rows = data.rows.vectors
    codes = encode(rows, None, True, 0)
    if codes is None:
        print("\nexact scans: these rows have no codes")
        return []
    unlinked = Graph(
        links=np.full((len(rows), 1), -1, np.int32),
        levels=np.zeros(len(rows), np.uint8),
        upper=np.empty((0, 1), np.int32),
        entry=0,
        codes=codes,
    )
    walker = Walker(unlinked, rows, None, Metric.L2)
    lines = []
    print(f"\n{'exact, rows':>12} {'float32, µs':>12} {'codes, µs':>10} {'×':>6} {'float32 rows read':>18}")
    g = np.random.default_rng(0)
    for count in (600, 6_000, 30_000, 60_000):
        if count > len(rows):
            continue
        chosen = np.sort(g.choice(len(rows), count, replace=False))
        read: list[int] = []

        def by_codes(q: NDArray[np.float32], chosen: NDArray[np.int64] = chosen, read: list[int] = read) -> list[str]:
            scan = walker.scan(q, TOP_K, chosen)
            read.append(len(scan.read))  # type: ignore[union-attr]
            return [str(row) for row in scan.ranked.positions]  # type: ignore[union-attr]

        runs: dict[str, Search] = {
            "float32": lambda q, chosen=chosen: [
                str(row) for row in exact_top_k(q, rows, TOP_K, Metric.L2, None, chosen).positions
            ],
            "codes": by_codes,
        }
        spent = timed(runs, data.queries[:100], rounds)
        plain, coded = spent["float32"][0], spent["codes"][0]
        if spent["float32"][1] != spent["codes"][1]:
            raise AssertionError("codes and float32 disagree")
        print(f"{count:12d} {plain:12.0f} {coded:10.0f} {plain / coded:6.2f} {statistics.median(read):18.0f}")
        lines += [
            line("float32", f"exact, {count} rows", "time", plain, "us"),
            line("codes", f"exact, {count} rows", "time", coded, "us"),
        ]
    return lines


def filtered(data: Data, peers: Sequence[Peer], items: Collection, rounds: int) -> list[dict[str, object]]:
    """Each engine at its quickest setting that reaches the wanted recall, or at its best one."""
    queries = data.queries[:200]
    lines: list[dict[str, object]] = []
    print(f"\n{'filter':13} {'engine':16} {'setting':8} {'µs':>9} {'queries/s':>10} {'recall':>7} {'short':>6}  road")
    for condition in FILTERS:
        mask = condition.mask(data.rows)
        truth = [
            [data.rows.ids[row] for row in exact_top_k(q, data.rows.vectors, TOP_K, Metric.L2, None, mask).positions]
            for q in queries
        ]
        settings: dict[str, dict[str, Search]] = {}
        for peer in peers:
            settings[peer.name] = {
                f"ef {ef}": lambda q, peer=peer, ef=ef, condition=condition: ids_of(peer.filtered(q, ef, condition))
                for ef in peer.filter_efs
            }
        fresh = itertools.count(1)
        settings["q-store cached"] = {
            f"ef {ef}" if ef else "default": lambda q, ef=ef, condition=condition: with_metadata(
                items, q, where=condition.sql, **({"ef": ef} if ef else {})
            )
            for ef in (None, 40, 80)
        }
        settings["q-store fresh"] = {
            f"ef {ef}" if ef else "default": lambda q, ef=ef, condition=condition, fresh=fresh: with_metadata(
                items, q, where=f"{condition.sql} AND price < {1 + next(fresh)}", **({"ef": ef} if ef else {})
            )
            for ef in (None, 40, 80)
        }
        best: dict[str, Measured] = {}
        runs = {f"{name}|{how}": search for name, ways in settings.items() for how, search in ways.items()}
        shorts: dict[str, int] = {}
        for label, (spent, found) in timed(runs, queries, max(1, rounds // 2)).items():
            name, how = label.split("|")
            one = Measured(name, how, spent, recall(found, truth))
            shorts[label] = sum(len(f) < len(t) for f, t in zip(found, truth, strict=True))
            kept = best.get(name)
            good, was = one.recall >= ENOUGH, kept is not None and kept.recall >= ENOUGH
            if kept is None or (good, -one.microseconds if good else one.recall) > (
                was,
                -kept.microseconds if was else kept.recall,
            ):
                best[name] = one
        road = items.query(queries[0], TOP_K, where=condition.sql)
        for name, one in best.items():
            short = shorts[f"{name}|{one.work}"]
            shown = road.strategy if name.startswith("q-store") else ""  # type: ignore[union-attr]
            rate = 1e6 / one.microseconds
            print(
                f"{condition.name:13} {name:16} {one.work:8} {one.microseconds:9.1f} {rate:10.0f} "
                f"{one.recall:7.4f} {short:6d}  {shown}"
            )
            lines += [
                line(name, condition.name, "time", one.microseconds, "us"),
                line(name, condition.name, "recall", one.recall, "share"),
                line(name, condition.name, "short answers", short, "queries"),
            ]
            if not name.startswith("q-store"):
                ratio = one.microseconds / best["q-store cached"].microseconds
                lines.append(line("q-store cached", condition.name, f"speed / {name}", ratio, "ratio"))
    return lines


def line(engine: str, work: str, metric: str, value: float, unit: str) -> dict[str, object]:
    return {"benchmark": "ann", "engine": engine, "work": work, "metric": metric, "value": value, "unit": unit}


if __name__ == "__main__":
    sys.exit(main())
