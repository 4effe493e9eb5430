"""What one gradient looks like, in a few numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

CIRCUIT: Final = "circuit"


@dataclass(frozen=True, slots=True)
class GradientFacts:
    """Numbers of the gradient of a step, over the weights that train, before clipping.

    Args:
        norm: Euclidean norm.
        largest: The largest element.
        smallest: The smallest element.
        variance: Of the elements about their mean; that of angles vanishes on a barren plateau.
        signal_to_noise: |mean| / √variance of the elements; ``None`` where they are all equal.
        layers: Norm over the circuit's weights of each layer, in order; empty where no circuit trains.
        head: Norm over all other weights.
    """

    norm: float
    largest: float
    smallest: float
    variance: float
    signal_to_noise: float | None
    layers: tuple[float, ...]
    head: float

    @classmethod
    def of(cls, gradients: Mapping[str, NDArray[np.float64]], layers: int) -> Self:
        """The facts of a gradient, of at least one element.

        Args:
            gradients: By weight; what is frozen is absent or 0.
            layers: Of the circuit, whose weights are numbered layer by layer, equally many in each.
        """
        circuit = gradients.get(CIRCUIT)
        angles = 0 if circuit is None else circuit.size
        ordered = [] if circuit is None else [circuit]
        ordered += [gradient.ravel() for name, gradient in gradients.items() if name != CIRCUIT]
        flat = np.concatenate(ordered)
        with np.errstate(over="ignore", invalid="ignore"):  # a gradient that is no number stops the run by its norm
            squares = flat * flat
            by_layer = squares[:angles].reshape(layers, -1).sum(axis=1).tolist() if angles else []
            rest = float(squares[angles:].sum())
            total, mean = sum(by_layer) + rest, float(flat.sum()) / flat.size
            away = flat - mean
            variance = float(np.dot(away, away)) / flat.size
        return cls(
            norm=math.sqrt(total),
            largest=float(flat.max()),
            smallest=float(flat.min()),
            variance=variance,
            signal_to_noise=abs(mean) / math.sqrt(variance) if variance > 0.0 else None,
            layers=tuple(map(math.sqrt, by_layer)),
            head=math.sqrt(rest),
        )
