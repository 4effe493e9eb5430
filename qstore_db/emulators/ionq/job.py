"""One job of the emulator: what was asked, when it runs, and what it gave."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from qstore_db.backends.ionq.targets import SHOTS_PER_CIRCUIT
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.interop.from_ionq import from_ionq
from qstore_db.emulators.ionq.devices import Devices, Histogram
from qstore_db.errors import InvalidCircuitError


class RequestRefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: Of the answer.
        message: For the reader.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Schedule:
    """When a job changes its state, seconds of the store's clock."""

    submitted: float
    ready: float
    started: float
    ended: float


@dataclass(slots=True)
class EmulatedJob:
    """A job that was taken.

    Args:
        id: As the provider gives it.
        number: From 1, in the order in which jobs were taken.
        payload: As it was sent.
        circuits: What it runs.
        target: Where.
        noise: Name of the noise model.
        shots: Of each circuit.
        seed: Of what is drawn, beside that of the devices.
        children: Ids of its circuits; empty for a job of one circuit.
        schedule: When it runs.
        price: In dollars, when it runs.
        failure: Why it fails on the device; ``None`` when it does not.
        canceled_at: When it was cancelled.
        deleted: Whether it was deleted; it then is unknown, but was billed.
    """

    id: str
    number: int
    payload: Mapping[str, object]
    circuits: tuple[Circuit, ...]
    target: str
    noise: str
    shots: int
    seed: tuple[int, ...]
    children: tuple[str, ...]
    schedule: Schedule
    price: Decimal
    failure: str | None = None
    canceled_at: float | None = None
    deleted: bool = False
    _histograms: list[Histogram] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def status(self, now: float) -> str:
        """One of submitted, ready, started, completed, failed, canceled; IonQ's word for running is started."""
        if self.canceled_at is not None:
            return "canceled"
        if now < self.schedule.ready:
            return "submitted"
        if now < self.schedule.started:
            return "ready"
        if now < self.schedule.ended:
            return "started"
        return "completed" if self.failure is None else "failed"

    def began(self, now: float) -> bool:
        """Whether it started, and was not cancelled before."""
        return (now if self.canceled_at is None else self.canceled_at) >= self.schedule.started

    def billed(self, now: float) -> bool:
        """Whether it costs its price: it started on a device and did not fail."""
        return self.began(now) and self.failure is None and self.price > 0

    def histograms(self, devices: Devices) -> list[Histogram]:
        """What its circuits gave; computed once."""
        with self._lock:
            if self._histograms is None:
                self._histograms = devices.run(self.circuits, self.target, self.noise, self.shots, self.seed)
            return self._histograms

    def view(self, now: float) -> dict[str, object]:
        """As ``GET /jobs/{id}`` shows it."""
        status = self.status(now)
        view: dict[str, object] = {
            "id": self.id,
            "status": status,
            "type": self.payload["type"],
            "backend": self.target,
            "name": self.payload.get("name"),
            "metadata": self.payload.get("metadata") or {},
            "shots": self.shots,
            "dry_run": False,
            "noise": {"model": self.noise},
            "settings": self.payload.get("settings") or {},
            "stats": {
                "qubits": max(circuit.n_qubits for circuit in self.circuits),
                "circuits": len(self.circuits),
                "gate_counts": _gate_counts(self.circuits),
            },
            "session_id": None,
            "parent_job_id": None,
            "child_job_ids": list(self.children) or None,
            "submitted_at": stamp(self.schedule.submitted),
            "started_at": stamp(self.schedule.started) if self.began(now) else None,
            "completed_at": stamp(self.schedule.ended) if status in ("completed", "failed") else None,
            "execution_duration_ms": round(1000 * (self.schedule.ended - self.schedule.started)),
        }
        if status == "failed":
            view["failure"] = {"code": "InternalError", "error": self.failure}
        if status == "completed":
            results = f"/v0.4/jobs/{self.id}/results"
            if self.children:
                view["results"] = {"probabilities": {"url": f"{results}/probabilities/aggregated"}}
            else:
                view["results"] = {"probabilities": {"url": f"{results}/probabilities"},
                                   "shots": {"url": f"{results}/shots"}}  # fmt: skip
        return view

    def child_view(self, place: int, now: float) -> dict[str, object]:
        """The same for one of its circuits."""
        view = self.view(now)
        circuit, child = self.circuits[place], self.children[place]
        view.update(id=child, type="ionq.circuit.v1", parent_job_id=self.id, child_job_ids=None)
        view["stats"] = {"qubits": circuit.n_qubits, "circuits": 1, "gate_counts": _gate_counts([circuit])}
        if view["status"] == "completed":
            results = f"/v0.4/jobs/{child}/results"
            view["results"] = {"probabilities": {"url": f"{results}/probabilities"},
                               "shots": {"url": f"{results}/shots"}}  # fmt: skip
        return view


def circuits_of(payload: Mapping[str, object]) -> tuple[Circuit, ...]:
    """The circuits of a payload.

    Raises:
        RequestRefusedError: They make no sense; status 400.
    """
    program = payload.get("input")
    if not isinstance(program, Mapping):
        raise RequestRefusedError(400, "input is missing")
    match payload.get("type"):
        case "ionq.circuit.v1":
            programs = [program]
        case "ionq.multi-circuit.v1":
            several = program.get("circuits")
            if not isinstance(several, list) or not several:
                raise RequestRefusedError(400, "input.circuits is missing or empty")
            programs = [{**program, **one} for one in several if isinstance(one, Mapping)]
        case kind:
            raise RequestRefusedError(400, f"type {kind!r} is not emulated")
    try:
        return tuple(from_ionq(program) for program in programs)
    except InvalidCircuitError as error:
        raise RequestRefusedError(400, error.what) from error


def shots_of(payload: Mapping[str, object], target: str) -> int:
    """The shots of a payload, 100 if it names none; cirq-ionq writes the number as text.

    Raises:
        RequestRefusedError: They are out of their range; status 400.
    """
    given = payload.get("shots", 100)
    text = str(given)
    most = SHOTS_PER_CIRCUIT if target != "simulator" else 1_000_000
    if isinstance(given, bool) or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise RequestRefusedError(400, f"shots is {given!r}, not an integer from 1 to {most}")
    return int(text)


def stamp(seconds: float) -> str:
    """A moment as the provider writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _gate_counts(circuits: list[Circuit] | tuple[Circuit, ...]) -> dict[str, int]:
    arities = [len(operation.qubits) for circuit in circuits for operation in circuit.operations]
    return {"1q": arities.count(1), "2q": len(arities) - arities.count(1)}
