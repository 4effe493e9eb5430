"""Texts that lie one after the other in a buffer, as Python strings: a few of many, quickly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_engine import compiled_code

_BYTES_A_TEXT = 32


class Texts:
    """Reads rows of text. Immutable; safe to use from several threads.

    Args:
        offsets: int32, int64 or uint64 of shape (n + 1,), ascending, contiguous: where each text starts.
        text: UTF-8, at least as long as the last offset says.
    """

    __slots__ = ("_bytes", "_count", "_offsets", "_places", "_text", "_wide")

    def __init__(self, offsets: NDArray[Any], text: memoryview) -> None:
        self._offsets, self._text = offsets, text
        self._bytes = np.frombuffer(text, np.uint8)
        self._count = offsets.shape[0] - 1
        self._wide = offsets.dtype.itemsize == 8
        self._places = int(offsets.ctypes.data), int(self._bytes.ctypes.data)

    def at(self, rows: NDArray[np.int64]) -> list[str]:
        """The texts of rows, int64 of shape (m,), in the order given.

        Raises:
            IndexError: A row outside 0 to n - 1.
        """
        if compiled_code.process.ready and rows.flags.c_contiguous:
            joined = self._joined(rows)
            if joined is not None:
                return joined
        # as unsigned numbers negative ones are the largest, so that one pass is enough
        if len(rows) and int(rows.view(np.uint64).max()) >= self._count:
            raise IndexError(f"rows {rows.min()} to {rows.max()} are outside 0 to {self._count - 1}")
        starts, stops, text = self._offsets[rows].tolist(), self._offsets[rows + 1].tolist(), self._text
        return [str(text[start:stop], "utf-8") for start, stop in zip(starts, stops, strict=True)]

    def _joined(self, rows: NDArray[np.int64]) -> list[str] | None:
        from storage_engine.metadata.text_kernel import join_texts

        count = rows.shape[0]
        if count < 1:
            return []
        offsets, text = self._places
        room = _BYTES_A_TEXT * count
        while True:
            out = np.empty(room, np.uint8)
            written = join_texts(offsets, self._wide, text, self._count, rows, out)
            if written > 0:
                return out[:written].tobytes().decode().split("\0")
            if written == 0:  # a zero byte in a text, one text that is empty, or a row that does not exist
                return None
            room = -written


def prepare() -> None:
    """Have the compiled code ready."""
    from storage_engine.metadata.text_kernel import join_texts

    one = np.array([0, 1], np.int64)
    letter, out = np.full(1, 65, np.uint8), np.empty(8, np.uint8)
    for offsets in (one, one.astype(np.int32)):
        join_texts(
            int(offsets.ctypes.data), offsets.itemsize == 8, int(letter.ctypes.data), 1, np.zeros(1, np.int64), out
        )
