"""What can go wrong between the SDK and Pinecone, one request at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """How a request goes wrong.

    ``STATUS``: it is answered with an HTTP status and not carried out. ``SILENT``: it is not carried out, and the
    answer never comes. ``LOST_ANSWER``: it is carried out, and the connection ends without an answer.
    """

    STATUS = "status"
    SILENT = "silent"
    LOST_ANSWER = "lost_answer"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, used up by the first request that it fits.

    Args:
        kind: How the request goes wrong.
        status: Of ``STATUS``.
        path: A regular expression that the whole path of the request matches.
        headers: Of the answer, such as ``Retry-After``.
        silence_seconds: How long ``SILENT`` lasts before the connection ends.
    """

    kind: FaultKind = FaultKind.STATUS
    status: int = 500
    path: str = ".*"
    headers: Mapping[str, str] = field(default_factory=dict)
    silence_seconds: float = 60.0

    def fits(self, path: str) -> bool:
        """Whether a request is the one that goes wrong."""
        return re.fullmatch(self.path, path) is not None
