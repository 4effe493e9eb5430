"""Which road a search takes: a pure function of sizes, so that the choice can be shown and tested.

Costs are counted in rows compared one after another by the quickest means there is: by codes where there are codes,
in float32 otherwise. docs/search.md shows the measurements behind the numbers here.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from storage_engine.index.calibration import TOPS, Calibration
from storage_engine.index.walk_rules import PROBE_ROWS, least_width

Strategy: TypeAlias = Literal["exact", "exact_rows", "graph", "masked_graph", "filter_graph"]
Against: TypeAlias = Literal["go on", "widen", "compare"]

DEFAULT_EF = 64
DEFAULT_RECALL = 0.99

UNLIKE = 0.5
"""A neighbourhood in which less than this share of the rows to be expected matches is one that the filter avoids; a
filter whose likeness is below it keeps its rows together."""

WIDER = 6
"""There a walk keeps so many times as many candidates: what is wanted lies around the neighbourhood, not in it."""

_CODED = ((9.0, 0.083), (3.0, 0.017))
_FLOAT = ((16.0, 0.06), (6.0, 0.04))
"""What a row costs, ns and ns for each of its bytes: met by a walk, and compared in a scan."""

_CODED_CALL, _FLOAT_CALL = (3_500.0, 8.0), (25_000.0, 0.0)
"""What a comparison costs beside its rows, likewise: bounds for the query; in float32 it goes through NumPy."""

_FARTHER = 3.0  # a walk against its filter meets so many times as many rows as one of its width that is not
_SURE = 1.5  # it is worth its while where comparing, which is exact, costs so many times as much
_WORTH = 0.7  # a masked walk is, at so much of comparing: walks vary, and one that runs out of budget costs both
_ROUND = 4.0  # how much wider walks must be, at most, where matching rows lie together
_DEEPER = -0.3  # how the width after looking back grows with the share of rows that match
_DESCENT = 80.0  # rows that a walk compares with for each value of a column whose graph it begins in


@dataclass(frozen=True, slots=True)
class Breadth:
    """How widely a walk is to look.

    Args:
        ef: Candidates that a walk without a mask keeps.
        against: What a masked walk does where the filter avoids the query's neighbourhood: ``go on`` as asked for,
            ``widen``, or leave it to the exact road (``compare``).
        known_for: For people: where the numbers come from.
        calibration: What was measured when the graph was built.
    """

    ef: int
    against: Against
    known_for: str
    calibration: Calibration | None = None

    def rows(self, width: float, coded: bool) -> float:
        """With how many rows a walk of a width compares, about."""
        known = None
        if self.calibration is not None:
            known = self.calibration.rows_compared(width, least_width(TOPS[-1], coded))
        return walk_rows(width) if known is None else known


@dataclass(frozen=True, slots=True)
class Rows:
    """What a road leads over.

    Args:
        rows: Of the graph.
        matches: How many may be returned.
        row_bytes: How many bytes of a row are compared.
        coded: Whether these are codes.
        likeness: How the filter lies to the vectors, see :func:`storage_engine.index.likeness.likeness`.
    """

    rows: int
    matches: int
    row_bytes: int
    coded: bool
    likeness: float = 1.0

    @property
    def share(self) -> float:
        """Of the rows, the share that matches."""
        return self.matches / self.rows

    @property
    def step(self) -> float:
        """How many rows are compared in the time in which a walk meets one: it comes from anywhere in memory."""
        (walked, walked_byte), _ = _CODED if self.coded else _FLOAT
        return (walked + walked_byte * self.row_bytes) / self._compared

    @property
    def call(self) -> float:
        """How many more rows could be compared in the time that a comparison takes beside its rows."""
        fixed, each_byte = _CODED_CALL if self.coded else _FLOAT_CALL
        return (fixed + each_byte * self.row_bytes) / self._compared

    @property
    def _compared(self) -> float:
        _, (compared, compared_byte) = _CODED if self.coded else _FLOAT
        return compared + compared_byte * self.row_bytes


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
        cost: Estimated on average over queries like the rows, in rows compared one after another.
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


def walk_rows(width: float) -> float:
    """How many rows a walk without a mask compares with, where nobody measured: 200 + 7·width.

    472, 626 and 970 were counted at width 40, 64 and 128 on Fashion-MNIST (60,000 × 784), 760, 1,041 and 2,171 on
    clustered Gaussians (200,000 × 128). The number grows with log n only.
    """
    return 200.0 + 7 * width


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
        return Breadth(max(ef, top_k), "go on", "asked for", calibration)
    if recall is not None:
        promised = None if calibration is None else calibration.ef_for(recall, top_k)
        return (
            None if promised is None else Breadth(promised, "compare", f"measured for recall {recall:g}", calibration)
        )
    measured = None
    if calibration is not None:
        measured = calibration.ef_for(DEFAULT_RECALL, top_k) or calibration.best_ef(top_k)
    kept = max(default_ef(top_k) if measured is None else measured, top_k)
    return Breadth(kept, "widen", "by default" if measured is None else "measured", calibration)


@functools.lru_cache(maxsize=1024)
def choose(over: Rows, top_k: int, wanted: Breadth | None, has_graph: bool) -> Choice:
    """Decide between the exact roads and the graph.

    The exact road costs the matching rows and a call. A walk costs the rows that it meets, each several
    times as dear. To keep ``ef`` matching rows it has to look as far as one without a mask that keeps ``ef / share``:
    how many rows that meets was measured when the graph was built.

    That holds for a filter that has nothing to do with the vectors (likeness about 1). Where matching rows lie
    together, walks keep more candidates, up to ``1 + 4·(1 - share)`` times as many, for recall is lost at the borders;
    and for a query from elsewhere, which is as likely as its rows are many, a walk would be long and end too early.
    Such a walk is *against its filter*: in the first ``PROBE_ROWS`` rows that it expands fewer match than the filter
    as a whole lets expect. Unless a width was asked for, it is given up at once where a recall was promised or where
    comparing costs at most half as much again as going on, and widened otherwise. No masked walk may cost more than
    having compared; a wrong estimate at worst doubles the cost, and never makes an answer short.

    Args:
        over: The rows and the filter.
        top_k: Rows wanted.
        wanted: See :func:`breadth`; ``None`` asks for the exact road.
        has_graph: Whether there is one.
    """
    n, matches, share = over.rows, over.matches, over.share
    everything = matches == n
    if not has_graph:
        return _compare(over, "there is no graph yet")
    if top_k >= matches:
        return _compare(over, f"all {matches} matching rows are wanted")
    if wanted is None:
        return _compare(over, "no walk is known to keep the promised recall")
    together = 0.0 if everything else max(0.0, 1 - over.likeness / UNLIKE)
    kept = wanted.ef
    if wanted.against != "go on":
        kept = math.ceil(kept * (1 + _ROUND * (1 - share) * together))
    least = least_width(top_k, over.coded)
    comparing = _comparing(over, wanted)
    with_it = _walk_cost(over, wanted, max(kept, least) / share)
    wider = max(kept, WIDER * math.ceil(wanted.ef * share**_DEEPER))
    on = _FARTHER * _walk_cost(over, wanted, max(kept if wanted.against == "go on" else wider, least) / share)
    compares = wanted.against == "compare" or comparing <= _SURE * on
    if wanted.against == "go on":
        against_it = on if on < comparing else 2.0 * comparing  # the budget is spent, and then rows are compared
    elif compares:
        against_it = min(with_it, over.step * wanted.rows(PROBE_ROWS, over.coded)) + comparing
    else:
        against_it = on
    often = 0.0 if everything else (1 - share) * max(0.0, 1 - over.likeness)
    cost = (1 - often) * with_it + often * against_it
    if cost >= (comparing if everything else _WORTH * comparing):
        return _compare(
            over, f"comparing {matches} rows costs less than a walk, which costs as much as comparing {cost:.0f}"
        )
    reason = f"a walk of width {kept} ({wanted.known_for}) costs as much as comparing {cost:.0f} rows of {matches}"
    if everything:
        return Choice("graph", kept, n, 0, 0, cost, reason)
    budget = max(top_k + 1, min(n, int(comparing / over.step)))
    if wanted.against == "go on":
        return Choice("masked_graph", kept, budget, 0, 0, cost, reason)
    enough = max(1, int(UNLIKE * share * PROBE_ROWS))
    return Choice("masked_graph", kept, budget, enough, 0 if compares else wider, cost, reason)


def may_walk(over: Rows, top_k: int, wanted: Breadth | None) -> bool:
    """Whether a filter would be walked through if it had nothing to do with the vectors: else no need to look."""
    return (
        wanted is not None
        and top_k < over.matches < over.rows
        and _walk_cost(over, wanted, wanted.ef / over.share) < _WORTH * _comparing(over, wanted)
    )


def least_cost(over: Rows, wanted: Breadth) -> float:
    """What a walk costs at least, whatever the filter."""
    return over.step * wanted.rows(wanted.ef, over.coded)


@functools.lru_cache(maxsize=1024)
def choose_through(column: str, values: int, over: Rows, top_k: int, wanted: Breadth) -> Choice:
    """The same for a walk through the graphs of some values of a column: as if there were no other rows.

    Args:
        column: Its name.
        values: How many values the filter lets at least one row of through.
        over: The rows of these values, and how many of those match.
        top_k: Rows wanted.
        wanted: By what was measured for such walks.
    """
    choice = choose(over, top_k, wanted, True)
    if not choice.budget:
        return choice
    matches = over.matches
    cost = choice.cost + (values - 1) * _DESCENT * over.step
    if cost >= matches:
        reason = f"comparing {matches} rows costs less than a walk through {values} values of {column!r}"
        return Choice("exact_rows", 0, 0, 0, 0, matches, reason)
    reason = (
        f"a walk of width {choice.ef} ({wanted.known_for}) through the {over.rows} rows of {values} values of "
        f"{column!r} costs as much as comparing {cost:.0f} rows of {matches}"
    )
    return replace(choice, strategy="filter_graph", cost=cost, reason=reason)


def _walk_cost(over: Rows, wanted: Breadth, width: float) -> float:
    return over.step * min(over.rows, wanted.rows(width, over.coded))


def _comparing(over: Rows, wanted: Breadth) -> float:
    """What comparing the matching rows costs. The call counts where walks are known to be as good: were measured."""
    return over.matches + (over.call if wanted.calibration is not None else 0.0)


def _compare(over: Rows, reason: str) -> Choice:
    strategy: Strategy = "exact" if over.matches == over.rows else "exact_rows"
    return Choice(strategy, 0, 0, 0, 0, over.matches, reason)
