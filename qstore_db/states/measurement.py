"""Measurement of the context register: Born's rule, and the state that is left.

A record whose age and coherence time give the coherent weight λ denotes
ρ = λ|ψ⟩⟨ψ| + (1 − λ)·Σ_c p_c |c⟩⟨c|⊗|v_c⟩⟨v_c|. Three measurements are defined on it:

- no context: the complete one {|c⟩⟨c|}, outcome c with probability p_c;
- a named context c: {P_c, 1 − P_c} with P_c = |c⟩⟨c|⊗1, outcome "yes" with probability p_c;
- a superposed context |χ⟩ = Σ_c √q_c |c⟩: {Π, 1 − Π} with Π = |χ⟩⟨χ|⊗1, outcome "yes" with probability
  Tr(Πρ) = λ·‖Σ_c √(p_c q_c) v_c‖² + (1 − λ)·Σ_c p_c q_c.

What a named context leaves is Lüders' state, exactly: the branches that were not excluded, their probabilities
renormalised, their coherent weight still λ. What a superposed context leaves of a dephased state is a mixture of
several branch vectors per context, which no single record can hold. It is unravelled: the generator also draws whether
the environment has already read the context (probability 1 − λ, then branch c with p_c), and the state left is that of
the member drawn. Averaged over draws this is Lüders' state; at λ = 1 nothing more is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidStateError
from qstore_db.states.contexts import ContextSuperposition
from qstore_db.states.superposition import Superposition

YES = "yes"
NO = "no"

# Components of a projected state below this share of its squared norm are rounding, not branches.
_ABSENT_BELOW = 1e-14


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one measurement gave.

    Args:
        name: The context drawn (complete measurement), or ``"yes"`` / ``"no"``.
        probability: Of that outcome before measuring, in [0, 1].
        state: The superposition that is left.
        vector: float32 (dimension,) where a single branch vector is left: the stored one bit for bit after a complete
            or named measurement, a unit vector after a superposed one. ``None`` where several are left.
    """

    name: str
    probability: float
    state: Superposition
    vector: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """A measurement as it was recorded.

    Args:
        number: Its place in the table ``measurements``, from 1.
        collection: Where the record is.
        id: The record's id.
        context: ``None``, the named context, or the normalised weights of a superposed one.
        outcome: The context drawn for ``context=None``, otherwise ``"yes"`` or ``"no"``.
        probability: Of that outcome before measuring.
        vector: The branch vector that is left, or ``None`` where several are.
        state: The superposition that is left, whether or not it was written.
        postselected: Whether "yes" was imposed rather than drawn.
        collapsed: Whether ``state`` replaced the stored one.
        measured_at: Seconds since the epoch by the database's clock.
        seed: Seed of the generator that drew the outcome; ``None`` where the caller's own generator did.
    """

    number: int
    collection: str
    id: str
    context: str | Mapping[str, float] | None
    outcome: str
    probability: float
    vector: NDArray[np.float32] | None
    state: Superposition
    postselected: bool
    collapsed: bool
    measured_at: float
    seed: int | None


def measure_complete(state: Superposition, rng: np.random.Generator) -> Outcome:
    """Measure the context register in its basis: context c with probability p_c. One uniform number is drawn."""
    edges = np.cumsum(state.probabilities)
    drawn = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    return _single_branch(state, drawn, state.contexts[drawn])


def measure_named(
    state: Superposition, context: str, *, coherent_weight: float, rng: np.random.Generator, postselect: bool = False
) -> Outcome:
    """Ask whether the record is in one context. One uniform number is drawn unless ``postselect``.

    Args:
        state: What is measured. A context it lacks has probability 0, so the outcome is "no" and leaves it as it is.
        context: Which one.
        coherent_weight: λ at the time of measuring, kept by the branches that a "no" leaves.
        rng: Draws the outcome.
        postselect: Impose "yes"; the probability returned is still p_c.

    Raises:
        InvalidStateError: ``postselect`` on a context of probability 0.
    """
    index = state.contexts.index(context) if context in state.contexts else -1
    probability = min(1.0, state.probabilities[index]) if index >= 0 else 0.0
    others = [other for other in range(len(state.contexts)) if other != index]
    if not others:
        probability = 1.0
    if postselect and index < 0:
        raise InvalidStateError(
            f"context {context!r} has probability 0 here and cannot be post-selected",
            fix=f"this record has {', '.join(state.contexts)}",
            value=context,
        )
    if postselect or rng.random() < probability:
        return replace(_single_branch(state, index, YES), probability=probability)
    if len(others) == 1:
        return replace(_single_branch(state, others[0], NO), probability=1.0 - probability)
    kept = np.asarray(state.probabilities)[others]
    left = replace(
        state,
        contexts=tuple(state.contexts[other] for other in others),
        probabilities=tuple((kept / kept.sum()).tolist()),
        vectors=state.vectors[others],
        initial_coherence=coherent_weight,
    )
    return Outcome(NO, 1.0 - probability, left, None)


def branch_left(state: Superposition, context: str) -> Outcome:
    """What showing a context leaves, with the probability that it had; the context must be one of the state's."""
    return _single_branch(state, state.contexts.index(context), context)


