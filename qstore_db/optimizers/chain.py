"""Transformations one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.optimizers.optimizer import Arrays, Transformation


@dataclass(frozen=True, slots=True)
class Chain:
    """Feeds each transformation with what the one before it returned; see :func:`chain`.

    The state of the part at position i lies under ``"<i>/"``.

    Args:
        parts: In the order in which they act. None leaves gradients as they are.
    """

    parts: tuple[Transformation, ...]

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """The states of all parts."""
        return {
            f"{position}/{name}": array
            for position, part in enumerate(self.parts)
            for name, array in part.init(parameters).items()
        }

    def update(
        self,
        updates: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """What the last part returns, and the new states of all parts."""
        current, advanced = dict(updates), dict(state)
        for position, part in enumerate(self.parts):
            prefix = f"{position}/"
            own = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
            current, moved = part.update(current, own, parameters)
            advanced |= {prefix + name: array for name, array in moved.items()}
        return current, advanced


def chain(*parts: Transformation) -> Transformation:
    """The transformations as one, acting from left to right; a single one is returned as it is, with its own state.

    Example:
        >>> from qstore_db.optimizers.adam import ScaleByAdam
        >>> from qstore_db.optimizers.clipping import ClipByGlobalNorm
        >>> steps = chain(ClipByGlobalNorm(1.0), ScaleByAdam())
        >>> sorted(steps.init({"w": np.zeros(2)}))
        ['1/first_moment/w', '1/second_moment/w', '1/step']
    """
    return parts[0] if len(parts) == 1 else Chain(parts)
