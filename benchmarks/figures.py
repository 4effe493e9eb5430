"""What a benchmark measured, as lines of JSON: the same form for every program of this folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One number: who computed it, at what work, what it is and in which unit (``"x"`` for a ratio)."""

    engine: str
    work: str
    metric: str
    value: float
    unit: str


def write(path: str | Path | None, benchmark: str, figures: Iterable[Figure]) -> None:
    """One object a line with the keys benchmark, engine, work, metric, value, unit; nothing without a path."""
    if path is not None:
        lines = (json.dumps({"benchmark": benchmark, **asdict(one)}) + "\n" for one in figures)
        Path(path).write_text("".join(lines), encoding="utf-8")
