"""What a search may vary: names with choices or ranges, as checked values.

A space is written as a mapping, the same in Python, JSON and TOML::

    {
        "layers": [1, 2, 4],                                             # one of these
        "batch_size": {"low": 16, "high": 64, "step": 16},               # 16, 32, 48 or 64
        "learning_rate": {"low": 0.001, "high": 0.3, "log": True},  # anything between, equal ratios alike
    }
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from qstore_db.errors import InvalidArgumentError

Value: TypeAlias = bool | int | float | str | None
Settings: TypeAlias = Mapping[str, Value]
"""One value for each name of a space."""

_RANGE_KEYS = ("low", "high", "log", "step")
_MAX_CHOICES = 1000


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values, without an order.

    Args:
        name: What it sets.
        values: At least one, each once.
    """

    name: str
    values: tuple[Value, ...]

    def at(self, share: float) -> Value:
        """The value at ``share`` of the way through them, in [0, 1)."""
        return self.values[int(share * len(self.values))]

    def levels(self, most: int) -> tuple[Value, ...]:
        """All values: choices cannot be thinned out."""
        return self.values

    def holds(self, value: object) -> bool:
        """Whether it is one of them, of the same type."""
        return any(value == known and type(value) is type(known) for known in self.values)

    def to_json(self) -> list[Value]:
        """As it is written in a space."""
        return list(self.values)


@dataclass(frozen=True, slots=True)
class Range:
    """A number from ``low`` to ``high``, both included.

    Args:
        name: What it sets.
        low: The least.
        high: The largest, not below ``low``.
        log: Whether equal ratios are equally likely, not equal differences; then ``low`` is above 0 and there is no
            ``step``.
        step: Distance of the values that are allowed, counted from ``low``; ``None``: any, or any whole number.
        whole: Whether only whole numbers are meant.
    """

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def spacing(self) -> float | None:
        """Distance of neighbouring values; ``None`` where there is none between any two."""
        return 1 if self.whole and self.step is None else self.step

    @property
    def count(self) -> int | None:
        """How many values there are; ``None`` for a continuum."""
        spacing = self.spacing
        return None if spacing is None else 1 + int((self.high - self.low) / spacing + 1e-9)

    def at(self, share: float) -> Value:
        """The value at ``share`` of the way from ``low`` to ``high``, in [0, 1)."""
        count = self.count
        if self.log:
            half = 0.5 if self.whole else 0.0
            low, high = self.low - half, self.high + half
            drawn = low * (high / low) ** share
            return self._within(round(drawn) if self.whole else drawn)
        if count is None:
            return self._within(self.low + share * (self.high - self.low))
        return self._nth(int(share * count))

    def levels(self, most: int) -> tuple[Value, ...]:
        """All values where there are at most ``most``; otherwise so many, evenly through the range with its ends."""
        count = self.count
        if count is not None and count <= most:
            return tuple(self._nth(position) for position in range(count))
        found: list[Value] = []
        for share in np.linspace(0.0, 1.0, most).tolist():
            value = self._through(share)
            if value not in found:
                found.append(value)
        return tuple(found)

    def holds(self, value: object) -> bool:
        """Whether it is a number in the range; steps are not looked at."""
        right = isinstance(value, int) if self.whole else isinstance(value, int | float)
        return right and not isinstance(value, bool) and self.low <= value <= self.high  # type: ignore[operator]

    def to_json(self) -> dict[str, Value]:
        """As it is written in a space."""
        ends: dict[str, Value] = {"low": self._typed(self.low), "high": self._typed(self.high)}
        if self.log:
            ends["log"] = True
        if self.step is not None:
            ends["step"] = self._typed(self.step)
        return ends

    def _through(self, share: float) -> Value:
        count = self.count
        if self.log:
            drawn = self.low * (self.high / self.low) ** share
            return self._within(round(drawn) if self.whole else drawn)
        if count is None:
            return self._within(self.low + share * (self.high - self.low))
        return self._nth(round(share * (count - 1)))

    def _nth(self, position: int) -> Value:
        return self._within(self.low + position * (self.spacing or 0))

    def _within(self, value: float) -> Value:
        return self._typed(min(max(value, self.low), self.high))

    def _typed(self, value: float) -> int | float:
        return int(value) if self.whole else float(value)


Dimension: TypeAlias = Choice | Range


@dataclass(frozen=True, slots=True)
class Space:
    """What a search may vary.

    Args:
        dimensions: At least one, each name once, in the order in which they were written.
    """

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What is varied."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def points(self) -> int | None:
        """How many settings there are; ``None`` where one of them is a continuum."""
        total = 1
        for dimension in self.dimensions:
            count = len(dimension.values) if isinstance(dimension, Choice) else dimension.count
            if count is None:
                return None
            total *= count
        return total

    def drawn(self, generator: np.random.Generator) -> dict[str, Value]:
        """Settings drawn independently for each name."""
        return {dimension.name: dimension.at(float(generator.random())) for dimension in self.dimensions}

    def holds(self, settings: Settings) -> bool:
        """Whether there is a value for each name, and it is one of its values."""
        return set(settings) == set(self.names) and all(
            dimension.holds(settings[dimension.name]) for dimension in self.dimensions
        )

    def to_json(self) -> dict[str, list[Value] | dict[str, Value]]:
        """The mapping that :func:`parse_space` reads."""
        return {dimension.name: dimension.to_json() for dimension in self.dimensions}


