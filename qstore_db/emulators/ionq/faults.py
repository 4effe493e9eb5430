"""What can go wrong between a program and a service, one request at a time."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """How a request goes wrong."""

    STATUS = "status"
    """An answer of an HTTP status; the request is not carried out."""
    SILENT = "silent"
    """The request is read and not carried out; the answer never comes."""
    RESET = "reset"
    """The request is read and not carried out; the connection ends."""
    LOST_ANSWER = "lost_answer"
    """The request is carried out; the connection ends without an answer."""
    LATE_ANSWER = "late_answer"
    """The request is carried out; the answer never comes."""
    TRUNCATED = "truncated"
    """The request is carried out; half of the answer comes, then the connection ends."""
    GARBLED = "garbled"
    """The request is carried out; the answer is no JSON."""
    DRIBBLE = "dribble"
    """The request is carried out; the body of the answer comes one byte every tenth of a second."""
    JOB_FAILS = "job_fails"
    """The job is taken, and fails on the device."""


CARRIED_OUT = frozenset(
    {
        FaultKind.LOST_ANSWER,
        FaultKind.LATE_ANSWER,
        FaultKind.TRUNCATED,
        FaultKind.GARBLED,
        FaultKind.DRIBBLE,
        FaultKind.JOB_FAILS,
    }
)
"""Kinds after which the service has done what was asked."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, used up by the first request that it fits.

    Args:
        kind: How the request goes wrong.
        method: Of the request.
        path: A regular expression that the whole path below the version matches, such as ``/jobs``.
        status: Of a ``STATUS`` fault.
        retry_after: Seconds in the header ``Retry-After`` of a ``STATUS`` fault; ``None`` leaves it out.
        location: Address in the header ``Location`` of a ``STATUS`` fault; ``None`` leaves it out.
    """

    kind: FaultKind
    method: str = "POST"
    path: str = "/jobs"
    status: int = 500
    retry_after: int | None = None
    location: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer of a ``STATUS`` fault."""
        given = {"Retry-After": self.retry_after, "Location": self.location}
        return {name: str(value) for name, value in given.items() if value is not None}

    def fits(self, method: str, path: str) -> bool:
        """Whether a request is the one that goes wrong."""
        return method == self.method and re.fullmatch(self.path, path) is not None


class Faults:
    """The faults that are still to come; may be used from several threads at once."""

    __slots__ = ("_lock", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Each goes to the first request that it fits, earlier ones first."""
        with self._lock:
            self._waiting += faults

    def take(self, method: str, path: str) -> Fault | None:
        """The first that fits this request; it is used up."""
        with self._lock:
            for place, fault in enumerate(self._waiting):
                if fault.fits(method, path):
                    return self._waiting.pop(place)
        return None

    def __len__(self) -> int:
        return len(self._waiting)
