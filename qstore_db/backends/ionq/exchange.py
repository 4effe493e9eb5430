"""One HTTP request that ends in time, and knows whether a byte of it can have left."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

Received: TypeAlias = tuple[int, str, Mapping[str, str]]
"""Status, body and headers."""


@dataclass(slots=True)
class Exchange:
    """One request on a thread of its own: the caller leaves at the deadline, whatever the network does.

    Args:
        send: Makes the request over connections of :class:`SinglePostAdapter`, and receives the answer.

    Attributes:
        connected: Whether a byte of the request can have reached the other side.
        answer: What came back, once it is there.
        failure: What kind of error ended it otherwise; empty while nothing has.
    """

    send: Callable[[], Received]
    connected: bool = field(init=False, default=False)
    answer: Received | None = field(init=False, default=None)
    failure: str = field(init=False, default="")
    _done: threading.Event = field(init=False, default_factory=threading.Event)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _abandoned: bool = field(init=False, default=False)
    _connection: socket.socket | None = field(init=False, default=None)

    def within(self, seconds: float) -> bool:
        """Makes the request; whether it ended in time. One that did not is ended."""
        threading.Thread(target=self._run, name="qstore-ionq-call", daemon=True).start()
        if self._done.wait(seconds):
            return True
        self._abandon()
        return False

    def _run(self) -> None:
        _current.exchange = self
        try:
            self.answer = self.send()
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self.failure = type(error).__name__
        finally:
            self._done.set()

    def reached(self, connection: socket.socket) -> None:
        """Notes the connection, before anything is sent; ends it if nobody waits for the answer any more."""
        with self._lock:
            if self._abandoned:
                connection.close()
                raise TimeoutError("the deadline passed while connecting")
            self.connected, self._connection = True, connection

    def _abandon(self) -> None:
        """Ends the connection, so that the thread ends too."""
        with self._lock:
            self._abandoned = True
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    exchange: Exchange | None = None


_current = _Current()


def _note(connection: Any) -> None:
    if _current.exchange is not None:
        _current.exchange.reached(connection.sock)


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _note(self)


class _SecureConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _note(self)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class SinglePostAdapter(HTTPAdapter):
    """Connections that are noted before a byte is sent; never a second attempt."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Of direct connections; called by ``requests``."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Of connections through a proxy; called by ``requests``."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
