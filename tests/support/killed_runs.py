"""Trains on the scripted provider in children that are killed, one after the other, until one gets to the end.

Started as a program of its own, so that it can fork: ``killed_runs.py <database> <provider> <kill points as JSON>``. A
point is the number of commits, calls to the provider and answers that the child lives through; each is met before and
after. Prints how the children ended.
"""

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from scripted_training import NAME, provider_at
from small_runs import rows

from qstore_db.backends.batched import BatchedSimulator
from qstore_db.backends.local import StateVectorEngine
from qstore_db.backends.remote_options import RemoteOptions
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.circuit import Circuit
from qstore_db.models.specification import ModelSpec
from qstore_db.training import run_jobs
from qstore_db.training.dataset import store_training_data
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registration import create_model
from qstore_db.training.registry import all_runs
from qstore_db.training.trainer import resume, train
from storage_engine.engine import Engine

OPTIONS = {
    "epochs": 2,
    "batch_size": 2,
    "gradient": "spsa",
    "backend": NAME,
    "shots": 20,
    "seed": 4,
    "validation_split": "test",
    "max_cost_usd": 50.0,
}
QUICK = RemoteOptions(timeout_seconds=0.2, grace_seconds=0.2, first_poll_seconds=0.001, longest_poll_seconds=0.05)


class Death:
    """Kills this process at the n-th point, as a power cut would."""

    def __init__(self, at):
        self._at, self._met, self._lock = at, 0, threading.Lock()

    def __call__(self):
        with self._lock:
            self._met += 1
            if self._met == self._at:
                os.kill(os.getpid(), signal.SIGKILL)


def prepare(database):
    with Engine.open(database) as engine:
        store_training_data(engine, "d", *rows(4, 0))
        store_training_data(engine, "d", *rows(2, 1), split="test")
        create_model(engine, "m", ModelSpec(qubits=2, classes=2, layers=1))


def live(database, provider, at):
    """One child: begins the run, or goes on with it."""
    death = Death(at)
    commit = Engine.commit

    def fatal(engine, batch):
        death()
        version = commit(engine, batch)
        death()
        return version

    run_jobs.TIMES = QUICK
    with provider_at(provider, at_point=death), Engine.open(database) as engine:
        Engine.commit = fatal
        runs = all_runs(engine.snapshot())
        run = resume(engine, runs[0].id) if runs else train(engine, "m", "d", TrainingOptions(**OPTIONS))
        Engine.commit = commit
        assert run.status == "finished"


def warm_up():
    """What every child would load anew is loaded before the first fork."""
    import zarr  # noqa: F401

    BatchedSimulator(StateVectorEngine()).run([ExecutionRequest(Circuit(2), shots=1, seed=0)])


def main():
    database, provider, points = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    prepare(database)
    warm_up()
    ends = []
    for at in [*points, None]:
        child = os.fork()
        if not child:
            status = 1
            try:
                live(database, provider, at)
                status = 0
            finally:
                if status:
                    traceback.print_exc()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        ends.append("killed" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
        if ends[-1] == 0:
            break
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
