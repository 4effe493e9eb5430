"""Serves the pages of one database to the browser of this machine.

It listens on 127.0.0.1 only. Every address starts with a random word that only the printed link holds, and the Host
header must name this machine, so that no web page a user visits can ask it anything. Pages hold no script and load
nothing from elsewhere; the database is open for reading only and shows the newest commit.
"""

from __future__ import annotations

import os
import secrets
import threading
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from qstore_db.database import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, NotFoundError, QStoreError
from qstore_db.loopback_server import Answer, LoopbackServer, Request
from qstore_db.web.markup import STYLE, page
from qstore_db.web.pages import PAGES

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class WebServer:
    """The pages of a database, until it is closed.

    Args:
        path: The database directory; it must be there.
        port: On 127.0.0.1; 0 takes a free one.
        word: The word in every address; random if left out.

    Raises:
        NotADatabaseError: The path holds none.
        InvalidArgumentError: It is no port.
        OSError: The port is taken.
    """

    def __init__(self, path: str | os.PathLike[str], port: int = 0, *, word: str | None = None) -> None:
        self._db = QuantumDatabase.open(path, create=False, read_only=True)
        self._name = Path(path).resolve().name
        self._word = secrets.token_urlsafe(18) if word is None else word
        self._closed = threading.Event()
        try:
            self._server = LoopbackServer(self._answer, port)
        except (InvalidArgumentError, OSError):
            self._db.close()
            raise

    @property
    def url(self) -> str:
        """The address to open."""
        return f"{self._server.url}/{self._word}/"

    def wait(self) -> None:
        """Returns when another thread closes it, or is interrupted."""
        self._closed.wait()

    def close(self) -> None:
        """Stop, and close the database. Idempotent."""
        if not self._closed.is_set():
            self._closed.set()
            self._server.close()
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, request: Request) -> Answer:
        place = self._place(request)
        if place is None:
            return self._page(404, "Not found", "<p>Open the address that the command printed.</p>")
        if request.method != "GET":
            return self._page(405, "Not allowed", "<p>Pages are only read.</p>")
        if place == "style.css":
            return Answer(200, STYLE.encode(), {**_HEADERS, "Content-Type": "text/css; charset=utf-8"})
        made = PAGES.get(place)
        if made is None:
            return self._page(404, "Not found", "<p>There is no such page.</p>")
        try:
            self._db.refresh()
            text = made(self._db, self._name, {name: values[-1] for name, values in request.query.items()})
        except QStoreError as error:
            status = 404 if isinstance(error, NotFoundError) else 400
            return self._page(status, "Not possible", f'<p class="error">{escape(str(error))}</p>')
        return _html(200, text)

    def _place(self, request: Request) -> str | None:
        """The page asked for; None for a request that did not come by the printed address."""
        host = request.headers.get("host", "")
        port = str(self._server.port)
        if host not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            return None
        word, _, place = request.path.removeprefix("/").partition("/")
        return place if secrets.compare_digest(word.encode(), self._word.encode()) else None

    def _page(self, status: int, title: str, body: str) -> Answer:
        return _html(status, page(title, self._name, body))


def _html(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), {**_HEADERS, "Content-Type": "text/html; charset=utf-8"})
