"""Sends jobs to one backend, retries those that may succeed later, and keeps a bad request from failing its company."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from qstore_db.backends.backend import Backend
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult
from qstore_db.errors import BackendFailedError, BudgetExceededError, JobUnreachableError, QStoreError
from qstore_db.executor.batching import typical
from qstore_db.executor.clock import Clock
from qstore_db.executor.retry import RetryPolicy
from qstore_db.executor.ticket import Batch
from qstore_db.executor.usage import Usage

WINDOW: Final = 9
"""Jobs that the typical time is taken from."""


class Delivery:
    """The way to one backend and back; used on the executor's event loop only.

    Args:
        backend: Where jobs go.
        retry: What happens after failures.
        clock: Measures jobs and waits between attempts.
        rng: Source of the jitter.
    """

    __slots__ = ("_backend", "_clock", "_measured", "_retry", "_rng", "usage")

    def __init__(self, backend: Backend, retry: RetryPolicy, clock: Clock, rng: np.random.Generator) -> None:
        self._backend, self._retry, self._clock, self._rng = backend, retry, clock, rng
        self.usage = Usage()
        self._measured: deque[float] = deque(maxlen=WINDOW)

    def seconds_per_work(self) -> float | None:
        """The typical time of one unit of work in the last jobs; ``None`` before the first."""
        return typical(self._measured)

    async def deliver(self, batch: Batch) -> list[ExecutionResult | BaseException]:
        """One outcome for each entry of the batch.

        A job that fails for good is taken apart and each of its requests is sent once more alone, so that it fails only
        those that are at fault. A job that still fails after all retries is not: its backend is down. Nor is one that
        is over its budget, or that a provider has taken and does not answer for: it would be paid for piece by piece.

        Raises:
            asyncio.CancelledError: Nobody wants the batch any more.
        """
        try:
            return list(await self._with_retries(batch))
        except QStoreError as error:
            is_of_all = isinstance(error, BudgetExceededError | JobUnreachableError)
            if is_of_all or len(batch.entries) == 1 or (isinstance(error, BackendFailedError) and error.retryable):
                return [error] * len(batch.entries)
            error_of_all = error
        outcomes: list[ExecutionResult | BaseException] = []
        for entry in batch.entries:
            if not entry.tickets:
                outcomes.append(error_of_all)
                continue
            try:
                outcomes += await self._with_retries(Batch([entry]))
            except QStoreError as error:
                outcomes.append(error)
        return outcomes

    async def _with_retries(self, batch: Batch) -> Sequence[ExecutionResult]:
        attempt = 1
        while True:
            try:
                return await self._attempt([entry.request for entry in batch.entries])
            except BackendFailedError as error:
                delay = self._retry.delay_seconds(attempt, error, self._rng)
                if delay is None:
                    raise
            await self._clock.sleep(delay)
            batch.entries = [entry for entry in batch.entries if entry.tickets] or batch.entries
            self.usage = replace(self.usage, retries=self.usage.retries + 1)
            attempt += 1

    async def _attempt(self, requests: list[ExecutionRequest]) -> Sequence[ExecutionResult]:
        started = self._clock.now()
        try:
            results = await self._results(requests)
        except QStoreError as error:
            usage, kind = self.usage, type(error).__name__
            seconds = usage.seconds + self._clock.now() - started
            by_type = {**usage.failures_by_type, kind: usage.failures_by_type.get(kind, 0) + 1}
            self.usage = replace(usage, failures=usage.failures + 1, seconds=seconds, failures_by_type=by_type)
            raise
        self._count(requests, self._clock.now() - started)
        return results

    async def _results(self, requests: list[ExecutionRequest]) -> Sequence[ExecutionResult]:
        job = await self._backend.submit(requests)
        try:
            results = await self._backend.result(job)
        except asyncio.CancelledError:
            await self._backend.cancel(job)
            raise
        if len(results) != len(requests):
            raise BackendFailedError(
                f"job {job.id!r} on {job.backend!r} gave {len(results)} result(s) for {len(requests)} request(s)",
                fix="Report it to the author of the backend.",
                value=job,
            )
        return results

    def _count(self, requests: list[ExecutionRequest], seconds: float) -> None:
        usage = self.usage
        work = sum(request.work for request in requests)
        by_qubits = dict(usage.seconds_by_qubits)
        for request in requests:
            qubits = request.circuit.n_qubits
            by_qubits[qubits] = by_qubits.get(qubits, 0.0) + seconds * request.work / work
        self.usage = replace(
            usage,
            jobs=usage.jobs + 1,
            requests=usage.requests + len(requests),
            circuits=usage.circuits + sum(request.samples for request in requests),
            shots=usage.shots + sum(request.samples * (request.shots or 0) for request in requests),
            seconds=usage.seconds + seconds,
            seconds_by_qubits=by_qubits,
        )
        self._measured.append(seconds / work)
