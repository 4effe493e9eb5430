"""The devices that are emulated, and what a circuit does on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.batched import BatchedSimulator
from qstore_db.backends.ionq.targets import NOISE_MODELS, TARGETS
from qstore_db.backends.local import StateVectorEngine
from qstore_db.backends.local_noisy import NoisyEngine
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.circuit import Circuit
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.noise_presets import ionq_aria_2_like, ionq_aria_like, ionq_forte_like

NOISE: Final[Mapping[str, NoiseModel | None]] = {
    "ideal": None,
    "aria-1": ionq_aria_like(),
    "aria-2": ionq_aria_2_like(),
    "forte-1": ionq_forte_like(),
    "forte-enterprise-1": ionq_forte_like(),
}
"""What stands for each of the provider's noise models; assumptions with a source, see ``simulation.noise_presets``."""

LEAST_PROBABILITY: Final = 1e-15
"""Outcomes below are left out of a histogram, as the provider leaves out those of probability 0."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """What one circuit gave.

    Args:
        probabilities: Of outcomes with qubit 0 as the lowest bit, in ascending order; those of a noisy device are
            shares of its shots.
        shots: Outcomes one by one; of an ideal simulator drawn from the probabilities.
    """

    probabilities: Mapping[int, float]
    shots: tuple[int, ...]


class Devices:
    """Simulators of all targets, seeded; may be used from several threads at once.

    Args:
        seed: Of everything that is drawn.
        noise: Noise models in place of those of :data:`NOISE`, by the provider's name; ``None`` is a device without
            noise, whose shots are still drawn.

    Raises:
        InvalidArgumentError: The provider has no noise model of a name.
    """

    __slots__ = ("_seed", "_simulators")

    def __init__(self, seed: int, noise: Mapping[str, NoiseModel | None]) -> None:
        unknown = sorted(set(noise) - set(NOISE_MODELS))
        if unknown:
            raise InvalidArgumentError(
                f"there is no noise model {unknown[0]!r}", fix=f"Use {', '.join(NOISE_MODELS)}.", value=unknown[0]
            )
        self._seed = seed
        self._simulators = {
            name: BatchedSimulator(StateVectorEngine() if model is None else NoisyEngine(model))
            for name, model in (dict(NOISE) | dict(noise)).items()
        }

    def noise_of(self, target: str, asked: str) -> str:
        """Name of the noise model under which a job runs: of a device its own, of the simulator the one asked for."""
        return TARGETS[target].noise_model or asked

    def max_qubits(self, target: str, noise: str) -> int:
        """Qubits that a circuit may have: no more than the device has, and than fit into this simulation."""
        return min(TARGETS[target].qubits, self._simulators[noise].capabilities.max_qubits)

    def run(
        self, circuits: Sequence[Circuit], target: str, noise: str, shots: int, seed: Sequence[int]
    ) -> list[Histogram]:
        """One histogram for each circuit.

        Args:
            circuits: Of one job.
            target: Where.
            noise: Name of the noise model, see :meth:`noise_of`.
            shots: Of each circuit.
            seed: Of this job, beside the seed of the devices.
        """
        exact = target == "simulator" and noise == "ideal"
        results = self._simulators[noise].run([ExecutionRequest(circuit) for circuit in circuits])
        made = []
        found = [result.probabilities for result in results if result.probabilities is not None]
        for number, probabilities in enumerate(found):
            chances = _little_endian(probabilities[0])
            drawn = self._draw(chances, shots, [*seed, number])
            made.append(Histogram(_shares(chances if exact else _frequencies(drawn)), tuple(drawn.tolist())))
        return made

    def _draw(self, chances: NDArray[np.float64], shots: int, seed: Sequence[int]) -> NDArray[np.int64]:
        generator = np.random.default_rng([self._seed, *seed])
        return generator.choice(len(chances), shots, p=chances / chances.sum())


def _little_endian(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities by outcomes with qubit 0 as the lowest bit, from ours with qubit 0 as the highest."""
    n = len(chances).bit_length() - 1
    return np.ascontiguousarray(chances.reshape((2,) * n).transpose(range(n)[::-1]).reshape(-1))


def _frequencies(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.bincount(drawn) / len(drawn)


def _shares(values: NDArray[np.float64]) -> dict[int, float]:
    seen = np.flatnonzero(values > LEAST_PROBABILITY)
    return dict(zip(seen.tolist(), values[seen].tolist(), strict=True))
