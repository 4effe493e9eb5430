"""The system tables of hyperparameter searches: studies, trials. Times are UTC."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa

from qstore_db.hyperparameters.observation import Outcome
from qstore_db.sql.registry_table import RegistryTable
from qstore_db.training.studies import all_studies, all_trials, report_of
from query.ports import SystemTable
from query.system.moments import TIME, moment
from storage_engine.snapshot import Snapshot

STUDIES: Final = pa.schema(
    [
        ("name", pa.string()),
        ("model", pa.string()),
        ("dataset", pa.string()),
        ("dataset_version", pa.int64()),
        ("objective", pa.string()),
        ("sampler", pa.string()),
        ("pruner", pa.string()),
        ("seed", pa.int64()),
        ("trials", pa.int64()),
        ("finished", pa.int64()),
        ("pruned", pa.int64()),
        ("failed", pa.int64()),
        ("best_trial", pa.int64()),
        ("best_value", pa.float64()),
        ("best_settings", pa.string()),
        ("best_model", pa.string()),
        ("space", pa.string()),
        ("options", pa.string()),
        ("created_at", TIME),
    ]
)
TRIALS: Final = pa.schema(
    [
        ("study", pa.string()),
        ("trial", pa.int64()),
        ("status", pa.string()),
        ("value", pa.float64()),
        ("settings", pa.string()),
        ("epoch_values", pa.list_(pa.float64())),
        ("run_id", pa.int64()),
        ("spec_version", pa.int64()),
        ("version", pa.int64()),
        ("error", pa.string()),
        ("started_at", TIME),
        ("finished_at", TIME),
    ]
)


def study_tables() -> tuple[SystemTable, ...]:
    """The tables that searches add to SQL."""
    return (RegistryTable("studies", STUDIES, study_rows), RegistryTable("trials", TRIALS, _trials))


def study_rows(snapshot: Snapshot, name: str | None = None) -> Iterable[Mapping[str, Any]]:
    """Rows with the schema ``STUDIES``, in order of creation; or the one of a study."""
    for study in all_studies(snapshot):
        if name not in (None, study.name):
            continue
        report = report_of(snapshot, study.name)
        outcomes = [trial.outcome for trial in report.trials]
        best = report.best
        yield {
            "name": study.name,
            "model": study.model,
            "dataset": study.dataset,
            "dataset_version": study.dataset_version,
            "objective": study.objective,
            "sampler": study.sampler,
            "pruner": study.pruner,
            "seed": study.seed,
            "trials": study.most_trials,
            "finished": outcomes.count(Outcome.FINISHED),
            "pruned": outcomes.count(Outcome.PRUNED),
            "failed": outcomes.count(Outcome.FAILED),
            "best_trial": None if best is None else best.number,
            "best_value": None if best is None else best.value,
            "best_settings": None if best is None else json.dumps(dict(best.settings)),
            "best_model": report.best_model,
            "space": json.dumps(study.space.to_json()),
            "options": json.dumps(study.options.to_json()),
            "created_at": moment(study.created_at),
        }


def _trials(snapshot: Snapshot) -> Iterable[Mapping[str, Any]]:
    # By study and number. ``version`` is the trained one, ``spec_version`` the one whose specification was trained.
    for trial in all_trials(snapshot):
        yield {
            "study": trial.study,
            "trial": trial.number,
            "status": trial.outcome.value,
            "value": trial.value,
            "settings": json.dumps(dict(trial.settings)),
            "epoch_values": list(trial.epoch_values),
            "run_id": trial.run_id,
            "spec_version": trial.version,
            "version": trial.trained_version,
            "error": trial.error,
            "started_at": moment(trial.started_at),
            "finished_at": None if trial.finished_at is None else moment(trial.finished_at),
        }
