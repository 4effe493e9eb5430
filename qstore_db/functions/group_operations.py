"""Entangled groups of stored states: who belongs to one, and what a write of one member does to the others.

A group is a record of the keyed table ``entanglement_groups``. While no member has been measured away, its law follows
from the strength and the members' own probabilities; after a collapse the conditional law is kept in the record. All
operations of one event are committed together. See :mod:`qstore_db.states.entanglement` for the law.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from qstore_db.errors import UnknownGroupError
from qstore_db.functions.state_operations import state_operations
from qstore_db.functions.state_reading import read_states
from qstore_db.states.entanglement import (
    Distribution,
    JointLaw,
    followed,
    joint_law,
    maximal_agreement,
)
from qstore_db.states.state_record import StateRecord
from qstore_db.states.superposition import Superposition
from storage_engine.batch import DeleteRecord, JsonValue, Operation, PutRecord
from storage_engine.snapshot import Snapshot

ENTANGLEMENT_GROUPS = "entanglement_groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntangledGroup:
    """Records whose contexts are drawn together.

    Args:
        id: Its name.
        collection: Where the members are.
        members: Ids, in the order in which they were named.
        correlation_strength: r of r·P_max + (1 − r)·ΠP_i.
        propagate: Whether an update of one member's probabilities moves the others.
        agreement: The probability that all members show the same context, as the states are now.
        maximal_agreement: The largest one that any joint law with these marginals has.
        created_at: Seconds since the epoch.
    """

    id: str
    collection: str
    members: tuple[str, ...]
    correlation_strength: float
    propagate: bool
    agreement: float
    maximal_agreement: float
    created_at: float


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A group as its record says.

    Args:
        id: Its name.
        collection: Where the members are.
        members: Their ids.
        strength: r.
        propagate: As :class:`EntangledGroup` says.
        created_at: Seconds since the epoch.
        kept: The law after a collapse; ``None`` where it follows from the states.
    """

    id: str
    collection: str
    members: tuple[str, ...]
    strength: float
    propagate: bool
    created_at: float
    kept: JointLaw | None = None

    def law(self, states: Mapping[str, StateRecord]) -> JointLaw:
        """The joint law of the members, whose states are given by id."""
        if self.kept is not None:
            return self.kept
        return joint_law([distribution_of(states[member].superposition) for member in self.members], self.strength)

    def put(self, *, new: bool = False) -> PutRecord:
        """The operation that writes its record."""
        law = None
        if self.kept is not None:
            components = [[dict(part) for part in component] for component in self.kept.components]
            law = {"weights": list(self.kept.weights), "components": components}
        record = {
            "collection": self.collection,
            "members": list(self.members),
            "correlation_strength": self.strength,
            "propagate": self.propagate,
            "created_at": self.created_at,
            "law": law,
        }
        return PutRecord(ENTANGLEMENT_GROUPS, self.id, cast(dict[str, JsonValue], record), must_be_new=new)

    def remove(self) -> DeleteRecord:
        """The operation that removes its record."""
        return DeleteRecord(ENTANGLEMENT_GROUPS, self.id)


def entangled_groups(snapshot: Snapshot, collection: str | None = None) -> list[EntangledGroup]:
    """All groups, or those of one collection, in order of creation."""
    return [
        shown_group(group, read_states(snapshot, group.collection, group.members))
        for group in stored_groups(snapshot, collection)
    ]


def stored_groups(snapshot: Snapshot, collection: str | None = None) -> Iterator[StoredGroup]:
    """The records of all groups, or of those of one collection, in order of creation."""
    for group_id, record in snapshot.table(ENTANGLEMENT_GROUPS).items():
        if collection is None or record["collection"] == collection:
            yield _from_record(group_id, record)


def find_group(snapshot: Snapshot, group_id: str) -> StoredGroup:
    """The group of a name.

    Raises:
        UnknownGroupError: There is none; the message names those there are.
    """
    table = snapshot.table(ENTANGLEMENT_GROUPS)
    if group_id not in table:
        known = ", ".join(table)
        raise UnknownGroupError(
            f"there is no entangled group {group_id!r}",
            fix=f"the groups are: {known}" if known else "create one with create_entangled_group",
            value=group_id,
        )
    return _from_record(group_id, table[group_id])


def group_of(snapshot: Snapshot, collection: str, record_id: str) -> StoredGroup | None:
    """The group that a record belongs to."""
    return next((group for group in stored_groups(snapshot, collection) if record_id in group.members), None)


def coherence_factors(snapshot: Snapshot, collection: str) -> dict[str, float]:
    """1 − r of every entangled record, by id: the share of its own interference that its reduced state keeps."""
    return {member: 1.0 - group.strength for group in stored_groups(snapshot, collection) for member in group.members}


