"""Runs the suites of this folder in processes of their own, and prints at the end what they counted.

``QSTORE_TEST_SCALE=50`` makes every suite so many times longer. ``QSTORE_CRASH_SEED=7`` runs one seed only.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
PROCESSES = 2
SCALE = float(os.environ.get("QSTORE_TEST_SCALE", "1"))
SEED = os.environ.get("QSTORE_CRASH_SEED")
counted = []


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.crash)
            item.add_marker(pytest.mark.timeout(300 * max(1, SCALE)))


def pytest_terminal_summary(terminalreporter):
    if counted:
        terminalreporter.section("what the crash suites counted")
        for line in counted:
            terminalreporter.write_line(line)


@pytest.fixture
def tell():
    """Add a line to what is printed at the end."""
    return counted.append


@pytest.fixture
def run_script():
    """Run a script of this folder in several processes with these arguments each; what each printed."""

    def run(script, *arguments):
        # Sets of names are walked through here and there: with a fixed hash a seed is the same run everywhere.
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(FOLDER.parent.parent)}
        children = [
            subprocess.Popen(
                [sys.executable, str(FOLDER / script), *one],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for one in arguments
        ]
        try:
            finished = [child.communicate() for child in children]
        finally:
            for child in children:
                child.kill()
        for child, (_, errors) in zip(children, finished, strict=True):
            assert child.returncode == 0, f"{script} ended with {child.returncode}:\n{errors}"
        return [output for output, _ in finished]

    return run


@pytest.fixture
def run_suite(run_script, request, record_property):
    """Run a suite over so many points in all; ``(points, counts)``. Fails with seeds and a command to replay them."""

    def run(script, points):
        points = round(points * SCALE)
        if SEED is not None:
            arguments = [["--only", SEED, "--points", str(points)]]
        else:
            arguments = [
                ["--first", str(first), "--step", str(PROCESSES), "--points", str(points // PROCESSES)]
                for first in range(PROCESSES)
            ]
        tallies = [json.loads(output) for output in run_script(script, *arguments)]
        failures = [failure for tally in tallies for failure in tally["failures"]]
        lines = [
            f"{failure}\n  replay: QSTORE_CRASH_SEED={failure['seed']} python -m pytest {request.node.nodeid}"
            for failure in failures
        ]
        assert not failures, "\n" + "\n".join(lines)
        done = sum(tally["points"] for tally in tallies)
        counts = sum((Counter(tally["counts"]) for tally in tallies), Counter())
        seconds = max(tally["seconds"] for tally in tallies)
        details = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
        counted.append(f"{script.removesuffix('.py')}: {done:,} in {seconds:.0f} s, 0 violations ({details})")
        record_property("points", done)
        record_property("counts", dict(counts))
        if SEED is not None:
            pytest.skip(f"only seed {SEED} was run; it is fine")
        assert done == points // PROCESSES * PROCESSES
        return done, counts

    return run
