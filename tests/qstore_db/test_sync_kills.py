"""A process killed in the middle of a push: the next sync sends the rest, and nothing is lost or sent for nothing."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("pinecone", reason="the extra pinecone is not installed")

from qstore_db import QuantumDatabase
from qstore_db.emulators.pinecone.emulator import PineconeEmulator

ROWS = 3_500
CHILD = """
import sys
from qstore_db import QuantumDatabase
with QuantumDatabase.open(sys.argv[1]) as db:
    db.collection("items").sync("items", "push", host=sys.argv[2], api_key="emulated")
"""


class Killer:
    """Kills the child at its n-th writing request, or after it was carried out and before it is answered."""

    def __init__(self, path, at, *, answered):
        self.child = None
        self.seen = 0
        self._path = path
        self._at = at
        self._answered = answered

    def __call__(self, request):
        if request.path != self._path or self.child is None:
            return
        self.seen += 1
        if self.seen == self._at:
            os.kill(self.child.pid, signal.SIGKILL)
            self.child.wait()
            if not self._answered:
                raise ConnectionResetError


@pytest.mark.parametrize(
    ("path", "at", "answered"),
    [
        ("/vectors/upsert", 1, False),
        ("/vectors/upsert", 3, True),
        ("/vectors/fetch", 15, False),
        ("/vectors/delete", 1, True),
    ],
)
def test_a_killed_push_is_finished_by_the_next_one(tmp_path, path, at, answered):
    rng = np.random.default_rng(at)
    with PineconeEmulator() as emulator:
        index = emulator.create_index("items", 2, "euclidean")
        with QuantumDatabase.open(tmp_path / "db") as db:
            items = db.create_collection("items", dimension=2, metric="l2")
            gone = [f"old{n}" for n in range(300)]
            items.insert(gone, np.ones((300, 2)))
            items.sync("items", "push", host=emulator.url, api_key=emulator.key)
            items.delete(gone[1:])
            items.insert([f"r{n}" for n in range(ROWS)], rng.normal(size=(ROWS, 2)))
        killer = Killer(path, at, answered=answered)
        emulator.on_request = killer
        killer.child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "db"), emulator.url])
        assert killer.child.wait(60) == -signal.SIGKILL
        emulator.on_request = None
        there = sum(name.startswith("r") for name in index.rows())

        with QuantumDatabase.open(tmp_path / "db") as db:
            items = db.collection("items")
            assert db.sql("SELECT status FROM syncs").fetchone() == ("running",)
            report = items.sync("items", "push", host=emulator.url, api_key=emulator.key)
            assert report.conflicts == []
            assert ROWS - there <= report.pushed <= ROWS - there + 1_000  # at most one request is sent twice
            rows = index.rows()
            assert sorted(rows) == sorted(["old0", *(f"r{n}" for n in range(ROWS))])
            assert all(np.array_equal(items.get(name).vector, rows[name][0]) for name in list(rows)[::50])
            assert items.sync("items", "both", host=emulator.url, api_key=emulator.key).changes.num_rows == 0
            assert db.verify() == []
