"""What was run where."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    jobs: int = 0
    requests: int = 0
    circuits: int = 0
    shots: int = 0
    seconds: float = 0.0
    failures: int = 0
    retries: int = 0
    joined: int = 0


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
