"""All jobs of the emulator, their queue and what they cost."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from qstore_db.backends.ionq.pricing import PUBLISHED, price_of
from qstore_db.backends.ionq.targets import NOISE_MODELS, TARGETS
from qstore_db.circuits.circuit import Circuit
from qstore_db.emulators.ionq.devices import Devices
from qstore_db.emulators.ionq.job import EmulatedJob, RequestRefusedError, Schedule, circuits_of, shots_of

PAGE = 25
"""Jobs in one answer of the list, unless it is asked for fewer or more."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What the provider would know of a program.

    Args:
        posts: Jobs that were sent, each attempt counted, whatever became of it.
        taken: Jobs that were taken.
        billed: Jobs on devices that started, were not cancelled before and did not fail.
        dollars: Their price.
    """

    posts: int
    taken: int
    billed: int
    dollars: Decimal


class JobStore:
    """Takes jobs and knows where each stands; may be used from several threads at once.

    Each target runs one job after the other, in the order in which they came.

    Args:
        devices: What computes.
        clock: Seconds since 1970.
        compile_seconds: Between ``submitted`` and ``ready``.
        run_seconds: Between ``started`` and ``completed``.
    """

    __slots__ = ("_clock", "_compile_seconds", "_devices", "_free", "_jobs", "_lock", "_posts", "_run_seconds")

    def __init__(
        self, devices: Devices, clock: Callable[[], float], compile_seconds: float, run_seconds: float
    ) -> None:
        self._devices, self._clock = devices, clock
        self._compile_seconds, self._run_seconds = compile_seconds, run_seconds
        self._jobs: dict[str, EmulatedJob] = {}
        self._free: dict[str, float] = {}
        self._posts = 0
        self._lock = threading.RLock()

    def count_post(self) -> None:
        """Notes that a job was sent."""
        with self._lock:
            self._posts += 1

    def counters(self) -> Counters:
        """What was sent, taken and billed up to now."""
        with self._lock:
            now = self._clock()
            billed = [job for job in self._jobs.values() if job.billed(now)]
            dollars = sum((job.price for job in billed), Decimal(0))
            return Counters(self._posts, len(self._jobs), len(billed), dollars)

    def submit(self, payload: Mapping[str, object], failure: str | None = None) -> dict[str, object]:
        """Takes a job; ``POST /jobs``.

        Args:
            payload: As it was sent.
            failure: Why it is to fail on the device.

        Raises:
            RequestRefusedError: It makes no sense; status 400.
        """
        target = payload.get("backend")
        if not isinstance(target, str) or target not in TARGETS:
            raise RequestRefusedError(400, f"backend {target!r} is not one of {', '.join(TARGETS)}")
        noise, noise_seed = self._noise(payload, target)
        circuits, shots = circuits_of(payload), shots_of(payload, target)
        most = self._devices.max_qubits(target, noise)
        qubits = max(circuit.n_qubits for circuit in circuits)
        if qubits > most:
            raise RequestRefusedError(400, f"{qubits} qubits are more than the {most} of {target} here")
        with self._lock:
            number = len(self._jobs) + 1
            job = EmulatedJob(
                id=str(uuid.uuid4()),
                number=number,
                payload=payload,
                circuits=circuits,
                target=target,
                noise=noise,
                shots=shots,
                seed=(1, noise_seed) if noise_seed is not None else (0, number),
                children=tuple(str(uuid.uuid4()) for _ in circuits) if "multi" in str(payload["type"]) else (),
                schedule=self._schedule(target),
                price=_price(circuits, shots, target),
                failure=failure,
            )
            self._jobs[job.id] = job
        return {"id": job.id, "status": "submitted", "session_id": None}

    def view(self, job_id: str) -> dict[str, object]:
        """``GET /jobs/{id}``, of a job or of one of its circuits."""
        job, place = self._find(job_id)
        now = self._clock()
        return job.view(now) if place is None else job.child_view(place, now)

    def page(self, status: str | None, after: str | None, limit: int) -> dict[str, object]:
        """``GET /jobs``: the newest first, and where to go on if there are more.

        Raises:
            RequestRefusedError: ``after`` names no job; status 400.
        """
        with self._lock:
            if after is not None and after not in self._jobs:
                raise RequestRefusedError(400, f"next {after!r} is no job")
            last = len(self._jobs) + 1 if after is None else self._jobs[after].number
            now = self._clock()
            older = [job for job in reversed(self._jobs.values()) if job.number < last]
            found = [job for job in older if status in (None, job.status(now))]
            answer: dict[str, object] = {"jobs": [job.view(now) for job in found[:limit]]}
            if len(found) > limit:
                answer["next"] = found[limit - 1].id
            return answer

    def cancel(self, job_id: str) -> dict[str, object]:
        """``PUT /jobs/{id}/status/cancel``; like the provider's, it also cancels a job that is already completed."""
        job, _ = self._find(job_id)
        with self._lock:
            if job.status(self._clock()) != "failed":
                job.canceled_at = self._clock()
            return {"id": job_id, "status": job.status(self._clock())}

    def delete(self, job_id: str) -> dict[str, object]:
        """``DELETE /jobs/{id}``: its circuits and results are gone; what it cost stays."""
        job, place = self._find(job_id)
        if place is not None:
            raise RequestRefusedError(400, f"{job_id} is a circuit of the job {job.id}")
        with self._lock:
            job.deleted = True
            return {"id": job_id, "status": "deleted"}

    def probabilities(self, job_id: str, *, aggregated: bool) -> dict[str, object]:
        """``GET /jobs/{id}/results/probabilities`` and ``…/aggregated``.

        Keys are outcomes as decimal numbers, qubit 0 the lowest bit; aggregated ones are by child, in the order in
        which the circuits came.

        Raises:
            RequestRefusedError: No such results: the job is not completed, or is of the other kind; status 404.
        """
        job, place = self._completed(job_id)
        several = bool(job.children) and place is None
        if several != aggregated:
            raise RequestRefusedError(404, f"job {job_id} has {'aggregated' if several else 'no aggregated'} results")
        named = [
            {str(outcome): share for outcome, share in histogram.probabilities.items()}
            for histogram in job.histograms(self._devices)
        ]
        if several:
            return dict(zip(job.children, named, strict=True))
        return dict(named[place or 0])

    def shots(self, job_id: str) -> list[int]:
        """``GET /jobs/{id}/results/shots``: outcome after outcome.

        Raises:
            RequestRefusedError: No such results; status 404.
        """
        job, place = self._completed(job_id)
        if job.children and place is None:
            raise RequestRefusedError(404, f"shots are those of the children of {job_id}")
        return list(job.histograms(self._devices)[place or 0].shots)

    def cost(self, job_id: str) -> dict[str, object]:
        """``GET /jobs/{id}/cost``."""
        job, _ = self._find(job_id)
        dollars = {"value": float(job.price), "unit": "usd"}
        cost = dollars if job.billed(self._clock()) else {"value": 0.0, "unit": "usd"}
        return {"dry_run": False, "estimated_cost": dollars, "cost": cost}

    def _noise(self, payload: Mapping[str, object], target: str) -> tuple[str, int | None]:
        given = payload.get("noise") or {}
        if not isinstance(given, Mapping):
            raise RequestRefusedError(400, f"noise is {given!r}")
        asked, seed = given.get("model") or "ideal", given.get("seed")
        if asked not in NOISE_MODELS:
            raise RequestRefusedError(400, f"noise model {asked!r} is not one of {', '.join(NOISE_MODELS)}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise RequestRefusedError(400, f"noise seed {seed!r} is not an integer from 0")
        return self._devices.noise_of(target, str(asked)), seed

    def _schedule(self, target: str) -> Schedule:
        submitted = self._clock()
        ready = submitted + self._compile_seconds
        started = max(ready, self._free.get(target, ready))
        ended = started + self._run_seconds
        self._free[target] = ended
        return Schedule(submitted, ready, started, ended)

    def _find(self, job_id: str) -> tuple[EmulatedJob, int | None]:
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None and not job.deleted:
                return job, None
            for job in self._jobs.values():
                if job_id in job.children and not job.deleted:
                    return job, job.children.index(job_id)
        raise RequestRefusedError(404, f"there is no job {job_id}")

    def _completed(self, job_id: str) -> tuple[EmulatedJob, int | None]:
        job, place = self._find(job_id)
        status = job.status(self._clock())
        if status != "completed":
            raise RequestRefusedError(404, f"job {job_id} is {status} and has no results")
        return job, place


def estimate(query: Mapping[str, str]) -> dict[str, object]:
    """``GET /jobs/estimate``, by the price list of :mod:`~qstore_db.backends.ionq.pricing`.

    Raises:
        RequestRefusedError: A number is none, or there is no such target; status 400.
    """
    target = query.get("backend", "")
    if target not in TARGETS:
        raise RequestRefusedError(400, f"backend {target!r} is not one of {', '.join(TARGETS)}")
    numbers = {}
    for name, default in (("1q_gates", 0), ("2q_gates", 0), ("qubits", 25), ("shots", 1000)):
        text = query.get(name, str(default))
        if not text.isdigit():
            raise RequestRefusedError(400, f"{name} is {text!r}")
        numbers[name] = int(text)
    gates = numbers["1q_gates"] * PUBLISHED.one_qubit_gate + numbers["2q_gates"] * PUBLISHED.two_qubit_gate
    free = target == "simulator"
    return {
        "input_values": {"backend": target, "type": query.get("type", "ionq.circuit.v1"), **numbers,
                         "error_mitigation": query.get("error_mitigation", "false") == "true"},
        "cost_unit": "usd",
        "rate_information": {
            "job_cost_minimum": 0.0 if free else float(PUBLISHED.circuit),
            "cost_1q_gate": 0.0 if free else float(PUBLISHED.one_qubit_gate),
            "cost_2q_gate": 0.0 if free else float(PUBLISHED.two_qubit_gate),
            "organization": "emulator",
        },
        "estimated_cost": 0.0 if free else float(PUBLISHED.circuit + numbers["shots"] * gates),
        "estimated_execution_time": 0,
        "current_predicted_queue_time": 0,
    }  # fmt: skip


def _price(circuits: tuple[Circuit, ...], shots: int, target: str) -> Decimal:
    if target == "simulator":
        return Decimal(0)
    return price_of(((circuit, shots) for circuit in circuits), PUBLISHED).dollars
