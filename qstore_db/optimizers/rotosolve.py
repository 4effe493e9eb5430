"""Rotosolve: one parameter after the other is set to where the objective is least, in closed form.

An expectation value as a function of one angle of a gate exp(−i θ/2 G) with G² = 1 is a + b cos(θ − φ). Three values
determine it, and

    θ* = θ − π/2 − atan2(2 f(θ) − f(θ + π/2) − f(θ − π/2), f(θ + π/2) − f(θ − π/2)).

Sources: Ostaszewski, Grant and Benedetti, Quantum 5, 391 (2021), Algorithm 1; Nakanishi, Fujii and Todo, Physical
Review Research 2, 043158 (2020). It holds for expectation values (and their means over samples), not for a loss that
is not linear in them, and not for a parameter that stands in two gates or is scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.parameters import Weight
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.optimizers.optimizer import Arrays
from qstore_db.optimizers.search import POINT, ROUND, checked_point, checked_values, round_of
from qstore_db.optimizers.settings import check_positive

_SHIFTS: Final = np.array([0.0, np.pi / 2, -np.pi / 2, np.pi])
_TWO_EIGENVALUES: Final = frozenset({"RX", "RY", "RZ", "P", "U", "CP", "RXX", "RYY", "RZZ"})


@dataclass(frozen=True, slots=True)
class Rotosolve:
    """The search; a round sets one weight and asks for four points: θ, θ + π/2, θ − π/2 and θ + π of that weight.

    The fourth is redundant for a sinusoid, f(θ) + f(θ + π) = f(θ + π/2) + f(θ − π/2), and so finds out an objective
    that is none. The state holds ``point`` (n,) and ``round`` (1,); n rounds are a sweep. New values lie in (−π, π].

    Args:
        circuit: Whose weights are searched; each must stand in exactly one angle of RX, RY, RZ, P, U, CP, RXX, RYY
            or RZZ, with scale 1 or −1.
        tolerance: Largest |f(θ) + f(θ + π) − f(θ + π/2) − f(θ − π/2)| that is taken for rounding or noise, in the
            unit of the objective. Four times the standard deviation of the noise of a value, or more.

    Raises:
        InvalidCircuitError: A weight does not occur, occurs twice, is scaled, or stands in another gate.
        InvalidArgumentError: The tolerance is not above 0.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> from qstore_db.optimizers.search import minimize
        >>> search = Rotosolve(hardware_efficient(1, 1))
        >>> found = minimize(search, lambda points: np.cos(points[:, 0]), [0.3, 0.0], rounds=2)
        >>> float(np.cos(found.point[0]).round(12))
        -1.0
    """

    circuit: Circuit
    tolerance: float = 1e-4
    weights: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_positive("Rotosolve", "tolerance", self.tolerance)
        object.__setattr__(self, "weights", _checked_weights(self.circuit))

    def init(self, point: ArrayLike) -> Arrays:
        """The state at a start point.

        Raises:
            InvalidArgumentError: The point has not one number for each weight.
        """
        start = checked_point(point)
        if start.size != self.weights:
            raise InvalidArgumentError(
                f"A point of {start.size} number(s) does not fit a circuit of {self.weights} weight(s)",
                fix=f"Give an array of shape ({self.weights},).",
                value=start.size,
            )
        return {POINT: start, ROUND: np.zeros(1)}

    def ask(self, state: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """The four points."""
        points = np.repeat(state[POINT][None], len(_SHIFTS), axis=0)
        points[:, round_of(state) % self.weights] += _SHIFTS
        return points

    def tell(self, state: Mapping[str, NDArray[np.float64]], values: ArrayLike) -> Arrays:
        """The state with one weight at its best value; unchanged where the objective does not depend on it.

        Raises:
            InvalidArgumentError: The values are not those of a sinusoid.
        """
        here, above, below, opposite = checked_values(values, len(_SHIFTS)).tolist()
        weight = round_of(state) % self.weights
        excess = abs(here + opposite - above - below)
        if excess > self.tolerance:
            raise InvalidArgumentError(
                f"The objective is no sinusoid of weight {weight}: its values at four points miss by {excess:.3g}",
                fix="Search an expectation value, not a loss that bends it; raise the tolerance if it is noise.",
                value=excess,
            )
        point = state[POINT].copy()
        cosine, sine = 2.0 * here - above - below, above - below
        if cosine or sine:
            best = point[weight] - np.pi / 2 - np.arctan2(cosine, sine)
            point[weight] = np.pi - (np.pi - best) % (2.0 * np.pi)
        return dict(state) | {POINT: point, ROUND: state[ROUND] + 1.0}

    def is_done(self, state: Mapping[str, NDArray[np.float64]]) -> bool:
        """Never: the number of rounds ends it."""
        return False


def _checked_weights(circuit: Circuit) -> int:
    seen: set[int] = set()
    for operation in circuit.operations:
        for angle in operation.angles:
            for term in angle.terms:
                if not isinstance(term, Weight):
                    continue
                if term.index in seen:
                    raise _refusal(f"weight {term.index} stands in more than one angle", term.index)
                if abs(term.scale) != 1.0:
                    raise _refusal(f"weight {term.index} is scaled by {term.scale:g}", term.index)
                if operation.gate not in _TWO_EIGENVALUES:
                    raise _refusal(f"weight {term.index} stands in the gate {operation.gate}", term.index)
                seen.add(term.index)
    missing = set(range(max(1, circuit.number_of_weights))) - seen
    if missing:
        raise _refusal(f"weight {min(missing)} does not occur", min(missing))
    return len(seen)


def _refusal(what: str, weight: int) -> InvalidCircuitError:
    return InvalidCircuitError(
        f"Rotosolve cannot search this circuit: {what}",
        fix="Use each weight once, with scale 1 or -1, in RX RY RZ P U CP RXX RYY RZZ; or search with SPSA.",
        value=weight,
    )
