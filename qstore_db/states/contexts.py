"""Contexts and their weights: lenient spellings parsed once into names and probabilities.

The same rules hold for the contexts of a record and for the superposed context of a query.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias

import numpy as np

from qstore_db.errors import InvalidStateError

MAX_CONTEXT_BYTES = 128

ContextsInput: TypeAlias = "str | Mapping[str, float] | Sequence[str] | Sequence[tuple[str, float]]"


@dataclass(frozen=True, slots=True)
class ContextSuperposition:
    """The context register's state |χ⟩ = Σ_c √q_c e^{−iφ_c} |c⟩ that a query or a measurement projects onto.

    Args:
        contexts: Distinct names, in the order given.
        weights: q_c > 0 with Σ q_c = 1, one per context.
        phases: φ_c in radians, one per context. The bra ⟨χ| carries e^{+iφ_c}, so that the amplitude of a record is
            Σ_c √(p_c q_c) e^{iφ_c} ⟨q|v_c⟩.
    """

    contexts: tuple[str, ...]
    weights: tuple[float, ...]
    phases: tuple[float, ...]


def check_context_name(name: object) -> str:
    """The name itself, if it can name a context.

    Raises:
        InvalidStateError: Not text, empty, not encodable as UTF-8, or longer than ``MAX_CONTEXT_BYTES`` bytes.
    """
    if not isinstance(name, str):
        raise InvalidStateError(f"{name!r} is no context", fix="contexts are text, such as 'technical'", value=name)
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidStateError(
            f"context {name!r} holds a lone surrogate", fix="use text that UTF-8 can encode", value=name
        ) from error
    if not 1 <= length <= MAX_CONTEXT_BYTES:
        raise InvalidStateError(
            f"context {name[:40]!r} has {length} bytes",
            fix=f"a context has 1 to {MAX_CONTEXT_BYTES} bytes in UTF-8",
            value=name,
        )
    return name


def parse_weighted_names(contexts: object, weights: Sequence[float] | None = None) -> tuple[list[str], list[float]]:
    """Names and raw weights, one entry per item given, repeats kept.

    Args:
        contexts: ``{"a": 0.6, "b": 0.4}``, ``[("a", 0.6), ("b", 0.4)]``, or bare names ``["a", "b"]`` (equal weights
            unless ``weights`` is given); a single text is one bare name.
        weights: One per bare name.

    Raises:
        InvalidStateError: No context, a name or weight out of its range, bare names mixed with pairs, or ``weights``
            beside contexts that have their own or in another number.
    """
    items: list[object]
    if isinstance(contexts, str):
        items = [contexts]
    elif isinstance(contexts, Mapping):
        items = list(contexts.items())
    elif isinstance(contexts, Iterable) and not isinstance(contexts, bytes):
        items = list(contexts)
    else:
        raise InvalidStateError(
            f"contexts of type {type(contexts).__name__} are not understood",
            fix="give [('technical', 0.6), ('general', 0.4)] or bare names",
            value=contexts,
        )
    if not items:
        raise InvalidStateError("contexts are empty", fix="name at least one context, or leave contexts out")
    bare = [isinstance(item, str) for item in items]
    if any(bare) and not all(bare):
        raise InvalidStateError(
            "bare context names are mixed with weighted ones", fix="give every context a weight, or none", value=items
        )
    if not bare[0]:
        return _parse_pairs(items, weights)
    if weights is None:
        weights = [1.0] * len(items)
    given = [weights] if isinstance(weights, Real) else list(weights)
    if len(given) != len(items):
        raise InvalidStateError(
            f"{len(given)} weights for {len(items)} contexts", fix="give one weight per context", value=given
        )
    return [check_context_name(item) for item in items], [_check_weight(weight) for weight in given]


def _parse_pairs(items: list[object], weights: Sequence[float] | None) -> tuple[list[str], list[float]]:
    if weights is not None:
        raise InvalidStateError(
            "weights were given beside contexts that have their own", fix="give weights once", value=weights
        )
    names, parsed = [], []
    for item in items:
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise InvalidStateError(
                f"{item!r} is neither a context nor a pair of context and weight",
                fix="give pairs such as ('technical', 0.6)",
                value=item,
            )
        names.append(check_context_name(item[0]))
        parsed.append(_check_weight(item[1]))
    return names, parsed


def _check_weight(weight: object) -> float:
    if isinstance(weight, bool | np.bool_) or not isinstance(weight, Real):
        raise InvalidStateError(f"weight {weight!r} is no number", fix="weights are numbers ≥ 0", value=weight)
    value = float(weight)
    if not math.isfinite(value) or value < 0:
        raise InvalidStateError(f"weight {value!r} is out of range", fix="weights are finite and ≥ 0", value=weight)
    return value


def normalise(weights: Sequence[float]) -> list[float]:
    """Weights divided by their sum; finite weights whose sum overflows are scaled first.

    A weight too small beside the others becomes 0. Weights that already sum to 1 come back bit for bit.

    Raises:
        InvalidStateError: The sum is not positive.
    """
    largest = max(weights, default=0.0)
    if largest <= 0:
        raise InvalidStateError("the context weights sum to 0", fix="give at least one weight above 0", value=weights)
    # math.fsum raises on overflow, so large weights are brought to at most 1 before they are summed.
    scaled = [weight / largest for weight in weights] if largest > 1e300 else list(weights)
    total = math.fsum(scaled)
    return [weight / total for weight in scaled]


def parse_superposed_context(context: ContextsInput, phases: Mapping[str, float] | None = None) -> ContextSuperposition:
    """A superposed context of a query or of a measurement.

    Args:
        context: As in :func:`parse_weighted_names`; weights are normalised, repeated names add theirs, and a context of
            weight 0 counts as absent.
        phases: Radians by name; contexts that are left out have phase 0.

    Raises:
        InvalidStateError: As in :func:`parse_weighted_names`; or a phase is not finite or belongs to no named context.
    """
    names, weights = parse_weighted_names(context)
    added: dict[str, float] = {}
    for name, weight in zip(names, normalise(weights), strict=True):
        added[name] = added.get(name, 0.0) + weight
    angles = _parse_phases({} if phases is None else phases, added)
    kept = [(name, weight) for name, weight in added.items() if weight > 0]
    return ContextSuperposition(
        contexts=tuple(name for name, _ in kept),
        weights=tuple(weight for _, weight in kept),
        phases=tuple(angles.get(name, 0.0) for name, _ in kept),
    )


def _parse_phases(phases: object, named: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(phases, Mapping):
        raise InvalidStateError(
            f"phases of type {type(phases).__name__} are not understood",
            fix="give radians by context, such as {'technical': 3.14}",
            value=phases,
        )
    angles: dict[str, float] = {}
    for name, angle in phases.items():
        if name not in named:
            raise InvalidStateError(
                f"a phase was given for {name!r}, which the query's context does not name",
                fix=f"give phases for {', '.join(named)}",
                value=name,
            )
        if isinstance(angle, bool) or not isinstance(angle, Real) or not math.isfinite(angle):
            raise InvalidStateError(
                f"phase {angle!r} of {name!r} is no angle", fix="phases are finite radians", value=angle
            )
        angles[name] = float(angle)
    return angles
