"""Beginning a hyperparameter study: every check comes before the first trial, and the study is one commit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Final

from qstore_db.errors import AlreadyExistsError, InvalidArgumentError, QStoreError
from qstore_db.hyperparameters.pruning import pruner_named
from qstore_db.hyperparameters.sampling import sampler_named
from qstore_db.hyperparameters.space import Choice, Dimension, Settings, Space, Value
from qstore_db.training.material import gather
from qstore_db.training.options import TrainingOptions
from qstore_db.training.past_trials import best_of_near_studies, is_kept
from qstore_db.training.registration import check_model_name, creation
from qstore_db.training.registry import MODELS, find_version
from qstore_db.training.studies import OBJECTIVES, STUDIES, Study, space_of
from storage_engine.batch import WriteBatch
from storage_engine.engine import Engine
from storage_engine.history.pins import put_pin
from storage_engine.snapshot import Snapshot

DEFAULT_SPACE: Final[Mapping[str, object]] = {
    "layers": [1, 2, 3, 4, 6],
    "rotations": ["ry_rz", "rx_ry_rz"],
    "entanglement": ["linear", "circular", "full"],
    "learning_rate": {"low": 0.001, "high": 0.3, "log": True},
    "batch_size": [16, 32, 64],
}
"""What is varied where no space is given."""

HELD_OUT: Final = 0.2
"""Share of the training rows that trials are compared on, where the options name none."""

MAX_TRIALS: Final = 100_000


def begin_study(
    engine: Engine,
    model: str,
    dataset: str,
    *,
    trials: int,
    space: Mapping[str, object] | None,
    sampler: str,
    pruner: str | None,
    objective: str | None,
    options: TrainingOptions | None,
    seed: int | None,
    study: str | None,
    warm_start: bool,
) -> Study:
    """Check a search and store it; ``search_hyperparameters`` explains the arguments.

    The version of the database at which the data set is read is pinned by ``study <name>``.
    """
    engine.refuse_transaction("a hyperparameter search")
    check_trials(trials)
    searched = space_of(DEFAULT_SPACE if space is None else space)
    chosen = _options(options or TrainingOptions(), seed)
    sampler_named(sampler).check(searched)
    pruner_named(pruner)
    engine.seal()  # so that reading the pinned version needs no log
    snapshot = engine.snapshot()
    version = find_version(snapshot, model)
    material = gather(snapshot, dataset, version.spec, chosen)
    is_kept(snapshot)
    name, now = _name(snapshot, version.model, study), engine.clock()
    registering, own = creation(snapshot, name, version.spec, at=now, or_replace=False, if_not_exists=False)
    begun = Study(
        name=name,
        uuid=own.uuid,
        model=version.model,
        spec=version.spec,
        dataset=dataset,
        dataset_version=snapshot.version,
        rows=len(material.rows) + len(material.validation or ()),
        dimension=material.rows.view.schema.dimension,
        options=chosen,
        space=searched,
        sampler=sampler,
        pruner=pruner,
        objective=_objective(objective, version.spec.kind),
        seed=chosen.seed,
        trials=trials,
        created_at=now,
    )
    _check_values(begun)
    if warm_start:
        begun = dataclasses.replace(begun, enqueued=_enqueued(snapshot, begun))
    pin = put_pin(f"study {begun.name}", begun.dataset_version)
    engine.commit(WriteBatch([begun.put(new=True), pin, *registering]))
    return begun


def check_trials(trials: object) -> None:
    """Refuse what is no number of trials.

    Raises:
        InvalidArgumentError: As said.
    """
    if isinstance(trials, bool) or not isinstance(trials, int) or not 1 <= trials <= MAX_TRIALS:
        raise InvalidArgumentError(f"trials is {trials!r}", fix=f"Give 1 to {MAX_TRIALS:,}.", value=trials)


def _options(options: TrainingOptions, seed: int | None) -> TrainingOptions:
    if options.validation_split is not None:
        raise InvalidArgumentError(
            f"A search validates on rows held out of {options.split!r}, not on the split {options.validation_split!r}",
            fix="Give validation_fraction instead of validation_split; no other split is read.",
            value=options.validation_split,
        )
    return dataclasses.replace(
        options,
        validation_fraction=options.validation_fraction or HELD_OUT,
        seed=options.seed if seed is None else seed,
    )


def _objective(given: str | None, kind: str) -> str:
    if given is None:
        return "validation_accuracy" if kind == "classifier" else "validation_loss"
    if given not in OBJECTIVES or (given == "validation_accuracy" and kind != "classifier"):
        raise InvalidArgumentError(
            f"The objective of a {kind} is {given!r}",
            fix=f"Use {' or '.join(OBJECTIVES) if kind == 'classifier' else 'validation_loss'}.",
            value=given,
        )
    return given


def _name(snapshot: Snapshot, model: str, given: str | None) -> str:
    taken = {*snapshot.table(MODELS), *snapshot.table(STUDIES)}
    if given is None:
        number = 1
        while f"{model}.study{number}" in taken:
            number += 1
        given = f"{model}.study{number}"
    check_model_name(given)
    if given in taken:
        known = given in snapshot.table(STUDIES)
        raise AlreadyExistsError(
            f"There is a {'study' if known else 'model'} {given!r}",
            fix=f"Choose another name{f', or go on with db.resume_search({given!r})' if known else ''}.",
            value=given,
        )
    return given


def _check_values(study: Study) -> None:
    """Refuse a value that no trial could have.

    A value that means nothing beside the others' defaults, such as a momentum beside Adam, passes where it does beside
    a choice of one other name.
    """
    for dimension in study.space.dimensions:
        for value in _looked_at(dimension):
            refusal = _refusal(study, {dimension.name: value})
            if refusal is not None and not any(
                _refusal(study, {dimension.name: value, **beside}) is None
                for beside in _choices(study.space, dimension.name)
            ):
                raise InvalidArgumentError(
                    f"{dimension.name} = {value!r} of the space cannot be tried: {refusal.what}",
                    fix=refusal.fix,
                    value=value,
                ) from refusal


def _looked_at(dimension: Dimension) -> tuple[Value, ...]:
    return dimension.values if isinstance(dimension, Choice) else dimension.levels(2)


def _choices(space: Space, besides: str) -> Iterator[dict[str, Value]]:
    for other in space.dimensions:
        if isinstance(other, Choice) and other.name != besides:
            for value in other.values:
                yield {other.name: value}


def _refusal(study: Study, settings: Settings) -> QStoreError | None:
    try:
        study.spec_of(settings)
        study.options_of(settings)
    except QStoreError as error:
        return error
    return None


def _enqueued(snapshot: Snapshot, study: Study) -> tuple[Settings, ...]:
    if study.sampler == "grid":
        raise InvalidArgumentError(
            "A grid tries everything in its order, so that warm_start means nothing beside it",
            fix="Leave warm_start out, or use another sampler.",
            value=True,
        )
    return tuple(one for one in best_of_near_studies(snapshot, study) if _refusal(study, one) is None)
