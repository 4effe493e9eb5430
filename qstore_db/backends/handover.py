"""The quickest exact simulator for the size of each circuit: this process's own, or qsim for many qubits.

Measured beside each other on one core (``benchmarks/handover.py``; one sample of angles and four layers, all ⟨Z⟩ read):
in double precision our states were quicker than PennyLane's lightning.qubit and Qiskit Aer at every size up to 23
qubits, 1.9 and 6 times at 20; in single precision qsim was level at 19 and 1.5 times as quick at 20 with expectation
values, and level up to 23 with probabilities. So only qsim takes over, only expectation values in single precision, and
only where it is installed. Gradients stay with the batched engine: with eight
samples of 18 qubits it took a fifth of lightning's time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Final

from qstore_db.backends.batched import BatchedSimulator
from qstore_db.backends.bounded_cache import CacheStatistics
from qstore_db.backends.capabilities import SIMULATOR
from qstore_db.backends.in_process import InProcessBackend
from qstore_db.backends.local import StateVectorEngine
from qstore_db.backends.request import ExecutionRequest, Reading
from qstore_db.backends.result import ExecutionResult

QSIM_FROM_QUBITS: Final = 20
"""Expectation values of circuits of this size and above go to qsim."""


class Handover:
    """Expectation values from ``QSIM_FROM_QUBITS`` on to qsim, everything else to our simulator in single precision.

    Each result carries the name of the simulator that computed it.
    """

    __slots__ = ("_large", "_small", "identity")
    name: Final = "auto"
    capabilities: Final = SIMULATOR

    def __init__(self) -> None:
        self._small = BatchedSimulator(StateVectorEngine(dtype="float32"))
        self._large = self._small
        if find_spec("qsimcirq") is not None:
            from qstore_db.backends.qsim import QsimEngine

            self._large = BatchedSimulator(QsimEngine())
        parts = dict.fromkeys((self._small.identity, self._large.identity))
        self.identity = f"{self.name}: {f', from {QSIM_FROM_QUBITS} qubits '.join(parts)}"

    def run(self, requests: Sequence[ExecutionRequest]) -> tuple[ExecutionResult, ...]:
        """See :class:`~qstore_db.backends.in_process.Simulator`."""
        results: dict[int, ExecutionResult] = {}
        large = [
            place
            for place, one in enumerate(requests)
            if one.reading is Reading.EXPECTATIONS and one.circuit.n_qubits >= QSIM_FROM_QUBITS
        ]
        small = sorted(set(range(len(requests))).difference(large))
        for simulator, places in ((self._small, small), (self._large, large)):
            if places:
                found = simulator.run([requests[place] for place in places])
                results.update(zip(places, found, strict=True))
        return tuple(results[place] for place in range(len(requests)))

    def caches(self) -> Mapping[str, CacheStatistics]:
        """Those of both simulators, as ``<simulator>.<level>``."""
        both = {one.name: one for one in (self._small, self._large)}
        return {f"{name}.{level}": found for name, one in both.items() for level, found in one.caches().items()}


def auto_backend(*, threads: int = 1) -> InProcessBackend:
    """The choice as a backend, single precision (errors of about 1e-6).

    Args:
        threads: Jobs at the same time; results do not depend on it.

    Raises:
        InvalidArgumentError: The number of threads is below 1.
    """
    return InProcessBackend(Handover(), threads=threads)
