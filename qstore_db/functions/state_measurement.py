"""Measuring a stored state: the outcome, its row in ``measurements``, and on request the collapse, in one commit."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from qstore_db.errors import InvalidArgumentError, InvalidStateError, UnknownIdError
from qstore_db.functions.group_operations import collapse_operations, group_of
from qstore_db.functions.state_operations import state_operations
from qstore_db.functions.state_reading import (
    MEASUREMENTS,
    read_state,
    require_cosine,
    require_known_contexts,
)
from qstore_db.functions.state_writing import writing
from qstore_db.states.contexts import (
    ContextsInput,
    ContextSuperposition,
    check_context_name,
    parse_superposed_context,
)
from qstore_db.states.measurement import NO, Measurement, Outcome, measure_complete, measure_named, measure_superposed
from qstore_db.states.state_record import StateRecord
from storage_engine.batch import PutRecord, WriteBatch
from storage_engine.engine import Engine
from storage_engine.snapshot import Snapshot

# Seeds are shown as 64-bit integers in SQL.
_SEED_BELOW = 1 << 63


def measure(
    engine: Engine,
    collection: str,
    record_id: str,
    context: ContextsInput | None = None,
    *,
    seed: int | None = None,
    rng: np.random.Generator | None = None,
    postselect: bool = False,
    collapse: bool = False,
) -> Measurement:
    """Measure the context register of a stored state by Born's rule, and record it.

    What each kind of measurement is, and what it leaves: :mod:`qstore_db.states.measurement`.

    Args:
        engine: The database, open for writing.
        collection: A cosine collection.
        record_id: A stored state.
        context: ``None`` for the complete measurement (the outcome is a context), a name for "is it in this context?",
            ``{name: weight}`` or pairs for "is it in this superposition?" (the outcome is ``"yes"`` or ``"no"``).
        seed: Seeds the generator, 0 ≤ seed < 2⁶³. With neither ``seed`` nor ``rng`` a fresh seed is taken from the
            operating system; it is kept, so that every measurement can be repeated.
        rng: The caller's own generator instead.
        postselect: Impose "yes" and report its probability; only with a context.
        collapse: Write the state that is left, in the same commit; its age starts now, its metadata stays.

    Returns:
        The measurement as recorded. The same state, age and seed give the same outcome.

    Raises:
        UnknownIdError: No such record.
        UnknownContextError: No state of the collection has a context named.
        InvalidStateError: The record is an ordinary row; "yes" is post-selected but has probability 0; the context is
            out of its range.
        InvalidArgumentError: ``seed`` out of range or beside ``rng``; ``postselect`` without a context.
    """
    if postselect and context is None:
        raise InvalidArgumentError("postselect needs a context", fix="name the context to post-select on")
    generator, kept_seed = generator_of(seed, rng)
    asked = _parse_context(context)
    with writing(engine) as snapshot:
        record = _stored_state(snapshot, collection, record_id, asked)
        now = engine.clock()
        group = group_of(snapshot, collection, record_id)
        if collapse and group is not None and isinstance(asked, ContextSuperposition):
            raise InvalidStateError(
                f"record {record_id!r} is entangled in the group {group.id!r}, and a superposed context says nothing"
                " about its partners",
                fix="measure without collapse, or dissolve the group first",
                value=record_id,
            )
        factor = 1.0 if group is None else 1.0 - group.strength
        outcome = _measure(record, asked, now, generator, postselect, factor)
        measurement = Measurement(
            number=next_number(snapshot),
            collection=collection,
            id=record_id,
            context=_shown(asked),
            outcome=outcome.name,
            probability=outcome.probability,
            vector=outcome.vector,
            state=outcome.state,
            postselected=postselect,
            collapsed=collapse,
            measured_at=now,
            seed=kept_seed,
        )
        batch = WriteBatch([measurement_record(measurement)])
        if collapse:
            batch.add(*state_operations(snapshot, collection, [record_id], [outcome.state], None, "update", now=now))
            # What the outcome says about entangled partners.
            context_shown = outcome.name if asked is None else asked
            if isinstance(context_shown, str):
                shown = outcome.name != NO or asked is None
                batch.add(*collapse_operations(snapshot, collection, record_id, context_shown, shown=shown))
        engine.commit(batch)
    return measurement


def _measure(
    record: StateRecord,
    asked: str | ContextSuperposition | None,
    now: float,
    rng: np.random.Generator,
    postselect: bool,
    factor: float,
) -> Outcome:
    state = record.superposition
    weight = record.coherent_weight(now)
    if asked is None:
        return measure_complete(state, rng)
    if isinstance(asked, str):
        # A "no" leaves the record in its group, whose factor is applied to whatever it is asked later: not here too.
        return measure_named(state, asked, coherent_weight=weight, rng=rng, postselect=postselect)
    return measure_superposed(state, asked, coherent_weight=factor * weight, rng=rng, postselect=postselect)


def _stored_state(
    snapshot: Snapshot, collection: str, record_id: str, asked: str | ContextSuperposition | None
) -> StateRecord:
    view = snapshot.collection(collection)
    require_cosine(view.schema)
    record = read_state(snapshot, collection, record_id)
    if record is None:
        if view.slots_of([record_id])[0] < 0:
            raise UnknownIdError(f"no record {record_id!r} in {collection!r}", fix="insert it first", value=record_id)
        raise InvalidStateError(
            f"record {record_id!r} has no contexts and cannot be measured",
            fix="insert it with contexts=[('technical', 0.6), …]",
            value=record_id,
        )
    named = () if asked is None else (asked,) if isinstance(asked, str) else asked.contexts
    unknown = [name for name in named if name not in record.superposition.contexts]
    require_known_contexts(snapshot, collection, unknown)
    return record


def _parse_context(context: ContextsInput | None) -> str | ContextSuperposition | None:
    if context is None:
        return None
    return check_context_name(context) if isinstance(context, str) else parse_superposed_context(context)


def _shown(asked: str | ContextSuperposition | None) -> str | Mapping[str, float] | None:
    if isinstance(asked, ContextSuperposition):
        return dict(zip(asked.contexts, asked.weights, strict=True))
    return asked


def generator_of(seed: int | None, rng: np.random.Generator | None) -> tuple[np.random.Generator, int | None]:
    """The generator that draws an outcome, and the seed that is kept with it.

    Raises:
        InvalidArgumentError: ``seed`` is out of range, or given beside ``rng``.
    """
    if rng is not None:
        if seed is not None:
            raise InvalidArgumentError("both seed and rng were given", fix="give one of them", value=seed)
        return rng, None
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < _SEED_BELOW:
        raise InvalidArgumentError(
            f"seed {seed!r} is out of range", fix="give an integer from 0 to 2**63 - 1", value=seed
        )
    return np.random.default_rng(int(seed)), int(seed)


def next_number(snapshot: Snapshot) -> int:
    """The number of the next measurement; the table is only ever appended to, so its length counts."""
    return len(snapshot.table(MEASUREMENTS)) + 1


def measurement_record(measurement: Measurement) -> PutRecord:
    """Its row."""
    context = measurement.context
    return PutRecord(
        MEASUREMENTS,
        f"{measurement.number:012d}",
        {
            "collection": measurement.collection,
            "id": measurement.id,
            # A superposed context as JSON text, so that a column of text holds all three kinds.
            "context": json.dumps(context, ensure_ascii=False) if isinstance(context, Mapping) else context,
            "superposed": isinstance(context, Mapping),
            "outcome": measurement.outcome,
            "probability": measurement.probability,
            "postselected": measurement.postselected,
            "collapsed": measurement.collapsed,
            "measured_at": measurement.measured_at,
            "seed": measurement.seed,
        },
        must_be_new=True,
    )
