"""Units of regression targets: their mean and deviation on the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidModelError


@dataclass(frozen=True, slots=True, eq=False)
class TargetScaling:
    """A fitted map between targets and numbers of mean 0 and deviation 1.

    Args:
        mean: Of each output over the training rows, (K,).
        deviation: Standard deviation (over n) of each output there, (K,), above 0; 1 for an output that was constant.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def fitted(cls, targets: NDArray[np.float64]) -> Self:
        """The scaling of training targets (n, K), n ≥ 1, finite."""
        mean = targets.mean(axis=0)
        deviation = targets.std(axis=0)
        varied = deviation > np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(varied, deviation, 1.0))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float64]], outputs: int) -> Self:
        """The scaling whose :attr:`arrays` were stored.

        Raises:
            InvalidModelError: An array is missing, not finite, or does not fit the outputs.
        """
        shapes = {name: np.shape(arrays[name]) for name in ("mean", "deviation") if name in arrays}
        if shapes != {"mean": (outputs,), "deviation": (outputs,)} or not all(
            np.isfinite(arrays[name]).all() for name in shapes
        ):
            raise InvalidModelError(
                f"The stored units of the targets have shapes {shapes} for {outputs} output(s), or are not finite",
                fix="Load the arrays of one checkpoint together with its own specification.",
                value=shapes,
            )
        return cls(arrays["mean"], arrays["deviation"])

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """What a checkpoint stores."""
        return {"mean": self.mean, "deviation": self.deviation}

    def standardised(self, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """(t − mean) / deviation of (B, K)."""
        values: NDArray[np.float64] = (targets - self.mean) / self.deviation
        return values

    def restored(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """The targets mean + deviation · u of outputs u, (B, K)."""
        values: NDArray[np.float64] = self.mean + self.deviation * outputs
        return values
