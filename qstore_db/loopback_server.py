"""A threaded HTTP/1.1 server on the loopback interface, and nowhere else: under the emulators and the web page."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from qstore_db.errors import InvalidArgumentError

LOOPBACK: Final = "127.0.0.1"
MAX_BODY_BYTES: Final = 64 * 2**20
"""A longer request is not read: no emulated service takes one."""

_LOOK_SECONDS: Final = 0.05
"""How often a silent server looks whether its client left."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came.

    Args:
        method: Such as ``POST``.
        path: Decoded, without the query.
        query: Values by name.
        headers: By name in lower case.
        body: Its bytes.
    """

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body read as JSON; an empty one is an empty object.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body) if self.body else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back.

    Args:
        status: HTTP status.
        body: Bytes are sent as they are, ``None`` sends nothing, anything else goes as JSON.
        headers: Beside those of the body.
        seconds_per_byte: Above 0 sends the body byte by byte, with such a wait before each.
    """

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds_per_byte: float = 0.0


class NoAnswer(Exception):  # noqa: N818 - not an error: what a service that fails does
    """Raised by a service to end the connection without a word.

    Args:
        after_seconds: For how long it keeps silent before that, at most: it ends when the client leaves or the server
            closes.
    """

    def __init__(self, after_seconds: float = 0.0) -> None:
        super().__init__()
        self.after_seconds = after_seconds


class LoopbackServer:
    """Answers requests from this machine in threads of its own, until it is closed.

    Args:
        service: Gives the answer to a request; called from many threads. It may raise :class:`NoAnswer`.
        port: On ``127.0.0.1``; 0 takes a free one.

    Raises:
        InvalidArgumentError: It is no port.
        OSError: The port is taken.
    """

    def __init__(self, service: Callable[[Request], Answer], port: int = 0) -> None:
        if not 0 <= port <= 65_535:
            raise InvalidArgumentError(f"{port} is no port", fix="Give 0 to 65535.", value=port)
        self._stopping = threading.Event()
        self._server = _Server((LOOPBACK, port), _handler(service, self._stopping))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="qstore-emulator", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address, such as ``http://127.0.0.1:8080``."""
        return f"http://{LOOPBACK}:{self.port}"

    def close(self) -> None:
        """Stop listening, and end every connection, also in the middle of an answer. Idempotent."""
        self._stopping.set()
        self._server.shutdown()
        self._server.end_connections()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Notes the connection, which a client may keep open for more requests."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Called when a connection is over."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Ends all of them, and with them their threads."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # its client was quicker
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that its other end dropped concerns nobody; anything else is an error of the emulator."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _encoded(body: Any) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def _handler(service: Callable[[Request], Answer], stopping: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 65_536

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it overrides
            """Nothing: requests may hold keys."""

        def answer(self) -> None:
            try:
                answer = service(self._request())
            except NoAnswer as silence:
                self._keep_silent(silence.after_seconds)
                self._cut()
                return
            data = _encoded(answer.body)
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self._write(data, answer.seconds_per_byte)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - names that http.server looks for

        def _request(self) -> Request:
            address = urllib.parse.urlsplit(self.path)
            given = self.headers.get("Content-Length") or "0"
            if not (given.isascii() and given.isdigit() and len(given) < 10) or int(given) > MAX_BODY_BYTES:
                raise NoAnswer
            return Request(
                self.command,
                urllib.parse.unquote(address.path),
                urllib.parse.parse_qs(address.query, keep_blank_values=True),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(int(given)),
            )

        def _write(self, data: bytes, seconds_per_byte: float) -> None:
            if seconds_per_byte:
                for byte in data:
                    self.wfile.flush()
                    if stopping.wait(seconds_per_byte):
                        self.close_connection = True
                        return
                    self.wfile.write(bytes([byte]))
            else:
                self.wfile.write(data)
            self.wfile.flush()

        def _keep_silent(self, seconds: float) -> None:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0 and not stopping.is_set():
                readable, _, _ = select.select([self.connection], [], [], min(left, _LOOK_SECONDS))
                if readable and not self.connection.recv(1, socket.MSG_PEEK):
                    return  # the client left
                if readable:
                    stopping.wait(_LOOK_SECONDS)

        def _cut(self) -> None:
            self.close_connection = True
            try:
                self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # the client was quicker

    return Handler
