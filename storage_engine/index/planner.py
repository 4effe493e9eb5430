"""Which road a search takes: a pure function of sizes, so that the choice can be shown and tested.

Costs are counted in rows compared one after another by the quickest means there is: by codes where there are codes,
in float32 otherwise. docs/search.md shows the measurements behind the numbers here.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from storage_engine.index.calibration import Calibration

Strategy: TypeAlias = Literal["exact", "exact_rows", "graph", "masked_graph", "filter_graph"]
Against: TypeAlias = Literal["go on", "widen", "compare"]

DEFAULT_EF = 64
DEFAULT_RECALL = 0.99

PROBE_ROWS = 32
"""When a masked walk has expanded so many rows, it knows what share of the query's neighbourhood matches."""

TOGETHER = 4
"""A walk expands so many rows at once: their neighbours are fetched from memory together. It compares with a few rows
more, finds a little more, and at ef 80 takes a fifth less time."""

UNLIKE = 0.5
"""A neighbourhood in which less than this share of the rows to be expected matches is one that the filter avoids."""

WIDER = 4
"""There a walk keeps so many times as many candidates: what is wanted lies around the neighbourhood, not in it."""

_CODED_STEP = (
    5.0  # one row of a walk costs as much as so many in a scan: it comes from anywhere in memory, and is sorted
)
_FLOAT_STEP = 2.0  # float32 rows are four times as long, and the scan waits for memory as well
_UNLIKE_FACTOR = 16.0  # how many ordinary walks a walk against its filter may cost before comparing is preferred
_LONGER = -0.8  # how the length of a walk grows with the share of rows that match
_DESCENT = 80.0  # rows that a walk compares with for each value of a column whose graph it begins in
_DEEPER = -0.3  # how the width that a recall needs grows with it: the rows wanted lie farther out


