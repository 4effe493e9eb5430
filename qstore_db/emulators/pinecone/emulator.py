"""The emulator: a control plane and a server for each index, all on the loopback interface."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from qstore_db.emulators.pinecone.faults import Fault, FaultKind
from qstore_db.emulators.pinecone.index import MAX_REQUEST_BYTES, METRICS, EmulatedIndex
from qstore_db.emulators.pinecone.metadata import Refused
from qstore_db.errors import AlreadyExistsError, InvalidArgumentError
from qstore_db.loopback_server import Answer, LoopbackServer, NoAnswer, Request

DEFAULT_KEY: Final = "emulated"
MAX_DIMENSION: Final = 20_000
_KEPT_REQUESTS: Final = 10_000


class PineconeEmulator:
    """Answers Pinecone's SDK from memory: indexes, vectors, namespaces, exact search. A context manager.

        with PineconeEmulator() as emulator:
            emulator.create_index("items", dimension=4, metric="cosine")
            collection.sync("items", host=emulator.url, api_key=emulator.key)

    What it refuses, Pinecone refuses. What it does not have: sparse vectors, integrated embedding, backups, imports.
    It listens on ``127.0.0.1`` only and keeps nothing.

    Args:
        key: The API key that it takes.
        delay_seconds: How far reads may be behind writes; each read draws how far it is.
        port: Of the control plane; 0 takes a free one.
        clock: Seconds, never falling.
        seed: Of how far reads are behind.

    Attributes:
        key: As given.
        faults: What is still to go wrong; each is used up by the first request that it fits.
        requests: Method and path of the last 10,000 requests, in the order in which they came.
        on_request: Called with each request before it is answered; for tests.

    Raises:
        InvalidArgumentError: The key is empty or the delay negative.
        OSError: The port is taken.
    """

    def __init__(
        self,
        *,
        key: str = DEFAULT_KEY,
        delay_seconds: float = 0.0,
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
        seed: int = 0,
    ) -> None:
        if not key or not delay_seconds >= 0:
            raise InvalidArgumentError(
                f"key {key!r} and delay_seconds {delay_seconds!r} are no emulator's",
                fix="Give a key, and seconds that are at least 0.",
                value=delay_seconds,
            )
        self.key = key
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.on_request: Callable[[Request], None] | None = None
        self._delay_seconds = delay_seconds
        self._clock = clock
        self._rng = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._indexes: dict[str, tuple[EmulatedIndex, LoopbackServer]] = {}
        self._control = LoopbackServer(lambda request: self._answer(request, self._control_plane), port)

    @property
    def url(self) -> str:
        """Address of the control plane: what ``Pinecone(host=…)`` and ``PINECONE_CONTROLLER_HOST`` take."""
        return self._control.url

    def create_index(self, name: str, dimension: int, metric: str = "cosine") -> EmulatedIndex:
        """Add an empty index, without a request.

        Raises:
            AlreadyExistsError: The name is taken.
            InvalidArgumentError: The dimension or the metric is none.
        """
        if metric not in METRICS or not 1 <= dimension <= MAX_DIMENSION:
            raise InvalidArgumentError(
                f"an index of dimension {dimension} and metric {metric!r} cannot be",
                fix=f"Give 1 to {MAX_DIMENSION} and one of {', '.join(METRICS)}.",
                value=metric,
            )
        with self._lock:
            if name in self._indexes:
                raise AlreadyExistsError(f"there is an index {name!r}", fix="Use another name.", value=name)
            seed = np.random.default_rng(self._rng.integers(2**63))
            index = EmulatedIndex(dimension, metric, self._delay_seconds, self._clock, seed)
            server = LoopbackServer(lambda request: self._answer(request, index.answer))
            self._indexes[name] = (index, server)
        return index

    def index(self, name: str) -> EmulatedIndex:
        """An index, to look into it or to change it as another client would.

        Raises:
            KeyError: There is none of that name.
        """
        with self._lock:
            return self._indexes[name][0]

    def delete_index(self, name: str) -> None:
        """Remove an index.

        Raises:
            KeyError: There is none of that name.
        """
        with self._lock:
            _, server = self._indexes.pop(name)
        server.close()

    def wait(self) -> None:
        """Until it is closed by another thread, or interrupted."""
        self._closed.wait()

    def close(self) -> None:
        """Stop answering. Idempotent."""
        self._closed.set()
        with self._lock:
            servers = [server for _, server in self._indexes.values()]
            self._indexes.clear()
        for server in (*servers, self._control):
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, request: Request, plane: Callable[[Request], Answer | None]) -> Answer:
        with self._lock:
            self.requests = [*self.requests[-_KEPT_REQUESTS + 1 :], (request.method, request.path)]
            fault = next((one for one in self.faults if one.fits(request.path)), None)
            if fault is not None:
                self.faults.remove(fault)
        if self.on_request is not None:
            self.on_request(request)
        if fault is not None and fault.kind is FaultKind.STATUS:
            return _refusal(fault.status, "INJECTED", "injected", fault.headers)
        if fault is not None and fault.kind is FaultKind.SILENT:
            raise NoAnswer(fault.silence_seconds)
        answer = self._carried_out(request, plane)
        if fault is not None:
            raise NoAnswer
        return answer

    def _carried_out(self, request: Request, plane: Callable[[Request], Answer | None]) -> Answer:
        if request.headers.get("api-key") != self.key:
            return _refusal(401, "UNAUTHENTICATED", "Invalid API Key")
        if len(request.body) > MAX_REQUEST_BYTES:
            text = f"message length too large: found {len(request.body)} bytes, the limit is {MAX_REQUEST_BYTES} bytes"
            return _refusal(413, "OUT_OF_RANGE", text)
        try:
            answer = plane(request)
        except Refused as refused:
            return _refusal(400, "INVALID_ARGUMENT", str(refused))
        except (KeyError, TypeError, ValueError) as error:
            return _refusal(400, "INVALID_ARGUMENT", f"malformed request: {error!r}")
        if answer is None:
            return _refusal(404, "NOT_FOUND", f"{request.path} not found")
        return answer

    def _control_plane(self, request: Request) -> Answer | None:
        if request.path == "/indexes" and request.method == "POST":
            return self._create(request.json())
        if request.path == "/indexes" and request.method == "GET":
            with self._lock:
                return Answer(200, {"indexes": [self._described(name) for name in sorted(self._indexes)]})
        name = request.path.removeprefix("/indexes/")
        with self._lock:
            if name not in self._indexes:
                return None
            if request.method == "GET":
                return Answer(200, self._described(name))
        if request.method == "DELETE":
            self.delete_index(name)
            return Answer(202)
        return None

    def _create(self, body: Mapping[str, Any]) -> Answer:
        fields = body.get("schema", {}).get("fields", {}).values()
        asked = next((one for one in fields if one.get("type") == "dense_vector"), body)
        try:
            self.create_index(body["name"], asked["dimension"], asked.get("metric", "cosine"))
        except AlreadyExistsError as error:
            return _refusal(409, "ALREADY_EXISTS", str(error))
        except InvalidArgumentError as error:
            raise Refused(str(error)) from error
        return Answer(201, self._described(body["name"]))

    def _described(self, name: str) -> dict[str, Any]:
        """An index as both the newer and the older version of the protocol describe it."""
        index, server = self._indexes[name]
        field = {"type": "dense_vector", "dimension": index.dimension, "metric": index.metric}
        return {
            "name": name,
            "dimension": index.dimension,
            "metric": index.metric,
            "vector_type": "dense",
            "host": server.url,
            "status": {"ready": True, "state": "Ready"},
            "deletion_protection": "disabled",
            "tags": {},
            "spec": {"serverless": {"cloud": "aws", "region": "us-east-1"}},
            "deployment": {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"},
            "schema": {"fields": {"values": field}},
            "read_capacity": {
                "mode": "OnDemand",
                "status": {"state": "Ready", "current_replicas": None, "current_shards": None},
            },
        }


def _refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    body = {"error": {"code": code, "message": message}, "status": status, "code": 3, "message": message, "details": []}
    return Answer(status, body, headers or {})
