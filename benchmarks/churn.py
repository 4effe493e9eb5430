"""Every row replaced again and again: recall and time of Q-Store beside hnswlib that is updated in place.

    python benchmarks/churn.py [--rows N] [--rounds N] [--queries N] [--data DIRECTORY] [--json PATH]

Rows are those of Fashion-MNIST (784 numbers) where its file is found, seeded clustered Gaussians otherwise; the table
says which. In each round every id gets another row of the whole data set, so the collection stays like the data, and
nothing of it stays where it was. hnswlib gets the same rows under the same labels (it then moves each one within its
graph); Q-Store upserts them durably, and its background builds a graph where too much has changed. Both are asked with
the same breadths, Q-Store also with its own choice, once right after the last write and once when the graph is up to
date.

Times are CPU seconds of this process with all its threads, both use two; engines take turns. Other work on the machine
moves the absolute figures, so read the ratios.
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before NumPy is imported
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

from qstore_db.collection import Collection
from qstore_db.database import QuantumDatabase
from storage_engine.schema import Metric
from storage_engine.vectors.distance import exact_top_k

TOP_K = 10
EFS = (20, 40, 80)
THREADS = 2
BATCH = 5_000
TARGET = 0.99
Answer = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""From one query to the numbers of the rows found."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure of one engine in one round; round 0 is the load."""

    engine: str
    round: int
    metric: str
    value: float
    unit: str

    def line(self) -> dict[str, object]:
        work = f"round {self.round}" if self.round else "load"
        return {
            "benchmark": "churn",
            "engine": self.engine,
            "work": work,
            "metric": self.metric,
            "value": self.value,
            "unit": self.unit,
        }


def load(directory: Path, queries: int) -> tuple[str, NDArray[np.float32], NDArray[np.float32]]:
    file = directory / "fashion_mnist.npz"
    if file.exists():
        with np.load(file, allow_pickle=False) as data:
            x = data["x_train"].reshape(len(data["x_train"]), -1).astype(np.float32)
            q = data["x_test"].reshape(len(data["x_test"]), -1).astype(np.float32)[:queries]
        return "Fashion-MNIST", x, q
    g = np.random.default_rng(0)
    centres = g.normal(size=(500, 128))
    points = centres[g.integers(0, 500, 60_000 + queries)] + 0.5 * g.normal(size=(60_000 + queries, 128))
    x = points.astype(np.float32)
    return f"made up: 500 Gaussian clusters, 128 dimensions, seed 0 (no {file})", x[:60_000], x[60_000:]


class Hnswlib:
    """An index whose rows are replaced in place."""

    name = "hnswlib"

    def __init__(self, rows: int, dimension: int) -> None:
        self._index = hnswlib.Index("l2", dimension)
        self._index.init_index(rows, M=16, ef_construction=200, random_seed=100)

    def write(self, vectors: NDArray[np.float32]) -> None:
        self._index.add_items(vectors, np.arange(len(vectors)), num_threads=THREADS)

    def answer(self, ef: int) -> Answer:
        self._index.set_ef(ef)
        return lambda query: self._index.knn_query(query, TOP_K, num_threads=1)[0][0].astype(np.int64)


class QStore:
    """A collection whose rows are upserted."""

    name = "q-store"

    def __init__(self, items: Collection) -> None:
        self.items = items

    def write(self, vectors: NDArray[np.float32]) -> None:
        for at in range(0, len(vectors), BATCH):
            part = vectors[at : at + BATCH]
            self.items.upsert([str(row) for row in range(at, at + len(part))], part)

    def answer(self, ef: int | None) -> Answer:
        def ask(query: NDArray[np.float32]) -> NDArray[np.int64]:
            hits = self.items.query(query, TOP_K, ef=ef, include=[])
            return np.array([int(one) for one in hits.ids], np.int64)  # type: ignore[union-attr]

        return ask


def asked(answer: Answer, queries: NDArray[np.float32], truth: list[NDArray[np.int64]]) -> tuple[float, float]:
    """Recall, and CPU microseconds a query."""
    answer(queries[0])
    start = time.process_time()
    found = [answer(query) for query in queries]
    spent = (time.process_time() - start) / len(queries) * 1e6
    return float(np.mean([np.isin(one, best).mean() for one, best in zip(found, truth, strict=True)])), spent


