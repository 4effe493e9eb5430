"""A provider of quantum jobs in a folder: it goes on living when its client is killed, loses answers, and bills."""

import json
import threading
from collections import deque
from decimal import Decimal
from pathlib import Path

import numpy as np

from qstore_db.backends.backend import JobState, Price
from qstore_db.backends.batched import BatchedSimulator
from qstore_db.backends.capabilities import Capabilities, require_supported
from qstore_db.backends.job_payload import requests_from_text, requests_to_text
from qstore_db.backends.local import StateVectorEngine
from qstore_db.backends.request import ExecutionRequest, Reading
from qstore_db.errors import BackendFailedError, NotFoundError, SubmissionRefusedError, SubmissionUnknownError

CENT = Decimal("0.01")
CAPABILITIES = Capabilities(
    readings=frozenset({Reading.COUNTS, Reading.PROBABILITIES}),
    seeded=False,
    max_qubits=11,
    max_batch=8,
    max_jobs=4,
    amplitudes=False,
)
UNREACHABLE = BackendFailedError("no answer", retryable=True)
REFUSED = SubmissionRefusedError("too many jobs", retryable=True)
BAD_REQUEST = SubmissionRefusedError("no such device")
LOST_ON_THE_WAY_BACK = "the job arrives, its answer does not"
LOST_ON_THE_WAY_THERE = "the job does not arrive, and neither does an answer"
TAKEN_TWICE = "a library that sends again by itself"


class ScriptedProvider:
    """A remote service whose jobs are files; each call may have a fault in its script.

    Counts are drawn from the true probabilities, by a seed made of the request and of how often it was asked before: a
    run that was killed and resumed can be compared with one that was not.
    """

    def __init__(
        self,
        folder,
        *,
        capabilities=CAPABILITIES,
        slow=0,
        price=CENT,
        at_point=lambda: None,
        identity="scripted 1",
        **script,
    ):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name, self.target, self.sdk, self.identity = "scripted_remote", "qpu.scripted", "cirq", identity
        self.capabilities, self._slow, self._price = capabilities, slow, price
        self._script = {call: deque(faults) for call, faults in script.items()}
        self._point = at_point  # called before and after whatever a client could die at
        self._asked = {}
        self._lock = threading.Lock()
        self.closed = 0
        self.calls = []

    def _begin(self, call):
        with self._lock:
            self.calls.append(call)
            faults = self._script.get(call)
            fault = faults.popleft() if faults else None
        if isinstance(fault, BaseException):
            raise fault
        return fault

    def price(self, requests):
        return Price(self._price * sum(request.samples for request in requests))

    def send(self, requests, *, tag, timeout_seconds):
        assert timeout_seconds > 0
        assert len({request.shots for request in requests}) == 1
        assert sum(request.samples for request in requests) <= self.capabilities.max_batch
        for request in requests:
            require_supported(self.name, self.capabilities, request)
        self._point()
        fault = self._begin("send")
        if fault == LOST_ON_THE_WAY_THERE:
            raise SubmissionUnknownError("the connection broke")
        job_id = self._take(requests, tag)
        if fault == TAKEN_TWICE:
            self._take(requests, tag)
        self._point()
        if fault == LOST_ON_THE_WAY_BACK:
            raise SubmissionUnknownError("the connection broke")
        return job_id

    def find(self, tag, *, timeout_seconds):
        self._begin("find")
        return tuple(name for name, job in self.jobs() if job["tag"] == tag)

    def state(self, job_id, *, timeout_seconds):
        fault = self._begin("state")
        job = self._job(job_id)
        if fault is not None:
            return fault
        with self._lock:
            self._asked[job_id] = self._asked.get(job_id, 0) + 1
            early = self._asked[job_id] <= self._slow
        self._point()
        if job["cancelled"]:
            return JobState.CANCELLED
        return JobState.WAITING if early else JobState.DONE

    def fetch(self, job_id, requests, *, timeout_seconds):
        fault = self._begin("fetch")
        job = self._job(job_id)
        asked = requests_from_text(job["requests"])
        assert [one.fingerprint for one in requests] == [one.fingerprint for one in asked]
        seeded = [
            ExecutionRequest(one.circuit, shots=one.shots, weights=one.weights, data=one.data, seed=seed)
            if one.shots
            else ExecutionRequest(one.circuit, weights=one.weights, data=one.data)
            for one, seed in zip(asked, job["seeds"], strict=True)
        ]
        results = BatchedSimulator(StateVectorEngine()).run(seeded)
        self._point()
        return results if fault is None else results[:fault]

    def cancel(self, job_id, *, timeout_seconds):
        self._begin("cancel")
        path = self.folder / f"{job_id}.json"
        if not path.exists():
            return False
        with self._lock:
            if self._asked.get(job_id, 0) > self._slow:
                return False
        job = json.loads(path.read_text())
        path.write_text(json.dumps({**job, "cancelled": True}))
        return True

    def close(self):
        self.closed += 1

    # -- what a test looks at ---------------------------------------------------------------------------------------

    def jobs(self):
        """Every job that ever arrived, oldest first."""
        return [(path.stem, json.loads(path.read_text())) for path in sorted(self.folder.glob("*.json"))]

    def billed(self):
        """Fingerprints of every request that was ever paid for, sorted; one that was paid twice is in it twice."""
        return sorted(print_ for _, job in self.jobs() if not job["cancelled"] for print_ in job["fingerprints"])

    def _take(self, requests, tag):
        with self._lock:
            before = [print_ for _, job in self.jobs() for print_ in job["fingerprints"]]
            seeds = []
            for request in requests:
                drawn = np.random.SeedSequence([int(request.fingerprint[:15], 16), before.count(request.fingerprint)])
                seeds.append(int(drawn.generate_state(1)[0]))
                before.append(request.fingerprint)
            job_id = f"job-{len(self.jobs()) + 1:06d}"
            job = {
                "tag": tag,
                "requests": requests_to_text(requests),
                "fingerprints": [request.fingerprint for request in requests],
                "seeds": seeds,
                "cancelled": False,
            }
            path = self.folder / f"{job_id}.json"
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(job))
            fresh.rename(path)
            return job_id

    def _job(self, job_id):
        path = self.folder / f"{job_id}.json"
        if not path.exists():
            raise NotFoundError(f"no job {job_id}")
        return json.loads(path.read_text())
