"""Monte-Carlo wave functions as a backend: estimates of noisy expectation values beyond what fits a density matrix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.batched import BatchedSimulator, Compiled
from qstore_db.backends.capabilities import TRAJECTORIES
from qstore_db.backends.in_process import InProcessBackend
from qstore_db.backends.request import States
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable
from qstore_db.errors import InvalidArgumentError, UnsupportedRequestError
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.noise_presets import ionq_aria_like
from qstore_db.simulation.plan import Precision
from qstore_db.simulation.trajectories import estimate_by_trajectories


class TrajectoryEngine:
    """Estimates of what a device with this noise reports, readout errors included, by the mean over trajectories.

    The errors of an estimate are of the order of 1/√trajectories. Every sample meets the same random numbers, chosen by
    the seed: equal questions get equal answers, whatever is asked beside them, and differences between neighbouring
    angles are far less noisy than the values.

    Args:
        noise: What follows the gates, and how outcomes are misread.
        trajectories: For every sample, at least 2.
        seed: 0 or more.
        dtype: Arithmetic of Pauli noise; other noise always takes complex128.

    Raises:
        InvalidArgumentError: Fewer than 2 trajectories, or a negative seed.
    """

    __slots__ = ("_dtype", "_noise", "_seed", "_trajectories", "identity")
    name: Final = "trajectories"
    capabilities: Final = TRAJECTORIES

    def __init__(
        self, noise: NoiseModel, *, trajectories: int = 1024, seed: int = 0, dtype: Precision = "float32"
    ) -> None:
        if trajectories < 2 or seed < 0:
            raise InvalidArgumentError(
                f"{trajectories} trajectories with seed {seed} give no estimate",
                fix="Use at least 2 trajectories and a seed from 0 on.",
                value=(trajectories, seed),
            )
        self._noise, self._trajectories, self._seed = noise, trajectories, seed
        self._dtype: Precision = dtype
        numbers = hashlib.sha256(json.dumps(noise.to_json(), sort_keys=True).encode()).hexdigest()
        self.identity = f"{self.name} {dtype} {trajectories} {seed} {numbers}"

    def expectations(self, circuit: Circuit, observables: Sequence[Observable], *, from_amplitudes: bool) -> Compiled:
        """See :class:`~qstore_db.backends.batched.Engine`."""
        del from_amplitudes  # trajectories take either start

        def compute(rows: NDArray[np.float64], start: States | None) -> NDArray[np.float64]:
            estimate = estimate_by_trajectories(
                circuit,
                observables,
                self._noise,
                seed=self._seed,
                trajectories=self._trajectories,
                data=rows if circuit.number_of_data else None,
                amplitudes=start,
                sample_numbers=[0] * (len(rows) if circuit.number_of_data or start is not None else 1),
                dtype=self._dtype,
            )
            return np.array(np.broadcast_to(estimate.mean, (len(rows), len(observables))))

        return Compiled(compute, 600 * len(circuit.operations) + 4096)

    def probabilities(self, circuit: Circuit, *, from_amplitudes: bool) -> Compiled:
        """Never asked for: it is not among the capabilities.

        Raises:
            UnsupportedRequestError: Always.
        """
        raise UnsupportedRequestError(
            f"the backend {self.name!r} gives expectation values only",
            fix="Use 'local_noisy' for probabilities and shots.",
            value=(circuit.digest, from_amplitudes),
        )


def trajectory_backend(
    noise: NoiseModel | None = None,
    *,
    trajectories: int = 1024,
    seed: int = 0,
    dtype: Precision = "float32",
    threads: int = 1,
) -> InProcessBackend:
    """The estimates of trajectories as a backend, up to 24 qubits.

    Args:
        noise: As for :func:`~qstore_db.backends.local_noisy.local_noisy_backend`.
        trajectories: See :class:`TrajectoryEngine`.
        seed: See :class:`TrajectoryEngine`.
        dtype: See :class:`TrajectoryEngine`.
        threads: Jobs at the same time; results do not depend on it.

    Raises:
        InvalidArgumentError: A number is out of range.
    """
    model = ionq_aria_like() if noise is None else noise
    engine = TrajectoryEngine(model, trajectories=trajectories, seed=seed, dtype=dtype)
    return InProcessBackend(BatchedSimulator(engine), threads=threads)
