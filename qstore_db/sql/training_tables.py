"""The system tables of training: models, model_versions, training_runs, metrics, checkpoints, backends.

Each is computed from a snapshot when it is queried. Times are UTC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from qstore_db.backends.named import BACKENDS
from qstore_db.backends.request import Reading
from qstore_db.sql.registry_table import RegistryTable
from qstore_db.training import metrics
from qstore_db.training.aliases import aliases_of
from qstore_db.training.options import GRADIENTS
from qstore_db.training.registry import (
    MODEL_VERSIONS,
    ModelVersion,
    Run,
    Scores,
    all_models,
    all_runs,
    all_versions,
    version_key,
)
from query.ports import SystemTable
from query.system.moments import TIME, moment
from storage_engine.engine import Engine
from storage_engine.snapshot import Snapshot

MODELS: Final = pa.schema(
    [
        ("name", pa.string()),
        ("version", pa.int64()),
        ("status", pa.string()),
        ("kind", pa.string()),
        ("qubits", pa.int64()),
        ("layers", pa.int64()),
        ("classes", pa.int64()),
        ("encoding", pa.string()),
        ("accuracy", pa.float64()),
        ("accuracy_on", pa.string()),
        ("train_loss", pa.float64()),
        ("dataset", pa.string()),
        ("run_id", pa.int64()),
        ("created_at", TIME),
        ("updated_at", TIME),
    ]
)
MODEL_VERSIONS_SCHEMA: Final = pa.schema(
    [
        ("model", pa.string()),
        ("version", pa.int64()),
        ("parent_version", pa.int64()),
        ("status", pa.string()),
        ("aliases", pa.list_(pa.string())),
        ("train_loss", pa.float64()),
        ("train_accuracy", pa.float64()),
        ("validation_loss", pa.float64()),
        ("validation_accuracy", pa.float64()),
        ("dataset", pa.string()),
        ("dataset_version", pa.int64()),
        ("run_id", pa.int64()),
        ("seed", pa.int64()),
        ("backend", pa.string()),
        ("checkpoint", pa.string()),
        ("spec", pa.string()),
        ("packages", pa.string()),
        ("created_at", TIME),
    ]
)
TRAINING_RUNS: Final = pa.schema(
    [
        ("run_id", pa.int64()),
        ("model", pa.string()),
        ("version", pa.int64()),
        ("parent_version", pa.int64()),
        ("starts_from", pa.int64()),
        ("status", pa.string()),
        ("dataset", pa.string()),
        ("dataset_version", pa.int64()),
        ("rows", pa.int64()),
        ("validation_rows", pa.int64()),
        ("epochs", pa.int64()),
        ("epochs_done", pa.int64()),
        ("steps_done", pa.int64()),
        ("train_loss", pa.float64()),
        ("train_accuracy", pa.float64()),
        ("validation_loss", pa.float64()),
        ("validation_accuracy", pa.float64()),
        ("circuits", pa.int64()),
        ("seconds", pa.float64()),
        ("batch_size", pa.int64()),
        ("optimizer", pa.string()),
        ("learning_rate", pa.float64()),
        ("gradient", pa.string()),
        ("backend", pa.string()),
        ("shots", pa.int64()),
        ("seed", pa.int64()),
        ("error", pa.string()),
        ("checkpoint", pa.string()),
        ("started_at", TIME),
        ("heartbeat_at", TIME),
        ("finished_at", TIME),
        ("host", pa.string()),
        ("process_id", pa.int64()),
        ("options", pa.string()),
        ("gradient_log", pa.string()),
        ("decisions", pa.string()),
        ("best_epoch", pa.int64()),
        ("packages", pa.string()),
        ("sdk", pa.string()),
        ("target", pa.string()),
        ("total_shots", pa.int64()),
        ("cost_usd", pa.float64()),
        ("max_cost_usd", pa.float64()),
    ]
)
CHECKPOINTS: Final = pa.schema(
    [
        ("run_id", pa.int64()),
        ("model", pa.string()),
        ("version", pa.int64()),
        ("epochs_done", pa.int64()),
        ("steps_done", pa.int64()),
        ("file", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("saved_at", TIME),
    ]
)
BACKENDS_SCHEMA: Final = pa.schema(
    [
        ("name", pa.string()),
        ("description", pa.string()),
        ("max_qubits", pa.int64()),
        ("gradients", pa.list_(pa.string())),
        ("shots", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class MetricsTable:
    """The table ``metrics``: a row for each step and, with step -1, for each epoch; by run, then as they were made.

    Cost: reads and checks the Parquet files of all runs.

    Args:
        engine: Where the files are.
    """

    engine: Engine

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "metrics"

    @property
    def schema(self) -> pa.Schema:
        """See :class:`qstore_db.training.metrics.MetricRow`."""
        return metrics.SCHEMA

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """All rows that a commit up to the snapshot made visible."""
        return metrics.read_metrics(self.engine, snapshot)


def training_tables(engine: Engine) -> tuple[SystemTable, ...]:
    """The tables that this floor adds to SQL."""
    return (
        RegistryTable("models", MODELS, _models),
        RegistryTable("model_versions", MODEL_VERSIONS_SCHEMA, _versions),
        RegistryTable("training_runs", TRAINING_RUNS, _runs),
        MetricsTable(engine),
        RegistryTable("checkpoints", CHECKPOINTS, _checkpoints),
        RegistryTable("backends", BACKENDS_SCHEMA, _backends),
    )


def _models(snapshot: Snapshot) -> Iterable[Mapping[str, Any]]:
    # By name, each with its newest version. ``accuracy`` is that on the validation rows where there were any, on the
    # training rows otherwise; ``accuracy_on`` says which.
    versions = snapshot.table(MODEL_VERSIONS)
    for model in all_models(snapshot):
        newest = ModelVersion.from_json(versions[version_key(model.name, model.latest_version)])
        accuracy, measured_on = _accuracy(newest.scores)
        yield {
            "name": model.name,
            "version": newest.version,
            "status": _status(newest),
            "kind": newest.spec.kind,
            "qubits": newest.spec.qubits,
            "layers": newest.spec.layers,
            "classes": newest.spec.classes,
            "encoding": newest.spec.encoding,
            "accuracy": accuracy,
            "accuracy_on": measured_on,
            "train_loss": newest.scores.train_loss,
            "dataset": newest.dataset,
            "run_id": newest.run_id,
            "created_at": moment(model.created_at),
            "updated_at": moment(model.updated_at),
        }


def _versions(snapshot: Snapshot) -> Iterable[Mapping[str, Any]]:
    # By model and number.
    aliases: dict[tuple[str, int], list[str]] = {}
    for alias in aliases_of(snapshot):
        aliases.setdefault((alias.model, alias.version), []).append(alias.alias)
    for version in all_versions(snapshot):
        yield {
            "model": version.model,
            "version": version.version,
            "parent_version": version.parent_version,
            "status": _status(version),
            "aliases": aliases.get((version.model, version.version), []),
            **_scores(version.scores),
            "dataset": version.dataset,
            "dataset_version": version.dataset_version,
            "run_id": version.run_id,
            "seed": version.seed,
            "backend": version.backend,
            "checkpoint": None if version.checkpoint is None else version.checkpoint.name,
            "spec": json.dumps(version.spec.to_json()),
            "packages": json.dumps(dict(version.packages)),
            "created_at": moment(version.created_at),
        }


def _runs(snapshot: Snapshot) -> Iterable[Mapping[str, Any]]:
    # By number.
    for run in all_runs(snapshot):
        options = run.options
        yield {
            "run_id": run.id,
            "model": run.model,
            "version": run.version,
            "parent_version": run.parent_version,
            "starts_from": run.starts_from,
            "status": run.status.value,
            "dataset": run.dataset,
            "dataset_version": run.dataset_version,
            "rows": run.rows,
            "validation_rows": run.validation_rows,
            "epochs": options.epochs,
            "epochs_done": run.epochs_done,
            "steps_done": run.steps_done,
            **_scores(run.scores),
            "circuits": run.circuits,
            "seconds": run.seconds,
            "batch_size": options.batch_size,
            "optimizer": options.optimizer,
            "learning_rate": options.learning_rate,
            "gradient": options.gradient,
            "shots": options.shots,
            "gradient_log": json.dumps(list(run.gradient_log)),
            "decisions": json.dumps(list(run.decisions)),
            "best_epoch": run.best_epoch,
            "backend": options.backend,
            "seed": options.seed,
            "error": run.error,
            "checkpoint": None if run.checkpoint is None else run.checkpoint.name,
            "started_at": moment(run.started_at),
            "heartbeat_at": moment(run.heartbeat_at),
            "finished_at": None if run.finished_at is None else moment(run.finished_at),
            "host": run.host,
            "process_id": run.process_id,
            "options": json.dumps(options.to_json()),
            "packages": json.dumps(dict(run.packages)),
            "sdk": options.sdk,
            "target": run.target or options.target,
            "total_shots": None if options.shots is None else options.shots * run.circuits,
            "cost_usd": run.cost_usd,
            "max_cost_usd": options.max_cost_usd,
        }


def _checkpoints(snapshot: Snapshot) -> Iterable[Mapping[str, Any]]:
    # The newest of each run, by run; ``version`` is null until the run is finished.
    for run in all_runs(snapshot):
        if run.checkpoint is not None:
            yield _checkpoint(run, run.checkpoint.name, run.checkpoint.length, run.checkpoint.sha256)


def _checkpoint(run: Run, file: str, length: int, sha256: str) -> Mapping[str, Any]:
    return {
        "run_id": run.id,
        "model": run.model,
        "version": run.version,
        "epochs_done": run.epochs_done,
        "steps_done": run.steps_done,
        "file": file,
        "bytes": length,
        "sha256": sha256,
        "saved_at": moment(run.heartbeat_at),
    }


def _backends(_snapshot: Snapshot) -> Iterable[Mapping[str, Any]]:
    # By name. ``gradients`` are those that training can use there.
    for name, entry in sorted(BACKENDS.items()):
        yield {
            "name": name,
            "description": entry.description,
            "max_qubits": entry.capabilities.max_qubits,
            "gradients": [way for way in GRADIENTS if way != "adjoint" or "adjoint" in entry.capabilities.gradients],
            "shots": Reading.COUNTS in entry.capabilities.readings,
        }


def _scores(scores: Scores) -> dict[str, float | None]:
    return {
        "train_loss": scores.train_loss,
        "train_accuracy": scores.train_accuracy,
        "validation_loss": scores.validation_loss,
        "validation_accuracy": scores.validation_accuracy,
    }


def _accuracy(scores: Scores) -> tuple[float | None, str | None]:
    if scores.validation_accuracy is not None:
        return scores.validation_accuracy, "validation"
    if scores.train_accuracy is not None:
        return scores.train_accuracy, "train"
    return None, None


def _status(version: ModelVersion) -> str:
    return "trained" if version.is_trained else "created"
