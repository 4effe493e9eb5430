"""Timing engines beside each other, and choosing each engine's setting on queries that are not reported."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ENOUGH = 0.99
Search = Callable[[NDArray[np.float32]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine at one setting."""

    engine: str
    setting: str
    microseconds: float
    recall: float
    short: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Some queries and their true neighbours."""

    queries: NDArray[np.float32]
    neighbours: Sequence[Sequence[str]]

    def halves(self) -> tuple[Part, Part]:
        """Those to choose settings by, and those to report."""
        return (
            Part(self.queries[::2], self.neighbours[::2]),
            Part(self.queries[1::2], self.neighbours[1::2]),
        )


def timed(
    runs: Mapping[str, Search], queries: NDArray[np.float32], rounds: int
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


def compared(engines: Mapping[str, Mapping[str, Search]], part: Part, rounds: int) -> list[Measured]:
    """Each engine at the setting that was the quickest with enough recall on one half, measured on the other half.

    Every engine has the same number of settings. Where none finds enough, the one that finds most is taken.
    """
    tuning, reported = part.halves()
    chosen: dict[str, tuple[str, Search]] = {}
    for engine, settings in engines.items():
        tried = []
        for setting, search in settings.items():
            [(spent, found)] = timed({engine: search}, tuning.queries, 1).values()
            share = recall(found, tuning.neighbours)
            tried.append((share < ENOUGH, spent if share >= ENOUGH else -share, setting))
        best = min(tried)[2]
        chosen[engine] = best, settings[best]
    runs = {engine: search for engine, (_, search) in chosen.items()}
    return [
        Measured(
            engine,
            chosen[engine][0],
            spent,
            recall(found, reported.neighbours),
            sum(len(f) < len(t) for f, t in zip(found, reported.neighbours, strict=True)),
        )
        for engine, (spent, found) in timed(runs, reported.queries, rounds).items()
    ]


def at_recall(peer: Sequence[Measured], wanted: float) -> float | None:
    """The peer's microseconds at a recall, between its two nearest settings; ``None`` beyond its range."""
    points = sorted((one.recall, one.microseconds) for one in peer)
    for (low, fast), (high, slow) in itertools.pairwise(points):
        if low <= wanted <= high:
            scale = [math.log(1 - share + 1e-9) for share in (low, wanted, high)]
            share = 0.0 if high == low else (scale[0] - scale[1]) / (scale[0] - scale[2])
            return float(math.exp((1 - share) * math.log(fast) + share * math.log(slow)))
    return None
