"""One namespace of a Pinecone index, spoken to through Pinecone's own SDK: listed, fetched, upserted, deleted from.

The only file that imports the SDK. Requests stay within Pinecone's limits, are sent again with jitter after failures
that may pass, and the SDK's errors become those of :mod:`qstore_db.errors` here. All requests used here may be sent
twice without harm. The SDK itself sends a request up to three times more, after waits of its own, which cannot be
switched off for the data plane; what is counted and timed here is its calls.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import quote, urlsplit

import numpy as np

from qstore_db.errors import (
    InvalidArgumentError,
    InvalidVectorError,
    MissingDependencyError,
    RemoteIndexError,
    UnknownIndexError,
)
from qstore_db.executor.retry import RetryPolicy
from qstore_db.sync.content import Row

if TYPE_CHECKING:
    from types import TracebackType

MAX_ROWS: Final = 1_000
"""Rows or ids in one writing request."""
MAX_REQUEST_BYTES: Final = 2_000_000
"""Of one writing request; Pinecone refuses more than 2 MB."""
MAX_FETCHED: Final = 100
"""Ids in one fetch: they travel in the address, which proxies cut."""
MAX_ADDRESS_CHARACTERS: Final = 6_000
REQUEST_SECONDS: Final = 30.0
"""How long one request may take, without what the SDK adds by sending it again."""
_ROOM: Final = 2_048  # for what surrounds the rows in a request
_DELAYS: Final = RetryPolicy(attempts=1_000, base_seconds=0.25, cap_seconds=20.0)
_RETRYABLE_STATUS: Final = frozenset({408, 429, 500, 502, 503, 504})
KEY_VARIABLE: Final = "PINECONE_API_KEY"
HOST_VARIABLE: Final = "PINECONE_CONTROLLER_HOST"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What an index is.

    Args:
        name: Its name.
        host: Where its rows are.
        dimension: Length of its vectors; ``None`` if it is sparse.
        metric: ``cosine``, ``euclidean`` or ``dotproduct``.
        vector_type: ``dense`` or ``sparse``.
    """

    name: str
    host: str
    dimension: int | None
    metric: str
    vector_type: str


