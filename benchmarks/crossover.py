"""What each road of a filtered search costs, which one the planner takes, and what its constants are measured by.

    python benchmarks/crossover.py [--data DIRECTORY] [--queries N] [--out docs/images/search_crossover.png]
    python benchmarks/crossover.py --made-up 32 128 784 [--rows N] [--half tune] [--float32]

The first draws the picture in docs/search.md: Fashion-MNIST where its file is found, seeded clustered Gaussians
otherwise; needs matplotlib. The second prints the same for seeded clustered Gaussians of other dimensions. CPU time on
one core; filters by chance and filters on labels, which follow the clusters. One half of the queries is for finding
the planner's constants (``--half tune``), the other, the default, for reporting what they lead to.
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before NumPy is imported: one core
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import dataclasses
import datetime
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ann_data import Data, load
from numpy.typing import NDArray

from storage_engine.index.builder import build_graph
from storage_engine.index.nearest import Piece, Wish, nearest
from storage_engine.index.planner import breadth
from storage_engine.index.road import Road
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric

TOP_K = 10
SHARES = (0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9)
LABELS = ((3,), (1, 2), (1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5, 6, 7, 8))


@dataclass(frozen=True, slots=True)
class Line:
    """A filter: µs a query of each road, rows compared and found.

    Args:
        share: Of the rows, those that match.
        exact: µs, comparing all of them.
        walk: µs, a masked walk of the default width, whatever it costs.
        planned: µs, what the planner does.
        met: With how many rows the walk compared.
        walk_recall: Of the walk.
        planned_recall: Of the planner's answers.
        walked: Share of the planner's answers that a walk gave.
        likeness: How the filter lies to the vectors.
    """

    share: float
    exact: float
    walk: float
    planned: float
    met: float
    walk_recall: float
    planned_recall: float
    walked: float
    likeness: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data")
    parser.add_argument("--queries", type=int, default=200, help="of which half are used")
    parser.add_argument("--half", choices=["tune", "report"], default="report")
    parser.add_argument("--made-up", type=int, nargs="+", metavar="DIMENSION", help="print these instead of drawing")
    parser.add_argument("--rows", type=int, default=60_000, help="of made up data")
    parser.add_argument("--float32", action="store_true", help="search without codes")
    parser.add_argument("--out", type=Path, default=root / "docs" / "images" / "search_crossover.png")
    options = parser.parse_args(arguments)
    if options.made_up:
        for dimension in options.made_up:
            compare(load(options.data, options.rows, options.queries, dimension), options.half, options.float32)
        return 0
    data = load(options.data, None, options.queries)
    draw(
        compare(data, options.half, options.float32),
        f"{data.name}: {data.rows.vectors.shape[0]:,} × {data.rows.vectors.shape[1]}",
        options.out,
    )
    return 0


def compare(data: Data, half: str, float32: bool) -> dict[str, list[Line]]:
    """Measure and print each filter, by family."""
    rows, queries = data.rows.vectors, np.ascontiguousarray(data.queries[half == "report" :: 2])
    graph = build_graph(rows, None, Metric.L2, GraphOptions(), os.cpu_count() or 1)
    walker = Walker(dataclasses.replace(graph, codes=None) if float32 else graph, rows, None, Metric.L2)
    g = np.random.default_rng(0).random(len(rows))
    families = {
        "by chance": [g < share for share in SHARES],
        "labels": [np.isin(data.rows.labels, labels) for labels in LABELS],
    }
    found: dict[str, list[Line]] = {}
    kind = "float32" if float32 or not walker.coded else "codes"
    print(
        f"{data.name}, {rows.shape[1]} dimensions by {kind}, {len(queries)} queries to {half}, top {TOP_K}; µs (recall)"
    )
    for name, masks in families.items():
        found[name] = []
        for mask in masks:
            line = measured(walker, rows, mask, queries)
            found[name].append(line)
            matches = line.share * len(rows)
            print(
                f"{name:10} {line.share:6.1%}  exact {line.exact:6.0f} = {1e3 * line.exact / matches:5.1f} ns a row"
                f"  masked walk {line.walk:6.0f} ({line.walk_recall:.4f}) = {line.met:6.0f} rows"
                f" of {1e3 * line.walk / line.met:5.1f} ns"
                f"  planner {line.planned:6.0f} ({line.planned_recall:.4f}), walked {line.walked:4.0%},"
                f" likeness {line.likeness:.2f}",
                flush=True,
            )
    return found


def measured(walker: Walker, rows: NDArray[np.float32], mask: NDArray[np.bool_], queries: NDArray[np.float32]) -> Line:
    """All roads under one filter."""
    piece = Piece(rows, None, Metric.L2, walker, mask)
    truth = [nearest(query, piece, Wish(TOP_K, exact=True)).ranked.positions for query in queries]
    wanted = breadth(TOP_K, None, None, walker.graph.calibration)
    assert wanted is not None  # only a promise can be out of reach
    exact, walk = Road(piece, Wish(TOP_K, exact=True)), walker.walk_plan(TOP_K, wanted.ef, mask)
    road = Road(piece, Wish(TOP_K))
    walks = [walker.walk(walk, query) for query in queries]
    answers = [road.answer(query, False) for query in queries]
    return Line(
        share=piece.matches / len(rows),
        exact=spent(lambda query: exact.answer(query, False), queries),
        walk=spent(lambda query: walker.walk_once(walk, query), queries),
        planned=spent(lambda query: road.answer(query, False), queries),
        met=float(np.mean([one.compared for one in walks])),
        walk_recall=recall([one.ranked.positions for one in walks], truth),
        planned_recall=recall([answer.positions for answer in answers], truth),
        walked=float(np.mean([answer.strategy == "masked_graph" for answer in answers])),
        likeness=piece.likeness(),
    )


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


def draw(found: dict[str, list[Line]], title: str, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axis, (name, lines) in zip(axes, found.items(), strict=True):
        share = [100 * line.share for line in lines]
        for costs, label, style in (
            ([line.exact for line in lines], "compare the matching rows", "o-"),
            ([line.walk for line in lines], "masked walk", "s-"),
            ([line.planned for line in lines], "what the planner does", "k--"),
        ):
            axis.plot(share, costs, style, label=label, markersize=3.5, linewidth=1.2)
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
