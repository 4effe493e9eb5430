"""A variational quantum regressor: encoding, circuit, readouts, linear head, numbers.

Targets t are trained in units of their own spread, (t − mean) / deviation with the moments of the training rows, so
that one learning rate suits prices and fractions. The outputs u = 8 W z + b are in those units; predictions are
mean + deviation · u. The loss is the mean square error in those units: 1 is what always answering the mean would have
on the training rows, and 1 − loss their mean R².

Not claimed: any advantage over a classical model. With amplitude encoding the prediction is a quadratic form of the
normalised row; ridge regression stands beside it in docs/models.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.models.losses import checked_targets
from qstore_db.models.readout_model import ReadoutModel
from qstore_db.models.target_scaling import TargetScaling


@dataclass(frozen=True, slots=True)
class Regressor(ReadoutModel):
    """A model of kind ``"regressor"``; parameters ``circuit``, ``head_weights`` (K, M), ``head_bias`` (K,).

    Args:
        spec: What the model is.
        reduction: How its rows are shortened, fitted on training rows for the same specification.
        scaling: Units of its targets, fitted on training rows.

    Raises:
        InvalidModelError: The reduction does not fit the specification.
    """

    scaling: TargetScaling

    def checked_targets(self, targets: ArrayLike | None, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Targets (B, K), or (B,) where K is 1, in units of their spread, float64 (B, K).

        Raises:
            InvalidTargetError: They have another shape, or are no finite numbers.
        """
        given = checked_targets(() if targets is None else targets, len(features), self.spec.width)
        return self.scaling.standardised(given)

    def predict(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """Numbers in the units of the targets, (B, K); each row's bits do not depend on the other rows.

        Raises:
            InvalidModelError: A parameter is missing or of another shape.
            DimensionMismatchError: The rows have another length.
            InvalidVectorError: A row is not finite, or cannot be encoded.
        """
        return self.scaling.restored(self.outputs_of_features(parameters, self.features(rows)))
