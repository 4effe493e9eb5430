"""What each backend of an executor has done, and what it has to do now, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counters of one backend since the executor was made; results from a cache are not in it.

    Args:
        jobs: That delivered their results.
        requests: In these jobs.
        circuits: Samples of these requests: a request for 32 rows of data is 32 circuits.
        shots: Measurements in these jobs, over all samples.
        seconds: Between sending a job and having its results, jobs that failed included.
        failures: Jobs that failed, retried or not.
        retries: Jobs sent again.
        joined: Requests that were answered by an equal one already queued or running.
        seconds_by_qubits: The seconds of jobs that delivered, by the width of their circuits; the time of a job is
            shared out by the work of its requests.
        failures_by_type: The failures, by the name of their error.
    """

    jobs: int = 0
    requests: int = 0
    circuits: int = 0
    shots: int = 0
    seconds: float = 0.0
    failures: int = 0
    retries: int = 0
    joined: int = 0
    seconds_by_qubits: Mapping[int, float] = field(default_factory=dict)
    failures_by_type: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one backend has to do at this moment.

    Args:
        blocked: Requests whose callers wait for room in the queue.
        queued: Requests in the queue, at most its limit.
        running: Requests in jobs, those that wait for a retry included.
        jobs: Jobs under way.
    """

    blocked: int
    queued: int
    running: int
    jobs: int
