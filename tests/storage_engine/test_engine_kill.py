"""Real SIGKILLs: whatever the moment, every acknowledged commit is there, and what is there is a prefix of the history.

The work runs in a process of its own (`engine_kill_rounds.py`), so that forking it is safe.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROUNDS = 200
SCRIPT = Path(__file__).with_name("engine_kill_rounds.py")


@pytest.mark.crash
@pytest.mark.slow
def test_nothing_acknowledged_is_lost_by_kills():
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="qstore-kill-", dir=parent) as directory:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), directory, str(ROUNDS), "20"], capture_output=True, text=True, timeout=240
        )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-2000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["rounds"] == ROUNDS
    assert summary["acknowledged"] > ROUNDS
    assert summary["killed"] == ROUNDS
