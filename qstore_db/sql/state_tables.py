"""The tables ``states``, ``state_contexts``, ``measurements`` and ``entanglement_groups`` of SQL.

Times are UTC, ages seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import pyarrow as pa

from qstore_db.functions.group_operations import entangled_groups, stored_groups
from qstore_db.functions.state_reading import MEASUREMENTS, STATES
from qstore_db.states.coherence import age_seconds, coherent_weight, is_coherent
from query.ports import SystemTable
from query.system.moments import TIME, moment
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
            ("written_at", TIME),
            ("age_seconds", pa.float64()),
            ("is_coherent", pa.bool_()),
            ("coherent_weight", pa.float64()),  # of its interference now, entanglement included
        ]
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """All states at the snapshot, aged to one reading of the clock."""
        now = self._clock()
        shares = {
            (group.collection, member): 1.0 - group.strength
            for group in stored_groups(snapshot)
            for member in group.members
        }
        found = [
            _state_row(record, now, shares.get((str(record["collection"]), str(record["id"])), 1.0))
            for record in snapshot.table(STATES).values()
        ]
        return pa.Table.from_pylist(found, self.schema)


def _state_row(state: Mapping[str, Any], now: float, share: float) -> dict[str, Any]:
    seconds = math.inf if state["coherence_time"] is None else state["coherence_time"]
    age = age_seconds(now, state["written_at"])
    return {
        **state,
        "contexts": len(state["contexts"]),
        "coherence_time": seconds,
        "written_at": moment(state["written_at"]),
        "age_seconds": age,
        "is_coherent": is_coherent(age, seconds),
        "coherent_weight": share * coherent_weight(age, seconds, state["initial_coherence"]),
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
            ("measured_at", TIME),
            ("seed", pa.int64()),  # null: drawn by the caller's own generator
        ]
    )

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """All measurements at the snapshot."""
        found = [
            {**record, "number": int(key), "measured_at": moment(float(cast(Any, record["measured_at"])))}
            for key, record in snapshot.table(MEASUREMENTS).items()
        ]
        return pa.Table.from_pylist(found, self.schema)


class EntanglementGroupsTable:
    """One row per member, groups in order of creation, members in the order in which they were named."""

    name = "entanglement_groups"
    schema = pa.schema(
        [
            ("group", pa.string()),
            ("collection", pa.string()),
            ("position", pa.int64()),
            ("id", pa.string()),
            ("correlation_strength", pa.float64()),
            ("agreement", pa.float64()),
            ("maximal_agreement", pa.float64()),
            ("propagate", pa.bool_()),
            ("created_at", TIME),
        ]
    )

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """All members of all groups at the snapshot."""
        found = [
            {
                "group": group.id,
                "collection": group.collection,
                "position": position,
                "id": member,
                "correlation_strength": group.correlation_strength,
                "agreement": group.agreement,
                "maximal_agreement": group.maximal_agreement,
                "propagate": group.propagate,
                "created_at": moment(group.created_at),
            }
            for group in entangled_groups(snapshot)
            for position, member in enumerate(group.members)
        ]
        return pa.Table.from_pylist(found, self.schema)


def state_tables(clock: Callable[[], float]) -> tuple[SystemTable, ...]:
    """The tables about states, to be plugged into a query session."""
    return (StatesTable(clock), StateContextsTable(), MeasurementsTable(), EntanglementGroupsTable())
