"""Expectation values from a backend: exact ones where it gives them, else estimated from shots in several bases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.backend import Price
from qstore_db.backends.capabilities import Capabilities, check_reading
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import Counts, ExecutionResult
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.amplitude import preparation_angles, preparation_by_data
from qstore_db.circuits.observables import Observable, terms_of
from qstore_db.executor.executor import Executor
from qstore_db.simulation.measurement_bases import MeasurementBasis, measurement_bases, parities


class BackendExpectations:
    """A source of expectation values for gradients; see :class:`qstore_db.gradients.value_source.ValueSource`.

    With shots, strings that commute qubit by qubit share a basis; the gates that turn it into the Z basis are part of
    the circuit, and on a noisy backend noisy as all others. Every circuit has shots of its own, drawn from the seed and
    its number in the order of asking, so that equal questions in equal order get equal answers. A backend that starts
    every circuit in |0…0⟩ gets the gates that prepare start states as well.

    Args:
        executor: Where circuits run.
        backend: Name of one of its backends.
        shots: For every circuit; ``None`` asks for exact values.
        seed: Integers from 0 on that choose the shots; without meaning where the backend cannot be seeded.
        together: Whether the circuits of all bases are asked at once instead of basis by basis: for a backend far away,
            where waiting is dear and memory is not.

    Raises:
        UnknownBackendError: The executor has no such backend.
        UnsupportedRequestError: The backend gives no exact values and no shots are asked for, or no counts.
    """

    __slots__ = ("_ask", "_asker", "_together", "circuits")

    def __init__(
        self,
        executor: Executor,
        backend: str,
        *,
        shots: int | None = None,
        seed: Sequence[int] = (0,),
        together: bool = False,
    ) -> None:
        self._asker = Asker(backend, executor.capabilities(backend), shots=shots, seed=seed)
        self._ask: Callable[[Sequence[ExecutionRequest]], Sequence[ExecutionResult]] = partial(
            executor.run_batch, backend=backend
        )
        self._together = together
        self.circuits = 0

    @property
    def shots(self) -> int | None:
        """Of every circuit; ``None`` for exact values."""
        return self._asker.shots

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
        chosen = tuple(observables)
        if self.shots is None:
            results = self._run(self._asker.exact(circuit, chosen, points, data, amplitudes))
            return np.stack([np.asarray(result.values) for result in results])
        reading = _reading(chosen)
        asked = self._asker.sampled(circuit, chosen, points, data, amplitudes)
        samples = _samples(data, amplitudes)
        values: NDArray[np.float64] = np.zeros((len(points), samples, len(chosen))) + reading.constant
        answers = self._all(list(asked)) if self._together else map(self._run, asked)
        for results, basis, combine in zip(answers, reading.bases, reading.combine, strict=True):
            values += np.stack([_means(result.counts or (), basis, combine) for result in results])
        return values

    def _all(self, asked: Sequence[Sequence[ExecutionRequest]]) -> Iterator[Sequence[ExecutionResult]]:
        results = iter(self._run([request for of_basis in asked for request in of_basis]))
        return (list(islice(results, len(of_basis))) for of_basis in asked)

    def _run(self, requests: Sequence[ExecutionRequest]) -> Sequence[ExecutionResult]:
        self.circuits += sum(request.samples for request in requests)
        return self._ask(requests)


class PricedExpectations:
    """Asks a price in place of a backend: what the same questions would cost, and zeros for their answers.

    A :class:`~qstore_db.gradients.value_source.ValueSource`, so that the price of a step is that of the very requests
    that the step will make.

    Args:
        price: What requests would cost together; sends nothing.
        backend: Name of the backend.
        capabilities: Of the backend.
        shots: For every circuit; ``None`` asks for exact values.
    """

    __slots__ = ("_asker", "_price", "circuits", "dollars")

    def __init__(
        self,
        price: Callable[[Sequence[ExecutionRequest]], Price],
        backend: str,
        capabilities: Capabilities,
        *,
        shots: int | None = None,
    ) -> None:
        self._asker = Asker(backend, capabilities, shots=shots)
        self._price = price
        self.circuits = 0
        self.dollars = Decimal(0)

    @property
    def shots(self) -> int | None:
        """Of every circuit; ``None`` for exact values."""
        return self._asker.shots

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[Observable],
        points: NDArray[np.float64],
        data: NDArray[np.float64] | None,
        amplitudes: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        """Zeros, (points, samples, readouts); the price is added to :attr:`dollars`."""
        chosen = tuple(observables)
        if self.shots is None:
            asked = iter([self._asker.exact(circuit, chosen, points, data, amplitudes)])
        else:
            asked = self._asker.sampled(circuit, chosen, points, data, amplitudes)
        for requests in asked:
            self.circuits += sum(request.samples for request in requests)
            self.dollars += self._price(requests).dollars
        return np.zeros((len(points), _samples(data, amplitudes), len(chosen)))


class Asker:
    """Makes the requests whose results give expectation values.

    Args:
        backend: Name of the backend.
        capabilities: Of the backend.
        shots: For every circuit; ``None`` asks for exact values.
        seed: Integers from 0 on that choose the shots; without meaning where the backend cannot be seeded.

    Raises:
        UnsupportedRequestError: The backend gives no exact values and no shots are asked for, or no counts.
    """

    __slots__ = ("_amplitudes", "_seed", "_seeded", "_taken", "shots")

    def __init__(
        self, backend: str, capabilities: Capabilities, *, shots: int | None, seed: Sequence[int] = (0,)
    ) -> None:
        check_reading(backend, capabilities, shots)
        self._seed, self._seeded, self._amplitudes = tuple(seed), capabilities.seeded, capabilities.amplitudes
        self.shots = shots
        self._taken = 0

    def exact(
        self,
        circuit: Circuit,
        observables: tuple[Observable, ...],
        points: NDArray[np.float64],
        data: NDArray[np.float64] | None,
        amplitudes: NDArray[np.float64] | None,
    ) -> list[ExecutionRequest]:
        """A request for each point."""
        circuit, data, amplitudes = self._started(circuit, data, amplitudes)
        return [
            ExecutionRequest(circuit, observables, weights=point, data=data, amplitudes=amplitudes) for point in points
        ]

    def sampled(
        self,
        circuit: Circuit,
        observables: tuple[Observable, ...],
        points: NDArray[np.float64],
        data: NDArray[np.float64] | None,
        amplitudes: NDArray[np.float64] | None,
    ) -> Iterator[list[ExecutionRequest]]:
        """For each basis that the observables need, a request for each point."""
        circuit, data, amplitudes = self._started(circuit, data, amplitudes)
        for basis in _reading(observables).bases:
            measured = circuit.then(*basis.rotation())
            yield [
                ExecutionRequest(
                    measured, weights=point, data=data, amplitudes=amplitudes, shots=self.shots, seed=self._next_seed()
                )
                for point in points
            ]

    def _started(
        self, circuit: Circuit, data: NDArray[np.float64] | None, amplitudes: NDArray[np.float64] | None
    ) -> tuple[Circuit, NDArray[np.float64] | None, NDArray[np.float64] | None]:
        if amplitudes is None or self._amplitudes:
            return circuit, data, amplitudes
        angles = preparation_angles(amplitudes, circuit.n_qubits)
        first = preparation_by_data(circuit.n_qubits, has_phases=angles.shape[1] >= 1 << circuit.n_qubits)
        whole = first.compose(circuit, data_offset=first.number_of_data)
        return whole, angles if data is None else np.concatenate([angles, data], axis=1), None

    def _next_seed(self) -> int | None:
        if not self._seeded:
            return None
        self._taken += 1
        state = np.random.SeedSequence([*self._seed, self._taken]).generate_state(1, np.uint64)
        return int(state[0] >> np.uint64(1))


def _samples(data: NDArray[np.float64] | None, amplitudes: NDArray[np.float64] | None) -> int:
    given = amplitudes if data is None else data
    return 1 if given is None else len(given)


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
