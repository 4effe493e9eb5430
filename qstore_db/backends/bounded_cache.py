"""A cache that cannot grow: least recently used out first, bounded in entries and bytes, with a time to live."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from qstore_db.errors import InvalidArgumentError

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLimits:
    """Bounds of one cache.

    Args:
        entries: At most, at least 0; 0 keeps nothing.
        size_bytes: Of all values together, at least 0.
        ttl_seconds: An entry older than this counts as absent; ``None`` for no limit.

    Raises:
        InvalidArgumentError: A bound is negative, or the time to live is not above 0.
    """

    entries: int
    size_bytes: int
    ttl_seconds: float | None = None

    def __post_init__(self) -> None:
        for name, bound in (("entries", self.entries), ("size_bytes", self.size_bytes)):
            if bound < 0:
                raise InvalidArgumentError(f"{name} is {bound}", fix=f"Give {name} as at least 0.", value=bound)
        if self.ttl_seconds is not None and not self.ttl_seconds > 0:
            raise InvalidArgumentError(
                f"ttl_seconds is {self.ttl_seconds}", fix="Give a time above 0, or None.", value=self.ttl_seconds
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """What happened in one cache since it was made, and what is in it.

    Args:
        hits: Lookups that found a value.
        misses: Lookups that did not.
        evictions: Entries that gave way to newer ones.
        expirations: Entries that were found too old.
        refusals: Values larger than the whole cache, not kept.
        entries: Now.
        size_bytes: Now.
    """

    hits: int
    misses: int
    evictions: int
    expirations: int
    refusals: int
    entries: int
    size_bytes: int


class BoundedCache(Generic[Value]):
    """A mapping from text to values that forgets. Safe for many threads; no value is computed under its lock.

    Args:
        limits: Its bounds.
        clock: Seconds, never going back.
    """

    __slots__ = ("_clock", "_entries", "_evictions", "_expirations", "_hits", "_limits", "_lock", "_misses",
                 "_refusals", "_size")  # fmt: skip

    def __init__(self, limits: CacheLimits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[Value, int, float]] = OrderedDict()
        self._size = self._hits = self._misses = self._evictions = self._expirations = self._refusals = 0

    def get(self, key: str, *, counted: bool = True) -> Value | None:
        """The value, which becomes the most recently used, or ``None``.

        Args:
            key: Its name.
            counted: Whether the lookup counts in the statistics; a second look for the same purpose does not.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and self._is_old(entry[2]):
                self._remove(key)
                self._expirations += 1
                entry = None
            if counted:
                self._hits += entry is not None
                self._misses += entry is None
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: str, value: Value, size_bytes: int) -> None:
        """Keeps a value in place of an older one of that name; a value larger than the whole cache is not kept."""
        with self._lock:
            if key in self._entries:
                self._remove(key)
            if size_bytes > self._limits.size_bytes or not self._limits.entries:
                self._refusals += 1
                return
            self._entries[key] = (value, size_bytes, self._clock())
            self._size += size_bytes
            while len(self._entries) > self._limits.entries or self._size > self._limits.size_bytes:
                self._remove(next(iter(self._entries)))
                self._evictions += 1

    def clear(self) -> None:
        """Forgets all values; the statistics go on."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def statistics(self) -> CacheStatistics:
        """What happened so far."""
        with self._lock:
            return CacheStatistics(
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                expirations=self._expirations,
                refusals=self._refusals,
                entries=len(self._entries),
                size_bytes=self._size,
            )

    def _is_old(self, since: float) -> bool:
        ttl = self._limits.ttl_seconds
        return ttl is not None and self._clock() - since >= ttl

    def _remove(self, key: str) -> None:
        self._size -= self._entries.pop(key)[1]
