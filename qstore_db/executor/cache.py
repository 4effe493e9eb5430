"""Which results may be used again, and under which name they are kept."""

from __future__ import annotations

from qstore_db.backends.backend import Backend
from qstore_db.backends.request import ExecutionRequest, Reading


def result_key(request: ExecutionRequest, backend: Backend) -> str | None:
    """Name under which the result of a request is kept; equal names mean equal results.

    Exact results may be used again freely. Counts are a sample: they are only used again when the very same sample is
    asked for, by its seed, on a backend that honours seeds.

    Args:
        request: What was asked.
        backend: Where.

    Returns:
        ``None`` where a new run would give, or is meant to give, another result.
    """
    if request.reading is Reading.COUNTS and (request.seed is None or not backend.capabilities.seeded):
        return None
    return f"{backend.identity} {request.fingerprint}"