class PineconeIndex:
    """An open index. Made by :meth:`connect`; a context manager; for one thread.

    Attributes:
        facts: What the index is.
        namespace: The namespace that is read and written; the default one is empty text.
        requests: How many calls of the SDK were made, those made again included.
        retries: How many were made again.
    """

    def __init__(
        self,
        client: Any,
        facts: IndexFacts,
        namespace: str,
        attempts: Attempts,
    ) -> None:
        self._client = client
        self._handle = attempts.plain(lambda: client.Index(host=facts.host))
        self._attempts = attempts
        self.facts = facts
        self.namespace = namespace

    @classmethod
    def connect(
        cls,
        index: str,
        namespace: str = "",
        *,
        api_key: str | None = None,
        host: str | None = None,
        retry_seconds: float = 60.0,
        rng: np.random.Generator | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Self:
        """Find an index and ask what it is.

        Args:
            index: Its name.
            namespace: In it.
            api_key: Otherwise that of the environment variable ``PINECONE_API_KEY``. It is kept nowhere else than in
                the SDK's client, as long as this object lives.
            host: Address of the control plane, such as that of an emulator; https, or this machine. ``None`` is
                Pinecone's own, or that of ``PINECONE_CONTROLLER_HOST``.
            retry_seconds: How long a request that fails is tried again: no call of the SDK begins later.
            rng: Of the jitter.
            clock: Seconds, never falling.
            sleep: Waits for seconds.

        Raises:
            MissingDependencyError: The SDK is not installed.
            InvalidArgumentError: There is no key, an argument is out of its range, or the address is none or would send
                the key unprotected.
            UnknownIndexError: There is no index of that name, or it is not ready.
            RemoteIndexError: Pinecone refused, or could not be reached in time.
        """
        if not index or not isinstance(index, str):
            raise InvalidArgumentError(f"the index is {index!r}", fix="Give the name of an index.", value=index)
        if not isinstance(namespace, str):
            raise InvalidArgumentError(
                f"the namespace is {namespace!r}", fix="Give text, or leave it out.", value=namespace
            )
        if not retry_seconds >= 0:
            raise InvalidArgumentError(
                f"retry_seconds is {retry_seconds!r}", fix="Give seconds, at least 0.", value=retry_seconds
            )
        _require_protected(host or os.environ.get(HOST_VARIABLE, ""))
        key = os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key
        if not key:
            raise InvalidArgumentError("there is no API key for Pinecone", fix=f"Set {KEY_VARIABLE}, or give api_key.")
        try:
            from pinecone import Pinecone, RetryConfig
        except ImportError as error:
            raise MissingDependencyError(
                "pinecone is not installed", fix="pip install 'qstore-db[pinecone]'"
            ) from error
        attempts = Attempts(index, key, retry_seconds, rng or np.random.default_rng(), clock, sleep)
        client = attempts.plain(
            lambda: Pinecone(api_key=key, host=host, timeout=REQUEST_SECONDS, retry_config=RetryConfig(max_retries=0))
        )
        try:
            found: Any = attempts.run(lambda _seconds: client.describe_index(index))
            return cls(client, _facts(found), namespace, attempts)
        except BaseException:
            client.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._handle.close()
        self._client.close()

    @property
    def requests(self) -> int:
        """How many calls of the SDK were made, those made again included."""
        return self._attempts.requests

    @property
    def retries(self) -> int:
        """How many calls of the SDK were made again."""
        return self._attempts.retries

    def ids(self) -> Iterator[list[str]]:
        """All ids, a page at a time, in the index's order. A read may be behind writes of the last seconds."""
        token: str | None = None
        while True:
            page: Any = self._attempts.run(
                lambda seconds, token=token: self._handle.list_paginated(  # type: ignore[misc]  # a bound default
                    limit=MAX_FETCHED, pagination_token=token, namespace=self.namespace, timeout=seconds
                )
            )
            yield [item.id for item in page.vectors]
            token = page.pagination.next if page.pagination is not None else None
            if not token:
                return

    def fetch(self, ids: Sequence[str]) -> dict[str, Row]:
        """Rows by id; those that are not there are left out. A read may be behind writes of the last seconds.

        Raises:
            InvalidVectorError: A row has sparse values.
            RemoteIndexError: For good.
        """
        found: dict[str, Row] = {}
        for part in _addressable(ids):
            answer: Any = self._attempts.run(
                lambda seconds, part=part: self._handle.fetch(  # type: ignore[misc]  # a bound default
                    ids=part, namespace=self.namespace, timeout=seconds
                )
            )
            for row_id, vector in answer.vectors.items():
                found[row_id] = self._row(row_id, vector)
        return found

    def upsert(self, rows: Sequence[Row]) -> None:
        """Write rows whole, in one request: those of one element of :func:`requests_of`."""
        vectors = [_sent(row) for row in rows]
        self._attempts.run(
            lambda seconds: self._handle.upsert(vectors=vectors, namespace=self.namespace, timeout=seconds)
        )

    def delete(self, ids: Sequence[str]) -> None:
        """Remove up to ``MAX_ROWS`` rows; those that are not there are passed over."""
        # Pinecone answers 404 where the namespace is gone, and its rows with it.
        with contextlib.suppress(UnknownIndexError):
            self._attempts.run(
                lambda seconds: self._handle.delete(ids=list(ids), namespace=self.namespace, timeout=seconds)
            )

    def _row(self, row_id: str, vector: Any) -> Row:
        values = np.asarray(vector.values, np.float32)
        if vector.sparse_values is not None or len(values) != self.facts.dimension:
            raise InvalidVectorError(
                f"row {row_id!r} of index {self.facts.name!r} has sparse values, which a collection has no place for",
                fix="Sync indexes of dense vectors.",
                value=row_id,
            )
        return Row(row_id, values, {name: _plain(value) for name, value in (vector.metadata or {}).items()})


class Attempts:
    """Sends a request until it succeeds, is refused for good, or its time is over.

    Args:
        index: For messages.
        key: Is taken out of messages.
        retry_seconds: From the first sending of a request on.
        rng: Of the jitter.
        clock: Seconds, never falling.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        index: str,
        key: str,
        retry_seconds: float,
        rng: np.random.Generator,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.requests = 0
        self.retries = 0
        self._index = index
        self._key = key
        self._retry_seconds = retry_seconds
        self._rng = rng
        self._clock = clock
        self._sleep = sleep

    def run(self, send: Callable[[float], _Answer]) -> _Answer:
        """What ``send`` gives, which takes the seconds that one request may last.

        Raises:
            UnknownIndexError: There is no such index.
            RemoteIndexError: It was refused, or its time is over.
        """
        end = self._clock() + self._retry_seconds
        attempt = 0
        while True:
            attempt += 1
            self.requests += 1
            try:
                return self.plain(lambda: send(min(REQUEST_SECONDS, max(1.0, end - self._clock()))))
            except RemoteIndexError as error:
                delay = _DELAYS.delay_seconds(attempt, error, self._rng)
                if delay is None or self._clock() + delay > end:
                    raise
            self.retries += 1
            self._sleep(delay)

    def plain(self, call: Callable[[], _Answer]) -> _Answer:
        """What ``call`` gives, with the SDK's errors as ours."""
        from pinecone import PineconeError

        try:
            return call()
        except PineconeError as error:
            # The SDK's own error is not chained: it holds headers, and what it says stands in ours.
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> RemoteIndexError | UnknownIndexError:
        from pinecone import ApiError, NotFoundError, PineconeConnectionError, PineconeTimeoutError

        said = str(error).replace(self._key, "***")
        what = f"Pinecone failed on index {self._index!r}: {said}"
        if isinstance(error, NotFoundError):
            return UnknownIndexError(
                f"Pinecone knows no index {self._index!r}: {said}",
                fix="Create it, or correct the name.",
                value=self._index,
            )
        passing = isinstance(error, PineconeConnectionError | PineconeTimeoutError)
        if isinstance(error, ApiError) and not passing:
            passing = error.status_code in _RETRYABLE_STATUS
            if error.status_code in (401, 403):
                return RemoteIndexError(what, fix="Check the API key and what it may do.", value=self._index)
            return RemoteIndexError(
                what,
                fix="Run the sync again later; it goes on where it was." if passing else "See what Pinecone said.",
                value=self._index,
                retryable=passing,
                retry_after_seconds=_retry_after(error.headers),
            )
        fix = "Check the network, then run the sync again; it goes on where it was." if passing else "See what it said."
        return RemoteIndexError(what, fix=fix, value=self._index, retryable=passing)


def requests_of(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows in their order, cut into requests of at most ``MAX_ROWS`` rows and ``MAX_REQUEST_BYTES``."""
    import orjson

    part: list[Row] = []
    size = _ROOM
    for row in rows:
        more = len(orjson.dumps(_sent(row))) + 1
        if part and (len(part) == MAX_ROWS or size + more > MAX_REQUEST_BYTES):
            yield part
            part, size = [], _ROOM
        part.append(row)
        size += more
    if part:
        yield part


def _sent(row: Row) -> dict[str, Any]:
    return {"id": row.id, "values": row.vector.tolist(), "metadata": dict(row.metadata)}


def _addressable(ids: Sequence[str]) -> Iterator[list[str]]:
    """Ids cut into parts that fit into an address."""
    part: list[str] = []
    size = 0
    for row_id in ids:
        more = len(quote(row_id, safe="")) + len("&ids=")
        if part and (len(part) == MAX_FETCHED or size + more > MAX_ADDRESS_CHARACTERS):
            yield part
            part, size = [], 0
        part.append(row_id)
        size += more
    if part:
        yield part


def _require_protected(host: str) -> None:
    """The SDK takes an address without a scheme for https, and of several schemes the last."""
    scheme, _, rest = host.rpartition("://")
    try:
        name = urlsplit(f"//{rest}").hostname
    except ValueError:  # a bracket without its other half
        name = None
    if host and not (name and (scheme in ("", "https") or (scheme == "http" and name in _LOOPBACK))):
        raise InvalidArgumentError(
            f"the address of Pinecone on {name!r} is none, or would send the API key unprotected",
            fix="Use https, or a service on 127.0.0.1.",
            value=name,
        )


def _facts(found: Any) -> IndexFacts:
    if not found.host or not found.status.ready:
        raise UnknownIndexError(
            f"the index {found.name!r} is not ready", fix="Wait until Pinecone has made it.", value=found.name
        )
    return IndexFacts(found.name, found.host, found.dimension, str(found.metric), str(found.vector_type))


def _retry_after(headers: Any) -> float:
    """Seconds that the server asks to wait; 0 where it does not say, or gives a date."""
    given = {name.lower(): value for name, value in (headers or {}).items()}.get("retry-after", "")
    try:
        return max(0.0, float(given))
    except ValueError:
        return 0.0


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
