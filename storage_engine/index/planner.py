"""Which road a search takes: a pure function of sizes, so that the choice can be shown and tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Strategy: TypeAlias = Literal["exact", "exact_rows", "graph", "masked_graph"]

DEFAULT_EF = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """A road and why.

    Args:
        strategy: ``exact``: compare with all rows. ``exact_rows``: compare with the matching rows. ``graph``: walk.
            ``masked_graph``: walk through all rows, keep matching ones.
        ef: How many candidates the walk keeps; 0 where there is no walk.
        budget: After so many comparisons a walk is given up for the exact road; 0 where there is no walk.
        reason: For people.
    """

    strategy: Strategy
    ef: int
    budget: int
    reason: str


def default_ef(top_k: int) -> int:
    """Candidates to keep when nobody asked for a number: 64, or twice the rows wanted."""
    return max(DEFAULT_EF, 2 * top_k)


def walk_cost(ef: int) -> int:
    """The cost of an unmasked walk, in rows compared one after another: 200 + 12·ef.

    Measured on Fashion-MNIST (60,000 rows, M = 16): 317, 471 and 720 rows compared at ef 20, 40 and 80, each about 1.4
    times as dear as in a scan because it comes from anywhere in memory. The number grows with log n only.
    """
    return 200 + 12 * ef


def choose(n: int, matches: int, top_k: int, ef: int | None, has_graph: bool) -> Choice:
    """Decide between the exact roads and the graph.

    An unmasked walk costs as much as comparing :func:`walk_cost` rows in order; under a filter about ``n/matches``
    times as much, because only that share of what it meets counts; if the filter follows the clusters of the data,
    more. The exact road costs ``matches``. So the graph is taken where that is dearer, and a masked walk may compare
    with as many rows as match before the exact road takes over: two and a half times the cost of having chosen that
    at once, at worst, and never a short answer.

    Args:
        n: Rows of the graph.
        matches: Rows that may be returned.
        top_k: Rows wanted.
        ef: Candidates to keep, ``None`` for the default, twice that under a filter; raised to ``top_k`` where lower.
        has_graph: Whether there is one.
    """
    everything = matches == n
    exact: Strategy = "exact" if everything else "exact_rows"
    if not has_graph:
        return Choice(exact, 0, 0, "there is no graph yet")
    if top_k >= matches:
        return Choice(exact, 0, 0, f"all {matches} matching rows are wanted")
    if ef is None:  # where the query's own cluster is filtered out, the rows wanted lie around it, not at one end
        ef = default_ef(top_k) * (1 if everything else 2)
    kept = max(ef, top_k)
    walk = walk_cost(kept) * n // matches
    if walk >= matches:
        return Choice(exact, 0, 0, f"comparing {matches} rows is cheaper than a walk past about {walk}")
    reason = f"a walk past about {walk} rows is cheaper than comparing {matches}"
    return Choice("graph" if everything else "masked_graph", kept, matches, reason)
