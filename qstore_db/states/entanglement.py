"""The joint law of the contexts of entangled records: how measuring one changes what is known of the others.

For members with context distributions P_1 … P_n and a correlation strength r in [0, 1] the joint law is
r·P_max + (1 − r)·ΠP_i, where P_max is the maximal coupling: with m = Σ_c min_i P_i(c), with probability m all members
draw one common context c ∝ min_i P_i(c), and otherwise each draws its own from R_i = (P_i − min_j P_j)/(1 − m)
(Thorisson 2000, *Coupling, Stationarity, and Regeneration*, chapter 1). Each member alone follows P_i exactly.

The law is kept as a mixture of products, Σ_k w_k Π_i D_ki, with one component per common context, one of the R_i and
one of the P_i. Conditioning on what one member shows keeps this form, so that a chain of measurements stays exact.

What is claimed: correlated outcomes with exact marginals, as any shared random variable gives. Nothing here violates a
Bell inequality, and nothing is signalled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qstore_db.errors import InvalidStateError

Distribution = Mapping[str, float]
"""Probability by context; contexts of probability 0 are left out."""


@dataclass(frozen=True, slots=True)
class JointLaw:
    """A mixture of products of context distributions.

    Args:
        weights: w_k ≥ 0, summing to 1.
        components: D_ki: for each k one distribution per member.
    """

    weights: tuple[float, ...]
    components: tuple[tuple[Distribution, ...], ...]

    @property
    def members(self) -> int:
        """How many records it is about."""
        return len(self.components[0])

    def marginal(self, member: int) -> dict[str, float]:
        """The distribution of one member: Σ_k w_k D_ki, its contexts in order of first appearance."""
        found: dict[str, float] = {}
        for weight, component in zip(self.weights, self.components, strict=True):
            for context, probability in component[member].items():
                found[context] = found.get(context, 0.0) + weight * probability
        return {context: probability for context, probability in found.items() if probability > 0}

    def agreement(self) -> float:
        """The probability that all members show the same context: Σ_k w_k Σ_c Π_i D_ki(c)."""
        total = 0.0
        for weight, component in zip(self.weights, self.components, strict=True):
            shared = set(component[0]).intersection(*component[1:])
            total += weight * math.fsum(math.prod(part[context] for part in component) for context in shared)
        return min(1.0, total)

    def probability(self, contexts: Sequence[str]) -> float:
        """The probability of one joint outcome, a context per member."""
        return math.fsum(
            weight * math.prod(part.get(context, 0.0) for part, context in zip(component, contexts, strict=True))
            for weight, component in zip(self.weights, self.components, strict=True)
        )

    def given(self, member: int, context: str, *, shown: bool = True) -> JointLaw:
        """The law after a member showed a context, or showed that it is not in it; that member's part is adapted too.

        Raises:
            InvalidStateError: What is said to have been shown has probability 0.
        """
        weights: list[float] = []
        components: list[tuple[Distribution, ...]] = []
        for weight, component in zip(self.weights, self.components, strict=True):
            chance = component[member].get(context, 0.0)
            left: Distribution = {context: 1.0}
            if not shown:
                rest = {name: value for name, value in component[member].items() if name != context}
                chance = math.fsum(rest.values())
                left = {name: value / chance for name, value in rest.items()} if chance > 0 else {}
            if weight * chance > 0:
                weights.append(weight * chance)
                components.append((*component[:member], left, *component[member + 1 :]))
        total = math.fsum(weights)
        if not weights or total <= 0:
            raise InvalidStateError(
                f"context {context!r} has probability {0 if shown else 1} there",
                fix="condition on something that can happen",
                value=context,
            )
        return JointLaw(tuple(weight / total for weight in weights), tuple(components))

    def without(self, member: int) -> JointLaw:
        """The law of the other members."""
        rest = tuple((*part[:member], *part[member + 1 :]) for part in self.components)
        return JointLaw(self.weights, rest)

    def draw(self, rng: np.random.Generator) -> tuple[str, ...]:
        """One joint outcome. One uniform number is drawn for the component and one per member, in order."""
        edges = np.cumsum(self.weights)
        component = self.components[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]
        return tuple(_draw(part, rng) for part in component)


def joint_law(distributions: Sequence[Distribution], strength: float) -> JointLaw:
    """r·P_max + (1 − r)·ΠP_i.

    Args:
        distributions: P_i, at least two, each summing to 1 up to rounding.
        strength: r in [0, 1].
    """
    parts = [_normalised(distribution) for distribution in distributions]
    shared = [context for context in parts[0] if all(context in part for part in parts[1:])]
    common = {context: min(part[context] for part in parts) for context in shared}
    mass = min(1.0, math.fsum(common.values()))
    residuals = [
        {name: value - common.get(name, 0.0) for name, value in part.items() if value > common.get(name, 0.0)}
        for part in parts
    ]
    weights: list[float] = [strength * value for value in common.values()]
    components: list[tuple[Distribution, ...]] = [tuple({context: 1.0} for _ in parts) for context in common]
    # Equal distributions leave no residual, though rounding may leave 1 − m at 1e-16.
    if all(residuals) and mass < 1.0:
        weights.append(strength * (1.0 - mass))
        components.append(tuple(_normalised(residual) for residual in residuals))
    weights.append(1.0 - strength)
    components.append(tuple(parts))
    kept = [index for index, weight in enumerate(weights) if weight > 0]
    total = math.fsum(weights[index] for index in kept)
    return JointLaw(tuple(weights[index] / total for index in kept), tuple(components[index] for index in kept))


def maximal_agreement(distributions: Sequence[Distribution]) -> float:
    """The mass m = Σ_c min_i P_i(c): the largest agreement that any joint law with these marginals has."""
    parts = [_normalised(distribution) for distribution in distributions]
    shared = [context for context in parts[0] if all(context in part for part in parts[1:])]
    return min(1.0, math.fsum(min(part[context] for part in parts) for context in shared))


def parse_strength(given: object) -> float:
    """Correlation strength r.

    Raises:
        InvalidStateError: Not a number in [0, 1].
    """
    number = isinstance(given, int | float | np.integer | np.floating) and not isinstance(given, bool)
    value = float(given) if number else math.nan  # type: ignore[arg-type]  # a number, as was just checked
    if not 0.0 <= value <= 1.0:
        raise InvalidStateError(f"correlation_strength is {given!r}", fix="give a number from 0 to 1", value=given)
    return value


def followed(before: Distribution, after: Distribution, partner: Distribution, strength: float) -> dict[str, float]:
    """What update propagation makes of a partner: P + r·Δ, cut off at 0 and renormalised; a rule of this database.

    Δ = ``after`` − ``before`` of the record that was updated. Contexts that the partner lacks stay absent, because it
    has no vector for them. Where nothing is left, the partner stays as it is.
    """
    moved = {
        context: max(0.0, value + strength * (after.get(context, 0.0) - before.get(context, 0.0)))
        for context, value in partner.items()
    }
    kept = {context: value for context, value in moved.items() if value > 0}
    return _normalised(kept) if kept else dict(partner)


def _normalised(distribution: Distribution) -> dict[str, float]:
    total = math.fsum(distribution.values())
    return {context: value / total for context, value in distribution.items()}


def _draw(distribution: Distribution, rng: np.random.Generator) -> str:
    edges = np.cumsum(list(distribution.values()))
    return list(distribution)[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]
