"""HTML and SVG as text: everything that comes from a database is escaped here."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import urlencode

MAX_CELL_CHARACTERS: Final = 80
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 460, 220, 54, 28, 12

STYLE: Final = """
:root { --ink: #1b1f24; --paper: #fff; --soft: #f3f5f7; --line: #d9dee4; --mark: #2457c5; --second: #c2571a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --paper: #14171a; --soft: #1d2226; --line: #343b42; --mark: #82a8ff; --second: #f0a067; }
}
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
nav { display: flex; flex-wrap: wrap; gap: 1.2rem; padding: .7rem 1.5rem; border-bottom: 1px solid var(--line); }
nav b { margin-right: auto; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
a { color: var(--mark); text-decoration: none; } a:hover { text-decoration: underline; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; } td.number, th.number { text-align: right; }
pre, textarea { font: 13px/1.35 ui-monospace, monospace; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; }
input { font: inherit; color: inherit; background: var(--soft); border: 1px solid var(--line); padding: .2rem .4rem; }
input { font: inherit; color: inherit; background: var(--soft); border: 1px solid var(--line); padding: .2rem .4rem; }
textarea { width: 100%; min-height: 7rem; padding: .6rem; color: inherit; background: var(--soft);
  border: 1px solid var(--line); }
button { margin-top: .4rem; padding: .35rem 1.1rem; font: inherit; color: var(--paper); background: var(--mark);
  border: 0; border-radius: 4px; }
.error { border-left: 4px solid var(--second); padding: .4rem .8rem; background: var(--soft); }
.note { opacity: .7; }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem; }
svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
svg .grid { stroke: var(--line); } svg .first { stroke: var(--mark); } svg .second { stroke: var(--second); }
svg path { fill: none; stroke-width: 1.8; } svg rect { fill: var(--mark); }
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """Numbers over numbers, both finite or None where there is none.

    Args:
        name: In the legend.
        x: Ascending.
        y: One for each.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


def link(target: str, text: str, **query: object) -> str:
    """A link within the page, relative to its root."""
    address = target + (f"?{urlencode({name: str(value) for name, value in query.items()})}" if query else "")
    return f'<a href="{escape(address, quote=True)}">{escape(text)}</a>'


def page(title: str, database: str, body: str) -> str:
    """A whole page."""
    places = (("./", "Overview"), ("sql", "SQL"), ("models", "Models"), ("runs", "Runs"))
    links = "".join(link(target, text) for target, text in places)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)} · {escape(database)}</title><link rel="stylesheet" href="style.css"></head>'
        f"<body><nav><b>{escape(database)}</b>{links}</nav><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )


def cell(value: object) -> str:
    """A value as short text, not escaped."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, (list, dict)):
        text = json.dumps(value, default=str, ensure_ascii=False)
    else:
        text = str(value)
    return text if len(text) <= MAX_CELL_CHARACTERS else text[: MAX_CELL_CHARACTERS - 1] + "…"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], links: Mapping[int, Sequence[str]] = {}) -> str:
    """An HTML table.

    Args:
        columns: Headings.
        rows: Values.
        links: Column number to HTML that stands in its cells instead of the values.
    """
    if not rows:
        return '<p class="note">no rows</p>'
    numeric = [all(isinstance(row[n], (int, float, type(None))) for row in rows) for n in range(len(columns))]
    kinds = [' class="number"' if one else "" for one in numeric]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(columns, kinds, strict=True))
    lines = []
    for place, row in enumerate(rows):
        cells = (
            f"<td{kinds[n]}>{links[n][place] if n in links else escape(cell(value))}</td>"
            for n, value in enumerate(row)
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def chart(title: str, curves: Sequence[Curve], unit: str) -> str:
    """Up to two curves as SVG with axes; nothing where no curve has a number."""
    points = [(x, y) for curve in curves for x, y in zip(curve.x, curve.y, strict=True) if y is not None]
    points = [(x, y) for x, y in points if math.isfinite(y)]
    if not points:
        return ""
    (left, right), (low, high) = ((min(one), max(one)) for one in zip(*points, strict=True))
    across, up = (right - left) or 1.0, (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - left) / across * (_WIDTH - _LEFT - 10),
            _HEIGHT - _BOTTOM - (y - low) / up * (_HEIGHT - _BOTTOM - _TOP - 16),
        )

    parts = [f'<svg role="img" aria-label="{escape(title)}" width="{_WIDTH}" height="{_HEIGHT}">']
    parts.append(f'<text x="{_LEFT}" y="{_TOP}">{escape(title)}, {escape(unit)}</text>')
    for tick in range(5):
        value = low + up * tick / 4
        _, y = place(left, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for value in dict.fromkeys((left, right)):
        x, _ = place(value, low)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{value:g}</text>')
    for kind, curve in zip(("first", "second"), curves, strict=False):
        drawn = [place(x, y) for x, y in zip(curve.x, curve.y, strict=True) if y is not None and math.isfinite(y)]
        if drawn:
            steps = " ".join(f"{'M' if n == 0 else 'L'}{x:.1f} {y:.1f}" for n, (x, y) in enumerate(drawn))
            parts.append(f'<path class="{kind}" d="{steps}"/>')
            at = _WIDTH - 150 + 75 * (kind == "second")
            parts.append(f'<path class="{kind}" d="M{at} {_TOP - 4}h14"/>')
            parts.append(f'<text x="{at + 18}" y="{_TOP}">{escape(curve.name)}</text>')
    return "".join((*parts, "</svg>"))


def bars(values: Sequence[float]) -> str:
    """The numbers of a vector as bars around zero."""
    largest = max((abs(value) for value in values), default=0.0) or 1.0
    width = max(1.0, 720 / max(1, len(values)))
    parts = [f'<svg role="img" aria-label="vector" width="{width * len(values):.0f}" height="80">']
    for n, value in enumerate(values):
        height = abs(value) / largest * 38
        top = 40 - height if value > 0 else 40.0
        parts.append(f'<rect x="{n * width:.1f}" y="{top:.1f}" width="{width * 0.9:.2f}" height="{height:.1f}"/>')
    return "".join((*parts, "</svg>"))
