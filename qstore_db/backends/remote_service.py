"""The port behind which a remote provider answers: blocking calls, each bounded by its own timeout.

A service sends exactly what it is asked to send, once: it never retries, waits or remembers a job. Queueing, retrying,
matching a lost answer by its tag and paying only once are the work of whoever owns a service.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from qstore_db.backends.backend import JobState, Price
from qstore_db.backends.capabilities import Capabilities
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult


@runtime_checkable
class RemoteService(Protocol):
    """One provider, reached through one of its SDKs. May be called from several threads at once.

    Every call that asks the provider ends within ``timeout_seconds`` of its first request; writing a job before it is
    sent takes the time it takes. What they share, besides what each names:

    Raises:
        BackendFailedError: The provider could not be asked (no connection, no answer in time, an answer that makes no
            sense, a status of 400 or more). ``retryable`` says whether asking the same again may help,
            ``retry_after_seconds`` how long the provider asks to wait before that.
    """

    @property
    def name(self) -> str:
        """The backend that it becomes, such as ``"ionq_simulator"`` or ``"ionq_qpu"``."""
        ...

    @property
    def target(self) -> str:
        """The provider's own name of the device, such as ``"simulator"`` or ``"qpu.forte-1"``."""
        ...

    @property
    def sdk(self) -> str:
        """The library that speaks with the provider, such as ``"cirq"`` or ``"qiskit"``."""
        ...

    @property
    def identity(self) -> str:
        """Name, target, SDK and every setting that can change a result; never the API key."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; ``max_batch`` is the number of circuits, samples of all requests, that fit in one job."""
        ...

    def price(self, requests: Sequence[ExecutionRequest]) -> Price:
        """What a job of these requests would cost by the published price list; asks nobody."""
        ...

    def send(self, requests: Sequence[ExecutionRequest], *, tag: str, timeout_seconds: float) -> str:
        """Sends one job by exactly one POST.

        Args:
            requests: At least one, each within the capabilities, all with the same number of shots.
            tag: Travels with the job, so that :meth:`find` finds it; 1 to 40 letters, digits, ``-`` or ``_``.
            timeout_seconds: Above 0.

        Returns:
            The provider's id of the job.

        Raises:
            UnsupportedRequestError: A request is beyond the capabilities, or they do not fit into one job; nothing was
                sent.
            SubmissionRefusedError: The provider certainly did not take the job. ``retryable`` says whether sending it
                again may succeed.
            SubmissionUnknownError: The answer was lost; the job may have been taken. Ask :meth:`find` before sending
                it again.
        """
        ...

    def find(self, tag: str, *, timeout_seconds: float) -> tuple[str, ...]:
        """Ids of the provider's jobs that carry the tag, oldest first; empty when there is none.

        A job that a provider is still taking in may not be listed yet.
        """
        ...

    def state(self, job_id: str, *, timeout_seconds: float) -> JobState:
        """Where a job stands.

        Raises:
            NotFoundError: The provider knows no such job.
        """
        ...

    def fetch(
        self, job_id: str, requests: Sequence[ExecutionRequest], *, timeout_seconds: float
    ) -> tuple[ExecutionResult, ...]:
        """The results of a job that is done; may be asked again and gives the same.

        Args:
            job_id: As :meth:`send` or :meth:`find` gave it.
            requests: Those that were sent, in their order; also in a process other than the one that sent them.
            timeout_seconds: Above 0, for all the requests together that this takes.

        Raises:
            NotFoundError: The provider knows no such job.
            BackendFailedError: The job failed (not retryable; the provider's reason is in the message), was cancelled,
                or is not done yet (retryable), or its results do not fit the requests.
        """
        ...

    def cancel(self, job_id: str, *, timeout_seconds: float) -> bool:
        """Stops a job that has not begun; whether it is sure that it never runs and costs nothing.

        So it is of one that was cancelled before, where it had not begun by then. One that runs goes on: it has to be
        paid for, and its results can be fetched. One that is done, or unknown, is not an error.
        """
        ...

    def close(self) -> None:
        """Gives its connections back. Idempotent; no call may follow."""
        ...
