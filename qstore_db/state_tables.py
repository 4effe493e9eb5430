"""The tables ``states``, ``state_contexts`` and ``measurements`` of SQL. Times are seconds since the epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from qstore_db.functions.state_reading import MEASUREMENTS, STATES
from qstore_db.states.coherence import age_seconds, is_coherent
from storage_engine.snapshot import Snapshot


class StatesTable:
    """One row per record with contexts, in the order in which they first became states.

    Args:
        clock: What ages are counted to; seconds since the epoch.
    """

    name = "states"
    schema = pa.schema(
        [
            ("collection", pa.string()),
            ("id", pa.string()),
            ("contexts", pa.int64()),
            ("shared_vector", pa.bool_()),
            ("coherence_time", pa.float64()),  # seconds, infinite where nothing dephases
            ("initial_coherence", pa.float64()),
            ("written_at", pa.float64()),
            ("age_seconds", pa.float64()),
            ("is_coherent", pa.bool_()),
        ]
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """All states at the snapshot, aged to one reading of the clock."""
        now = self._clock()
        return pa.Table.from_pylist([_state_row(state, now) for state in snapshot.table(STATES).values()], self.schema)


def _state_row(state: Mapping[str, Any], now: float) -> dict[str, Any]:
    seconds = math.inf if state["coherence_time"] is None else state["coherence_time"]
    age = age_seconds(now, state["written_at"])
    return {
        **state,
        "contexts": len(state["contexts"]),
        "coherence_time": seconds,
        "age_seconds": age,
        "is_coherent": is_coherent(age, seconds),
    }


class StateContextsTable:
    """One row per branch, by state and then in the order in which its contexts were given."""

    name = "state_contexts"
    schema = pa.schema(
        [
            ("collection", pa.string()),
            ("id", pa.string()),
            ("position", pa.int64()),  # from 0
            ("context", pa.string()),
            ("probability", pa.float64()),
            ("norm", pa.float64()),  # of the branch vector as it was given
        ]
    )

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """All branches at the snapshot."""
        found: list[dict[str, Any]] = []
        for record in snapshot.table(STATES).values():
            state: Mapping[str, Any] = record
            branches = zip(state["contexts"], state["probabilities"], state["norms"], strict=True)
            found += [
                {
                    "collection": state["collection"],
                    "id": state["id"],
                    "position": position,
                    "context": context,
                    "probability": probability,
                    "norm": norm,
                }
                for position, (context, probability, norm) in enumerate(branches)
            ]
        return pa.Table.from_pylist(found, self.schema)


class MeasurementsTable:
    """One row per measurement ever made, in order; those of deleted records stay."""

    name = "measurements"
    schema = pa.schema(
        [
            ("number", pa.int64()),  # from 1
            ("collection", pa.string()),
            ("id", pa.string()),
            ("context", pa.string()),  # null: complete; weights as JSON text where superposed
            ("superposed", pa.bool_()),
            ("outcome", pa.string()),
            ("probability", pa.float64()),
            ("postselected", pa.bool_()),
            ("collapsed", pa.bool_()),
            ("measured_at", pa.float64()),
            ("seed", pa.int64()),  # null: drawn by the caller's own generator
        ]
    )

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """All measurements at the snapshot."""
        found = [{**record, "number": int(key)} for key, record in snapshot.table(MEASUREMENTS).items()]
        return pa.Table.from_pylist(found, self.schema)


def state_tables(clock: Callable[[], float]) -> tuple[StatesTable, StateContextsTable, MeasurementsTable]:
    """The three tables, to be plugged into a query session."""
    return (StatesTable(clock), StateContextsTable(), MeasurementsTable())
