"""Rows and queries for the search benchmarks: Fashion-MNIST where its files are, seeded clusters otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ann_peers import Rows
from numpy.typing import NDArray

from storage_engine.schema import Metric
from storage_engine.vectors.distance import exact_top_k

TOP_K = 10


@dataclass(frozen=True, slots=True)
class Data:
    """Rows, queries and the ids of the true neighbours of each query."""

    name: str
    rows: Rows
    queries: NDArray[np.float32]
    neighbours: list[list[str]]


def load(directory: Path, rows: int | None, queries: int, dimension: int | None = None) -> Data:
    images, known = directory / "fashion_mnist.npz", directory / "fashion_mnist_neighbors.npy"
    truth = None
    if images.exists() and dimension is None:
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
        count, width = rows or 60_000, dimension or 128
        x, q, labels = clustered(count, queries, width)
        name = f"made up: {count} rows of {clusters(count)} Gaussian clusters, {width} dimensions, seed 0"
    if truth is None:
        truth = np.array([exact_top_k(query, x, TOP_K, Metric.L2).positions for query in q])
    ids = [f"item-{row:07d}" for row in range(len(x))]
    prices = np.random.default_rng(0).random(len(x))
    return Data(name, Rows(x, ids, labels, prices), q, [[ids[row] for row in one] for one in truth])


def clusters(rows: int) -> int:
    return max(10, rows // 600)


def clustered(
    rows: int, queries: int, dimension: int = 128
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Points of clusters, each spread along 16 directions of its own; labels are the cluster's last digit."""
    g = np.random.default_rng(0)
    many, spread = clusters(rows), min(16, dimension)
    centres = 0.6 * g.normal(size=(many, dimension)).astype(np.float32)
    directions = g.normal(size=(many, spread, dimension)).astype(np.float32) / 4
    cluster = g.integers(0, many, rows + queries)
    points = np.empty((rows + queries, dimension), np.float32)
    order = np.argsort(cluster, kind="stable")
    ends = np.cumsum(np.bincount(cluster, minlength=many))
    for label, members in enumerate(np.split(order, ends[:-1])):
        along = g.normal(size=(len(members), spread)).astype(np.float32) @ directions[label]
        noise = 0.1 * g.normal(size=(len(members), dimension)).astype(np.float32)
        points[members] = centres[label] + along + noise
    return points[:rows], points[rows:], cluster[:rows] % 10
