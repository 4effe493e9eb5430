"""The picture in docs/search.md: what each road of a filtered search costs, and which one the planner takes.

    python benchmarks/crossover.py [--data DIRECTORY] [--queries N] [--out docs/images/search_crossover.png]

Fashion-MNIST where its file is found, seeded clustered Gaussians otherwise. CPU time on one core, median over queries;
filters by chance and filters on labels. Needs matplotlib.
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before NumPy is imported: one core
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import datetime
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ann_data import load
from numpy.typing import NDArray

from storage_engine.index.builder import build_graph
from storage_engine.index.nearest import Piece, Wish, nearest
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric

TOP_K = 10
SHARES = (0.003, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
LABELS = ((3,), (1, 2), (1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5, 6, 7, 8))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--out", type=Path, default=root / "docs" / "images" / "search_crossover.png")
    options = parser.parse_args(arguments)
    data = load(options.data, None, options.queries)
    rows = data.rows.vectors
    graph = build_graph(rows, None, Metric.L2, GraphOptions(), os.cpu_count() or 1)
    walker = Walker(graph, rows, None, Metric.L2)
    g = np.random.default_rng(0).random(len(rows))
    families = {
        "by chance": [g < share for share in SHARES],
        "labels": [np.isin(data.rows.labels, labels) for labels in LABELS],
    }
    found: dict[str, list[tuple[float, float, float, float, float, float, float]]] = {}
    print(f"{data.name}, {len(data.queries)} queries, top {TOP_K}; µs (recall)")
    for name, masks in families.items():
        found[name] = []
        for mask in masks:
            line = measured(walker, rows, mask, data.queries)
            found[name].append(line)
            share, exact, walk, planned, walk_recall, planned_recall, walked = line
            print(
                f"{name:10} {share:6.1%}  exact {exact:6.0f}  masked walk {walk:6.0f} ({walk_recall:.4f})  "
                f"planner {planned:6.0f} ({planned_recall:.4f}), walked {walked:.0%}"
            )
    draw(found, f"{data.name}: {rows.shape[0]:,} × {rows.shape[1]}", options.out)
    return 0


def measured(
    walker: Walker, rows: NDArray[np.float32], mask: NDArray[np.bool_], queries: NDArray[np.float32]
) -> tuple[float, float, float, float, float, float, float]:
    """Share, µs of the three roads, recall of the walk and of the planner's choice, share of answers by walks."""
    piece = Piece(rows, None, Metric.L2, walker, mask)
    chosen = piece.matching()
    truth = [nearest(query, piece, Wish(TOP_K, exact=True)).ranked.positions for query in queries]
    breadth = walker.graph.calibration.ef_for(0.99, TOP_K) if walker.graph.calibration is not None else None
    ef = breadth or 64
    exact = spent(lambda query: walker.scan(query, TOP_K, chosen), queries)
    walk = spent(lambda query: walker.search(query, TOP_K, ef, mask), queries)
    planned = spent(lambda query: nearest(query, piece, Wish(TOP_K)), queries)
    walks = [walker.search(query, TOP_K, ef, mask).ranked.positions for query in queries]
    answers = [nearest(query, piece, Wish(TOP_K)) for query in queries]
    walked = float(np.mean([answer.strategy == "masked_graph" for answer in answers]))
    recalls = [recall(walks, truth), recall([answer.ranked.positions for answer in answers], truth)]
    return piece.matches / len(rows), exact, walk, planned, *recalls, walked


def spent(search: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32]) -> float:
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for query in queries:
            search(query)
        rounds.append((time.process_time() - start) / len(queries) * 1e6)
    return statistics.median(rounds)


def recall(found: Sequence[NDArray[np.int64]], truth: Sequence[NDArray[np.int64]]) -> float:
    return float(np.mean([len(set(f) & set(t)) / len(t) for f, t in zip(found, truth, strict=True)]))


def draw(found: dict[str, list[tuple[float, float, float, float, float, float, float]]], title: str, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axis, (name, lines) in zip(axes, found.items(), strict=True):
        share = [100 * line[0] for line in lines]
        for place, label, style in (
            (1, "compare the matching rows", "o-"),
            (2, "masked walk", "s-"),
            (3, "what the planner does", "k--"),
        ):
            axis.plot(share, [line[place] for line in lines], style, label=label, markersize=3.5, linewidth=1.2)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("rows that match, %")
        axis.set_title(f"filter {name}" if name == "by chance" else "filter on labels, which follow the clusters")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("µs a query, one core")
    axes[0].legend(fontsize=8)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    figure.suptitle(f"{title}, top {TOP_K}, {today}, {platform.machine()}", fontsize=9)
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80)
    print(f"drew {out}")


if __name__ == "__main__":
    sys.exit(main())