@dataclass(frozen=True, slots=True)
class Breadth:
    """How widely a walk is to look.

    Args:
        ef: Candidates that a walk without a mask keeps.
        rows: With how many rows it compares, about.
        against: What a masked walk does where the filter avoids the query's neighbourhood: ``go on`` as asked for,
            ``widen``, or leave it to the exact road (``compare``).
        known_for: For people: where the numbers come from.
    """

    ef: int
    rows: float
    against: Against
    known_for: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A road and why.

    Args:
        strategy: ``exact``: compare with all rows. ``exact_rows``: compare with the matching rows. ``graph``: walk.
            ``masked_graph``: walk through all rows, keep matching ones. ``filter_graph``: walk through the rows of some
            values of a column, keep matching ones.
        ef: How many candidates the walk keeps; 0 where there is no walk.
        budget: After so many comparisons a walk is given up for the exact road; 0 where there is no walk.
        enough: A masked walk with fewer matching rows among the first ``PROBE_ROWS`` expanded is against its filter.
        wider: How many candidates such a walk keeps from then on; 0: it is given up for the exact road.
        cost: Estimated, in rows compared one after another.
        reason: For people.
    """

    strategy: Strategy
    ef: int
    budget: int
    enough: int
    wider: int
    cost: float
    reason: str


def default_ef(top_k: int) -> int:
    """Candidates to keep where nobody asked and nobody measured: 64, or twice the rows wanted."""
    return max(DEFAULT_EF, 2 * top_k)


def walk_rows(ef: int) -> float:
    """How many rows a walk without a mask compares with, where nobody measured: 200 + 7·ef.

    472, 626 and 970 were counted at ef 40, 64 and 128 on Fashion-MNIST (60,000 × 784), 760, 1,041 and 2,171 on
    clustered Gaussians (200,000 × 128). The number grows with log n only.
    """
    return 200.0 + 7 * ef


@functools.lru_cache(maxsize=256)
def breadth(top_k: int, ef: int | None, recall: float | None, calibration: Calibration | None) -> Breadth | None:
    """How widely to look for ``top_k`` rows.

    Args:
        top_k: Rows wanted.
        ef: What the caller asked for, if anything.
        recall: What the caller wants to be promised, above 0 and below 1, if anything.
        calibration: What was measured when the graph was built.

    Returns:
        ``None`` where a promise was asked for that no walk is known to keep. Without a wish: the least width that was
        measured to reach 0.99 or, where none does, beyond which nothing improves.
    """
    if ef is not None:
        kept = max(ef, top_k)
        against: Against = "go on"
        known_for = "asked for"
    elif recall is not None:
        promised = None if calibration is None else calibration.ef_for(recall, top_k)
        if promised is None:
            return None
        kept, against, known_for = promised, "compare", f"measured for recall {recall:g}"
    else:
        measured = None
        if calibration is not None:
            measured = calibration.ef_for(DEFAULT_RECALL, top_k) or calibration.best_ef(top_k)
        kept = max(default_ef(top_k) if measured is None else measured, top_k)
        against, known_for = "widen", "by default" if measured is None else "measured"
    rows = None if calibration is None else calibration.rows_compared(kept)
    return Breadth(kept, walk_rows(kept) if rows is None else rows, against, known_for)


@functools.lru_cache(maxsize=1024)
def choose(n: int, matches: int, top_k: int, wanted: Breadth | None, has_graph: bool, coded: bool = True) -> Choice:
    """Decide between the exact roads and the graph.

    The exact road costs ``matches``. A walk costs the rows that it compares with, each several times as dear; under a
    mask about ``share^-0.8`` times as many, between ``share^-0.6`` (Fashion-MNIST) and ``1/share`` (clustered
    Gaussians), measured from 1 % to 50 %.

    A masked walk in whose first ``PROBE_ROWS`` expanded rows fewer match than the filter as a whole lets expect is
    against its filter: it would be long, and end too early. Unless a width was asked for, it is given up at once where
    comparing costs at most a few walks, and widened otherwise. No masked walk may cost more than having compared; a
    wrong estimate at worst doubles the cost, and never makes an answer short.

    Args:
        n: Rows of the graph.
        matches: Rows that may be returned.
        top_k: Rows wanted.
        wanted: See :func:`breadth`; ``None`` asks for the exact road.
        has_graph: Whether there is one.
        coded: Whether it has codes.
    """
    everything = matches == n
    exact: Strategy = "exact" if everything else "exact_rows"
    if not has_graph:
        return Choice(exact, 0, 0, 0, 0, matches, "there is no graph yet")
    if top_k >= matches:
        return Choice(exact, 0, 0, 0, 0, matches, f"all {matches} matching rows are wanted")
    if wanted is None:
        return Choice(exact, 0, 0, 0, 0, matches, "no walk is known to keep the promised recall")
    share = matches / n
    step = _CODED_STEP if coded else _FLOAT_STEP
    kept = wanted.ef if everything or wanted.against == "go on" else math.ceil(wanted.ef * share**_DEEPER)
    cost = step * wanted.rows * kept / wanted.ef * share**_LONGER
    if cost >= matches:
        reason = f"comparing {matches} rows costs less than a walk, which costs as much as comparing {cost:.0f}"
        return Choice(exact, 0, 0, 0, 0, matches, reason)
    reason = f"a walk of width {kept} ({wanted.known_for}) costs as much as comparing {cost:.0f} rows of {matches}"
    if everything:
        return Choice("graph", kept, n, 0, 0, cost, reason)
    budget = max(top_k + 1, int(matches / step))
    if wanted.against == "go on":
        return Choice("masked_graph", kept, budget, 0, 0, cost, reason)
    compares = wanted.against == "compare" or matches <= _UNLIKE_FACTOR * step * wanted.rows
    enough = max(1, int(UNLIKE * share * PROBE_ROWS))
    return Choice("masked_graph", kept, budget, enough, 0 if compares else WIDER * kept, cost, reason)


def least_cost(wanted: Breadth, coded: bool) -> float:
    """What a walk costs at least, whatever the filter."""
    return (_CODED_STEP if coded else _FLOAT_STEP) * wanted.rows


def expected_cost(choice: Choice, matches: int, rows: int, likeness: float) -> float:
    """What a masked walk costs on average where queries are like rows, and rows of a kind lie together.

    Args:
        choice: The masked walk.
        matches: Rows that may be returned.
        rows: Rows in all.
        likeness: How much more or less often rows that do not match are linked to ones that do than chance would have
            it. Below ``UNLIKE`` a walk for a query among those is against its filter.
    """
    if likeness >= UNLIKE:
        return choice.cost
    share = matches / rows
    return share * choice.cost + (1.0 - share) * (WIDER * choice.cost if choice.wider else matches)


@functools.lru_cache(maxsize=1024)
def choose_through(
    column: str, values: int, rows: int, matches: int, top_k: int, wanted: Breadth, coded: bool = True
) -> Choice:
    """The same for a walk through the graphs of some values of a column: as if there were no other rows.

    Args:
        column: Its name.
        values: How many values the filter lets at least one row of through.
        rows: How many rows these values have.
        matches: How many of those may be returned.
        top_k: Rows wanted.
        wanted: By what was measured for such walks.
        coded: Whether there are codes.
    """
    choice = choose(rows, matches, top_k, wanted, True, coded)
    if not choice.budget:
        return choice
    cost = choice.cost + (values - 1) * _DESCENT * (_CODED_STEP if coded else _FLOAT_STEP)
    if cost >= matches:
        reason = f"comparing {matches} rows costs less than a walk through {values} values of {column!r}"
        return Choice("exact_rows", 0, 0, 0, 0, matches, reason)
    reason = (
        f"a walk of width {choice.ef} ({wanted.known_for}) through the {rows} rows of {values} values of {column!r} "
        f"costs as much as comparing {cost:.0f} rows of {matches}"
    )
    return replace(choice, strategy="filter_graph", cost=cost, reason=reason)
