"""IonQ as a remote service: what both SDKs share."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from qstore_db.analysis.size import circuit_size
from qstore_db.backends.backend import FREE, JobState, Price
from qstore_db.backends.bounded_cache import BoundedCache, CacheLimits
from qstore_db.backends.capabilities import Capabilities, require_supported
from qstore_db.backends.ionq.histograms import counts_from, histograms_of, probabilities_of, seed_of
from qstore_db.backends.ionq.native import NativeCompilation
from qstore_db.backends.ionq.pricing import Rates, price_of
from qstore_db.backends.ionq.sdk import TAG_KEY, Sdk, Setting, is_native
from qstore_db.backends.ionq.targets import SHOTS_PER_CIRCUIT
from qstore_db.backends.ionq.translation import plain
from qstore_db.backends.ionq.transport import Call, Transport
from qstore_db.backends.request import MAX_SHOTS, ExecutionRequest, Reading
from qstore_db.backends.result import ExecutionResult
from qstore_db.backends.shots import counts_of
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.placement import bind
from qstore_db.errors import (
    BackendFailedError,
    InvalidArgumentError,
    NotFoundError,
    SubmissionUnknownError,
    UnsupportedRequestError,
)

CIRCUITS_PER_JOB: Final = 300
"""Our bound: cirq-ionq writes the measured qubits of every circuit into one metadatum, of which the provider keeps
40,000 characters."""

COMPILED: Final = CacheLimits(entries=3_000, size_bytes=64 << 20)
"""Native circuits that are kept."""

JOBS_AT_ONCE: Final = 32
"""Our bound on connections."""

_STATES: Final[Mapping[str, JobState]] = {
    "submitted": JobState.WAITING,
    "ready": JobState.WAITING,
    "started": JobState.RUNNING,
    "running": JobState.RUNNING,
    "completed": JobState.DONE,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELLED,
    "deleted": JobState.CANCELLED,
}

_TAG: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


class IonqService:
    """A :class:`~qstore_db.backends.remote_service.RemoteService`, made by ``connect.ionq_service``.

    The ideal simulator gives exact probabilities; its shots are drawn here, seeded by the request, or by the job where
    the request has no seed. Noise models and devices give counts. Several circuits go in one job. Error mitigation of
    the provider is off.

    Args:
        name: Of the backend.
        setting: Where circuits run.
        sdk: Speaks with the provider.
        transport: The way there.
        rates: The price list; ``None`` is free.
    """

    __slots__ = ("_compiled", "_rates", "_sdk", "_setting", "_transport", "capabilities", "name")

    def __init__(self, name: str, setting: Setting, sdk: Sdk, transport: Transport, rates: Rates | None) -> None:
        self.name = name
        self._setting, self._sdk, self._transport, self._rates = setting, sdk, transport, rates
        self._compiled: BoundedCache[Circuit] = BoundedCache(COMPILED, time.monotonic)
        ideal = self._is_ideal
        self.capabilities = Capabilities(
            readings=frozenset({Reading.COUNTS, Reading.PROBABILITIES} if ideal else {Reading.COUNTS}),
            seeded=ideal,
            max_qubits=setting.max_qubits,
            max_shots=MAX_SHOTS if ideal else SHOTS_PER_CIRCUIT,
            max_batch=CIRCUITS_PER_JOB,
            max_jobs=JOBS_AT_ONCE,
            amplitudes=False,
        )

    @property
    def target(self) -> str:
        """The provider's name of the device."""
        return self._setting.target

    @property
    def sdk(self) -> str:
        """``"cirq"`` or ``"qiskit"``."""
        return self._sdk.name

    @property
    def identity(self) -> str:
        """Name, target, SDK, gateset, noise model and host."""
        setting = self._setting
        return f"{self.name} {setting.target} {self.sdk} {setting.gateset} {setting.noise_model} {setting.url}"

    def __repr__(self) -> str:
        return f"IonqService({self.identity!r})"

    def price(self, requests: Sequence[ExecutionRequest]) -> Price:
        """By :data:`~qstore_db.backends.ionq.pricing.PUBLISHED`, or the rates it was made with; 0 for the simulator.

        It counts the gates that are sent: native circuits are compiled to know them.
        """
        if self._rates is None:
            return FREE
        priced = ((self._sent(circuit), request.shots or 0) for request in requests for circuit in _bound(request))
        return price_of(priced, self._rates)

    def send(self, requests: Sequence[ExecutionRequest], *, tag: str, timeout_seconds: float) -> str:
        """One POST. ``timeout_seconds`` is its time; writing the circuits takes what it takes before that.

        Raises:
            InvalidArgumentError: No requests, a tag of another form, or no time.
            UnsupportedRequestError: A request is beyond the capabilities, there are too many circuits, or the shots
                differ where the provider draws them.
            SubmissionRefusedError: Certainly not taken.
            SubmissionUnknownError: Perhaps taken.
        """
        call = self._transport.within(timeout_seconds)
        _check_tag(tag)
        shots = self._checked_shots(requests)
        answer = self._sdk.post(self._all_sent(requests), shots, tag, call)
        job_id = answer.get("id") if isinstance(answer, Mapping) else None
        if not isinstance(job_id, str) or not job_id:
            raise SubmissionUnknownError(
                f"IonQ's answer to the job {tag!r} names no id",
                fix="Look for its tag before sending it again.",
                value=tag,
            )
        return job_id

    def find(self, tag: str, *, timeout_seconds: float) -> tuple[str, ...]:
        """Walks through all pages of the account's jobs, and stops only at the last: a job that was sent is not missed.

        Raises:
            InvalidArgumentError: A tag of another form, or no time.
            BackendFailedError: Not all pages could be read in time.
        """
        call = self._transport.within(timeout_seconds)
        _check_tag(tag)
        found = [job for job in self._jobs(call) if _carries(job, tag)]
        found.reverse()  # the provider names the newest first
        found.sort(key=lambda job: str(job.get("submitted_at") or ""))
        return tuple(dict.fromkeys(str(job["id"]) for job in found))

    def state(self, job_id: str, *, timeout_seconds: float) -> JobState:
        """One GET.

        Raises:
            NotFoundError: The account has no such job.
            BackendFailedError: No answer, or a state that is not known.
        """
        return _state(self._job(job_id, self._transport.within(timeout_seconds)))

    def fetch(
        self, job_id: str, requests: Sequence[ExecutionRequest], *, timeout_seconds: float
    ) -> tuple[ExecutionResult, ...]:
        """Two GETs.

        Raises:
            NotFoundError: The account has no such job.
            BackendFailedError: It is not done, failed, was cancelled, or its results do not fit the requests.
        """
        call = self._transport.within(timeout_seconds)
        job = self._job(job_id, call)
        _check_done(job, job_id)
        circuits = sum(request.samples for request in requests)
        children = job.get("child_job_ids") or ()
        names = [str(child) for child in children] if isinstance(children, list | tuple) else []
        histograms = iter(histograms_of(self._sdk.results(job, circuits, call), names, circuits))
        place = 0
        results = []
        for request in requests:
            results.append(self._result(request, histograms, job_id, place))
            place += request.samples
        return tuple(results)

    def cancel(self, job_id: str, *, timeout_seconds: float) -> bool:
        """Stops a job that has not begun: up to three requests.

        It asks where the job stands first: the provider also cancels completed jobs, whose results would be lost, and a
        running one has to be paid for anyway. Of one that was cancelled before it began it is as sure as of its own.

        Raises:
            BackendFailedError: The provider could not be asked.
        """
        call = self._transport.within(timeout_seconds)
        try:
            job = self._job(job_id, call)
            if _state(job) is JobState.WAITING:
                self._sdk.cancel(job_id, call)
                job = self._job(job_id, call)
        except NotFoundError:
            return False
        return _state(job) is JobState.CANCELLED and not job.get("started_at")

    def close(self) -> None:
        """Nothing is kept between calls: every request has a connection of its own."""

    def targets(self, *, timeout_seconds: float) -> tuple[str, ...]:
        """Names of the devices that the provider has now, in its order.

        Raises:
            BackendFailedError: The provider could not be asked, or answered something else.
        """
        answer = self._transport.within(timeout_seconds).get(f"{self._setting.url}/backends").json()
        if not isinstance(answer, list) or not all(isinstance(one, Mapping) and "backend" in one for one in answer):
            raise BackendFailedError("IonQ's list of backends is none", fix="Ask again.", retryable=True)
        return tuple(str(one["backend"]) for one in answer)

    def compiled(self, request: ExecutionRequest) -> tuple[NativeCompilation, ...]:
        """What is sent for each sample of a request, and how large it is before and after; asks nobody.

        Raises:
            UnsupportedRequestError: The request is beyond the capabilities.
        """
        require_supported(self.name, self.capabilities, request)
        made = []
        for circuit in _bound(request):
            sent = self._sent(circuit)
            made.append(NativeCompilation(sent, circuit_size(circuit), circuit_size(sent)))
        return tuple(made)

    @property
    def _is_ideal(self) -> bool:
        return self._setting.target == "simulator" and self._setting.noise_model == "ideal"

    def _sent(self, circuit: Circuit) -> Circuit:
        """The circuit as it is sent; a compiled one is kept, for it is priced before, and may have to be sent again."""
        setting = self._setting
        if setting.gateset == "qis":
            return plain(circuit)
        if is_native(circuit, setting.entangler):
            return circuit
        found = self._compiled.get(circuit.digest)
        if found is None:
            found = self._sdk.compile(plain(circuit))
            self._compiled.put(circuit.digest, found, 600 * len(found.operations) + 4096)
        return found

    def _all_sent(self, requests: Sequence[ExecutionRequest]) -> list[Circuit]:
        return [self._sent(circuit) for request in requests for circuit in _bound(request)]

    def _job(self, job_id: str, call: Call) -> Mapping[str, object]:
        job: object = self._sdk.job(_checked_id(job_id), call)
        if not isinstance(job, Mapping) or job.get("id") != job_id:
            raise BackendFailedError(
                f"IonQ's answer about the job {job_id} is not about it", fix="Ask again.", value=job_id, retryable=True
            )
        return job

    def _checked_shots(self, requests: Sequence[ExecutionRequest]) -> int:
        if not requests:
            raise InvalidArgumentError("a job without requests", fix="Give at least one.", value=0)
        for request in requests:
            require_supported(self.name, self.capabilities, request)
        circuits = sum(request.samples for request in requests)
        if circuits > CIRCUITS_PER_JOB:
            raise UnsupportedRequestError(
                f"{circuits} circuits do not fit into one job of {self.name}",
                fix=f"Send at most {CIRCUITS_PER_JOB} samples in a job.",
                value=circuits,
            )
        shots = {request.shots for request in requests if request.shots is not None}
        if self._is_ideal:
            return min(max(shots, default=1000), SHOTS_PER_CIRCUIT)  # not looked at: the answer is exact
        if len(shots) > 1:
            raise UnsupportedRequestError(
                f"one job cannot take {sorted(shots)} shots", fix="Send requests of equal shots together.", value=shots
            )
        return shots.pop()

    def _jobs(self, call: Call) -> Iterator[Mapping[str, object]]:
        # Neither SDK reads the list to its end: qiskit-ionq has no list, cirq-ionq's stops at a number of jobs.
        seen: set[str] = set()
        token: str | None = None
        while True:
            page = call.get(f"{self._setting.url}/jobs", params={} if token is None else {"next": token}).json()
            jobs = page.get("jobs") if isinstance(page, Mapping) else None
            if not isinstance(jobs, list):
                raise BackendFailedError("IonQ's list of jobs is none", fix="Ask again.", retryable=True)
            yield from (job for job in jobs if isinstance(job, Mapping) and isinstance(job.get("id"), str))
            token = page.get("next")
            if not token:
                return
            if token in seen:
                raise BackendFailedError("IonQ's list of jobs goes round in circles", fix="Ask again.", retryable=True)
            seen.add(token)

    def _result(
        self, request: ExecutionRequest, histograms: Iterator[Mapping[str, object]], job_id: str, place: int
    ) -> ExecutionResult:
        n_qubits = request.circuit.n_qubits
        own = [next(histograms) for _ in range(request.samples)]
        if request.shots is not None and not self._is_ideal:
            return ExecutionResult(self.name, counts=tuple(counts_from(one, n_qubits, request.shots) for one in own))
        shares = np.stack([probabilities_of(one, n_qubits) for one in own])
        if request.shots is None:
            return ExecutionResult(self.name, probabilities=shares)
        seed = seed_of(job_id, place) if request.seed is None else request.seed
        return ExecutionResult(self.name, counts=counts_of(shares, request.shots, seed))


