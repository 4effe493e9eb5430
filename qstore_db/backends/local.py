"""The exact state-vector simulator of this process as a backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.batched import BatchedSimulator, Compiled
from qstore_db.backends.capabilities import LOCAL
from qstore_db.backends.in_process import InProcessBackend
from qstore_db.backends.request import States
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable
from qstore_db.simulation.plan import Precision, compile_circuit
from qstore_db.simulation.state_vector import expectations, probabilities

STATES_FROM_QUBITS: Final = 18
"""From here on values are read from single states. The batched engine holds a register of states at once, which no
cache holds any more: it took 4 times as long for one sample and 0.6 of the time for eight. The choice looks at the
circuit only, so a sample has the same bits in every company."""


class StateVectorEngine:
    """Exact expectation values and probabilities of pure states.

    Expectation values come from the batched lanes engine up to 17 qubits, and above from the vector of amplitudes, as
    do probabilities and so shots.

    Args:
        dtype: Arithmetic of both: ``"float64"`` (errors of 1e-14) or ``"float32"`` (1e-6, faster).
    """

    __slots__ = ("_dtype",)
    name: Final = "local"
    capabilities: Final = LOCAL

    def __init__(self, *, dtype: Precision = "float64") -> None:
        self._dtype: Precision = dtype

    @property
    def identity(self) -> str:
        """Name and arithmetic."""
        return f"{self.name} {self._dtype}"

    def expectations(self, circuit: Circuit, observables: Sequence[Observable], *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        if circuit.n_qubits >= STATES_FROM_QUBITS:

            def read(rows: NDArray[np.float64], start: States | None) -> NDArray[np.float64]:
                return expectations(circuit, observables, None, rows, start, dtype=self._dtype)

            return Compiled(read, _size_of(circuit))
        plan = compile_circuit(circuit, observables, amplitude_input=from_amplitudes)

        def compute(rows: NDArray[np.float64], start: States | None) -> NDArray[np.float64]:
            return plan.expectations(rows, None, start, dtype=self._dtype)

        return Compiled(compute, _size_of(circuit) + 300 * len(observables))

    def probabilities(self, circuit: Circuit, *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        del from_amplitudes  # the states take either start

        def compute(rows: NDArray[np.float64], start: States | None) -> NDArray[np.float64]:
            return probabilities(circuit, None, rows, start, dtype=self._dtype)

        return Compiled(compute, _size_of(circuit))


def local_backend(*, dtype: Precision = "float64", threads: int = 1) -> InProcessBackend:
    """The exact simulator as a backend.

    Args:
        dtype: See :class:`StateVectorEngine`.
        threads: Jobs at the same time; results do not depend on it.

    Raises:
        InvalidArgumentError: The number of threads is below 1.
    """
    return InProcessBackend(BatchedSimulator(StateVectorEngine(dtype=dtype)), threads=threads)


def _size_of(circuit: Circuit) -> int:
    # An estimate: the circuit as Python objects, and the tables made of it.
    return 600 * len(circuit.operations) + 4096
