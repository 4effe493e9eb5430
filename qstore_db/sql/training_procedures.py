"""The SQL procedures of training: ``CALL train(…)``, ``CALL resume(…)``, ``CALL evaluate(…)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import pyarrow as pa

from qstore_db.sql.arguments import given_arguments
from qstore_db.training.evaluation import Evaluation, evaluate
from qstore_db.training.feature_extraction import extract_features
from qstore_db.training.model_reading import ModelReading
from qstore_db.training.options import ALIASES, TrainingOptions
from qstore_db.training.progress import TrainingProgress
from qstore_db.training.promotion import promote
from qstore_db.training.registry import Run
from qstore_db.training.trained_models import TrainedModels
from qstore_db.training.trainer import fine_tune, resume, train
from query.ports import Parameter, Procedure
from storage_engine.engine import Engine

ProgressFactory = Callable[[], TrainingProgress | None]
"""Makes what watches one run; ``None`` where nothing does."""

RUN_SCHEMA: Final = pa.schema(
    [
        ("run_id", pa.int64()),
        ("model", pa.string()),
        ("version", pa.int64()),
        ("dataset", pa.string()),
        ("epochs", pa.int64()),
        ("train_loss", pa.float64()),
        ("train_accuracy", pa.float64()),
        ("validation_loss", pa.float64()),
        ("validation_accuracy", pa.float64()),
        ("circuits", pa.int64()),
        ("seconds", pa.float64()),
        ("status", pa.string()),
        ("cost_usd", pa.float64()),
    ]
)
EVALUATION_SCHEMA: Final = pa.schema(
    [
        ("model", pa.string()),
        ("version", pa.int64()),
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("rows", pa.int64()),
        ("loss", pa.float64()),
        ("accuracy", pa.float64()),
        ("rmse", pa.float64()),
        ("mae", pa.float64()),
        ("r2", pa.float64()),
        ("backend", pa.string()),
        ("shots", pa.int64()),
        ("seed", pa.int64()),
        ("circuits", pa.int64()),
    ]
)
EXTRACTION_SCHEMA: Final = pa.schema(
    [
        ("name", pa.string()),
        ("rows", pa.int64()),
        ("dimension", pa.int64()),
        ("model", pa.string()),
        ("version", pa.int64()),
        ("source", pa.string()),
        ("source_version", pa.int64()),
    ]
)
PROMOTION_SCHEMA: Final = pa.schema(
    [
        ("model", pa.string()),
        ("alias", pa.string()),
        ("version", pa.int64()),
        ("accuracy", pa.float64()),
        ("measured_on", pa.string()),
    ]
)

_READING: Final[Mapping[str, str]] = {"backend": "text", "shots": "integer", "seed": "integer"}
_OPTION_PARAMETERS: Final = (
    Parameter("epochs", "integer"),
    Parameter("batch_size", "integer"),
    Parameter("optimizer", "text"),
    Parameter("learning_rate", "number"),
    Parameter("gradient", "text"),
    Parameter("backend", "text"),
    Parameter("seed", "integer"),
    Parameter("shuffle", "boolean"),
    Parameter("split", "text"),
    Parameter("validation_split", "text"),
    Parameter("validation_fraction", "number"),
    Parameter("checkpoint_every", "integer"),
    Parameter("momentum", "number"),
    Parameter("nesterov", "boolean"),
    Parameter("weight_decay", "number"),
    Parameter("clip_value", "number"),
    Parameter("clip_norm", "number"),
    Parameter("schedule", "text"),
    Parameter("warmup_steps", "integer"),
    Parameter("decay", "number"),
    Parameter("decay_epochs", "integer"),
    Parameter("final_rate", "number"),
    Parameter("patience", "integer"),
    Parameter("freeze", "text"),
    Parameter("spsa_directions", "integer"),
    Parameter("spsa_step", "number"),
    Parameter("damping", "number"),
    Parameter("shots", "integer"),
    Parameter("subset_size", "integer"),
    Parameter("metric", "text"),
    Parameter("threads", "integer"),
    Parameter("loss", "text"),
    Parameter("balanced", "boolean"),
    Parameter("keep_best", "boolean"),
    Parameter("early_stopping", "integer"),
    Parameter("monitor", "text"),
    Parameter("min_improvement", "number"),
    Parameter("track", "text"),
    Parameter("layerwise", "integer"),
    Parameter("entangler_dropout", "number"),
    Parameter("workers", "integer"),
    Parameter("micro_batch", "integer"),
    Parameter("sdk", "text"),
    Parameter("target", "text"),
    Parameter("max_cost_usd", "number"),
)


def _with_aliases(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    types = {parameter.name: parameter.type for parameter in parameters}
    return (*parameters, *(Parameter(alias, types[name]) for alias, name in ALIASES.items()))


OPTION_PARAMETERS: Final = _with_aliases(_OPTION_PARAMETERS)
"""The fields of :class:`TrainingOptions` and their aliases, as ``CALL`` takes them."""


@dataclass(frozen=True, slots=True)
class Train:
    """``CALL train(model => 'm', dataset => 'd', …)``: one row that says what became of the run.

    Args:
        engine: The database.
        progress: Makes what watches a run, or ``None``.
        learned: Start from the parameters of a version instead of fresh ones: then it is ``CALL fine_tune(…)``.
    """

    engine: Engine
    progress: ProgressFactory | None = None
    learned: bool = False

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "fine_tune" if self.learned else "train"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """Model and data set, then the fields of :class:`TrainingOptions` and their aliases."""
        return (
            Parameter("model", "text", required=True),
            Parameter("dataset", "text", required=True),
            *OPTION_PARAMETERS,
        )

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Train; see :mod:`qstore_db.training.trainer` for the errors."""
        given = given_arguments(arguments)
        model, dataset = given.pop("model"), given.pop("dataset")
        options = TrainingOptions.from_options(given)
        begin = fine_tune if self.learned else train
        return run_table(begin(self.engine, model, dataset, options, progress=_made(self.progress)))


