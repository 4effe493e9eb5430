"""Entangling stored states, ending it, and measuring a whole group at once: each call is one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qstore_db.errors import AlreadyExistsError, InvalidStateError, UnknownIdError
from qstore_db.functions.group_operations import (
    ENTANGLEMENT_GROUPS,
    EntangledGroup,
    StoredGroup,
    find_group,
    shown_group,
    stored_groups,
)
from qstore_db.functions.state_measurement import generator_of, measurement_record, next_number
from qstore_db.functions.state_operations import state_operations
from qstore_db.functions.state_reading import read_states, require_cosine
from qstore_db.functions.state_writing import writing
from qstore_db.states.entanglement import parse_strength
from qstore_db.states.measurement import Measurement, Outcome, branch_left
from qstore_db.states.state_record import StateRecord
from storage_engine.batch import WriteBatch
from storage_engine.engine import Engine
from storage_engine.snapshot import Snapshot

_MAX_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMeasurement:
    """What measuring every member of a group gave.

    Args:
        group: Its name.
        outcomes: The context that each member showed, by id.
        probability: Of this joint outcome before measuring.
        measurements: One per member, in order, as they stand in ``measurements``.
    """

    group: str
    outcomes: dict[str, str]
    probability: float
    measurements: tuple[Measurement, ...]


def create_entangled_group(
    engine: Engine,
    collection: str,
    group_id: str,
    ids: Sequence[str],
    correlation_strength: float = 1.0,
    *,
    propagate: bool = False,
) -> EntangledGroup:
    """Entangle stored states, from now on; their ages and probabilities stay.

    Args:
        engine: The database, open for writing.
        collection: A cosine collection.
        group_id: 1 to 200 characters, unique among groups.
        ids: At least two stored states, each in no other group.
        correlation_strength: r in [0, 1].
        propagate: Whether an update of one member's probabilities moves the others by r times the change.

    Returns:
        The group, with the agreement that its members can and do reach.

    Raises:
        UnknownIdError: No such record.
        InvalidStateError: A record is no state or belongs to a group; fewer than two members, or one named twice; the
            strength is out of its range; the name is malformed.
        AlreadyExistsError: There is a group of that name.
    """
    strength = parse_strength(correlation_strength)
    members = _checked_members(group_id, ids)
    with writing(engine) as snapshot:
        if group_id in snapshot.table(ENTANGLEMENT_GROUPS):
            raise AlreadyExistsError(
                f"there is an entangled group {group_id!r}", fix="choose another name, or dissolve it", value=group_id
            )
        states = _member_states(snapshot, collection, members)
        for group in stored_groups(snapshot, collection):
            taken = [member for member in members if member in group.members]
            if taken:
                raise InvalidStateError(
                    f"record {taken[0]!r} belongs to the group {group.id!r}",
                    fix="a record is in one group at a time; dissolve that one first",
                    value=taken[0],
                )
        made = StoredGroup(group_id, collection, members, strength, propagate, engine.clock())
        engine.commit(WriteBatch([made.put(new=True)]))
    return shown_group(made, states)


def dissolve_entangled_group(engine: Engine, group_id: str) -> None:
    """End a group; its members keep their own states.

    Raises:
        UnknownGroupError: There is no such group.
    """
    with writing(engine) as snapshot:
        engine.commit(WriteBatch([find_group(snapshot, group_id).remove()]))


def measure_entangled_group(
    engine: Engine,
    group_id: str,
    *,
    seed: int | None = None,
    rng: np.random.Generator | None = None,
    collapse: bool = False,
) -> GroupMeasurement:
    """Measure the contexts of all members together, by their joint law; one row in ``measurements`` for each.

    Args:
        engine: The database, open for writing.
        group_id: The group.
        seed: As in :func:`qstore_db.functions.state_measurement.measure`.
        rng: The caller's own generator instead.
        collapse: Write what is left of every member and end the group, in the same commit.

    Raises:
        UnknownGroupError: There is no such group.
        InvalidArgumentError: ``seed`` is out of range or given beside ``rng``.
    """
    generator, kept_seed = generator_of(seed, rng)
    with writing(engine) as snapshot:
        group = find_group(snapshot, group_id)
        states = read_states(snapshot, group.collection, group.members)
        law = group.law(states)
        drawn = law.draw(generator)
        now = engine.clock()
        batch = WriteBatch([group.remove()] if collapse else [])
        measurements = []
        for position, (member, context) in enumerate(zip(group.members, drawn, strict=True)):
            outcome = branch_left(states[member].superposition, context)
            measurements.append(
                _measured(group, member, outcome, next_number(snapshot) + position, now, kept_seed, collapse)
            )
            batch.add(measurement_record(measurements[-1]))
            if collapse:
                batch.add(
                    *state_operations(snapshot, group.collection, [member], [outcome.state], None, "update", now=now)
                )
        engine.commit(batch)
    return GroupMeasurement(
        group=group_id,
        outcomes=dict(zip(group.members, drawn, strict=True)),
        probability=law.probability(drawn),
        measurements=tuple(measurements),
    )


def _measured(
    group: StoredGroup, member: str, outcome: Outcome, number: int, now: float, seed: int | None, collapsed: bool
) -> Measurement:
    return Measurement(
        number=number,
        collection=group.collection,
        id=member,
        context=None,
        outcome=outcome.name,
        probability=outcome.probability,
        vector=outcome.vector,
        state=outcome.state,
        postselected=False,
        collapsed=collapsed,
        measured_at=now,
        seed=seed,
    )


def _checked_members(group_id: object, ids: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(group_id, str) or not 1 <= len(group_id) <= _MAX_NAME:
        raise InvalidStateError(
            f"{group_id!r} cannot name a group", fix=f"give a text of 1 to {_MAX_NAME} characters", value=group_id
        )
    members = (ids,) if isinstance(ids, str) else tuple(ids)
    if len(members) < 2 or len(set(members)) < len(members):
        raise InvalidStateError(
            f"{list(members)!r} are no group", fix="name at least two records, each once", value=list(members)
        )
    return members


def _member_states(snapshot: Snapshot, collection: str, members: Sequence[str]) -> dict[str, StateRecord]:
    view = snapshot.collection(collection)
    require_cosine(view.schema)
    states = read_states(snapshot, collection, members)
    for member in members:
        if member not in states:
            if view.slots_of([member])[0] < 0:
                raise UnknownIdError(f"no record {member!r} in {collection!r}", fix="insert it first", value=member)
            raise InvalidStateError(
                f"record {member!r} has no contexts",
                fix="insert it with contexts=[('technical', 0.6), …]",
                value=member,
            )
    return states
