"""What the automatic choice of gradients has seen and decided in a run; part of its state and of its record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

from qstore_db.gradients.choice import Choice, Decision, History, Policy, choose, record
from storage_engine.batch import JsonValue


@dataclass(frozen=True, slots=True)
class GradientLog:
    """A value that moves on with every step; equal steps give equal logs, so that a resumed run decides the same.

    Args:
        history: What was seen.
        decisions: Every switch with its reason, in order.
    """

    history: History = field(default_factory=History)
    decisions: tuple[Decision, ...] = ()

    def chosen(self, *, adjoint: bool, exact_circuits: int) -> tuple[Choice, Self]:
        """The gradient of the next step, and the log with the decision, if it is one.

        Args:
            adjoint: Whether the backend gives adjoint gradients.
            exact_circuits: Circuits a sample of the exact gradient.
        """
        choice, history, decision = choose(Policy(), self.history, adjoint=adjoint, exact_circuits=exact_circuits)
        more = () if decision is None else (decision,)
        return choice, replace(self, history=history, decisions=self.decisions + more)

    def after(self, *, loss: float, gradient_square: float, circuits: int) -> Self:
        """The log after the step that was chosen last; arguments as for :func:`qstore_db.gradients.choice.record`."""
        history = record(Policy(), self.history, loss=loss, gradient_square=gradient_square, circuits=circuits)
        return replace(self, history=history)

    def to_json(self) -> dict[str, JsonValue]:
        """JSON values; :meth:`from_json` is the inverse."""
        return {"history": cast(JsonValue, dataclasses.asdict(self.history)), "decisions": list(self.spelled())}

    def spelled(self) -> list[JsonValue]:
        """The decisions as JSON values: step, before, after, reason, circuits."""
        return [cast(JsonValue, dataclasses.asdict(decision)) for decision in self.decisions]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The log that :meth:`to_json` wrote."""
        history = dict(document["history"])
        history["choice"] = _choice(history["choice"])
        for name in ("losses", "squares"):
            history[name] = tuple(history[name])
        return cls(History(**history), tuple(map(_decision, cast(Sequence[Any], document["decisions"]))))


def _choice(document: Mapping[str, Any] | None) -> Choice | None:
    return None if document is None else Choice(**document)


def _decision(document: Mapping[str, Any]) -> Decision:
    fields = dict(document)
    return Decision(**{**fields, "before": _choice(fields["before"]), "after": Choice(**fields["after"])})
