"""Giving a version of a model a name, if it is good enough."""

from __future__ import annotations

from qstore_db.errors import InvalidArgumentError, InvalidModelError, PromotionRefusedError, UnknownModelError
from qstore_db.training.aliases import Alias, aliases_of, check_alias
from qstore_db.training.evaluation import evaluate
from qstore_db.training.registry import ModelVersion, find_model
from qstore_db.training.trained_models import TrainedModels
from storage_engine.batch import WriteBatch
from storage_engine.engine import Engine

CHAMPION = "champion"


def promote(
    engine: Engine,
    models: TrainedModels,
    model: str,
    alias: str = CHAMPION,
    *,
    version: int | None = None,
    min_accuracy: float | None = None,
    dataset: str | None = None,
    split: str = "test",
) -> Alias:
    """Give a trained version an alias; one that another version had moves to it.

    Args:
        engine: The database.
        models: Its trained versions.
        model: Name of the model, or a reference such as ``clothes@challenger``.
        alias: A letter or ``_``, then up to 63 letters, digits, ``_``, ``.`` or ``-``.
        version: Which one; the newest if ``None``.
        min_accuracy: In [0, 1]; a version below it keeps waiting.
        dataset: Measured on a split of this data set; without it, the validation accuracy of the version's own run is
            what counts.
        split: Of ``dataset``.

    Raises:
        PromotionRefusedError: The accuracy is below ``min_accuracy``. Nothing is written.
        UnknownModelError: There is no such model, version or alias.
        InvalidModelError: The version is not trained, or its run had no validation rows though ``min_accuracy`` asks
            for their accuracy.
        InvalidArgumentError: The alias is malformed, or ``min_accuracy`` is outside [0, 1].
        UnknownDatasetError, EmptyDatasetError, InvalidLabelError: As in evaluation.
    """
    check_alias(alias)
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise InvalidArgumentError(
            f"min_accuracy is {min_accuracy}", fix="Give a share between 0 and 1.", value=min_accuracy
        )
    chosen = models.load(model, version).version
    accuracy, measured_on = _accuracy(engine, models, chosen, dataset, split, needed=min_accuracy is not None)
    if min_accuracy is not None and accuracy is not None and accuracy < min_accuracy:
        raise PromotionRefusedError(
            f"Version {chosen.version} of model {chosen.model!r} has an accuracy of {accuracy:.4g} on {measured_on},"
            f" below {min_accuracy:.4g}",
            fix="Train it further, or lower min_accuracy.",
            value=accuracy,
        )
    given = Alias(
        model=chosen.model,
        alias=alias,
        version=chosen.version,
        accuracy=accuracy,
        measured_on=measured_on,
        promoted_at=engine.clock(),
    )
    engine.commit(WriteBatch([given.put()]))
    return given


def demote(engine: Engine, model: str, alias: str = CHAMPION) -> Alias:
    """Take an alias away; the version stays.

    Raises:
        UnknownModelError: There is no such model, or no version of it has the alias.
    """
    snapshot = engine.snapshot()
    find_model(snapshot, model)
    held = {item.alias: item for item in aliases_of(snapshot, model)}
    if alias not in held:
        raise UnknownModelError(
            f"No version of model {model!r} has the alias {alias!r}",
            fix=f"Its aliases are: {', '.join(held)}." if held else "There is none to take away.",
            value=alias,
        )
    engine.commit(WriteBatch([held[alias].remove()]))
    return held[alias]


def _accuracy(
    engine: Engine, models: TrainedModels, version: ModelVersion, dataset: str | None, split: str, *, needed: bool
) -> tuple[float | None, str | None]:
    if dataset is not None:
        measured = evaluate(engine, models, version.model, dataset, split=split, version=version.version)
        if measured.accuracy is None and needed:
            raise InvalidModelError(
                f"Model {version.model!r} is of kind {version.spec.kind!r} and has no accuracy",
                fix="Leave min_accuracy out.",
                value=version.spec.kind,
            )
        return measured.accuracy, f"{dataset}/{split}"
    validation = version.scores.validation_accuracy
    if validation is None and needed:
        raise InvalidModelError(
            f"Version {version.version} of model {version.model!r} was trained without validation rows",
            fix="Say what to measure on: dataset => '…', split => 'test'.",
            value=version.version,
        )
    return validation, None if validation is None else "validation"
