"""Qiskit Aer's state-vector simulator as a backend."""

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
from qstore_db.circuits.interop.to_qiskit import to_qiskit
from qstore_db.circuits.observables import Observable, terms_of
from qstore_db.simulation.plan import Precision


class AerEngine:
    """Exact expectation values and probabilities of pure states.

    Args:
        dtype: Arithmetic of the state.
    """

    __slots__ = ("_simulator", "identity")
    name: Final = "aer"
    capabilities: Final = SIMULATOR

    def __init__(self, *, dtype: Precision = "float64") -> None:
        from qiskit_aer import AerSimulator

        precision = "single" if dtype == "float32" else "double"
        self._simulator: Any = AerSimulator(method="statevector", precision=precision, max_parallel_threads=1)
        self.identity = f"{self.name} {dtype}"

    def expectations(self, circuit: Circuit, observables: Sequence[Observable], *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        del from_amplitudes  # both starts are taken
        from qiskit.quantum_info import SparsePauliOp

        # Qiskit writes qubit 0 on the right.
        sums = [
            SparsePauliOp.from_list([(string.letters[::-1], coefficient) for coefficient, string in terms_of(one)])
            for one in observables
        ]

        def run(bound: Circuit, start: NDArray[np.complex128] | None) -> NDArray[np.float64]:
            built = _started(bound, start)
            for number, operator in enumerate(sums):
                built.save_expectation_value(operator, range(bound.n_qubits), label=f"value {number}")
            found = self._simulator.run(built, shots=1).result().data()
            return np.array([np.real(found[f"value {number}"]) for number in range(len(sums))])

        return by_sample(circuit, run)

    def probabilities(self, circuit: Circuit, *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        del from_amplitudes

        def run(bound: Circuit, start: NDArray[np.complex128] | None) -> NDArray[np.float64]:
            built = _started(bound, start)
            built.save_probabilities(label="chances")
            found = self._simulator.run(built, shots=1).result().data()["chances"]
            return reversed_bits(np.asarray(found, np.float64))

        return by_sample(circuit, run)


def aer_backend(*, dtype: Precision = "float64", threads: int = 1) -> InProcessBackend:
    """The simulator as a backend; its packages must be installed.

    Args:
        dtype: Arithmetic of the state.
        threads: Jobs at the same time; results do not depend on it.

    Raises:
        InvalidArgumentError: The number of threads is below 1.
    """
    return InProcessBackend(BatchedSimulator(AerEngine(dtype=dtype)), threads=threads)


def reversed_bits(values: NDArray[Any]) -> NDArray[Any]:
    """Values of all basis states with the bits of the index in the opposite order: Qiskit's qubit 0 is the lowest."""
    n = values.size.bit_length() - 1
    return np.ascontiguousarray(values.reshape((2,) * n).transpose(range(n - 1, -1, -1))).reshape(-1)


def _started(circuit: Circuit, start: NDArray[np.complex128] | None) -> Any:
    from qiskit import QuantumCircuit

    gates = to_qiskit(circuit)
    if start is None:
        return gates
    built = QuantumCircuit(circuit.n_qubits)
    built.set_statevector(reversed_bits(start))
    return built.compose(gates)
