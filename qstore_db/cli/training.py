"""Training and searching from the command line: options of four sources, and what is printed at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qstore_db.errors import InvalidArgumentError

if TYPE_CHECKING:
    from qstore_db.database import QuantumDatabase
    from qstore_db.training.options import TrainingOptions

DatasetOption = Annotated[str, typer.Option(help="The data set to learn from.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with options, in a table [train] or at the top.")
]
OptionOption = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="Any training option, as name=value; may be repeated.")
]
EpochsOption = Annotated[int | None, typer.Option(help="Passes over the training rows; 5 if nothing says otherwise.")]
BatchSizeOption = Annotated[int | None, typer.Option(help="Rows per step; 32.")]
OptimizerOption = Annotated[str | None, typer.Option(help="adam, adamw, sgd, rmsprop or natural; adam.")]
LearningRateOption = Annotated[float | None, typer.Option(help="Step size of the optimizer; 0.01.")]
GradientOption = Annotated[str | None, typer.Option(help="How the circuit is differentiated; auto.")]
BackendOption = Annotated[str | None, typer.Option(help="Where circuits run; local.")]
ShotsOption = Annotated[int | None, typer.Option(help="Measurements of each circuit; exact values if left out.")]
SdkOption = Annotated[str | None, typer.Option(help="Library that speaks with a remote provider: cirq or qiskit.")]
TargetOption = Annotated[str | None, typer.Option(help="A remote provider's name of the device, such as qpu.forte-1.")]
CeilingOption = Annotated[float | None, typer.Option(help="What the run may cost, in dollars; nothing if left out.")]
ValidationOption = Annotated[float | None, typer.Option(help="Share of the rows held out to validate on.")]
SeedOption = Annotated[int | None, typer.Option(help="Seed of the parameters, the rows held out and the shuffles; 0.")]

EPOCHS = (
    "SELECT epoch, train_loss, train_accuracy, validation_loss, validation_accuracy FROM metrics"
    " WHERE run_id = $run AND step = -1 ORDER BY epoch"
)
TRIALS = "SELECT trial, status, value, settings, run_id, version, error FROM trials WHERE study = $study ORDER BY trial"


def gathered(flags: Mapping[str, object], texts: list[str] | None, config: Path | None) -> TrainingOptions:
    """The options of a command: flags and ``--option`` before the file, that before ``QSTORE_TRAIN_…``.

    Raises:
        InvalidArgumentError: An option is unknown or invalid, or given both by its flag and by ``--option``.
    """
    from qstore_db.training.option_sources import from_texts, options_from

    given = {name: value for name, value in flags.items() if value is not None}
    for name, value in from_texts(texts or []).items():
        if name in given:
            raise InvalidArgumentError(f"{name} is given by its flag and by --option", fix="Give it once.", value=value)
        given[name] = value
    return options_from(arguments=given, file=config, environment=os.environ)


def space_in(path: Path | None) -> Mapping[str, object] | None:
    """The space of a search in a TOML file, from its table ``[space]`` if it has one.

    Raises:
        InvalidArgumentError: The file cannot be read.
    """
    from qstore_db.training.option_sources import read_toml

    if path is None:
        return None
    content: dict[str, Any] = read_toml(path)
    space: Mapping[str, object] = content.get("space", content)
    return space


def run_training(database: Path, model: str, dataset: str, options: TrainingOptions) -> None:
    """Train with a progress bar and print the epochs."""
    from qstore_db.cli.printing import print_result
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, create=False, progress=True) as db:
        run = db.train(model, dataset, options)
        print_result(db.sql(EPOCHS, run=run.id), "table")


def resume_training(database: Path, run_id: int, max_cost_usd: float | None) -> None:
    """Go on with a run with a progress bar and print all its epochs."""
    from qstore_db.cli.printing import print_result
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, create=False, progress=True) as db:
        run = db.resume(run_id, max_cost_usd=max_cost_usd)
        print_result(db.sql(EPOCHS, run=run.id), "table")


def run_search(database: Path, model: str, dataset: str, options: TrainingOptions, **search: Any) -> None:
    """Search and print the trials."""
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, create=False) as db:
        _print_study(db, db.search_hyperparameters(model, dataset, options=options, **search).name)


def resume_search(database: Path, study: str, *, trials: int | None, max_cost_usd: float | None, workers: int) -> None:
    """Go on with a study and print the trials."""
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, create=False) as db:
        report = db.resume_search(study, trials=trials, max_cost_usd=max_cost_usd, workers=workers)
        _print_study(db, report.name)


def _print_study(db: QuantumDatabase, name: str) -> None:
    from qstore_db.cli.printing import print_result

    print_result(db.sql(TRIALS, study=name), "table")
    report = db.study(name)
    if report.best is None:
        typer.echo(f"no trial of {name} finished")
    else:
        typer.echo(f"best: {report.best_model}, {report.study.objective} {report.best.value:.4f}")
