"""What durable inserts are measured with: the rows, taking turns, bare writes, and the peers."""

from __future__ import annotations

import os
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ready = Callable[[], object]
"""One call with its arguments at hand."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is written."""

    name: str
    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    prices: NDArray[np.float64]

    def ids(self, first: int, count: int) -> list[str]:
        return [f"item-{row:09d}" for row in range(first, first + count)]

    def some(self, first: int, count: int) -> tuple[NDArray[np.float32], dict[str, NDArray[np.generic]]]:
        """Vectors and metadata of rows in a circle."""
        chosen = np.arange(first, first + count) % len(self.vectors)
        return self.vectors[chosen], {"label": self.labels[chosen], "price": self.prices[chosen]}


def timed(runs: dict[str, Callable[[int], Ready]], rounds: int, each: int, rows: int) -> dict[str, float]:
    """Median seconds a call; the engines take turns, ``each`` calls at a time. A run makes a call for a first row."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    done = 0
    for turn in range(rounds + 1):
        for name, run in runs.items():
            for call in [run((done + number) * rows) for number in range(each)]:
                start = time.perf_counter()
                call()
                if turn:  # the first round warms up
                    spent[name].append(time.perf_counter() - start)
        done += each
    return {name: statistics.median(times) for name, times in spent.items()}


def at_once(inserts: Sequence[Callable[[int], Ready]], first: int, each: int) -> tuple[list[float], float]:
    """Let each thread insert rows of its own: seconds of each call, and of all together."""
    spent: list[list[float]] = [[] for _ in inserts]
    start_line = threading.Barrier(len(inserts) + 1)

    def work(number: int, insert: Callable[[int], Ready]) -> None:
        calls = [insert(first + number * each + row) for row in range(each)]
        start_line.wait()
        for call in calls:
            start = time.perf_counter()
            call()
            spent[number].append(time.perf_counter() - start)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(inserts)]
    for thread in threads:
        thread.start()
    start_line.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return [second for of_thread in spent for second in of_thread], time.perf_counter() - start


BARE = ("bare append + fdatasync", "bare write over zeros + fdatasync")


class BareLog:
    """A file that is written and synced: as little as a durable write can be.

    Args:
        path: Where.
        length: Bytes a write.
        zeros: For how many writes there are zeros already; 0: each write makes the file longer.
    """

    def __init__(self, path: Path, length: int, zeros: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._data = np.random.default_rng(0).bytes(length)
        self._sync = getattr(os, "fdatasync", os.fsync)
        self._end = 0
        for write in range(zeros):
            os.pwrite(self._descriptor, bytes(length), write * length)
        os.fsync(self._descriptor)

    def run(self, row: int) -> Ready:
        return self._write

    def _write(self) -> None:
        os.pwrite(self._descriptor, self._data, self._end)
        self._end += len(self._data)
        self._sync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def bare_logs(stack: ExitStack, path: Path, length: int, writes: int) -> dict[str, Callable[[int], Ready]]:
    logs = [BareLog(path.with_suffix(f".bare{zeros}"), length, zeros) for zeros in (0, writes)]
    for log in logs:
        stack.callback(log.close)
    return {name: log.run for name, log in zip(BARE, logs, strict=True)}


class Sqlite:
    """A table with the vector as bytes; every insert a transaction of its own, synced before it returns."""

    def __init__(self, path: Path, rows: Rows) -> None:
        self._rows = rows
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=600, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, vector BLOB, label INTEGER, price REAL)"
        )

    def insert(self, row: int) -> Ready:
        vectors, metadata = self._rows.some(row, 1)
        label, price = int(metadata["label"][0]), float(metadata["price"][0])
        statement = "INSERT INTO items VALUES (?, ?, ?, ?)"
        return lambda: self._connection.execute(statement, (f"item-{row}", vectors.tobytes(), label, price))

    def close(self) -> None:
        self._connection.close()


class DuckDb:
    """A table with a FLOAT[784]; every insert a transaction of its own."""

    def __init__(self, path: Path, rows: Rows) -> None:
        import duckdb

        self._rows = rows
        self._connection = duckdb.connect(str(path))
        kinds = f"id VARCHAR PRIMARY KEY, vector FLOAT[{rows.vectors.shape[1]}], label BIGINT, price DOUBLE"
        self._connection.execute(f"CREATE TABLE items ({kinds})")

    def insert(self, row: int) -> Ready:
        vectors, metadata = self._rows.some(row, 1)
        label, price = int(metadata["label"][0]), float(metadata["price"][0])
        statement = "INSERT INTO items VALUES (?, ?, ?, ?)"
        return lambda: self._connection.execute(statement, [f"item-{row}", vectors[0].tolist(), label, price])

    def close(self) -> None:
        self._connection.close()
