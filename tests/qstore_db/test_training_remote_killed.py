"""A run that is killed at any moment, by kill -9, resumes to the same bits with every job billed once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from killed_runs import OPTIONS
from scripted_provider import ScriptedProvider
from scripted_training import provider_at
from small_runs import bits, metrics_of, state_of

from qstore_db.backends.job_ledger import JobStatus, counted
from qstore_db.training.job_ledger import RESULTS, all_jobs
from qstore_db.training.registry import RunStatus, find_run
from storage_engine.engine import Engine

SUPPORT = Path(__file__).resolve().parent.parent / "support"


def trained(folder, points):
    """Trains with children killed at these points; how they ended, and where the database and the provider are."""
    folder.mkdir()
    database, provider = folder / "d.qdb", folder / "provider"
    done = subprocess.run(
        [sys.executable, SUPPORT / "killed_runs.py", database, provider, json.dumps(points)],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": f"{SUPPORT}{os.pathsep}{SUPPORT.parent.parent}"},
    )
    return json.loads(done.stdout.splitlines()[-1]), database, provider


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    ends, database, provider = trained(tmp_path_factory.mktemp("runs") / "whole", [])
    assert ends == [0]
    return database, provider


# Every early point by itself, then longer and longer lives; a child that is killed at point 1 has done nothing.
LIVES = {"early": [1, 2, 3, 4, 5, 6, 7, 8], "middle": list(range(9, 60, 10)), "late": [23, 40, 61]}


@pytest.mark.parametrize("points", LIVES.values(), ids=LIVES)
def test_killed_runs_end_like_one_that_was_not_and_every_job_is_billed_once(tmp_path, whole, points):
    ends, database, provider = trained(tmp_path / "killed", points)
    assert ends[-1] == 0
    assert ends.count("killed") == len(ends) - 1
    assert len(ends) >= 4
    assert ScriptedProvider(provider).billed() == ScriptedProvider(whole[1]).billed()
    with provider_at(provider), Engine.open(database) as killed, Engine.open(whole[0]) as unharmed:
        run, other = find_run(killed.snapshot(), 1), find_run(unharmed.snapshot(), 1)
        assert run.status is RunStatus.FINISHED
        assert bits(state_of(killed, run)) == bits(state_of(unharmed, other))
        assert metrics_of(killed, run).equals(metrics_of(unharmed, other))
        assert (run.circuits, run.cost_usd, run.scores) == (other.circuits, other.cost_usd, other.scores)
        jobs = all_jobs(killed.snapshot())
        assert len({job.tag for job in jobs}) == len(jobs)
        assert {job.status for job in jobs} <= {JobStatus.DONE, JobStatus.LOST}
        arrived = {job["tag"] for _, job in ScriptedProvider(provider).jobs()}
        assert {job.tag for job in jobs if job.status is JobStatus.DONE} == arrived
        assert float(counted(jobs)) == run.cost_usd
        assert run.cost_usd <= OPTIONS["max_cost_usd"]
        assert not killed.snapshot().table(RESULTS)
