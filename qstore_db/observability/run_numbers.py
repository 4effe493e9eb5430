"""How runs stand, from the parts of their metrics: each part is read once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from qstore_db.training.metrics import EPOCH_STEP, Part, parts_of, read_part
from storage_engine.engine import Engine


@dataclass(slots=True)
class Numbers:
    """One run.

    Args:
        steps: Taken, as far as its metrics are written.
        epochs: Finished.
        circuits: In these steps.
        seconds_by_qubits: Of these steps, by the width of the circuit.
        step: The row of the newest step; empty before the first.
        epoch: The row of the newest epoch; empty before the first.
    """

    steps: int = 0
    epochs: int = 0
    circuits: int = 0
    seconds_by_qubits: dict[int, float] = field(default_factory=dict)
    step: Mapping[str, Any] = field(default_factory=dict)
    epoch: Mapping[str, Any] = field(default_factory=dict)

    def take(self, rows: pa.Table) -> None:
        """Count the rows of a part."""
        for row in rows.to_pylist():
            if row["step"] == EPOCH_STEP:
                self.epochs, self.epoch = max(self.epochs, row["epoch"]), row
                continue
            self.steps, self.step = max(self.steps, row["step"]), row
            self.circuits += row["circuits"] or 0
            qubits = row["qubits"] or 0
            spent = self.seconds_by_qubits.get(qubits, 0.0)
            self.seconds_by_qubits[qubits] = spent + (row["batch_seconds"] or 0.0)


class RunNumbers:
    """Numbers of runs, brought up to date when they are asked for. For many threads.

    Args:
        engine: The database; a reader's newest snapshot is used.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._known: dict[int, tuple[list[Part], Numbers]] = {}

    def of(self, run_id: int) -> Numbers:
        """A run's numbers. Cost: the parts that came since; all of them where parts were joined.

        Raises:
            DamagedError: A part's file is damaged.
        """
        with self._lock:
            snapshot = self._engine.snapshot()
            parts = parts_of(snapshot, run_id)
            seen, numbers = self._known.get(run_id, ([], Numbers()))
            if parts[: len(seen)] != seen:
                seen, numbers = [], Numbers()
            if len(parts) > len(seen):  # others may be reading those given out, and a part may be damaged
                numbers = replace(numbers, seconds_by_qubits=dict(numbers.seconds_by_qubits))
            for part in parts[len(seen) :]:
                numbers.take(read_part(self._engine, part, snapshot))
            self._known[run_id] = (parts, numbers)
            return numbers

    def forget_all_but(self, run_ids: set[int]) -> None:
        """Keep nothing of other runs."""
        with self._lock:
            self._known = {run_id: known for run_id, known in self._known.items() if run_id in run_ids}
