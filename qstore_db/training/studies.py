"""Hyperparameter studies as values: what is searched, and what was tried.

Two keyed tables hold them as JSON records: ``studies`` (by name) and ``trials`` (by study and number). They are the
whole truth of a search: what it suggests next follows from them alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from qstore_db.errors import UnknownStudyError
from qstore_db.hyperparameters.observation import Observation, Outcome
from qstore_db.hyperparameters.space import Settings, Space, parse_space
from qstore_db.models.specification import ALIASES as MODEL_ALIASES
from qstore_db.models.specification import ModelSpec
from qstore_db.training.options import ALIASES as OPTION_ALIASES
from qstore_db.training.options import TrainingOptions
from storage_engine.batch import JsonValue, PutRecord
from storage_engine.snapshot import Snapshot

STUDIES: Final = "studies"
TRIALS: Final = "trials"
BEST: Final = "best"
"""The alias of a study's model that its best version has."""

OBJECTIVES: Final = ("validation_accuracy", "validation_loss")

MODEL_FIELDS: Final[Mapping[str, type]] = {
    "qubits": int,
    "layers": int,
    "encoding": str,
    "reduce": str,
    "rotations": str,
    "entanglement": str,
    "readout": str,
    "dtype": str,
    "train_circuit": bool,
}
OPTION_FIELDS: Final[Mapping[str, type]] = {
    "epochs": int,
    "batch_size": int,
    "optimizer": str,
    "learning_rate": float,
    "gradient": str,
    "shots": int,
    "shuffle": bool,
    "balanced": bool,
    "momentum": float,
    "nesterov": bool,
    "weight_decay": float,
    "clip_value": float,
    "clip_norm": float,
    "schedule": str,
    "warmup_steps": int,
    "decay": float,
    "decay_epochs": int,
    "final_rate": float,
    "patience": int,
    "freeze": str,
    "spsa_directions": int,
    "spsa_step": float,
    "damping": float,
    "metric": str,
    "subset_size": int,
}
"""What a search may vary, of the model and of its training. The rest is the same for all trials, so that they compare:
the rows, those held out, and the seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A search, as it was asked for.

    Args:
        name: Its name, and that of the model whose versions its trials train.
        uuid: Of that model, which tells it from a later one of the same name.
        model: The model whose specification is varied.
        spec: That specification.
        dataset: What the trials learn from.
        dataset_version: The version of the database at which all of them read it.
        rows: Of its training split, those held out included.
        dimension: Length of each row.
        options: How they are trained where the space says nothing.
        space: What is varied.
        sampler: Suggests settings.
        pruner: Stops trials that fall behind; ``None`` for none.
        objective: What is made large (``validation_accuracy``) or small (``validation_loss``).
        seed: Of the suggestions, and of every run.
        trials: How many there are to be.
        enqueued: Settings that are tried first, in order.
        created_at: Seconds since the epoch.
    """

    name: str
    uuid: str
    model: str
    spec: ModelSpec
    dataset: str
    dataset_version: int
    rows: int
    dimension: int
    options: TrainingOptions
    space: Space
    sampler: str
    pruner: str | None
    objective: str
    seed: int
    trials: int
    enqueued: tuple[Settings, ...] = ()
    created_at: float

    @property
    def most_trials(self) -> int:
        """``trials``, or all points of the space where a grid has fewer."""
        points = self.space.points if self.sampler == "grid" else None
        return self.trials if points is None else min(self.trials, points)

    def spec_of(self, settings: Settings) -> ModelSpec:
        """The specification with these settings.

        Raises:
            InvalidModelError: They contradict each other.
        """
        return ModelSpec.from_json(
            {**self.spec.to_json(), **{name: value for name, value in settings.items() if name in MODEL_FIELDS}}
        )

    def options_of(self, settings: Settings) -> TrainingOptions:
        """The options with these settings.

        Raises:
            InvalidArgumentError: They contradict each other.
        """
        given = {name: value for name, value in settings.items() if name in OPTION_FIELDS}
        return dataclasses.replace(self.options, **cast(Any, given))

    def cost(self, value: float) -> float:
        """What is made small, of a value of the objective."""
        return -value if self.objective == "validation_accuracy" else value

    def put(self, *, new: bool = False) -> PutRecord:
        """The operation that writes it."""
        record: dict[str, Any] = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        record["spec"] = self.spec.to_json()
        record["options"] = self.options.to_json()
        record["space"] = self.space.to_json()
        record["enqueued"] = [dict(settings) for settings in self.enqueued]
        return PutRecord(STUDIES, self.name, record, must_be_new=new)

    @classmethod
    def from_json(cls, record: Mapping[str, JsonValue]) -> Self:
        """The value whose :meth:`put` wrote ``record``."""
        fields = dict(cast(Any, record))
        fields["spec"] = ModelSpec.from_json(fields["spec"])
        fields["options"] = TrainingOptions(**fields["options"])
        fields["space"] = space_of(fields["space"])
        fields["enqueued"] = tuple(fields["enqueued"])
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One training run of a study.

    Args:
        study: Its name.
        number: From 1.
        settings: A value for each name of the space.
        version: Of the study's model: the specification that it trains; ``None`` where the settings give none.
        outcome: What became of it.
        run_id: Its run; ``None`` where none was begun.
        trained_version: Of the study's model: what came out; ``None`` unless it is finished.
        value: Of the objective, after its last epoch.
        epoch_values: The same after each epoch.
        error: Why it failed.
        started_at: Seconds since the epoch.
        finished_at: The same; ``None`` while it runs.
    """

    study: str
    number: int
    settings: Settings
    version: int | None = None
    outcome: Outcome = Outcome.RUNNING
    run_id: int | None = None
    trained_version: int | None = None
    value: float | None = None
    epoch_values: tuple[float, ...] = ()
    error: str | None = None
    started_at: float
    finished_at: float | None = None

    def put(self, *, new: bool = False) -> PutRecord:
        """The operation that writes it."""
        record: dict[str, Any] = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        record["settings"] = dict(self.settings)
        record["outcome"] = self.outcome.value
        record["epoch_values"] = list(self.epoch_values)
        return PutRecord(TRIALS, f"{self.study}/{self.number:06d}", record, must_be_new=new)

    @classmethod
    def from_json(cls, record: Mapping[str, JsonValue]) -> Self:
        """The value whose :meth:`put` wrote ``record``."""
        fields = dict(cast(Any, record))
        fields["outcome"] = Outcome(fields["outcome"])
        fields["epoch_values"] = tuple(fields["epoch_values"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class StudyReport:
    """A study and its trials at one version of the database.

    Args:
        study: What is searched.
        trials: By number.
    """

    study: Study
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        """Of the study, and of the model whose versions its trials are."""
        return self.study.name

    @property
    def best(self) -> Trial | None:
        """The finished trial with the best value, the first one on a tie; ``None`` where none is finished."""
        found = [trial for trial in self.trials if trial.outcome is Outcome.FINISHED and trial.value is not None]
        return min(found, key=lambda trial: self.study.cost(cast(float, trial.value)), default=None)

    @property
    def best_model(self) -> str | None:
        """What names the best trial's version wherever a model is named, such as ``clothes.study1@best``."""
        return None if self.best is None else f"{self.name}@{BEST}"

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to try."""
        ended = [trial for trial in self.trials if trial.outcome is not Outcome.RUNNING]
        return len(ended) >= self.study.most_trials


def space_of(given: Mapping[str, object]) -> Space:
    """A space over what a search may vary.

    Raises:
        InvalidArgumentError: See :func:`qstore_db.hyperparameters.space.parse_space`.
    """
    return parse_space(given, {**MODEL_FIELDS, **OPTION_FIELDS}, {**MODEL_ALIASES, **OPTION_ALIASES})


def observation_of(study: Study, trial: Trial) -> Observation:
    """A trial as samplers and pruners see it."""
    return Observation(
        settings=trial.settings,
        outcome=trial.outcome,
        cost=None if trial.value is None else study.cost(trial.value),
        epoch_costs=tuple(map(study.cost, trial.epoch_values)),
    )


def all_studies(snapshot: Snapshot) -> list[Study]:
    """Every study, in order of creation."""
    return list(map(Study.from_json, snapshot.table(STUDIES).values()))


def all_trials(snapshot: Snapshot, study: str | None = None) -> list[Trial]:
    """Every trial, or those of one study, by study and number."""
    found = map(Trial.from_json, snapshot.table(TRIALS).values())
    return sorted(
        (trial for trial in found if study is None or trial.study == study),
        key=lambda trial: (trial.study, trial.number),
    )


def find_study(snapshot: Snapshot, name: str) -> Study:
    """The study of that name.

    Raises:
        UnknownStudyError: There is none; the message names those there are.
    """
    record = snapshot.table(STUDIES).get(name) if isinstance(name, str) else None
    if record is None:
        known: Sequence[str] = list(snapshot.table(STUDIES))
        raise UnknownStudyError(
            f"There is no study {name!r}",
            fix=f"The studies are: {', '.join(known)}." if known else "Begin one with db.search_hyperparameters.",
            value=name,
        )
    return Study.from_json(record)


def report_of(snapshot: Snapshot, name: str) -> StudyReport:
    """A study with its trials.

    Raises:
        UnknownStudyError: There is none of that name.
    """
    return StudyReport(find_study(snapshot, name), tuple(all_trials(snapshot, name)))
