"""Weight freezing: by the name of an array, by layer, by index.

A selection is written as text, items separated by commas: ``head_bias`` (a whole array), ``circuit[3]`` and
``circuit[0:6]`` (an index, or a range without its end, along the first axis), ``layer[0]`` and ``layer[0:2]`` (the
circuit's weights of those layers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.optimizer import Arrays

LAYER: Final = "layer"
_ITEM: Final = re.compile(r"(?P<name>[a-z_][a-z0-9_]*)(?:\[(?P<start>\d+)(?P<range>:(?P<stop>\d+))?\])?")


@dataclass(frozen=True, slots=True)
class Selection:
    """One item of a selection.

    Args:
        name: Of an array, or ``"layer"``.
        start: First index; ``None`` for the whole array.
        stop: One more than the last index; ``None`` for the whole array.
    """

    name: str
    start: int | None = None
    stop: int | None = None

    def __str__(self) -> str:
        if self.start is None or self.stop is None:
            return self.name
        return f"{self.name}[{self.start}]" if self.stop == self.start + 1 else f"{self.name}[{self.start}:{self.stop}]"


def parse_selection(text: str) -> tuple[Selection, ...]:
    """The items of a selection, in order.

    Raises:
        InvalidArgumentError: An item is not written as the module says, or names an empty range.

    Example:
        >>> [str(item) for item in parse_selection("head_bias, layer[0:2]")]
        ['head_bias', 'layer[0:2]']
    """
    items = []
    for part in text.split(","):
        match = _ITEM.fullmatch(part.strip())
        if match is None or (match["name"] == LAYER and match["start"] is None):
            raise InvalidArgumentError(
                f"{part.strip()!r} in freeze = {text!r} selects no weights",
                fix="Write names, indices or layers, separated by commas, such as 'head_bias, circuit[0:6], layer[0]'.",
                value=text,
            )
        start = None if match["start"] is None else int(match["start"])
        stop = int(match["stop"]) if match["range"] else None if start is None else start + 1
        if start is not None and stop is not None and stop <= start:
            raise InvalidArgumentError(
                f"{part.strip()!r} in freeze = {text!r} is an empty range",
                fix="Give an end above the start: name[start:end].",
                value=text,
            )
        items.append(Selection(match["name"], start, stop))
    return tuple(items)


def trained_masks(
    selection: Sequence[Selection], shapes: Mapping[str, tuple[int, ...]], *, layers: int, circuit: str = "circuit"
) -> dict[str, NDArray[np.bool_]]:
    """Which elements still train when the selection is frozen.

    Args:
        selection: What is frozen.
        shapes: Of every parameter.
        layers: Layers of the circuit, whose weights are numbered layer by layer, equally many in each.
        circuit: Name of the circuit's weights.

    Returns:
        For every parameter an array of its shape, true where it trains.

    Raises:
        InvalidArgumentError: An array, index or layer is not there, or nothing is left to train.
    """
    masks = {name: np.ones(shape, np.bool_) for name, shape in shapes.items()}
    for item in selection:
        name = circuit if item.name == LAYER else item.name
        if name not in masks:
            raise InvalidArgumentError(
                f"There are no weights {item.name!r} to freeze",
                fix=f"Use {', '.join(shapes)} or {LAYER}[index].",
                value=item.name,
            )
        per_layer = shapes[circuit][0] // layers if item.name == LAYER else 1
        size = layers if item.name == LAYER else shapes[name][0]
        start, stop = (0, size) if item.start is None or item.stop is None else (item.start, item.stop)
        if stop > size:
            raise InvalidArgumentError(
                f"{item} cannot be frozen: there are {size}", fix=f"Use indices 0 to {size - 1}.", value=str(item)
            )
        masks[name][start * per_layer : stop * per_layer] = False
    if not any(mask.any() for mask in masks.values()):
        raise InvalidArgumentError(
            "Every weight is frozen", fix="Leave some weights out of freeze.", value=", ".join(map(str, selection))
        )
    return masks


@dataclass(frozen=True, slots=True, eq=False)
class Freeze:
    """Updates of frozen elements become 0, and arrays that are frozen whole get no update. Without a state.

    Place it first, so that norms do not count what is frozen, and again behind :class:`AddDecayedWeights`, which
    moves weights without a gradient.

    Args:
        trained: For every parameter with frozen elements an array of its shape, true where it trains.
    """

    trained: Mapping[str, NDArray[np.bool_]]

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """No state."""
        return {}

    def update(
        self,
        updates: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """The updates of what trains.

        Raises:
            InvalidArgumentError: A mask has another shape than its update.
        """
        return self.masked(updates), dict(state)

    def masked(self, updates: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """As :meth:`update`, of the updates alone."""
        kept: Arrays = {}
        for name, update in updates.items():
            mask = self.trained.get(name)
            if mask is not None and mask.shape != update.shape:
                raise InvalidArgumentError(
                    f"A mask of shape {mask.shape} does not fit {name!r} of shape {update.shape}",
                    fix="Make the mask for the parameters that are being trained.",
                    value=mask.shape,
                )
            if mask is None or mask.all():
                kept[name] = update
            elif mask.any():
                kept[name] = np.where(mask, update, 0.0)
        return kept