def one_round(
    turn: int, ours: QStore, theirs: Hnswlib, rows: NDArray[np.float32], queries: NDArray[np.float32]
) -> Iterator[Measured]:
    """Replace every row in both, and ask both."""
    truth = [exact_top_k(query, rows, TOP_K, Metric.L2).positions for query in queries]
    for engine in (theirs, ours):
        start = time.process_time()
        engine.write(rows)
        if isinstance(engine, QStore):
            recall, _ = asked(engine.answer(None), queries, truth)
            yield Measured(engine.name, turn, "recall right after the writes", recall, "share")
            engine.items.build_graph()
        yield Measured(engine.name, turn, "CPU", time.process_time() - start, "s")
    for ef in EFS:
        for one in (theirs, ours):
            recall, spent = asked(one.answer(ef), queries, truth)
            yield Measured(one.name, turn, f"recall at ef {ef}", recall, "share")
            yield Measured(one.name, turn, f"query at ef {ef}", spent, "us")
    recall, spent = asked(ours.answer(None), queries, truth)
    yield Measured(ours.name, turn, "recall", recall, "share")
    yield Measured(ours.name, turn, "query", spent, "us")


@contextmanager
def collection(dimension: int) -> Iterator[Collection]:
    with (
        tempfile.TemporaryDirectory(prefix="qstore-churn-") as folder,
        QuantumDatabase.open(Path(folder) / "db", progress=False, build_threads=THREADS) as db,
    ):
        yield db.create_collection("items", dimension, "l2")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--rows", type=int, default=20_000, help="in the collection, 2,000 to 60,000 (default 20000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--data", type=Path, default=beside, help=f"directory of fashion_mnist.npz (default {beside})")
    parser.add_argument("--json", help="write one JSON object a figure to this file")
    options = parser.parse_args(arguments)
    if not 2_000 <= options.rows <= 60_000 or options.rounds < 1 or options.queries < 1:
        parser.error("--rows must be 2000 to 60000, --rounds and --queries at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    name, x, queries = load(options.data, options.queries)
    g = np.random.default_rng(0)
    figures: list[Measured] = []
    print(f"{name}: {options.rows:,} ids, each of {options.rounds} rounds gives every one another of {len(x):,} rows")
    print(
        f"{'':8} {'engine':8} {'CPU s':>7}  "
        + "  ".join(f"{f'ef {ef}: recall, us':>20}" for ef in EFS)
        + "  own choice"
    )
    with collection(x.shape[1]) as items:
        ours, theirs = QStore(items), Hnswlib(options.rows, x.shape[1])
        for turn in range(options.rounds + 1):
            rows = x[g.permutation(len(x))[: options.rows]]
            of_round = list(one_round(turn, ours, theirs, rows, queries))
            figures += of_round
            show(turn, of_round)
    last = {one.metric: one.value for one in figures if one.engine == "q-store"}
    met = "met" if last["recall"] >= TARGET else "MISSED"
    print(f"recall after {options.rounds} rounds: {last['recall']:.4f}, target ≥ {TARGET} {met}")
    if options.json:
        lines = "".join(json.dumps(one.line()) + "\n" for one in figures)
        Path(options.json).write_text(lines, encoding="utf-8")
    return 0


def show(turn: int, figures: list[Measured]) -> None:
    for engine in ("hnswlib", "q-store"):
        of = {one.metric: one.value for one in figures if one.engine == engine}
        pairs = [f"{of[f'recall at ef {ef}']:.4f} {of[f'query at ef {ef}']:9.0f}" for ef in EFS]
        own = ""
        if "recall" in of:
            soon = of["recall right after the writes"]
            own = f"{of['recall']:.4f} {of['query']:.0f} us; right after the writes {soon:.4f}"
        label = f"round {turn}" if turn else "load"
        print(f"{label:8} {engine:8} {of['CPU']:7.1f}  " + "  ".join(f"{pair:>20}" for pair in pairs) + f"  {own}")


if __name__ == "__main__":
    sys.exit(main())
