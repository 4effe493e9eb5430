"""What simulators of other libraries share: they run circuits with numbers, one sample after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.batched import Compiled
from qstore_db.backends.request import States
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.placement import bind

RunSample = Callable[[Circuit, NDArray[np.complex128] | None], NDArray[np.float64]]
"""A circuit with numbers and a start state of 2^n amplitudes, or None for |0…0⟩, to a row of values."""


def by_sample(circuit: Circuit, run: RunSample) -> Compiled:
    """Runs every row of data by itself.

    Args:
        circuit: With data columns.
        run: What computes one sample.
    """
    size = 1 << circuit.n_qubits

    def compute(rows: NDArray[np.float64], start: States | None) -> NDArray[np.float64]:
        found = []
        for place, row in enumerate(rows):
            given = None
            if start is not None:
                given = np.zeros(size, np.complex128)
                given[: start.shape[1]] = start[place]
            found.append(run(bind(circuit, data=row[: circuit.number_of_data]), given))
        return np.asarray(found, np.float64)

    return Compiled(compute, 600 * len(circuit.operations) + 4096)