@dataclass(frozen=True, slots=True)
class Resume:
    """``CALL resume(run_id => 3)``: one row that says what became of the run.

    Args:
        engine: The database.
        progress: Makes what watches a run, or ``None``.
    """

    engine: Engine
    progress: ProgressFactory | None = None

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "resume"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The run's number, and what it may cost from now on."""
        return (Parameter("run_id", "integer", required=True), Parameter("max_cost_usd", "number"))

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Continue a run; see :func:`qstore_db.training.trainer.resume` for the errors."""
        run_id, ceiling = cast(int, arguments["run_id"]), arguments.get("max_cost_usd")
        run = resume(self.engine, run_id, progress=_made(self.progress), max_cost_usd=cast(float | None, ceiling))
        return run_table(run)


@dataclass(frozen=True, slots=True)
class Evaluate:
    """``CALL evaluate(model => 'm', dataset => 'd', split => 'test')``: one row with the numbers of the model's kind.

    Args:
        engine: The database.
        models: Its trained versions.
    """

    engine: Engine
    models: TrainedModels

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "evaluate"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """Model and data set, the split (``'test'``), the version (the newest), and where the circuits run."""
        return (
            Parameter("model", "text", required=True),
            Parameter("dataset", "text", required=True),
            Parameter("split", "text"),
            Parameter("version", "integer"),
            *(Parameter(name, kind) for name, kind in _READING.items()),
        )

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Evaluate; see :func:`qstore_db.training.evaluation.evaluate` for the errors."""
        given = given_arguments(arguments)
        model, dataset = given.pop("model"), given.pop("dataset")
        reading = ModelReading(**{name: given.pop(name) for name in _READING if name in given})
        return evaluation_table(evaluate(self.engine, self.models, model, dataset, reading=reading, **given))


@dataclass(frozen=True, slots=True)
class ExtractFeatures:
    """``CALL extract_features(model => 'm', dataset => 'd', name => 'd_features')``: one row, the new data set.

    Args:
        engine: The database.
        models: Its trained versions.
    """

    engine: Engine
    models: TrainedModels

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "extract_features"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """As :func:`qstore_db.training.feature_extraction.extract_features` takes them."""
        return (
            Parameter("model", "text", required=True),
            Parameter("dataset", "text", required=True),
            Parameter("name", "text"),
            Parameter("version", "integer"),
        )

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Extract; see :func:`qstore_db.training.feature_extraction.extract_features` for the errors."""
        given = given_arguments(arguments)
        model, dataset = given.pop("model"), given.pop("dataset")
        made = extract_features(self.engine, self.models, dataset, model, **given)
        row = {name: getattr(made, name, None) for name in EXTRACTION_SCHEMA.names}
        row |= {name: getattr(made.info, name) for name in ("name", "rows", "dimension")}
        return pa.Table.from_pylist([row], schema=EXTRACTION_SCHEMA)


@dataclass(frozen=True, slots=True)
class Promote:
    """``CALL promote(model => 'm', alias => 'champion', min_accuracy => 0.8, dataset => 'd')``: one row, the alias.

    Args:
        engine: The database.
        models: Its trained versions.
    """

    engine: Engine
    models: TrainedModels

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "promote"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """As :func:`qstore_db.training.promotion.promote` takes them."""
        return (
            Parameter("model", "text", required=True),
            Parameter("alias", "text"),
            Parameter("version", "integer"),
            Parameter("min_accuracy", "number"),
            Parameter("dataset", "text"),
            Parameter("split", "text"),
        )

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Promote; see :func:`qstore_db.training.promotion.promote` for the errors."""
        given = given_arguments(arguments)
        alias = promote(self.engine, self.models, given.pop("model"), **given)
        row = {name: getattr(alias, name) for name in PROMOTION_SCHEMA.names}
        return pa.Table.from_pylist([row], schema=PROMOTION_SCHEMA)


def training_procedures(
    engine: Engine, models: TrainedModels, *, progress: ProgressFactory | None = None
) -> tuple[Procedure, ...]:
    """The procedures that this floor adds to SQL."""
    return (
        Train(engine, progress),
        Train(engine, progress, learned=True),
        Resume(engine, progress),
        Evaluate(engine, models),
        ExtractFeatures(engine, models),
        Promote(engine, models),
    )


def run_table(run: Run) -> pa.Table:
    """A run as one row with ``RUN_SCHEMA``."""
    row = {
        "run_id": run.id,
        "model": run.model,
        "version": run.version,
        "dataset": run.dataset,
        "epochs": run.epochs_done,
        "train_loss": run.scores.train_loss,
        "train_accuracy": run.scores.train_accuracy,
        "validation_loss": run.scores.validation_loss,
        "validation_accuracy": run.scores.validation_accuracy,
        "circuits": run.circuits,
        "seconds": run.seconds,
        "status": run.status.value,
        "cost_usd": run.cost_usd,
    }
    return pa.Table.from_pylist([row], schema=RUN_SCHEMA)


def evaluation_table(evaluation: Evaluation) -> pa.Table:
    """An evaluation as one row with ``EVALUATION_SCHEMA``."""
    row = {name: getattr(evaluation, name) for name in EVALUATION_SCHEMA.names}
    return pa.Table.from_pylist([row], schema=EVALUATION_SCHEMA)


def _made(progress: ProgressFactory | None) -> TrainingProgress | None:
    return None if progress is None else progress()
