"""The registry as values: models, their immutable versions, and training runs.

Three keyed tables hold them as JSON records: ``models`` (by name), ``model_versions`` (by name and number) and
``training_runs`` (by number). A version never changes after it is written; a run changes until it is finished.
"""

from __future__ import annotations

import dataclasses
import enum
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import Any, Self, cast

from qstore_db.errors import UnknownModelError, UnknownRunError
from qstore_db.models.specification import ModelSpec
from qstore_db.training.aliases import split_reference, version_of
from qstore_db.training.options import TrainingOptions
from storage_engine.batch import FileReference, JsonValue, PutRecord
from storage_engine.snapshot import Snapshot

MODELS = "models"
MODEL_VERSIONS = "model_versions"
TRAINING_RUNS = "training_runs"


class RunStatus(enum.StrEnum):
    """Where a run stands.

    ``RUNNING``: being trained, or left behind by a process that died. ``INTERRUPTED``: stopped by Ctrl-C. ``FAILED``:
    stopped by an error. ``OVER_BUDGET``: stopped before work that would exceed ``max_cost_usd``. ``FINISHED``: its
    model version exists. All but that can be resumed.
    """

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    FINISHED = "finished"
    OVER_BUDGET = "over_budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Losses, in nats for cross-entropy, and accuracies in [0, 1]; ``None`` where nothing was measured.

    Args:
        train_loss: Mean over the rows of the last epoch, each under the parameters before its step.
        train_accuracy: Share of those rows that were classified rightly.
        validation_loss: Mean over the validation rows after the last epoch.
        validation_accuracy: Share of those rows that were classified rightly.
    """

    train_loss: float | None = None
    train_accuracy: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """A name in the registry.

    Args:
        name: Unique among models.
        uuid: Tells this model from an earlier one of the same name that was dropped.
        latest_version: Number of the newest version, from 1.
        created_at: Seconds since the epoch.
        updated_at: When the newest version was added.
    """

    name: str
    uuid: str
    latest_version: int
    created_at: float
    updated_at: float

    def put(self, *, new: bool = False) -> PutRecord:
        """The operation that writes this record."""
        return PutRecord(MODELS, self.name, dataclasses.asdict(self), must_be_new=new)

    @classmethod
    def from_json(cls, record: Mapping[str, JsonValue]) -> Self:
        """The value whose :meth:`put` wrote ``record``."""
        return cls(**cast(Any, record))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One immutable version of a model, with where it comes from.

    Args:
        model: The model's name.
        uuid: The model's uuid.
        version: Its number, from 1.
        spec: What the model is.
        parent_version: The version whose specification was trained; ``None`` for one that was created.
        run_id: The run that trained it, ``None`` while untrained.
        dataset: What it was trained on, ``None`` while untrained.
        dataset_version: The LSN at which the run read that data set.
        seed: Of the run.
        backend: Of the run.
        checkpoint: Where its parameters are, ``None`` while untrained.
        scores: At the end of its run.
        packages: Versions of what computed it.
        created_at: Seconds since the epoch.
    """

    model: str
    uuid: str
    version: int
    spec: ModelSpec
    created_at: float
    parent_version: int | None = None
    run_id: int | None = None
    dataset: str | None = None
    dataset_version: int | None = None
    seed: int | None = None
    backend: str | None = None
    checkpoint: FileReference | None = None
    scores: Scores = field(default_factory=Scores)
    packages: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        """Whether it has parameters."""
        return self.checkpoint is not None

    def put(self) -> PutRecord:
        """The operation that writes this version; its number must be free."""
        record = _shallow(self)
        record["spec"] = cast(JsonValue, self.spec.to_json())
        return PutRecord(MODEL_VERSIONS, version_key(self.model, self.version), record, must_be_new=True)

    @classmethod
    def from_json(cls, record: Mapping[str, JsonValue]) -> Self:
        """The value whose :meth:`put` wrote ``record``."""
        fields = dict(cast(Any, record))
        fields["spec"] = ModelSpec.from_json(fields["spec"])
        return cls(**_deep(fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run.

    Args:
        id: Its number, from 1.
        model: The model's name.
        model_uuid: The model's uuid.
        parent_version: The version whose specification is trained.
        starts_from: The version whose parameters it starts from; ``None`` for fresh ones.
        version: The version that came out, ``None`` until the run is finished.
        dataset: Name of the data set.
        dataset_version: The LSN at which the run read it.
        dataset_digest: SHA-256 of the training and validation rows it read; a resumed run must see the same.
        options: How it is trained.
        status: Where it stands.
        rows: Training rows, without those held out.
        validation_rows: Rows validated on after each epoch.
        epochs_done: Whole epochs that the newest checkpoint has seen.
        steps_done: Steps that the newest checkpoint has seen.
        circuits: Circuits that those steps and the validations evaluated.
        seconds: Time spent in training, interruptions left out.
        scores: Of the last whole epoch.
        checkpoint: The newest one.
        started_at: Seconds since the epoch.
        heartbeat_at: When a checkpoint was last committed.
        finished_at: When it finished, failed or was interrupted; ``None`` while running.
        host: Name of the machine that trained last.
        process_id: Of the process that trained last.
        packages: Versions of what computed it.
        error: Why it failed.
        best_epoch: The epoch whose parameters the version has, where the options keep the best; else ``None``.
        decisions: What it decided between epochs, up to the newest checkpoint; see
            :class:`qstore_db.training.decision_log.Decided`.
        gradient_log: Every switch of ``gradient = "auto"`` with its reason, up to the newest checkpoint; see
            :class:`qstore_db.gradients.choice.Decision`.
        cost_usd: What its jobs count for, in dollars, open ones included; ``None`` where nothing was sent away.
        target: The remote provider's name of the device.
    """

    id: int
    model: str
    model_uuid: str
    parent_version: int
    dataset: str
    dataset_version: int
    dataset_digest: str
    options: TrainingOptions
    started_at: float
    heartbeat_at: float
    host: str
    process_id: int
    status: RunStatus = RunStatus.RUNNING
    starts_from: int | None = None
    version: int | None = None
    rows: int = 0
    validation_rows: int = 0
    epochs_done: int = 0
    steps_done: int = 0
    circuits: int = 0
    seconds: float = 0.0
    scores: Scores = field(default_factory=Scores)
    checkpoint: FileReference | None = None
    finished_at: float | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    gradient_log: Sequence[JsonValue] = ()
    cost_usd: float | None = None
    target: str | None = None
    best_epoch: int | None = None
    decisions: Sequence[JsonValue] = ()

    def put(self, *, new: bool = False) -> PutRecord:
        """The operation that writes this run."""
        record = _shallow(self)
        record["options"] = cast(JsonValue, self.options.to_json())
        record["status"] = self.status.value
        record["gradient_log"] = list(self.gradient_log)
        record["decisions"] = list(self.decisions)
        return PutRecord(TRAINING_RUNS, run_key(self.id), record, must_be_new=new)

    @classmethod
    def from_json(cls, record: Mapping[str, JsonValue]) -> Self:
        """The value whose :meth:`put` wrote ``record``."""
        fields = dict(cast(Any, record))
        fields["options"] = TrainingOptions(**fields["options"])
        fields["status"] = RunStatus(fields["status"])
        for name in ("gradient_log", "decisions"):
            fields[name] = tuple(fields.get(name, ()))
        return cls(**_deep(fields))


def version_key(model: str, version: int) -> str:
    """Key of a version; keys of one model sort by number."""
    return f"{model}/{version:06d}"


def run_key(run_id: int) -> str:
    """Key of a run; keys sort by number."""
    return f"{run_id:08d}"


def all_models(snapshot: Snapshot) -> list[ModelRecord]:
    """Every model, by name."""
    return sorted(map(ModelRecord.from_json, snapshot.table(MODELS).values()), key=lambda model: model.name)


def find_model(snapshot: Snapshot, name: str) -> ModelRecord:
    """The model of that name.

    Raises:
        UnknownModelError: There is none; the message names those there are.
    """
    record = snapshot.table(MODELS).get(name)
    if record is None:
        known = ", ".join(sorted(snapshot.table(MODELS)))
        raise UnknownModelError(
            f"There is no model {name!r}",
            fix=f"The models are: {known}." if known else "Create one with CREATE MODEL or db.create_model.",
            value=name,
        )
    return ModelRecord.from_json(record)


def all_versions(snapshot: Snapshot, model: str | None = None) -> list[ModelVersion]:
    """Every version, or those of one model, by name and number."""
    versions = map(ModelVersion.from_json, snapshot.table(MODEL_VERSIONS).values())
    chosen = [version for version in versions if model is None or version.model == model]
    return sorted(chosen, key=lambda version: (version.model, version.version))


def find_version(snapshot: Snapshot, model: str, version: int | None = None) -> ModelVersion:
    """One version of a model; the newest if no number is given.

    Args:
        snapshot: Of the database.
        model: Its name; or name and version as ``clothes@3``, name and alias as ``clothes@champion``.
        version: Its number.

    Raises:
        UnknownModelError: There is no such model, or no such version or alias of it.
        InvalidArgumentError: The version is given twice.
    """
    model, wanted = split_reference(model, version)
    known = find_model(snapshot, model)
    number = version_of(snapshot, model, wanted) if isinstance(wanted, str) else wanted or known.latest_version
    record = snapshot.table(MODEL_VERSIONS).get(version_key(model, number))
    if record is None:
        raise UnknownModelError(
            f"Model {model!r} has no version {number}",
            fix=f"Its versions are 1 to {known.latest_version}.",
            value=number,
        )
    return ModelVersion.from_json(record)


def all_runs(snapshot: Snapshot) -> list[Run]:
    """Every run, by number."""
    return sorted(map(Run.from_json, snapshot.table(TRAINING_RUNS).values()), key=lambda run: run.id)


def find_run(snapshot: Snapshot, run_id: int) -> Run:
    """The run of that number.

    Raises:
        UnknownRunError: There is none.
    """
    record = snapshot.table(TRAINING_RUNS).get(run_key(run_id)) if isinstance(run_id, int) else None
    if record is None:
        last = max(map(int, snapshot.table(TRAINING_RUNS)), default=0)
        raise UnknownRunError(
            f"There is no training run {run_id!r}",
            fix=f"The newest run is {last}." if last else "No model was trained yet.",
            value=run_id,
        )
    return Run.from_json(record)


def next_run_id(snapshot: Snapshot) -> int:
    """One more than the largest number in use."""
    return 1 + max(map(int, snapshot.table(TRAINING_RUNS)), default=0)


@cache
def package_versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that numbers of a run depend on."""
    names = ("qstore-db", "numpy", "numba", "pyarrow", "zarr")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _shallow(value: ModelVersion | Run) -> dict[str, JsonValue]:
    record = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    record["scores"] = dataclasses.asdict(value.scores)
    record["checkpoint"] = None if value.checkpoint is None else dataclasses.asdict(value.checkpoint)
    record["packages"] = dict(value.packages)
    return record


def _deep(fields: dict[str, Any]) -> dict[str, Any]:
    fields["scores"] = Scores(**fields["scores"])
    fields["checkpoint"] = None if fields["checkpoint"] is None else FileReference(**fields["checkpoint"])
    return fields