def collapse_operations(
    snapshot: Snapshot, collection: str, record_id: str, context: str, *, shown: bool
) -> list[Operation]:
    """What the collapse of a record does to its partners: their conditional probabilities, and the group's new law.

    A partner's age stays: learning something about it does not write it coherently anew. Where the group ends, so that
    its factor 1 − r on interference would go, the partner that is left takes it along: otherwise a measurement of one
    record would raise the interference of another, averaged over outcomes, which no measurement can do.

    Args:
        snapshot: Before the collapse.
        collection: Where the record is.
        record_id: The record.
        context: What it showed, or showed not to be in.
        shown: Which of the two.

    Returns:
        Nothing where the record is in no group. The record's own state is not among the operations.
    """
    group = group_of(snapshot, collection, record_id)
    if group is None:
        return []
    states = read_states(snapshot, collection, group.members)
    position = group.members.index(record_id)
    law = group.law(states).given(position, context, shown=shown)
    left = replace(group, kept=law)
    if shown:
        # It shows one context for sure, so it is independent of the others.
        members = (*group.members[:position], *group.members[position + 1 :])
        left = replace(group, members=members, kept=law.without(position) if members else None)
    goes_on = len(left.members) > 1
    operations: list[Operation] = []
    for index, member in enumerate(group.members):
        if index != position:
            factor = 1.0 if goes_on else 1.0 - group.strength
            operations += _moved(snapshot, collection, states[member], law.marginal(index), factor)
    operations.append(left.put() if goes_on else left.remove())
    return operations


def changed_operations(snapshot: Snapshot, collection: str, record_id: str, after: Superposition) -> list[Operation]:
    """What an update of a record's probabilities does to its group: the law follows from the states again.

    With update propagation the partners move by r times the change: a rule of this database, no physics. Partners of
    partners do not move further.
    """
    group = group_of(snapshot, collection, record_id)
    if group is None:
        return []
    states = read_states(snapshot, collection, group.members)
    before, now = distribution_of(states[record_id].superposition), distribution_of(after)
    if before == now:
        return []
    operations: list[Operation] = [replace(group, kept=None).put()] if group.kept is not None else []
    if group.propagate:
        for member in group.members:
            if member != record_id:
                state = states[member]
                partner = followed(before, now, distribution_of(state.superposition), group.strength)
                operations += _moved(snapshot, collection, state, partner)
    return operations


def leaving_operations(snapshot: Snapshot, collection: str, ids: Sequence[str]) -> list[Operation]:
    """What happens to groups when records are deleted or replaced: they leave, and a group of one ends."""
    gone = set(ids)
    operations: list[Operation] = []
    for group in stored_groups(snapshot, collection):
        members = tuple(member for member in group.members if member not in gone)
        if len(members) == len(group.members):
            continue
        law = group.kept
        for position in reversed(range(len(group.members))):
            if law is not None and len(members) > 1 and group.members[position] in gone:
                law = law.without(position)
        left = replace(group, members=members, kept=law)
        operations.append(left.put() if len(members) > 1 else left.remove())
    return operations


def distribution_of(state: Superposition) -> dict[str, float]:
    """Probability by context."""
    return dict(zip(state.contexts, state.probabilities, strict=True))


def _moved(
    snapshot: Snapshot, collection: str, record: StateRecord, distribution: Distribution, coherence_factor: float = 1.0
) -> list[Operation]:
    """Operations that give a state other probabilities for the contexts it has, with its age kept."""
    state = record.superposition
    kept = [index for index, context in enumerate(state.contexts) if distribution.get(context, 0.0) > 0]
    changed = replace(
        state,
        contexts=tuple(state.contexts[index] for index in kept),
        probabilities=tuple(distribution[state.contexts[index]] for index in kept),
        vectors=np.ascontiguousarray(state.vectors[kept]),
        initial_coherence=coherence_factor * state.initial_coherence,
    )
    same = changed.contexts == state.contexts and changed.probabilities == state.probabilities
    if same and changed.initial_coherence == state.initial_coherence:
        return []
    return state_operations(snapshot, collection, [record.id], [changed], None, "update", now=record.written_at)


def shown_group(group: StoredGroup, states: Mapping[str, StateRecord]) -> EntangledGroup:
    """A group as its users see it, from its record and its members' states."""
    marginals = [distribution_of(states[member].superposition) for member in group.members]
    return EntangledGroup(
        id=group.id,
        collection=group.collection,
        members=group.members,
        correlation_strength=group.strength,
        propagate=group.propagate,
        agreement=group.law(states).agreement(),
        maximal_agreement=maximal_agreement(marginals),
        created_at=group.created_at,
    )


def _from_record(group_id: str, record: Mapping[str, JsonValue]) -> StoredGroup:
    fields = cast(Any, record)
    law = fields["law"]
    kept = None
    if law is not None:
        kept = JointLaw(tuple(law["weights"]), tuple(tuple(component) for component in law["components"]))
    return StoredGroup(
        id=group_id,
        collection=fields["collection"],
        members=tuple(fields["members"]),
        strength=fields["correlation_strength"],
        propagate=fields["propagate"],
        created_at=fields["created_at"],
        kept=kept,
    )
