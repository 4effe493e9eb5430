"""Expectation values from a backend: exact ones where it gives them, else estimated from shots in several bases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.capabilities import check_reading
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import Counts
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable, terms_of
from qstore_db.executor.executor import Executor
from qstore_db.simulation.measurement_bases import MeasurementBasis, measurement_bases, parities


class BackendExpectations:
    """A source of expectation values for gradients; see :class:`qstore_db.gradients.value_source.ValueSource`.

    With shots, strings that commute qubit by qubit share a basis; the gates that turn it into the Z basis are part of
    the circuit, and on a noisy backend noisy as all others. Every circuit has shots of its own, drawn from the seed and
    its number in the order of asking, so that equal questions in equal order get equal answers.

    Args:
        executor: Where circuits run.
        backend: Name of one of its backends.
        shots: For every circuit; ``None`` asks for exact values.
        seed: Integers from 0 on that choose the shots; without meaning where the backend cannot be seeded.

    Raises:
        UnknownBackendError: The executor has no such backend.
        UnsupportedRequestError: The backend gives no exact values and no shots are asked for, or no counts.
    """

    __slots__ = ("_backend", "_executor", "_seed", "_seeded", "_taken", "circuits", "shots")

    def __init__(
        self, executor: Executor, backend: str, *, shots: int | None = None, seed: Sequence[int] = (0,)
    ) -> None:
        capabilities = executor.capabilities(backend)
        check_reading(backend, capabilities, shots)
        self._executor, self._backend = executor, backend
        self._seed, self._seeded = tuple(seed), capabilities.seeded
        self.shots = shots
        self.circuits = self._taken = 0

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[Observable],
        points: NDArray[np.float64],
        data: NDArray[np.float64] | None,
        amplitudes: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        """Values of all observables, (points, samples, readouts); equal calls in equal order give equal values.

        Raises:
            BackendFailedError: The backend failed, after all retries.
            NotEnoughMemoryError: The states do not fit a simulator.
        """
        if self.shots is None:
            return self._exact(circuit, tuple(observables), points, data, amplitudes)
        total: NDArray[np.float64] | None = None
        reading = _reading(tuple(observables))
        for basis, combine in zip(reading.bases, reading.combine, strict=True):
            measured = circuit.then(*basis.rotation())
            requests = [
                ExecutionRequest(
                    measured, weights=point, data=data, amplitudes=amplitudes, shots=self.shots, seed=self._next_seed()
                )
                for point in points
            ]
            results = self._run(requests)
            part = np.stack([_means(counts or (), basis, combine) for counts in results])
            total = part if total is None else total + part
        if total is None:  # nothing but constants: no shots are needed
            samples = 1 if data is None and amplitudes is None else len(amplitudes if data is None else data)  # type: ignore[arg-type]
            total = np.zeros((len(points), samples, len(observables)))
        values: NDArray[np.float64] = total + reading.constant
        return values

    def _exact(
        self,
        circuit: Circuit,
        observables: tuple[Observable, ...],
        points: NDArray[np.float64],
        data: NDArray[np.float64] | None,
        amplitudes: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        requests = [
            ExecutionRequest(circuit, observables, weights=point, data=data, amplitudes=amplitudes) for point in points
        ]
        self.circuits += sum(request.samples for request in requests)
        results = self._executor.run_batch(requests, backend=self._backend)
        return np.stack([np.asarray(result.values) for result in results])

    def _run(self, requests: Sequence[ExecutionRequest]) -> list[tuple[Counts, ...] | None]:
        self.circuits += sum(request.samples for request in requests)
        return [result.counts for result in self._executor.run_batch(requests, backend=self._backend)]

    def _next_seed(self) -> int | None:
        if not self._seeded:
            return None
        self._taken += 1
        state = np.random.SeedSequence([*self._seed, self._taken]).generate_state(1, np.uint64)
        return int(state[0] >> np.uint64(1))


class _Reading:
    """How observables are read: bases, and how the values of their strings combine."""

    __slots__ = ("bases", "combine", "constant")

    def __init__(self, observables: tuple[Observable, ...]) -> None:
        terms = [terms_of(observable) for observable in observables]
        self.bases = measurement_bases(string for one in terms for _, string in one)
        self.constant = np.array([sum((c for c, string in one if not string.on_qubits), 0.0) for one in terms])
        self.combine: list[NDArray[np.float64]] = []
        for basis in self.bases:
            places = {string: place for place, string in enumerate(basis.strings)}
            table = np.zeros((len(places), len(observables)))
            for column, one in enumerate(terms):
                for coefficient, string in one:
                    if string in places:
                        table[places[string], column] += coefficient
            self.combine.append(table)


@lru_cache(maxsize=64)
def _reading(observables: tuple[Observable, ...]) -> _Reading:
    return _Reading(observables)


def _means(counts: Sequence[Counts], basis: MeasurementBasis, combine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the shots of every sample, (samples, readouts)."""
    return np.stack([one.numbers / one.shots @ (parities(one.outcomes, basis.strings) @ combine) for one in counts])