def _single_branch(state: Superposition, index: int, name: str) -> Outcome:
    left = replace(
        state,
        contexts=(state.contexts[index],),
        probabilities=(1.0,),
        vectors=state.vectors[index : index + 1],
        initial_coherence=1.0,
    )
    return Outcome(name, state.probabilities[index], left, left.vectors[0])


def measure_superposed(
    state: Superposition,
    context: ContextSuperposition,
    *,
    coherent_weight: float,
    rng: np.random.Generator,
    postselect: bool = False,
) -> Outcome:
    """Ask whether the context register is in |χ⟩ = Σ_c √q_c |c⟩.

    After "yes" the register is in |χ⟩ and every named context has one branch vector, Σ_c √(p_c q_c) v_c normalised.
    After "no" context c holds √p_c v_c − √q_c Σ_c' √(p_c' q_c') v_c', so that contexts the record lacked may appear.

    Args:
        state: What is measured.
        context: Names and weights; its phases must be 0, because branch vectors are real.
        coherent_weight: λ at the time of measuring.
        rng: Draws the outcome, then, where λ < 1, the member of the mixture (see the module).
        postselect: Impose "yes".

    Raises:
        InvalidStateError: ``postselect`` where "yes" has probability 0; a phase other than 0.
    """
    if any(context.phases):
        raise InvalidStateError(
            "a measurement in a superposed context takes no phases", fix="branch vectors are real", value=context.phases
        )
    names, joint, chi = _joint_components(state, context)
    coherent_yes = float(np.sum((chi @ joint) ** 2))
    populations = np.sum(joint**2, axis=1)
    yes = coherent_weight * coherent_yes + (1.0 - coherent_weight) * float(populations @ chi**2)
    # Rounding must leave neither a negative chance nor an impossible outcome of 1e-17.
    yes = 0.0 if yes < _ABSENT_BELOW else 1.0 if yes > 1.0 - _ABSENT_BELOW else yes
    if postselect and yes == 0.0:
        raise InvalidStateError(
            "the superposed context has probability 0 here and cannot be post-selected",
            fix="the branches cancel, or the record has none of the contexts",
            value=dict(zip(context.contexts, context.weights, strict=True)),
        )
    drawn_yes = postselect or bool(rng.random() < yes)
    member = _draw_member(joint, chi, coherent_weight, drawn_yes, rng)
    projected = np.outer(chi, chi @ member)
    left = _from_components(names, projected if drawn_yes else member - projected, state, shared=drawn_yes)
    several = not drawn_yes and len(left.contexts) > 1
    return Outcome(
        YES if drawn_yes else NO, yes if drawn_yes else 1.0 - yes, left, None if several else left.vectors[0]
    )


def _joint_components(
    state: Superposition, context: ContextSuperposition
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Names of all contexts involved, √p_c v_c as (contexts, dimension), and √q_c as (contexts,)."""
    names = [*state.contexts, *(name for name in context.contexts if name not in state.contexts)]
    joint = np.zeros((len(names), state.vectors.shape[1]))
    probabilities = np.asarray(state.probabilities)
    joint[: len(state.contexts)] = np.sqrt(probabilities / probabilities.sum())[:, None] * state.unit_vectors
    weights = dict(zip(context.contexts, context.weights, strict=True))
    chi = np.sqrt([weights.get(name, 0.0) for name in names])
    return names, joint, chi / np.linalg.norm(chi)


def _draw_member(
    joint: NDArray[np.float64],
    chi: NDArray[np.float64],
    coherent_weight: float,
    drawn_yes: bool,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The pure member of the dephased mixture that the outcome came from, by Bayes' rule; |ψ⟩ itself at λ = 1."""
    if coherent_weight >= 1.0:
        return joint
    populations = np.sum(joint**2, axis=1)
    coherent_yes = float(np.sum((chi @ joint) ** 2))
    likelihood = chi**2 if drawn_yes else 1.0 - chi**2
    chances = np.append(
        (1.0 - coherent_weight) * populations * likelihood,
        coherent_weight * (coherent_yes if drawn_yes else max(0.0, 1.0 - coherent_yes)),
    )
    edges = np.cumsum(chances)
    drawn = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    if drawn == len(populations):
        return joint
    member = np.zeros_like(joint)
    member[drawn] = joint[drawn] / np.sqrt(populations[drawn])
    return member


def _from_components(
    names: list[str], components: NDArray[np.float64], measured: Superposition, *, shared: bool
) -> Superposition:
    """The superposition whose unnormalised component in context c is the c-th row; its branches are unit vectors."""
    populations = np.sum(components**2, axis=1)
    kept = np.flatnonzero(populations > _ABSENT_BELOW * populations.sum())
    populations = populations[kept]
    if shared:
        # All rows point the same way; one direction is written to all, so that they stay equal bit for bit.
        direction = components[kept[np.argmax(populations)]]
        units = np.tile(direction / np.linalg.norm(direction), (len(kept), 1))
    else:
        units = components[kept] / np.sqrt(populations)[:, None]
    return Superposition(
        contexts=tuple(names[index] for index in kept),
        probabilities=tuple((populations / populations.sum()).tolist()),
        vectors=units.astype(np.float32),
        shared=shared,
        coherence_time=measured.coherence_time,
        initial_coherence=1.0,
    )
