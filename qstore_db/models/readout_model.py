"""Models that read Pauli strings and put a linear head on them: u = 8 W z + b."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.observables import Observable
from qstore_db.circuits.readouts import readout
from qstore_db.models import linear_head
from qstore_db.models.circuit_model import CircuitModel
from qstore_db.models.model import Parameters


@dataclass(frozen=True, slots=True)
class ReadoutModel(CircuitModel):
    """What classifier and regressor share; parameters ``circuit``, ``head_weights`` (K, M), ``head_bias`` (K,)."""

    def _observables(self) -> tuple[Observable, ...]:
        return readout(self.spec.readout, self.spec.qubits)

    def _head_shapes(self, readouts: int) -> Mapping[str, tuple[int, ...]]:
        return {"head_weights": (self.spec.width, readouts), "head_bias": (self.spec.width,)}

    def _head(
        self, parameters: Mapping[str, NDArray[np.float64]], values: NDArray[np.float64], *, training: bool
    ) -> NDArray[np.float64]:
        scores = linear_head.fast_scores if training else linear_head.scores
        return scores(values, parameters["head_weights"], parameters["head_bias"])

    def _head_gradients(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        values: NDArray[np.float64],
        outer: NDArray[np.float64],
    ) -> tuple[Parameters, NDArray[np.float64]]:
        by_weights, by_bias, by_values = linear_head.gradients(values, parameters["head_weights"], outer)
        return {"head_weights": by_weights, "head_bias": by_bias}, by_values
