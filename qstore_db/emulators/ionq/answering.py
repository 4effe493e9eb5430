"""A request of the protocol to its answer, or to what goes wrong as asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Final

from qstore_db.emulators.ionq.faults import CARRIED_OUT, Fault, FaultKind, Faults
from qstore_db.emulators.ionq.job import RequestRefusedError
from qstore_db.emulators.ionq.job_store import JobStore
from qstore_db.emulators.ionq.routes import ROUTES, Asked
from qstore_db.loopback_server import Answer, NoAnswer, Request

VERSION: Final = "/v0.4"
DRIBBLE_SECONDS: Final = 0.1
SILENCE_SECONDS: Final = 3600.0
"""After which a connection that never gets an answer ends, if its client waits so long."""

_STATUS_NAMES: Final = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Answering:
    """Answers requests; called from many threads.

    Args:
        store: The jobs.
        api_key: The one that is accepted.
    """

    __slots__ = ("_api_key", "_lock", "_requests", "_store", "faults")

    def __init__(self, store: JobStore, api_key: str) -> None:
        self._store, self._api_key = store, api_key
        self.faults = Faults()
        self._requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    @property
    def requests(self) -> tuple[tuple[str, str], ...]:
        """Method and path of every request, in the order in which they came; nothing of their headers."""
        with self._lock:
            return tuple(self._requests)

    def __call__(self, request: Request) -> Answer:
        """The answer.

        Raises:
            NoAnswer: There is none.
        """
        with self._lock:
            self._requests.append((request.method, request.path))
        path = request.path.removeprefix(VERSION)
        if (request.method, path) == ("POST", "/jobs"):
            self._store.count_post()
        fault = self.faults.take(request.method, path)
        if fault is not None and fault.kind not in CARRIED_OUT:
            return _refusal(fault)
        answer = self._carried_out(request, fault)
        return answer if fault is None else _spoilt(fault, answer)

    def _carried_out(self, request: Request, fault: Fault | None) -> Answer:
        try:
            if not request.path.startswith(f"{VERSION}/"):
                raise RequestRefusedError(404, f"{request.path} is not below {VERSION}")
            query = {name: values[-1] for name, values in request.query.items()}
            fails = fault is not None and fault.kind is FaultKind.JOB_FAILS
            asked = Asked(query, _parsed(request), "injected failure" if fails else None)
            for route in ROUTES:
                parts = route.fits(request.method, request.path.removeprefix(VERSION))
                if parts is not None:
                    if not route.public and request.headers.get("authorization") != f"apiKey {self._api_key}":
                        raise RequestRefusedError(401, "the API key is missing or wrong")
                    return Answer(200, route.action(self._store, *parts, asked))
            raise RequestRefusedError(404, f"{request.method} {request.path} is not emulated")
        except RequestRefusedError as refused:
            return Answer(refused.status, _error(refused.status, str(refused)))


def _refusal(fault: Fault) -> Answer:
    if fault.kind is FaultKind.STATUS:
        return Answer(fault.status, _error(fault.status, "injected"), fault.headers)
    raise NoAnswer(SILENCE_SECONDS if fault.kind is FaultKind.SILENT else 0.0)


def _spoilt(fault: Fault, answer: Answer) -> Answer:
    whole = json.dumps(answer.body).encode()
    match fault.kind:
        case FaultKind.LATE_ANSWER:
            raise NoAnswer(SILENCE_SECONDS)
        case FaultKind.LOST_ANSWER:
            raise NoAnswer
        case FaultKind.TRUNCATED:
            headers = {"Content-Length": str(len(whole)), "Connection": "close"}
            return Answer(answer.status, whole[: len(whole) // 2], headers)
        case FaultKind.GARBLED:
            return Answer(answer.status, b"<html>not what was asked for</html>")
        case FaultKind.DRIBBLE:
            return Answer(answer.status, whole, seconds_per_byte=DRIBBLE_SECONDS)
        case _:  # JOB_FAILS: the answer is as ever
            return answer


def _parsed(request: Request) -> Mapping[str, object]:
    try:
        parsed = request.json()
    except ValueError as error:
        raise RequestRefusedError(400, "the body is no JSON") from error
    if not isinstance(parsed, dict):
        raise RequestRefusedError(400, "the body is no JSON object")
    return parsed


def _error(status: int, message: str) -> dict[str, object]:
    return {"statusCode": status, "error": _STATUS_NAMES.get(status, "Error"), "message": message}
