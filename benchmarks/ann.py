"""Nearest neighbours: Q-Store beside raw hnswlib, or beside all embedded peers, in one run, interleaved, on one core.

    python benchmarks/ann.py [--peers [NAME …]] [--data DIRECTORY] [--rows N] [--dimension D] [--queries N]
                             [--rounds N] [--work million] [--json PATH]

Data is Fashion-MNIST (60,000 × 784) where its two files are found and no dimension is given, seeded clustered Gaussians
otherwise; the table says which. Every hit carries id, label and price. Times are CPU time of this process per query,
one query a call, the median of the rounds, engines taking turns within each; the batch is wall clock on all cores.
Other work on the machine moves the absolute figures, so read the ratios.

Every engine has four settings. Which one counts is chosen on every second query, the quickest that finds 0.99 of the
neighbours, and reported on the others. Filters are measured with a condition that was asked before (cached) and with
one that never was (fresh), each with its own choice.

``--work million`` builds, searches and opens a directory of 1,000,000 × 128 (``--rows``, ``--dimension``) beside raw
hnswlib, and shows how cost grows from a tenth of the rows.

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
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ann_data import TOP_K, Data, load
from ann_million import million
from ann_peers import Filter, Hits, Hnswlib, Peer, Workplace, available
from ann_timing import Measured, Part, Search, at_recall, compared, recall, timed
from numpy.typing import NDArray

from qstore_db.collection import Collection
from qstore_db.database import QuantumDatabase
from storage_engine import compiled_code
from storage_engine.index.codes import encode
from storage_engine.index.graph import Graph
from storage_engine.index.walker import Walker
from storage_engine.schema import Metric
from storage_engine.vectors.distance import exact_top_k

EFS = (20, 40, 80, 160)
FILTERED_QUERIES = 200
FILTERS = (
    Filter("price < 1 %", below=0.01),
    Filter("price < 10 %", below=0.1),
    Filter("price < 50 %", below=0.5),
    Filter("label = 3", labels=(3,)),
    Filter("labels 1-5", labels=(1, 2, 3, 4, 5)),
)


def stored(db: QuantumDatabase, data: Data) -> tuple[Collection, float, float]:
    """The rows in a collection with its graph; seconds of wall clock for that, and for the graphs of the labels."""
    start = time.perf_counter()
    rows = data.rows
    items = db.create_collection("items", dimension=rows.vectors.shape[1], metric="l2")
    for at in range(0, len(rows.ids), 10_000):
        part = slice(at, at + 10_000)
        metadata = {"label": rows.labels[part], "price": rows.prices[part]}
        items.insert(rows.ids[part], rows.vectors[part], metadata=metadata)
    items.build_graph()
    built = time.perf_counter()
    items.build_filter_graph("label")
    return items, built - start, time.perf_counter() - built


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
    compiled_code.process.load()
    lines: list[dict[str, object]] = []
    if options.work == "million":
        lines = million(options.rows or 1_000_000, options.dimension or 128, min(options.queries, 400))
    else:
        lines = beside(options)
    if options.json:
        Path(options.json).write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return 0


def beside(options: argparse.Namespace) -> list[dict[str, object]]:
    data = load(options.data, options.rows, options.queries, options.dimension)
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
        items, seconds, more = stored(db, data)
        lines.append(line("q-store", "build", "time", seconds, "s"))
        lines.append(line("q-store", "build of graphs for 10 labels", "time", more, "s"))
        for one in lines:
            print(f"{one['work']}, all cores: {one['engine']} {one['value']:.1f} s")
        lines += unfiltered(data, peers, items, options.rounds)
        lines += widths(data, peers[0], items, options.rounds)
        lines += batch(data, peers[0], items, options.rounds)
        lines += scans(data, options.rounds)
        lines += filtered(data, peers, items, options.rounds)
        lines += never_short(data, items, options.short)
    return lines


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--peers", nargs="*", metavar="NAME", help="beside all peers that are installed, or these")
    parser.add_argument("--data", type=Path, default=beside, help=f"directory of fashion_mnist.npz (default {beside})")
    parser.add_argument("--rows", type=int, help="only the first so many rows; made up ones with --dimension")
    parser.add_argument("--dimension", type=int, help="make up rows of so many numbers")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", type=int, default=5000, help="random filters to look for short answers with")
    parser.add_argument("--work", choices=["million"], help="one large directory instead of the tables")
    parser.add_argument("--json", help="write one JSON object a figure to this file")
    options = parser.parse_args(arguments)
    if (options.rows is not None and options.rows < 2_000) or options.queries < 4 or options.rounds < 1:
        parser.error("--rows must be at least 2000, --queries at least 4, --rounds at least 1")
    return options


def unfiltered(data: Data, peers: Sequence[Peer], items: Collection, rounds: int) -> list[dict[str, object]]:
    engines: dict[str, dict[str, Search]] = {
        peer.name: {f"ef {ef}": lambda q, peer=peer, ef=ef: ids_of(peer.query(q, ef)) for ef in peer.efs}
        for peer in peers
    }
    engines["q-store"] = {f"ef {ef}": lambda q, ef=ef: with_metadata(items, q, ef=ef) for ef in EFS}
    engines["q-store, ids only"] = {
        f"ef {ef}": lambda q, ef=ef: items.query(q, TOP_K, ef=ef, include=[]).ids
        for ef in EFS  # type: ignore[union-attr]
    }
    measured = compared(engines, Part(data.queries, data.neighbours), rounds)
    return table("unfiltered", measured, "q-store")


def table(work: str, measured: Sequence[Measured], ours: str, road: str = "") -> list[dict[str, object]]:
    """Prints engines beside each other; ``×``: how many times as long as ours takes."""
    own = next(one.microseconds for one in measured if one.engine == ours)
    print(f"\n{work:28} {'setting':8} {'µs':>9} {'queries/s':>10} {'recall':>7} {'short':>6} {'×':>7}  {road}")
    lines = []
    for one in measured:
        ratio = one.microseconds / own
        print(
            f"{one.engine:28} {one.setting:8} {one.microseconds:9.1f} {1e6 / one.microseconds:10.0f} "
            f"{one.recall:7.4f} {one.short:6d} {ratio:7.2f}"
        )
        lines += [
            line(one.engine, work, "time", one.microseconds, "us"),
            line(one.engine, work, "recall", one.recall, "share"),
            line(one.engine, work, "short answers", one.short, "queries"),
        ]
        if not one.engine.startswith("q-store"):
            lines.append(line(ours, work, f"speed / {one.engine}", ratio, "ratio"))
    return lines


def widths(data: Data, peer: Peer, items: Collection, rounds: int) -> list[dict[str, object]]:
    """Width by width beside raw hnswlib, and at equal recall."""
    if not isinstance(peer, Hnswlib):
        return []
    theirs, ours = [], []
    for ef in EFS:
        runs: dict[str, Search] = {
            "hnswlib": lambda q, ef=ef: ids_of(peer.query(q, ef)),
            "q-store": lambda q, ef=ef: with_metadata(items, q, ef=ef),
        }
        for name, (spent, found) in timed(runs, data.queries, rounds).items():
            one = Measured(name, f"ef {ef}", spent, recall(found, data.neighbours))
            (theirs if name == "hnswlib" else ours).append(one)
    print(f"\n{'width':8} {'hnswlib, µs (recall)':>22} {'q-store':>18} {'×':>6} {'× at equal recall':>18}")
    lines = []
    for before, one in zip(theirs, ours, strict=True):
        equal = at_recall(theirs, one.recall)
        shown = "beyond" if equal is None else f"{equal / one.microseconds:.2f}"
        print(
            f"{one.setting:8} {before.microseconds:13.1f} ({before.recall:.4f}) {one.microseconds:9.1f} "
            f"({one.recall:.4f}) {before.microseconds / one.microseconds:6.2f} {shown:>18}"
        )
        lines.append(line("q-store", one.setting, "time", one.microseconds, "us"))
        lines.append(line("q-store", one.setting, "recall", one.recall, "share"))
        lines.append(line("q-store", one.setting, "speed / hnswlib", before.microseconds / one.microseconds, "ratio"))
        if equal is not None:
            lines.append(
                line("q-store", one.setting, "speed at equal recall / hnswlib", equal / one.microseconds, "ratio")
            )
    return lines


def batch(data: Data, peer: Peer, items: Collection, rounds: int) -> list[dict[str, object]]:
    """All queries in one call, all cores, wall clock, with label and price of every hit."""
    if not isinstance(peer, Hnswlib):
        return []
    cores = os.cpu_count() or 1
    spent: dict[str, list[float]] = {"hnswlib": [], "q-store": []}
    for _ in range(rounds):
        start = time.perf_counter()
        found = [ids_of(hits) for hits in peer.batch(data.queries, 40, cores)]
        spent["hnswlib"].append(time.perf_counter() - start)
        start = time.perf_counter()
        own = [hits.to_pydict()["id"] for hits in items.query(data.queries, TOP_K, ef=40)]  # type: ignore[union-attr]
        spent["q-store"].append(time.perf_counter() - start)
    count = len(data.queries)
    rates = [count / statistics.median(times) for times in spent.values()]
    shares = [recall(one, data.neighbours) for one in (found, own)]
    print(f"\nbatch of {count} on {cores} cores at ef 40, with metadata, queries/s (recall):")
    print(
        f"hnswlib {rates[0]:.0f} ({shares[0]:.4f}), q-store {rates[1]:.0f} ({shares[1]:.4f}): "
        f"{rates[1] / rates[0]:.2f} ×"
    )
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
    queries = data.queries[:FILTERED_QUERIES]
    lines: list[dict[str, object]] = []
    for condition in FILTERS:
        mask = condition.mask(data.rows)
        truth = [
            [data.rows.ids[row] for row in exact_top_k(q, data.rows.vectors, TOP_K, Metric.L2, None, mask).positions]
            for q in queries
        ]
        engines: dict[str, dict[str, Search]] = {
            peer.name: {
                f"ef {ef}": lambda q, peer=peer, ef=ef, condition=condition: ids_of(peer.filtered(q, ef, condition))
                for ef in peer.filter_efs
            }
            for peer in peers
        }
        fresh = itertools.count(1)
        wishes: dict[str, dict[str, object]] = {"default": {}, **{f"ef {ef}": {"ef": ef} for ef in (40, 80, 160)}}
        engines["q-store cached"] = {
            name: lambda q, wish=wish, condition=condition: with_metadata(items, q, where=condition.sql, **wish)
            for name, wish in wishes.items()
        }
        engines["q-store fresh"] = {
            name: lambda q, wish=wish, condition=condition, fresh=fresh: with_metadata(
                items, q, where=f"{condition.sql} AND price < {1 + next(fresh)}", **wish
            )
            for name, wish in wishes.items()
        }
        measured = compared(engines, Part(queries, truth), max(1, rounds // 2))
        hits = items.query(queries[0], TOP_K, where=condition.sql)
        lines += table(condition.name, measured, "q-store cached", hits.strategy)  # type: ignore[union-attr]
    return lines


def never_short(data: Data, items: Collection, filters: int) -> list[dict[str, object]]:
    """Random filters from 0.01 % to 100 % of the rows, by price or by label and price: no answer may be short."""
    g = np.random.default_rng(1)
    short = 0
    for number in range(filters):
        below = float(10 ** g.uniform(-4, 0))
        labels = g.permutation(10)[: g.integers(1, 6)].tolist() if number % 2 else list(range(10))
        matching = int(np.count_nonzero(np.isin(data.rows.labels, labels) & (data.rows.prices < below)))
        where = f"price < {below!r}" + (f" AND label in ({','.join(map(str, labels))})" if number % 2 else "")
        hits = items.query(data.queries[number % len(data.queries)], TOP_K, where=where, include=[])
        short += len(hits) != min(TOP_K, matching)
    print(f"\nshort answers in {filters} random filters from 0.01 % to 100 %: {short}")
    return [line("q-store", f"{filters} random filters", "short answers", short, "queries")]


def line(engine: str, work: str, metric: str, value: float, unit: str) -> dict[str, object]:
    return {"benchmark": "ann", "engine": engine, "work": work, "metric": metric, "value": value, "unit": unit}


if __name__ == "__main__":
    sys.exit(main())
