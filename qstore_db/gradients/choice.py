"""``auto``: which gradient to take next, as a pure function of what was seen so far.

1. Where the backend allows it: adjoint, always.
2. Where SPSA would take as many circuits as the exact gradient (shallow circuits, many directions): parameter shift.
3. Otherwise SPSA, with an exact refresh every n steps. The norm of the exact gradient measures the noise of the
estimates:
   E‖ĝ‖² = ‖g‖² + variance. Where the variance relative to ‖g‖² is above a limit, directions are doubled; far below,
   halved.
4. When the loss improves by less than 1 % over a window: the exact gradient with the natural metric, until the end.

Every switch is a :class:`Decision` with its reason. Nothing here runs a circuit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from qstore_db.errors import InvalidArgumentError

Method: TypeAlias = Literal["adjoint", "parameter_shift", "spsa"]

_HALVING_SHARE: Final = 0.25
"""Directions are halved where the variance is below this share of the limit, so that they do not swing."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How to take the next gradient.

    Args:
        method: Which gradient.
        natural: Whether the metric turns it into a natural gradient.
        directions: Estimates that SPSA averages; 1 otherwise.
    """

    method: Method
    natural: bool = False
    directions: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """A switch.

    Args:
        step: Number of the step that is the first with the new choice, from 0.
        before: The choice until then; ``None`` at the first step.
        after: The new one.
        reason: Why, with the numbers that decided.
        circuits: Spent before this step.
    """

    step: int
    before: Choice | None
    after: Choice
    reason: str
    circuits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the chooser goes by.

    Args:
        refresh_every: Steps from one exact gradient to the next during SPSA, at least 2.
        window: Steps over which improvement and noise are judged, at least 2; improvement compares its halves.
        stalled: Relative improvement below which a window counts as stalled, in (0, 1).
        noisy: Variance relative to the squared norm of the exact gradient above which directions are doubled, above 0.
        most_directions: Directions are never more, at least 1.

    Raises:
        InvalidArgumentError: A number is out of range.
    """

    refresh_every: int = 25
    window: int = 20
    stalled: float = 0.01
    noisy: float = 10.0
    most_directions: int = 16

    def __post_init__(self) -> None:
        least = {"refresh_every": 2, "window": 2, "most_directions": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < bound:
                raise InvalidArgumentError(
                    f"{name} is {value!r}", fix=f"Give {name} as an integer from {bound} on.", value=value
                )
        if not 0.0 < self.stalled < 1.0:
            raise InvalidArgumentError(f"stalled is {self.stalled!r}", fix="Give a share, 0.01.", value=self.stalled)
        if not 0.0 < self.noisy < float("inf"):
            raise InvalidArgumentError(f"noisy is {self.noisy!r}", fix="Give a number above 0.", value=self.noisy)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was seen so far; bounded by the window.

    Args:
        steps: Steps taken.
        circuits: Circuits spent.
        losses: Of the last steps.
        squares: ‖ĝ‖² of the last SPSA estimates with the present number of directions.
        exact_square: ‖g‖² of the last exact gradient, or ``None``.
        directions: Of SPSA.
        refined: Whether the natural phase was reached.
        choice: Of the last step, or ``None``.
    """

    steps: int = 0
    circuits: int = 0
    losses: tuple[float, ...] = ()
    squares: tuple[float, ...] = ()
    exact_square: float | None = None
    directions: int = 1
    refined: bool = False
    choice: Choice | None = None


def choose(
    policy: Policy, history: History, *, adjoint: bool, exact_circuits: int
) -> tuple[Choice, History, Decision | None]:
    """The gradient of the next step.

    Args:
        policy: What to go by.
        history: What was seen.
        adjoint: Whether the backend gives adjoint gradients.
        exact_circuits: Circuits a sample of the exact gradient; 2 a weight for plain rotations.

    Returns:
        The choice, the history with it, and the decision if it is not that of the last step.
    """
    choice, reason, moved = _chosen(policy, history, adjoint, exact_circuits)
    decision = None
    if choice != history.choice:
        decision = Decision(history.steps, history.choice, choice, reason, history.circuits)
    return choice, replace(moved, choice=choice), decision


def record(policy: Policy, history: History, *, loss: float, gradient_square: float, circuits: int) -> History:
    """The history after a step with its last choice.

    Args:
        policy: What to go by.
        history: As :func:`choose` returned it.
        loss: Before the step.
        gradient_square: Squared norm of the gradient that was taken.
        circuits: Spent on it.

    Raises:
        InvalidArgumentError: No choice was made.
    """
    if history.choice is None:
        raise InvalidArgumentError("a step without a choice is recorded", fix="Call choose first.", value=None)
    estimated = history.choice.method == "spsa"
    return replace(
        history,
        steps=history.steps + 1,
        circuits=history.circuits + circuits,
        losses=(*history.losses, loss)[-policy.window :],
        squares=(*history.squares, gradient_square)[-policy.window :] if estimated else history.squares,
        exact_square=history.exact_square if estimated else gradient_square,
    )


def _chosen(policy: Policy, history: History, adjoint: bool, exact_circuits: int) -> tuple[Choice, str, History]:
    if adjoint:
        return Choice("adjoint"), "the backend gives adjoint gradients", history
    if history.refined:
        return Choice("parameter_shift", natural=True), "the natural phase lasts to the end", history
    gain = _improvement(history.losses) if len(history.losses) == policy.window else None
    if gain is not None and gain < policy.stalled:
        reason = f"the last {policy.window} steps improved the loss by {gain:.2%}, less than {policy.stalled:.2%}"
        return Choice("parameter_shift", natural=True), reason, replace(history, refined=True)
    if history.steps % policy.refresh_every == 0 and exact_circuits > 2 * history.directions:
        return Choice("parameter_shift"), f"exact refresh every {policy.refresh_every} steps", history
    moved, about_noise = _averaging(policy, history)
    if exact_circuits <= 2 * moved.directions:
        reason = f"the exact gradient takes {exact_circuits} circuits, SPSA {2 * moved.directions}"
        return Choice("parameter_shift"), reason, moved
    reason = about_noise or f"SPSA takes {2 * moved.directions} circuits, the exact gradient {exact_circuits}"
    return Choice("spsa", directions=moved.directions), reason, moved


def _improvement(losses: Sequence[float]) -> float:
    # From the mean of the older half to that of the newer, relative to the older.
    half = len(losses) // 2
    older, newer = sum(losses[:half]) / half, sum(losses[-half:]) / half
    return (older - newer) / abs(older) if older else 0.0


def _averaging(policy: Policy, history: History) -> tuple[History, str]:
    full = len(history.squares) == policy.window
    if not full or not history.exact_square:
        return history, ""
    variance = sum(history.squares) / len(history.squares) / history.exact_square - 1.0
    directions = history.directions
    if variance > policy.noisy:
        directions = min(2 * directions, policy.most_directions)
    elif variance < _HALVING_SHARE * policy.noisy:
        directions = max(1, directions // 2)
    if directions == history.directions:
        return history, ""
    reason = f"the relative variance {variance:.3g} asks for {directions} direction(s) (limit {policy.noisy:.3g})"
    return replace(history, directions=directions, squares=()), reason
