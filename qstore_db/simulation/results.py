"""What a plan gives back, and what an engine is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Precision: TypeAlias = Literal["float32", "float64"]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gradients:
    """The gradient of Σ cotangent · values.

    Args:
        weights: Shape (number of weights,), float64.
        data: Shape (samples, number of data columns), float64; None when not asked for.
        amplitudes: Like the amplitudes given, in the dtype of the run, through the division by their norm; for
            complex ones dL/dRe + i·dL/dIm. None when not asked for or when the plan starts from |0…0⟩.
    """

    weights: Floats
    data: Floats | None
    amplitudes: NDArray[np.floating] | NDArray[np.complexfloating] | None


@dataclass(frozen=True, slots=True)
class HeadStep:
    """A linear head with softmax cross-entropy on a circuit's values, and all derivatives.

    Args:
        loss: Mean over the batch, nats.
        correct: Samples whose largest score is that of their label; the first of equal ones counts.
        weights: Gradient of the circuit's weights.
        matrix: Of the head's matrix, (classes, readouts).
        bias: Of its bias, (classes,).
    """

    loss: float
    correct: int
    weights: Floats
    matrix: Floats
    bias: Floats


class Pullback(Protocol):
    """Turns the cotangent of the values of one forward run into gradients; may be called several times."""

    def __call__(self, cotangent: ArrayLike) -> Gradients:
        """The gradient of Σ cotangent · values.

        Args:
            cotangent: Shape (samples, number of readouts), finite.

        Raises:
            InvalidArgumentError: Another shape, or not finite.
        """
        ...


class Engine(Protocol):
    """What computes; the arguments are those of the methods of :class:`~qstore_db.simulation.plan.Plan`."""

    @property
    def name(self) -> str:
        """``"lanes"`` or ``"numpy"``."""
        ...

    def expectations(
        self, data: ArrayLike | None, weights: ArrayLike | None, amplitudes: ArrayLike | None, dtype: Precision
    ) -> Floats:
        """See ``Plan.expectations``."""
        ...

    def forward(
        self,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        dtype: Precision,
        input_gradients: bool,
    ) -> tuple[Floats, Pullback]:
        """See ``Plan.forward``."""
        ...

    def gradients(
        self,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        cotangent: ArrayLike,
        dtype: Precision,
        input_gradients: bool,
    ) -> tuple[Floats, Gradients]:
        """See ``Plan.gradients``."""
        ...

    def head_step(
        self,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        head: tuple[Floats, Floats],
        labels: NDArray[np.int64],
        dtype: Precision,
    ) -> HeadStep:
        """See ``Plan.head_step``."""
        ...
