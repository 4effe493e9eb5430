"""Numbers about the circuit itself that a run can follow from epoch to epoch, on request: they cost simulations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.analysis.entanglement import meyer_wallach
from qstore_db.analysis.expressibility import expressibility_kl
from qstore_db.models.model import Model
from qstore_db.simulation.state_vector import states
from qstore_db.training.material import Features
from qstore_db.training.options import TrainingOptions

ENTANGLEMENT_ROWS: Final = 64
EXPRESSIBILITY_PAIRS: Final = 1000


def mean_entanglement(
    model: Model, parameters: Mapping[str, NDArray[np.float64]], features: NDArray[np.float64]
) -> float:
    """Mean Meyer–Wallach measure Q of the pure states that the circuit makes of rows, in [0, 1].

    Args:
        model: Whose circuit.
        parameters: Its weights.
        features: What the circuit encodes, (B, width), B ≥ 1. Cost: B states.

    Raises:
        MissingDependencyError: Numba is missing: states need it.
        NotEnoughMemoryError: The states do not fit.
    """
    amplitude = model.spec.encoding == "amplitude"
    data, start = (None, features) if amplitude else (features, None)
    return float(meyer_wallach(states(model.plan.circuit, parameters["circuit"], data, start)).mean())


def circuit_expressibility(model: Model, features: NDArray[np.float64], *, seed: int) -> float:
    """:func:`~qstore_db.analysis.expressibility.expressibility_kl` of the model's circuit, in bits; lower is more.

    Its weights are drawn anew, those that are frozen too, so that it is a number of the ansatz and not of what was
    learnt. Amplitude encoding begins it from |0…0⟩, angle encoding from the first row. The bias of a finite sample is
    part of the number: :func:`qstore_db.analysis.haar.haar_bias`.

    Args:
        model: Whose circuit.
        features: What the circuit encodes, (B, width), B ≥ 1.
        seed: Of the weights. Cost: ``2 · EXPRESSIBILITY_PAIRS`` states.

    Raises:
        MissingDependencyError: Numba is missing: states need it.
    """
    data = None if model.spec.encoding == "amplitude" else features[0]
    return expressibility_kl(model.plan.circuit, seed=seed, pairs=EXPRESSIBILITY_PAIRS, data=data)


class CircuitTracking:
    """What the options of a run ask for of its circuit, measured at the end of each epoch.

    Args:
        model: The model.
        features: Of the training rows; the first ``ENTANGLEMENT_ROWS`` are looked at.
        options: Of the run.
    """

    def __init__(self, model: Model, features: Features, options: TrainingOptions) -> None:
        self._model, self._options = model, options
        self._first = cache(lambda: features.at(np.arange(min(ENTANGLEMENT_ROWS, len(features)))))
        # A number of the ansatz alone: the same in every epoch.
        self._expressibility = cache(lambda: circuit_expressibility(model, self._first(), seed=options.seed))

    def measured(self, parameters: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
        """The columns of an epoch's row that the options name; none, at no cost, where they name none."""
        found: dict[str, Any] = {}
        if "entanglement" in self._options.tracked:
            found["entanglement"] = mean_entanglement(self._model, parameters, self._first())
        if "expressibility" in self._options.tracked:
            found["expressibility"] = self._expressibility()
        return found
