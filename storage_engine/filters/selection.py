"""The rows that a filter selects, worked out once and used by many searches; and a bounded memory of such."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

KEPT_SELECTIONS = 128
KEPT_BYTES = 64 << 20
_BYTES_A_SLOT = 9  # one flag, and a row number where the slot matches


class Selection:
    """Which slots of a snapshot's collection may be returned. Immutable; safe to use from several threads.

    Args:
        mask: bool of shape (slots,); whoever made it changes it no more.
        live: Which slots are live, or ``None`` for all: dead rows are never selected.

    Attributes:
        mask: bool of shape (slots,), read-only.
        count: How many slots are selected.
        prepared: What searches worked out about the selection, kept for the next one, and for what rows that holds.
    """

    __slots__ = ("count", "mask", "prepared")

    def __init__(self, mask: NDArray[np.bool_], live: NDArray[np.bool_] | None = None) -> None:
        chosen = np.ascontiguousarray(mask).view() if live is None else mask & live
        chosen.flags.writeable = False
        self.mask = chosen
        self.count = int(np.count_nonzero(chosen))
        self.prepared: tuple[object, object, object] | None = None

    def within(self, start: int, rows: int) -> tuple[NDArray[np.bool_], int]:
        """The part of the mask from a slot on, and how many slots it selects."""
        part = self.mask[start : start + rows]
        return part, self.count if rows == self.mask.shape[0] else int(np.count_nonzero(part))


class Selections:
    """The last selections of one state of a collection, by a text that says what they select.

    Bounded in number and in memory. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Selection] = OrderedDict()
        self._bytes = 0

    def find(self, key: str) -> Selection | None:
        """The selection of a key, if it is there."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def keep(self, key: str, selection: Selection) -> None:
        """Remember a selection under a key, unless it is larger than all that may be kept."""
        size = _BYTES_A_SLOT * selection.mask.shape[0]
        with self._lock:
            if key not in self._kept and size <= KEPT_BYTES:
                self._kept[key] = selection
                self._bytes += size
                while len(self._kept) > KEPT_SELECTIONS or self._bytes > KEPT_BYTES:
                    _, dropped = self._kept.popitem(last=False)
                    self._bytes -= _BYTES_A_SLOT * dropped.mask.shape[0]

    def get(self, key: str, make: Callable[[], Selection]) -> Selection:
        """The selection of a key, made if it is not there; two threads may both make it, and one is kept."""
        kept = self.find(key)
        if kept is None:
            kept = make()
            self.keep(key, kept)
        return kept