def parse_space(
    given: Mapping[str, object], types: Mapping[str, type], aliases: Mapping[str, str] | None = None
) -> Space:
    """A space from the mapping that the module's docstring shows.

    Args:
        given: By name: a list of choices, or a mapping with ``low``, ``high`` and perhaps ``log`` or ``step``.
        types: What can be varied: ``int``, ``float``, ``str`` or ``bool`` by name. Ranges are for numbers.
        aliases: Other names of those.

    Raises:
        InvalidArgumentError: The space is empty, a name is unknown or given twice, a list is empty or holds a value
            twice, or a range is none.
    """
    if not isinstance(given, Mapping) or not given:
        raise InvalidArgumentError(
            f"The space is {given!r}", fix='Give what to vary, such as {"layers": [1, 2, 4]}.', value=given
        )
    found: dict[str, Dimension] = {}
    for written, values in given.items():
        name = _name(written, types, aliases or {})
        if name in found:
            raise InvalidArgumentError(f"The space names {name} twice", fix="Name it once.", value=written)
        found[name] = _dimension(name, values, types[name])
    return Space(tuple(found.values()))


def _name(written: object, types: Mapping[str, type], aliases: Mapping[str, str]) -> str:
    name = aliases.get(str(written).lower(), str(written).lower())
    if name not in types:
        near = difflib.get_close_matches(name, [*types, *aliases], n=1)
        raise InvalidArgumentError(
            f"A search cannot vary {written!r}",
            fix=(f"Did you mean {near[0]}? " if near else "") + f"It can vary {', '.join(sorted(types))}.",
            value=written,
        )
    return name


def _dimension(name: str, values: object, kind: type) -> Dimension:
    if isinstance(values, Mapping):
        return _range(name, values, kind)
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise InvalidArgumentError(
            f"The space of {name} is {values!r}",
            fix="Give a list of choices, or a range {low, high} with log or step.",
            value=values,
        )
    choices = tuple(value.item() if isinstance(value, np.generic) else value for value in values)
    if not 1 <= len(choices) <= _MAX_CHOICES:
        raise InvalidArgumentError(
            f"{name} has {len(choices)} choices", fix=f"Give 1 to {_MAX_CHOICES}.", value=len(choices)
        )
    for position, value in enumerate(choices):
        if not isinstance(value, bool | int | float | str | None) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise InvalidArgumentError(
                f"A choice of {name} is {value!r}", fix="Choices are numbers, texts, true, false or null.", value=value
            )
        if any(value == other and type(value) is type(other) for other in choices[:position]):
            raise InvalidArgumentError(f"{name} has the choice {value!r} twice", fix="Give it once.", value=value)
    return Choice(name, choices)


def _range(name: str, written: Mapping[object, object], kind: type) -> Range:
    if kind not in (int, float):
        raise InvalidArgumentError(f"{name} has no ranges", fix="Give a list of choices.", value=dict(written))
    for key in written:
        if key not in _RANGE_KEYS:
            raise InvalidArgumentError(
                f"The range of {name} has {key!r}", fix=f"A range has {', '.join(_RANGE_KEYS)}.", value=key
            )
    low, high = (_number(name, key, written.get(key), kind) for key in ("low", "high"))
    log = written.get("log", False)
    step = None if written.get("step") is None else _number(name, "step", written["step"], kind)
    if not isinstance(log, bool):
        raise InvalidArgumentError(f"log of {name} is {log!r}", fix="Use true or false.", value=log)
    wrong = (
        "high is below low" if high < low
        else "step is not above 0" if step is not None and step <= 0
        else "log needs low above 0" if log and low <= 0
        else "log and step exclude each other" if log and step is not None
        else ""
    )  # fmt: skip
    if wrong:
        raise InvalidArgumentError(
            f"The range of {name} is {dict(written)!r}: {wrong}", fix="Correct it.", value=dict(written)
        )
    return Range(name, low, high, log, step, whole=kind is int)


def _number(name: str, key: str, value: object, kind: type) -> float:
    right = isinstance(value, int) if kind is int else isinstance(value, int | float)
    if not right or isinstance(value, bool) or not math.isfinite(value):  # type: ignore[arg-type]
        raise InvalidArgumentError(
            f"The range of {name} has {key} = {value!r}",
            fix=f"Give {key} as a {'whole' if kind is int else 'finite'} number.",
            value=value,
        )
    return value  # type: ignore[return-value]


def generator_for(seed: int, number: int) -> np.random.Generator:
    """The random numbers of one suggestion: they depend on the seed and the trial's number alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=(number,))))


def seed_for(seed: int, number: int) -> int:
    """A seed of 32 bits for one suggestion, for libraries that want one."""
    return int(np.random.SeedSequence(entropy=seed, spawn_key=(number,)).generate_state(1)[0])
