"""Which request asks for what: the paths of the protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from qstore_db.backends.ionq.targets import TARGETS
from qstore_db.emulators.ionq.job import RequestRefusedError, stamp
from qstore_db.emulators.ionq.job_store import PAGE, JobStore, estimate


@dataclass(frozen=True, slots=True)
class Asked:
    """A request without its path.

    Args:
        query: Of the address; the last value of each name.
        body: Parsed; empty without one.
        failure: Why a job that it sends is to fail.
    """

    query: Mapping[str, str]
    body: Mapping[str, object]
    failure: str | None


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of request.

    Args:
        method: Of the request.
        pattern: A regular expression that the whole path below the version matches.
        action: The store, what the groups of the pattern matched, and what was asked, to the answer.
        public: Whether it is answered without an API key.
    """

    method: str
    pattern: str
    action: Callable[..., object]
    public: bool = False

    def fits(self, method: str, path: str) -> tuple[str, ...] | None:
        """What the groups matched; ``None`` where it is another request."""
        found = re.fullmatch(self.pattern, path) if method == self.method else None
        return None if found is None else found.groups()


def _submit(store: JobStore, asked: Asked) -> object:
    return store.submit(asked.body, asked.failure)


def _list(store: JobStore, asked: Asked) -> object:
    limit = asked.query.get("limit", str(asked.body.get("limit", PAGE)))  # cirq-ionq sends it as a body
    if not limit.isdigit() or not 1 <= int(limit) <= 1000:
        raise RequestRefusedError(400, f"limit is {limit!r}, not from 1 to 1000")
    return store.page(asked.query.get("status"), asked.query.get("next"), int(limit))


def _backend(_store: JobStore, name: str, _asked: Asked) -> object:
    return _described(_known(name))


def _characterizations(_store: JobStore, name: str, _asked: Asked) -> object:
    return {"characterizations": [] if _known(name) == "simulator" else [_characterization(name)]}


def _known(name: str) -> str:
    if name not in TARGETS:
        raise RequestRefusedError(404, f"there is no backend {name}")
    return name


def _described(name: str) -> dict[str, object]:
    target = TARGETS[name]
    return {"backend": name, "status": "available", "qubits": target.qubits, "average_queue_time": 0, "degraded": False}


def _characterization(name: str) -> dict[str, object]:
    """Numbers of no device: a place for each that the SDKs read, connections all to all."""
    qubits = TARGETS[name].qubits
    return {
        "id": f"{name}-emulated",
        "backend": name,
        "target": name,
        "date": stamp(0.0),
        "qubits": qubits,
        "connectivity": [[one, other] for one in range(qubits) for other in range(one + 1, qubits)],
        "fidelity": {"1q": {"median": 1.0}, "2q": {"median": 1.0}, "spam": {"median": 1.0}},
        "timing": {"1q": 0.0, "2q": 0.0, "readout": 0.0, "reset": 0.0, "t1": 1.0, "t2": 1.0},
    }


_JOB: Final = r"/jobs/([\w-]+)"

ROUTES: Final = (
    Route("POST", "/jobs", _submit),
    Route("GET", "/jobs", _list),
    Route("GET", "/jobs/estimate", lambda _store, asked: estimate(asked.query)),
    Route("GET", _JOB, lambda store, job_id, _asked: store.view(job_id)),
    Route("DELETE", _JOB, lambda store, job_id, _asked: store.delete(job_id)),
    Route("PUT", f"{_JOB}/status/cancel", lambda store, job_id, _asked: store.cancel(job_id)),
    Route("GET", f"{_JOB}/cost", lambda store, job_id, _asked: store.cost(job_id)),
    Route(
        "GET",
        f"{_JOB}/results/probabilities",
        lambda store, job_id, _asked: store.probabilities(job_id, aggregated=False),
    ),
    Route(
        "GET",
        f"{_JOB}/results/probabilities/aggregated",
        lambda store, job_id, _asked: store.probabilities(job_id, aggregated=True),
    ),
    Route("GET", f"{_JOB}/results/shots", lambda store, job_id, _asked: store.shots(job_id)),
    Route("GET", "/backends", lambda _store, _asked: [_described(name) for name in TARGETS], public=True),
    Route("GET", r"/backends/([\w.-]+)", _backend, public=True),
    Route("GET", r"/backends/([\w.-]+)/characterizations", _characterizations),
    Route("GET", "/calibrations/current", lambda _store, _asked: _characterization("qpu.forte-1")),
)
"""Tried in this order."""
