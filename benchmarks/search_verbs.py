"""Searches beyond the nearest k: milliseconds of one core, beside NumPy or DuckDB over all rows where that answers too.

    python benchmarks/search_verbs.py [--rows N] [--json PATH]

Clustered Gaussians, 128 numbers, l2, with a graph; texts of 12 words drawn by Zipf's law from 20,000.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from figures import Figure, write

from qstore_db import QuantumDatabase

DIMENSION, WORDS = 128, 20_000


def milliseconds(work: Callable[[], object], rounds: int = 7) -> float:
    """Least processor time of this process, all threads."""
    work()
    best = np.inf
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return 1e3 * best


class Table:
    """Prints a line for each search and keeps its figures."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def show(
        self, name: str, work: Callable[[], object], other: Callable[[], object] | None = None, what: str = ""
    ) -> None:
        ours = self._keep("q-store", name, milliseconds(work))
        beside = "" if other is None else f"   {what} {self._keep(what, name, milliseconds(other, 3)):8.2f}"
        print(f"{name:44s} {ours:8.2f}{beside}")

    def _keep(self, engine: str, name: str, value: float) -> float:
        self.figures.append(Figure(engine, name, "search", value, "ms"))
        return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--json", help="write one JSON object a figure to this file")
    options = parser.parse_args()
    rows, table = options.rows, Table()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 300, rows)
    x = (rng.normal(size=(300, DIMENSION))[labels] + 0.5 * rng.normal(size=(rows, DIMENSION))).astype(np.float32)
    vocabulary = np.array([f"w{n:x}" for n in rng.permutation(WORDS)])
    shares = 1 / np.arange(1, WORDS + 1)
    texts = [" ".join(row) for row in vocabulary[rng.choice(WORDS, (rows, 12), p=shares / shares.sum())]]
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", DIMENSION, "l2")
        metadata = {"label": labels, "document": np.arange(rows) // 10, "title": texts}
        items.insert([f"r{n}" for n in range(rows)], x, metadata=metadata)
        items.build_graph()
        q = x[0] + 0.1
        distances = np.sort(np.linalg.norm(x - q, axis=1))
        print(f"{rows:,} rows of {DIMENSION}; ms of processor time, least of 7")
        table.show("query, 10 nearest", lambda: items.query(q, include=[]))
        table.show("query, 10 nearest, exact", lambda: items.query(q, exact=True, include=[]))
        for count in (10, 200, rows // 10, rows):
            radius = float(distances[count - 1])
            table.show(
                f"within, {count:,} rows",
                lambda radius=radius: items.search.within(q, radius, include=[]),
                lambda radius=radius: np.flatnonzero(((x - q) ** 2).sum(1) <= radius * radius),
                "NumPy float32",
            )
        radius = float(distances[199])
        table.show(
            "SQL: WHERE vector <-> $q < r, 200 rows",
            lambda: db.sql("SELECT count(*) FROM items WHERE vector <-> $q < $r", q=q, r=radius),
            lambda: db.sql("SELECT count(*) FROM items WHERE (vector <-> $q < $r OR false)", q=q, r=radius),
            "all rows",
        )
        for column, each in (("label", 3), ("document", 3)):
            table.show(
                f"groups by {column}, 10 of {each}",
                lambda column=column, each=each: items.search.groups(q, column, 10, per_group=each, include=[]),
            )
        for offset in (0, 5_000, rows // 2):
            table.show(
                f"page of 10 at {offset:,}", lambda offset=offset: items.search.page(q, 10, offset=offset, include=[])
            )
        table.show("diverse, 10 of 100", lambda: items.search.diverse(q, 10, fetch_k=100, include=[]))
        start = time.process_time()
        items.search.text(texts[0], column="title")
        first = Figure(
            "q-store", "text, the first question (builds)", "search", 1e3 * (time.process_time() - start), "ms"
        )
        table.figures.append(first)
        print(f"{first.work:44s} {first.value:8.2f}")
        words = " ".join(vocabulary[[3, 500, 7_000]])
        table.show("text, 3 words", lambda: items.search.text(words, column="title", include=[]))
        table.show(
            "text, 3 words, a filter on 0.3 %", lambda: items.search.text(words, column="title", where="label = 3")
        )
        table.show("hybrid", lambda: items.search.hybrid(words, q, column="title", include=[]))
    write(options.json, "search_verbs", table.figures)


if __name__ == "__main__":
    main()
