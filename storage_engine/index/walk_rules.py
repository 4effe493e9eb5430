"""What every walk keeps to, compiled or in NumPy, and what the planner may count on."""

from __future__ import annotations

PROBE_ROWS = 32
"""When a masked walk has expanded so many rows, it knows what share of the query's neighbourhood matches."""

TOGETHER = 4
"""A walk expands so many rows at once: their neighbours are fetched from memory together. It compares with a few rows
more, finds a little more, and at ef 80 takes a fifth less time."""


def rows_scored(top_k: int, coded: bool) -> int:
    """How many of the best rows a walk scores for ``top_k``: float32 may swap rows as near, codes more of them."""
    return top_k + (max(10, top_k) if coded else max(6, top_k // 4))


def least_width(top_k: int, coded: bool) -> int:
    """How many candidates a walk keeps at least: over codes as many as it scores."""
    return rows_scored(top_k, coded) if coded else top_k
