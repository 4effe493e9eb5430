"""Rows, a watcher and comparisons for small training runs: what tests of options and of backends share."""

from dataclasses import dataclass

import numpy as np

from qstore_db.training import checkpoints
from qstore_db.training.metrics import read_metrics
from qstore_db.training.progress import Silence


@dataclass
class Stop(Silence):
    """Interrupts a run, like Ctrl-C, after so many steps."""

    after: int

    def stepped(self, report):
        if report.steps == self.after:
            raise KeyboardInterrupt


def rows(count, seed):
    """Two classes that a line divides, with some noise; four features."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    centres = np.array([[1.0, 0.2, 0.1, 0.3], [0.2, 1.0, 0.4, 0.1]])
    return (centres[labels] + 0.2 * rng.standard_normal((count, 4))).astype(np.float32), labels


def state_of(engine, run):
    """The training state that a run's checkpoint holds."""
    return checkpoints.load(engine, run.checkpoint).state


def bits(state):
    """Every array of a state as bytes, so that equal means equal to the last bit."""
    return {name: array.tobytes() for name, array in (state.parameters | state.optimizer_state).items()}


def metrics_of(engine, run):
    """A run's metrics without what depends on the clock or on its number."""
    table = read_metrics(engine, engine.snapshot(), run.id)
    return table.drop_columns(["run_id", "time", "samples_per_second", "batch_seconds", "seconds"])
