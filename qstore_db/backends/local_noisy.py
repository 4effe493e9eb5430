"""The exact simulator of noisy circuits of this process as a backend."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.batched import BatchedSimulator, Compiled
from qstore_db.backends.capabilities import LOCAL_NOISY
from qstore_db.backends.in_process import InProcessBackend
from qstore_db.backends.request import States
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable, PauliString
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.noise_presets import ionq_aria_like
from qstore_db.simulation.noisy_plan import compile_noisy
from qstore_db.simulation.plan import Precision

DEFAULT_NOISE: Final = ionq_aria_like
"""Makes the noise of the backend ``local_noisy`` as it is asked for by name."""


class NoisyEngine:
    """Exact expectation values and probabilities of what a device with this noise reports, readout errors included.

    Args:
        noise: What follows the gates, and how outcomes are misread.
        dtype: Arithmetic of expectation values; probabilities always take float64.
    """

    __slots__ = ("_dtype", "_noise", "identity")
    name: Final = "local_noisy"
    capabilities: Final = LOCAL_NOISY

    def __init__(self, noise: NoiseModel, *, dtype: Precision = "float64") -> None:
        self._noise = noise
        self._dtype: Precision = dtype
        numbers = hashlib.sha256(json.dumps(noise.to_json(), sort_keys=True).encode()).hexdigest()
        self.identity = f"{self.name} {dtype} {numbers}"

    def expectations(self, circuit: Circuit, observables: Sequence[Observable], *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        plan = compile_noisy(circuit, observables, self._noise, amplitude_input=from_amplitudes)

        def compute(rows: NDArray[np.float64], start: States | None) -> NDArray[np.float64]:
            return plan.expectations(rows, None, start, dtype=self._dtype)

        return Compiled(compute, _size_of(circuit))

    def probabilities(self, circuit: Circuit, *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        nothing = PauliString("I" * circuit.n_qubits)  # a plan reads something
        plan = compile_noisy(circuit, [nothing], self._noise, amplitude_input=from_amplitudes)

        def compute(rows: NDArray[np.float64], start: States | None) -> NDArray[np.float64]:
            return plan.probabilities(rows, None, start)

        return Compiled(compute, _size_of(circuit))


def local_noisy_backend(
    noise: NoiseModel | None = None, *, dtype: Precision = "float64", threads: int = 1
) -> InProcessBackend:
    """The exact noisy simulator as a backend, up to 12 qubits.

    Args:
        noise: What follows the gates, and how outcomes are misread; if not given,
            :func:`~qstore_db.simulation.noise_presets.ionq_aria_like`.
        dtype: See :class:`NoisyEngine`.
        threads: Jobs at the same time; results do not depend on it.

    Raises:
        InvalidArgumentError: The number of threads is below 1.
    """
    engine = NoisyEngine(DEFAULT_NOISE() if noise is None else noise, dtype=dtype)
    return InProcessBackend(BatchedSimulator(engine), threads=threads)


def _size_of(circuit: Circuit) -> int:
    # An estimate: the circuit as Python objects, and tables over the 4^n Pauli strings.
    return 600 * len(circuit.operations) + 4096 + (8 << 2 * circuit.n_qubits)
