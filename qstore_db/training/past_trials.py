"""Finished trials as vectors in an ordinary collection, so that "past runs like this one" is a vector query.

The collection ``past_trials`` (metric l2) has a row for each finished trial of each study, written in the commit that
ends the trial; its id is ``<study>/<number>`` with six digits. A vector says what was trained how: numbers of the data
set, of the model and of the options, each scaled so that 1 is a difference that matters, and a place for each choice,
so that two different choices are 1 apart. What it does not say is how well it went; that is in the columns.

A warm start asks this collection which studies were most like a new one, and tries their best settings first.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.hyperparameters.space import Choice, Dimension, Settings, Value, generator_for
from qstore_db.models.specification import ModelSpec
from qstore_db.training.dataset import find_dataset
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registry import find_run, find_version
from qstore_db.training.studies import STUDIES, Study, Trial, report_of
from qstore_db.training.trainer import as_it_was
from storage_engine.batch import CreateCollection, Operation, PutRows
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, Metric, Role
from storage_engine.snapshot import Snapshot

PAST_TRIALS: Final = "past_trials"
DIMENSION: Final = 64
"""Places that are not used yet are 0."""

NEAR_STUDIES: Final = 3
"""How many studies a warm start learns from."""

_FORM = ("past_trials", "1")
_LOOKED_AT = 200
_APART = math.sqrt(0.5)
_CHOICES: Mapping[str, tuple[object, ...]] = {
    "kind": ("classifier", "regressor", "autoencoder"),
    "encoding": ("amplitude", "angle"),
    "reduce": ("pool", "pca", "projection", "truncate"),
    "rotations": ("ry_rz", "rx_ry_rz"),
    "entanglement": ("linear", "circular", "full"),
    "readout": ("pauli_pairs", "z"),
    "train_circuit": (True, False),
    "optimizer": ("adam", "adamw", "sgd", "rmsprop", "natural"),
    "gradient": ("auto", "adjoint", "parameter_shift", "spsa", "finite_difference", "subset"),
    "schedule": ("constant", "step", "exponential", "cosine", "plateau"),
}


def vector_of(study: Study, settings: Settings) -> NDArray[np.float32]:
    """Where a trial with these settings lies, float32 (``DIMENSION``,)."""
    return _placed(study.spec_of(settings), study.options_of(settings), study.rows, study.dimension)


def vector_of_run(engine: Engine, run_id: int) -> NDArray[np.float32]:
    """Where any training run lies, float32 (``DIMENSION``,): it need not be a trial.

    Raises:
        UnknownRunError: There is no such run.
        UnknownModelError: Its model was dropped.
        UnknownDatasetError: Its data set is gone, and so is the version that it read.
    """
    snapshot = engine.snapshot()
    run = find_run(snapshot, run_id)
    spec = find_version(snapshot, run.model, run.parent_version).spec
    with as_it_was(engine, run) as past:
        dimension = find_dataset(past.snapshot(), run.dataset).schema.dimension
    return _placed(spec, run.options, run.rows + run.validation_rows, dimension)


def _placed(spec: ModelSpec, options: TrainingOptions, rows: int, dimension: int) -> NDArray[np.float32]:
    numbers = [
        math.log2(rows) / 3,
        math.log2(dimension) / 3,
        math.log2(spec.classes or spec.outputs or spec.latent or 1),
        spec.qubits / 3,
        math.log2(spec.layers),
        math.log2(options.batch_size) / 2,
        2 * math.log10(options.learning_rate),
        math.log2(options.epochs) / 2,
        math.log10(options.shots) if options.shots else 0.0,
        2 * (options.momentum or 0.0),
        0.5 * math.log10(1 + 1e6 * (options.weight_decay or 0.0)),
    ]
    placed = [_APART * (_setting(spec, options, name) == value) for name, all_ in _CHOICES.items() for value in all_]
    found = np.zeros(DIMENSION, dtype=np.float32)
    found[: len(numbers) + len(placed)] = numbers + placed
    return found


def trial_vector(snapshot: Snapshot, study: Study, trial: Trial, now: float) -> list[Operation]:
    """The operations that add a finished trial to the collection, and make it where it is missing.

    Raises:
        InvalidArgumentError: There is another collection of that name.
    """
    operations: list[Operation] = []
    if not is_kept(snapshot):
        schema = CollectionSchema(
            name=PAST_TRIALS,
            uuid=uuid.uuid4().hex,
            dimension=DIMENSION,
            metric=Metric.L2,
            role=Role.ITEMS,
            created_at=now,
            attributes=(_FORM,),
        )
        operations.append(CreateCollection(schema))
    columns = {
        "study": study.name,
        "trial": trial.number,
        "run_id": trial.run_id,
        "kind": study.spec.kind,
        "dataset": study.dataset,
        "objective": study.objective,
        "value": trial.value,
        "settings": json.dumps(dict(trial.settings)),
    }
    rows = PutRows(
        PAST_TRIALS,
        [f"{study.name}/{trial.number:06d}"],
        vector_of(study, trial.settings)[None],
        metadata=pa.table({name: [value] for name, value in columns.items()}),
    )
    return [*operations, rows]


def is_kept(snapshot: Snapshot) -> bool:
    """Whether the collection is there.

    Raises:
        InvalidArgumentError: There is another one of that name.
    """
    if not snapshot.has_collection(PAST_TRIALS):
        return False
    if _FORM not in snapshot.collection(PAST_TRIALS).schema.attributes:
        raise InvalidArgumentError(
            f"The collection {PAST_TRIALS!r} is not the one in which searches keep their trials",
            fix="Copy its rows to another name and drop it.",
            value=PAST_TRIALS,
        )
    return True


def best_of_near_studies(snapshot: Snapshot, study: Study) -> tuple[Settings, ...]:
    """The best settings of the studies of the same kind that are nearest to a new one, nearest first.

    A study is as near as the nearest of its finished trials, to the new one's model and options. Numbers outside a
    range of the new space are moved to its ends; choices that it does not have are drawn.
    """
    if not is_kept(snapshot) or not len(snapshot.collection(PAST_TRIALS)):
        return ()
    view = snapshot.collection(PAST_TRIALS)
    same_kind = pc.fill_null(pc.equal(view.column("kind"), study.spec.kind), False).to_numpy()
    near = view.search(vector_of(study, {}), min(_LOOKED_AT, len(view)), mask=same_kind, exact=True)
    names = cast("Sequence[str]", view.metadata_at(near.slots, ["study"]).column("study").to_pylist())
    known = [name for name in dict.fromkeys(names) if name in snapshot.table(STUDIES)]
    found: list[Settings] = []
    for number, name in enumerate(known[:NEAR_STUDIES]):
        report = report_of(snapshot, name)
        if report.best is not None:
            settings = _moved(study, report.study, report.best.settings, number)
            if settings not in found:
                found.append(settings)
    return tuple(found)


def _moved(study: Study, other: Study, settings: Settings, number: int) -> dict[str, Value]:
    # Settings of another study, moved into the space of this one.
    spec, options = other.spec_of(settings), other.options_of(settings)
    drawn = study.space.drawn(generator_for(study.seed, -1 - number & 0xFFFF_FFFF))
    return {
        dimension.name: _nearest(dimension, _setting(spec, options, dimension.name), drawn[dimension.name])
        for dimension in study.space.dimensions
    }


def _nearest(dimension: Dimension, value: Value, drawn: Value) -> Value:
    if dimension.holds(value):
        return value
    if isinstance(dimension, Choice) or not isinstance(value, int | float) or isinstance(value, bool):
        return drawn
    return dimension.levels(2)[0 if value < dimension.low else -1]


def _setting(spec: ModelSpec, options: TrainingOptions, name: str) -> Value:
    return cast(Value, getattr(spec if hasattr(spec, name) else options, name))
