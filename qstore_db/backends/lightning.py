"""PennyLane's lightning.qubit as a backend."""

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
from qstore_db.circuits.composite import basic
from qstore_db.circuits.observables import Observable, terms_of
from qstore_db.simulation.plan import Precision

_NAMES: Final = {
    "H": "Hadamard", "X": "PauliX", "Y": "PauliY", "Z": "PauliZ", "P": "PhaseShift", "U": "U3", "CX": "CNOT",
    "RXX": "IsingXX", "RYY": "IsingYY", "RZZ": "IsingZZ",
}  # fmt: skip


class LightningEngine:
    """Exact expectation values and probabilities of pure states.

    Args:
        dtype: Arithmetic of the state.
    """

    __slots__ = ("_dtype", "_qml", "identity")
    name: Final = "lightning"
    capabilities: Final = SIMULATOR

    def __init__(self, *, dtype: Precision = "float64") -> None:
        import pennylane

        self._qml: Any = pennylane
        self._dtype = np.complex64 if dtype == "float32" else np.complex128
        self.identity = f"{self.name} {dtype}"

    def expectations(self, circuit: Circuit, observables: Sequence[Observable], *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        del from_amplitudes  # both starts are taken
        pauli = self._qml.pauli
        sums = [
            pauli.PauliSentence(
                {pauli.PauliWord(dict(string.on_qubits)): coefficient for coefficient, string in terms_of(one)}
            ).operation(wire_order=range(circuit.n_qubits))
            for one in observables
        ]
        measurements = [self._qml.expval(one) for one in sums]
        return by_sample(circuit, lambda bound, start: np.array(self._run(bound, start, measurements), np.float64))

    def probabilities(self, circuit: Circuit, *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        del from_amplitudes
        measurements = [self._qml.probs(wires=range(circuit.n_qubits))]
        return by_sample(circuit, lambda bound, start: np.asarray(self._run(bound, start, measurements)[0], np.float64))

    def _run(self, circuit: Circuit, start: NDArray[np.complex128] | None, measurements: Sequence[Any]) -> list[Any]:
        qml, wires = self._qml, range(circuit.n_qubits)
        steps = [] if start is None else [qml.StatePrep(start, wires=wires)]
        for operation in basic(circuit.operations):
            angles = [angle.constant for angle in operation.angles]
            name = operation.gate.removesuffix("DG")
            step = getattr(qml, _NAMES.get(name, name))(*angles, wires=list(operation.qubits))
            steps.append(qml.adjoint(step) if operation.gate.endswith("DG") else step)
        device = qml.device("lightning.qubit", wires=circuit.n_qubits, c_dtype=self._dtype)
        tape = qml.tape.QuantumScript(steps, measurements)
        found = qml.execute([tape], device)[0]
        return list(found) if len(measurements) > 1 else [found]


def lightning_backend(*, dtype: Precision = "float64", threads: int = 1) -> InProcessBackend:
    """The simulator as a backend; its packages must be installed.

    Args:
        dtype: Arithmetic of the state.
        threads: Jobs at the same time; results do not depend on it.

    Raises:
        InvalidArgumentError: The number of threads is below 1.
    """
    return InProcessBackend(BatchedSimulator(LightningEngine(dtype=dtype)), threads=threads)
