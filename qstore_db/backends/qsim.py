"""qsim as a backend: Google's state-vector simulator, in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.batched import BatchedSimulator, Compiled
from qstore_db.backends.by_sample import by_sample
from qstore_db.backends.capabilities import SIMULATOR
from qstore_db.backends.in_process import InProcessBackend
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.interop.to_cirq import to_cirq
from qstore_db.circuits.observables import Observable, terms_of


class QsimEngine:
    """Exact expectation values and probabilities of pure states, to about 1e-6."""

    __slots__ = ("_cirq", "_simulator")
    name: Final = "qsim"
    identity: Final = "qsim float32"
    capabilities: Final = SIMULATOR

    def __init__(self) -> None:
        import cirq
        import qsimcirq

        self._cirq: Any = cirq
        self._simulator: Any = qsimcirq.QSimSimulator({"t": 1})

    def expectations(self, circuit: Circuit, observables: Sequence[Observable], *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        del from_amplitudes  # both starts are taken
        cirq = self._cirq
        qubits = cirq.LineQubit.range(circuit.n_qubits)
        sums = [
            sum(
                (
                    coefficient * cirq.PauliString({qubits[q]: letter for q, letter in string.on_qubits.items()})
                    for coefficient, string in terms_of(observable)
                ),
                cirq.PauliSum(),
            )
            for observable in observables
        ]

        def run(bound: Circuit, start: NDArray[np.complex128] | None) -> NDArray[np.float64]:
            found = self._simulator.simulate_expectation_values(
                to_cirq(bound), sums, qubit_order=qubits, initial_state=_start(start)
            )
            return np.asarray(np.real(found), np.float64)

        return by_sample(circuit, run)

    def probabilities(self, circuit: Circuit, *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        del from_amplitudes
        qubits = self._cirq.LineQubit.range(circuit.n_qubits)

        def run(bound: Circuit, start: NDArray[np.complex128] | None) -> NDArray[np.float64]:
            result = self._simulator.simulate(to_cirq(bound), qubit_order=qubits, initial_state=_start(start))
            return np.asarray(np.abs(result.final_state_vector.astype(np.complex128)) ** 2, np.float64)

        return by_sample(circuit, run)


def qsim_backend(*, threads: int = 1) -> InProcessBackend:
    """The simulator as a backend; its package must be installed.

    Args:
        threads: Jobs at the same time; results do not depend on it.

    Raises:
        InvalidArgumentError: The number of threads is below 1.
    """
    return InProcessBackend(BatchedSimulator(QsimEngine()), threads=threads)


def _start(amplitudes: NDArray[np.complex128] | None) -> Any:
    return None if amplitudes is None else amplitudes.astype(np.complex64)