def _bound(request: ExecutionRequest) -> Iterator[Circuit]:
    for row in request.data:
        yield bind(request.circuit, request.weights, row)


def _check_tag(tag: str) -> None:
    if not _TAG.fullmatch(tag):
        raise InvalidArgumentError(f"{tag!r} is no tag", fix="Give 1 to 40 letters, digits, - or _.", value=tag)


def _checked_id(job_id: str) -> str:
    """The id, which becomes a part of an address."""
    if not _ID.fullmatch(job_id):
        raise NotFoundError(f"{job_id!r} is no id of a job", fix="Give the id that send or find gave.", value=job_id)
    return job_id


def _carries(job: Mapping[str, object], tag: str) -> bool:
    metadata = job.get("metadata")
    return job.get("name") == tag or (isinstance(metadata, Mapping) and metadata.get(TAG_KEY) == tag)


def _state(job: Mapping[str, object]) -> JobState:
    status = job.get("status")
    state = _STATES.get(str(status))
    if state is None:
        raise BackendFailedError(f"IonQ says that a job is {status!r}", fix="Ask again later.", value=status)
    return state


def _check_done(job: Mapping[str, object], job_id: str) -> None:
    state = _state(job)
    if state is JobState.DONE:
        return
    if state is JobState.FAILED:
        failure = job.get("failure")
        why = failure if isinstance(failure, Mapping) else {}
        raise BackendFailedError(
            f"the job {job_id} failed at IonQ: {why.get('code', 'no code')}: {why.get('error', 'no reason')}",
            fix="Change what the reason names; a failed job is not charged.",
            value=job_id,
        )
    waiting = state is not JobState.CANCELLED
    raise BackendFailedError(
        f"the job {job_id} is {state}", fix="Wait for its end." if waiting else "Send it again.", value=job_id,
        retryable=waiting,
    )  # fmt: skip
