"""Histograms of what a measurement shows: contexts of a record, bitstrings of a circuit."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.backends.result import Counts
from qstore_db.circuits.circuit import Circuit
from qstore_db.errors import InvalidArgumentError
from qstore_db.pictures.figures import new_figure, save
from qstore_db.simulation.state_vector import probabilities

_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_LEAST_WIDTH: Final = 30


@dataclass(frozen=True, slots=True)
class Histogram:
    """Outcomes and how often each is seen.

    Args:
        labels: Outcomes, in the order in which they are drawn.
        shares: Chance or share of each, from 0 to 1.
        errors: Standard error of each, √(p(1 − p)/N) after N shots; empty where shares are exact.
        rest: Share of the outcomes that are left out; ``None`` where none is.
    """

    labels: tuple[str, ...]
    shares: tuple[float, ...]
    errors: tuple[float, ...] = ()
    rest: float | None = None

    def text(self, *, width: int = 72) -> str:
        """Bars of block characters, one line an outcome, a full bar for the largest share; no final line break.

        Args:
            width: Longest line in characters, at least 30; long labels are cut.

        Raises:
            InvalidArgumentError: ``width`` is below 30.
        """
        if width < _LEAST_WIDTH:
            raise InvalidArgumentError(
                f"a histogram of {width} characters is too narrow", fix=f"Use {_LEAST_WIDTH} or more.", value=width
            )
        rows = [
            (_short(label, width // 3), share, self._error(place)) for place, (label, share) in enumerate(self._bars())
        ]
        if self.rest is not None:
            rows.append(("other", self.rest, ""))
        margin = max(len(label) for label, _, _ in rows)
        room = width - margin - max(len(error) for _, _, error in rows) - len("  12.34 %") - 1
        largest = max(share for _, share, _ in rows) or 1.0
        return "\n".join(
            f"{label:>{margin}} {_bar(share / largest, room):<{room}} {100 * share:6.2f} %{error}"
            for label, share, error in rows
        )

    def figure(self) -> Any:
        """A matplotlib figure of horizontal bars with error bars.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        labels = [*self.labels, *(["other"] if self.rest is not None else [])]
        shares = [*self.shares, *([self.rest] if self.rest is not None else [])]
        figure = new_figure(6.4, 1.0 + 0.3 * len(labels))
        axes = figure.subplots()
        places = np.arange(len(labels))
        axes.barh(places, shares, color="#4c72b0")
        if self.errors:
            axes.errorbar(
                self.shares, places[: len(self.shares)], xerr=self.errors, fmt="none", color="black", capsize=2
            )
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        axes.set(xlabel="probability" if not self.errors else "share of shots", xlim=(0, None))
        axes.grid(axis="x", alpha=0.3)
        return figure

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`figure` to a file; the suffix says which kind.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        return save(self.figure(), path)

    def _bars(self) -> list[tuple[str, float]]:
        return list(zip(self.labels, self.shares, strict=True))

    def _error(self, place: int) -> str:
        return f" ± {100 * self.errors[place]:.2f}" if self.errors else ""


def context_histogram(shares: Mapping[str, float]) -> Histogram:
    """The contexts of a record: what a complete measurement of it shows.

    Args:
        shares: Probability by context, as ``db.get(id).probabilities``.

    Raises:
        InvalidArgumentError: There is none: the record is no state.
    """
    if not shares:
        raise InvalidArgumentError("there are no contexts to draw", fix="take a record that has contexts")
    return Histogram(tuple(shares), tuple(float(share) for share in shares.values()))


def circuit_histogram(
    circuit: Circuit, weights: ArrayLike | None = None, data: ArrayLike | None = None, *, most: int = 16
) -> Histogram:
    """The exact chances of a circuit's bitstrings.

    Args:
        circuit: On n qubits.
        weights: Shape (number of weights,), radians; may be left out for a circuit without weights.
        data: One sample, shape (number of data columns,); may be left out likewise.
        most: Only so many of the likeliest are named, at least 1; those of chance 0 never are.

    Raises:
        InvalidArgumentError: A shape does not fit, or ``most`` is below 1.
    """
    rows = None if data is None else np.asarray(data, dtype=np.float64)[None]
    chances = probabilities(circuit, weights, rows)[0]
    order, rest = _likeliest(chances, most)
    labels = tuple(_bits(int(place), circuit.n_qubits) for place in order)
    return Histogram(labels, tuple(chances[order].tolist()), (), rest)


def counts_histogram(counts: Counts, *, most: int = 16) -> Histogram:
    """Bitstrings that were measured, with the standard errors of their shares.

    Args:
        counts: Of one sample.
        most: As in :func:`circuit_histogram`.

    Raises:
        InvalidArgumentError: ``most`` is below 1.
    """
    order, rest = _likeliest(counts.numbers / counts.shots, most)
    shares = counts.numbers[order] / counts.shots
    return Histogram(
        tuple(_bits(int(counts.outcomes[place]), counts.n_qubits) for place in order),
        tuple(shares.tolist()),
        tuple(math.sqrt(share * (1.0 - share) / counts.shots) for share in shares.tolist()),
        rest,
    )


def _likeliest(shares: NDArray[np.float64], most: int) -> tuple[NDArray[np.int64], float | None]:
    """Places of the largest shares in ascending order, and what the others add up to."""
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise InvalidArgumentError(f"most is {most!r}", fix="Give at least 1.", value=most)
    # Rounding leaves chances of 1e-33 where nothing is ever seen.
    seen = np.flatnonzero(shares > 1e-12)
    if len(seen) <= most:
        return seen, None
    chosen = np.sort(seen[np.argsort(-shares[seen], kind="stable")[:most]])
    return chosen, max(0.0, float(1.0 - shares[chosen].sum()))


def _bits(outcome: int, n_qubits: int) -> str:
    return format(outcome, f"0{n_qubits}b")


def _bar(part: float, room: int) -> str:
    eighths = round(part * room * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _short(label: str, room: int) -> str:
    return label if len(label) <= room else label[: room - 1] + "…"
