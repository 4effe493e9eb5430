"""One HTTP exchange is one request, ends in time, and says what became of it.

The SDKs call the functions of the module ``requests``: without a deadline, and again when something fails. A
:class:`Call` has functions of the same names and stands in that module's place.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import FunctionType
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import requests

from qstore_db.backends.ionq.api_key import ApiKey
from qstore_db.backends.ionq.exchange import Exchange, Received, SinglePostAdapter
from qstore_db.errors import (
    BackendFailedError,
    InvalidArgumentError,
    NotFoundError,
    SubmissionRefusedError,
    SubmissionUnknownError,
)

MESSAGE_LENGTH: Final = 300
"""Characters of the provider's own words in a message."""

LONGEST_RETRY_AFTER: Final = 3600.0
"""Seconds; a longer wait is cut to this."""

_NOT_NOW: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""The request was not carried out; it may be asked again."""

_VERSION_ONLY: Final = re.compile(r"(/v[0-9.]+)?/?")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_NO_PROXIES: Final[Any] = {"http": None, "https": None, "all": None}
"""For this machine, whatever the environment names."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; has what the SDKs read of a ``requests.Response``.

    Args:
        status_code: From 200 to 299.
        text: Of the body.
        headers: By name, as sent.
    """

    status_code: int
    text: str
    headers: Mapping[str, str]
    ok: bool = True

    def json(self) -> Any:
        """The body; that it is JSON was checked when it came."""
        return json.loads(self.text)


class Transport:
    """The way to one provider. The key goes to its host only, over TLS unless that is this machine.

    Args:
        url: Scheme and host; a version may follow, in whose place the backend puts its own.
        key: Of the account.

    Raises:
        InvalidArgumentError: The address is none, or would send the key unprotected over a network.
    """

    __slots__ = ("_key", "origin")

    def __init__(self, url: str, key: ApiKey) -> None:
        fix = "Give an address such as https://api.ionq.co/v0.4."
        if "@" in url:  # not shown: what stands before it is a login
            raise InvalidArgumentError("the address of the service holds a login", fix=fix)
        shown = key.struck_from(url)
        try:
            parts = urlsplit(url)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # brackets without an end, or a port beyond 65,535
            is_address = False
        if not is_address:
            raise InvalidArgumentError(f"{shown!r} is no address of a service", fix=fix, value=shown)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise InvalidArgumentError(
                f"{shown!r} would send the API key unprotected",
                fix="Use https, or a service on 127.0.0.1.",
                value=shown,
            )
        if not _VERSION_ONLY.fullmatch(parts.path):
            raise InvalidArgumentError(
                f"{shown!r} has a path that would not be asked", fix="Give scheme, host and port.", value=shown
            )
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._key = key

    def within(self, timeout_seconds: float) -> Call:
        """One call of the service: all its requests share the time, which begins with the first of them.

        Raises:
            InvalidArgumentError: The time is not above 0.
        """
        if not timeout_seconds > 0:
            raise InvalidArgumentError(
                f"timeout_seconds is {timeout_seconds}", fix="Give a time above 0.", value=timeout_seconds
            )
        return Call(self.origin, self._key, timeout_seconds)


class Call:
    """The functions ``get``, ``post`` and ``put`` of ``requests``, each one request within the deadline.

    Args:
        origin: Scheme, host and port that are asked, and no other.
        key: Of the account.
        seconds: From the first request on, for all of them together; writing a job before it is sent takes none.
    """

    __slots__ = ("_deadline", "_key", "_origin", "_seconds")

    def __init__(self, origin: str, key: ApiKey, seconds: float) -> None:
        self._origin, self._key, self._seconds = origin, key, seconds
        self._deadline: float | None = None

    def get(self, url: str, **fields: Any) -> Answer:
        """Asks.

        Raises:
            NotFoundError: Status 404.
            BackendFailedError: No answer, or another status of 300 or more; retryable where asking again may help.
        """
        return self._exchange("GET", url, fields)

    def put(self, url: str, **fields: Any) -> Answer:
        """Changes; errors as for :meth:`get`."""
        return self._exchange("PUT", url, fields)

    def post(self, url: str, **fields: Any) -> Answer:
        """Sends a job.

        Raises:
            SubmissionRefusedError: It certainly was not taken.
            SubmissionUnknownError: It may have been taken.
        """
        return self._exchange("POST", url, fields)

    def _exchange(self, method: str, url: str, fields: Mapping[str, Any]) -> Answer:
        what = f"{method} {urlsplit(url).path}"
        if not url.startswith(f"{self._origin}/"):
            what = f"{url} is not an address of {self._origin}, so nothing was sent"
            self._fail(method, what, sent=False, retryable=False)
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._seconds
        remaining = self._deadline - now
        if remaining <= 0:
            self._fail(method, f"there was no time left for {what}", sent=False)
        exchange = Exchange(self._sender(method, url, fields, remaining))
        if not exchange.within(remaining):
            self._fail(method, f"{what} had no answer in time", sent=exchange.connected)
        if exchange.answer is None:
            trusted = exchange.failure != "SSLError"  # a host that cannot prove who it is will not learn to
            self._fail(method, f"{what} failed: {exchange.failure}", sent=exchange.connected, retryable=trusted)
        return self._judged(method, what, *exchange.answer)

    def _sender(self, method: str, url: str, fields: Mapping[str, Any], remaining: float) -> Callable[[], Received]:
        sent = {name: value for name, value in fields.items() if name in ("headers", "params", "json", "data")}

        def authorise(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = self._key.header()
            return request  # an explicit one: else requests would take a login from ~/.netrc

        def send() -> Received:
            with requests.Session() as session:
                session.mount("http://", SinglePostAdapter())
                session.mount("https://", SinglePostAdapter())
                answer = session.request(
                    method,
                    url,
                    auth=authorise,
                    timeout=remaining,
                    allow_redirects=False,
                    proxies=_NO_PROXIES if urlsplit(url).hostname in _LOOPBACK else None,
                    **sent,
                )
                return answer.status_code, answer.content.decode("utf-8"), dict(answer.headers)

        return send

    def _judged(self, method: str, what: str, status: int, text: str, headers: Mapping[str, str]) -> Answer:
        if status < HTTPStatus.MULTIPLE_CHOICES:
            try:
                json.loads(text)
            except (ValueError, RecursionError):  # nested without end
                self._fail(method, f"the answer to {what} is no JSON", sent=True)
            return Answer(status, text, headers)
        said = self._key.struck_from(_message(text))[:MESSAGE_LENGTH]
        description = f"{what} was answered with status {status}" + (f": {said}" if said else "")
        if method == "POST" and (status == HTTPStatus.REQUEST_TIMEOUT or _is_unclear(status)):
            raise SubmissionUnknownError(description, fix=_LOOK, value=status)
        if method != "POST" and status == HTTPStatus.NOT_FOUND:
            raise NotFoundError(description, fix="Jobs are known to the account that sent them.", value=status)
        kind = SubmissionRefusedError if method == "POST" else BackendFailedError
        raise kind(
            description,
            fix=_advice(status),
            value=status,
            retryable=status in _NOT_NOW or _is_unclear(status),
            retry_after_seconds=_retry_after(headers),
        )

    def _fail(self, method: str, what: str, *, sent: bool, retryable: bool = True) -> NoReturn:
        again = "Try again." if retryable else "Check the address and the certificates of this machine."
        if method != "POST":
            raise BackendFailedError(what, fix=again, value=what, retryable=retryable)
        if sent:
            raise SubmissionUnknownError(what, fix=_LOOK, value=what)
        raise SubmissionRefusedError(what, fix=again, value=what, retryable=retryable)


_LOOK: Final = "The job may have been taken: look for its tag before sending it again."


def with_transport(function: Callable[..., Any], call: Call) -> Callable[..., Any]:
    """An SDK's own function, unchanged but for the module ``requests``, whose place the call takes.

    Args:
        function: Written in Python in a module that imported ``requests`` by that name.
        call: Has every function of it that is used.
    """
    found: Any = function
    return FunctionType(
        found.__code__,
        {**found.__globals__, "requests": call},
        found.__name__,
        found.__defaults__,
        found.__closure__,
    )


def _is_unclear(status: int) -> bool:
    """Whether the provider failed in a way that leaves open what it did."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _NOT_NOW


def _message(text: str) -> str:
    """The provider's own words."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(said, dict):
        return ""
    return str(said.get("message") or said.get("error") or "")


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds; 0 where the provider names none. A date is not read: IonQ sends seconds."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    return min(float(text), LONGEST_RETRY_AFTER) if text.isascii() and text.isdigit() else 0.0


def _advice(status: int) -> str:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "Check the API key in IONQ_API_KEY, and what its project may do."
    if status in _NOT_NOW or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "Ask again later."
    return "Change what was asked as the message says."
