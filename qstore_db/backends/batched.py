"""Runs many requests as few batches on an engine that computes whole batches of one circuit.

Requests whose circuits differ only in numbers run as one batch of one compiled circuit (see ``skeleton``). A request
takes the same road with the same arithmetic whether it comes alone or among a thousand, so its bits do not depend on
its company.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.bounded_cache import BoundedCache, CacheLimits, CacheStatistics
from qstore_db.backends.capabilities import Capabilities
from qstore_db.backends.request import ExecutionRequest, Reading, States, spelled
from qstore_db.backends.result import ExecutionResult
from qstore_db.backends.shots import counts_of
from qstore_db.backends.skeleton import AngleMap, skeleton
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable

PLAN_CACHE: Final = CacheLimits(entries=1_000, size_bytes=128 << 20)
ANGLE_CACHE: Final = CacheLimits(entries=10_000, size_bytes=64 << 20)

CHANCE_BYTES: Final = 32 << 20
"""Probabilities are computed in blocks of rows up to this size; the size of a block does not change a row."""


class Computation(Protocol):
    """What a compiled circuit does."""

    def __call__(self, rows: NDArray[np.float64], start: States | None) -> NDArray[np.float64]:
        """One row of values for each row of angles.

        No row may depend on the others.

        Args:
            rows: The circuit's data, float64 (samples, columns).
            start: Start states of norm 1, (samples, width ≤ 2^n), or ``None`` for |0…0⟩.
        """
        ...


@dataclass(frozen=True, slots=True)
class Compiled:
    """A circuit ready to run.

    Args:
        compute: Runs it.
        size_bytes: About how much memory it keeps.
    """

    compute: Computation
    size_bytes: int


class Engine(Protocol):
    """Compiles circuits whose only symbols are data columns; may be called from several threads at once."""

    @property
    def name(self) -> str:
        """Of the backend."""
        ...

    @property
    def identity(self) -> str:
        """Name and every setting that can change a result."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    def expectations(self, circuit: Circuit, observables: Sequence[Observable], *, from_amplitudes: bool) -> Compiled:
        """For the values of observables: (samples, observables)."""
        ...

    def probabilities(self, circuit: Circuit, *, from_amplitudes: bool) -> Compiled:
        """For the chances of all bitstrings: (samples, 2^n), rows summing to 1 up to rounding."""
        ...


_Group: TypeAlias = list[tuple[int, ExecutionRequest, AngleMap]]


class BatchedSimulator:
    """Requests to results; may be called from several threads at once.

    Args:
        engine: What computes.
        plan_cache: Bounds of the compiled circuits.
        angle_cache: Bounds of the angle maps of circuits.
    """

    __slots__ = ("_angles", "_engine", "_plans")

    def __init__(
        self, engine: Engine, *, plan_cache: CacheLimits = PLAN_CACHE, angle_cache: CacheLimits = ANGLE_CACHE
    ) -> None:
        self._engine = engine
        self._plans: BoundedCache[Compiled] = BoundedCache(plan_cache, time.monotonic)
        self._angles: BoundedCache[AngleMap] = BoundedCache(angle_cache, time.monotonic)

    @property
    def name(self) -> str:
        """That of the engine."""
        return self._engine.name

    @property
    def identity(self) -> str:
        """That of the engine."""
        return self._engine.identity

    @property
    def capabilities(self) -> Capabilities:
        """Those of the engine."""
        return self._engine.capabilities

    def caches(self) -> Mapping[str, CacheStatistics]:
        """``plans``: one lookup a batch of equal skeletons; ``angles``: one lookup a request."""
        return {"plans": self._plans.statistics(), "angles": self._angles.statistics()}

    def run(self, requests: Sequence[ExecutionRequest]) -> tuple[ExecutionResult, ...]:
        """One result for each request, in order.

        Raises:
            NotEnoughMemoryError: The states do not fit.
        """
        groups: dict[tuple[object, ...], _Group] = {}
        for place, request in enumerate(requests):
            angles = self._angle_map(request.circuit)
            groups.setdefault(_group_key(request, angles), []).append((place, request, angles))
        results: dict[int, ExecutionResult] = {}
        for group in groups.values():
            rows = np.concatenate([angles.rows(request.weights, request.data) for _, request, angles in group])
            given = [request.amplitudes for _, request, _ in group if request.amplitudes is not None]
            # All are of one width and type: see _group_key.
            start = cast(States, np.concatenate(given)) if given else None
            if group[0][1].reading is Reading.EXPECTATIONS:
                self._expectations(group, rows, start, results)
            else:
                self._measurements(group, rows, start, results)
        return tuple(results[place] for place in range(len(requests)))

    def _expectations(
        self, group: _Group, rows: NDArray[np.float64], start: States | None, results: dict[int, ExecutionResult]
    ) -> None:
        values = self._plan(group[0][1], group[0][2]).compute(rows, start)
        first = 0
        for place, request, _ in group:
            # Copied, so that a kept result does not keep the whole batch.
            results[place] = ExecutionResult(self.name, values=values[first : first + request.samples].copy())
            first += request.samples

    def _measurements(
        self, group: _Group, rows: NDArray[np.float64], start: States | None, results: dict[int, ExecutionResult]
    ) -> None:
        plan = self._plan(group[0][1], group[0][2])
        first = 0
        for place, request, _ in group:
            part = slice(first, first + request.samples)
            chances = _chances(plan, request.circuit.n_qubits, rows[part], None if start is None else start[part])
            if request.shots is None:
                results[place] = ExecutionResult(self.name, probabilities=chances)
            else:
                results[place] = ExecutionResult(self.name, counts=counts_of(chances, request.shots, request.seed))
            first += request.samples

    def _angle_map(self, circuit: Circuit) -> AngleMap:
        found = self._angles.get(circuit.digest)
        if found is None:
            found = AngleMap.of(circuit)
            self._angles.put(circuit.digest, found, found.nbytes)
        return found

    def _plan(self, request: ExecutionRequest, angles: AngleMap) -> Compiled:
        from_amplitudes = request.amplitudes is not None
        key = f"{angles.skeleton} {from_amplitudes} {spelled(request.observables)}"
        found = self._plans.get(key)
        if found is None:
            circuit = skeleton(request.circuit)
            if request.observables:
                found = self._engine.expectations(circuit, request.observables, from_amplitudes=from_amplitudes)
            else:
                found = self._engine.probabilities(circuit, from_amplitudes=from_amplitudes)
            self._plans.put(key, found, found.size_bytes + len(key))
        return found


def _group_key(request: ExecutionRequest, angles: AngleMap) -> tuple[object, ...]:
    start = request.amplitudes
    return (angles.skeleton, None if start is None else (start.shape[1], start.dtype.str), request.observables)


def _chances(plan: Compiled, n_qubits: int, rows: NDArray[np.float64], start: States | None) -> NDArray[np.float64]:
    # Rounding may leave a chance slightly below 0 and a sum slightly off 1.
    out = np.empty((len(rows), 1 << n_qubits))
    block = max(1, CHANCE_BYTES >> n_qubits + 3)
    for first in range(0, len(rows), block):
        part = slice(first, first + block)
        found = np.maximum(plan.compute(rows[part], None if start is None else start[part]), 0.0)
        out[part] = found / found.sum(axis=1, keepdims=True)
    return out
