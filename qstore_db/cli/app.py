"""The command line: each command is a few lines over the Python interface.

Errors are one line with the fix and exit code 2; ``--debug`` shows the traceback instead.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from qstore_db.cli import training as cli
from qstore_db.cli.emulating import emulator
from qstore_db.errors import QStoreError

app = typer.Typer(
    name="qstore",
    help="Q-Store: vectors, training data and quantum models in one directory, with SQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Add --debug to any command to see the traceback of an error.",
)

app.add_typer(emulator, name="emulator")

DatabaseArgument = Annotated[Path, typer.Argument(help="The database directory, such as clothes.qdb.")]
AllowPythonOption = Annotated[
    list[str] | None,
    typer.Option("--allow-python", help="A module whose functions procedures may call; may be repeated."),
]


@app.command()
def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="An .npz file with x_train, y_train, x_test, y_test instead of scikit-learn's digits."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the database and the pictures.")] = Path("demo-out"),
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training data; chosen by size if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split, the parameters and the shuffles.")] = 0,
) -> None:
    """Run the main job on real data: store, search, train by SQL, compare with classical models, plot."""
    from qstore_db.cli.demo import run_demo

    run_demo(data=data, out=out, epochs=epochs, seed=seed)


@app.command()
def sql(
    database: DatabaseArgument,
    text: Annotated[str, typer.Argument(help='One or more statements, such as "SELECT name, rows FROM datasets".')],
    output: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    allow_python: AllowPythonOption = None,
) -> None:
    """Run SQL and print the result."""
    from qstore_db.cli.printing import print_result
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, create=False, progress=True, python_procedures=allow_python or ()) as db:
        print_result(db.sql(text), output)


@app.command()
def serve(
    database: DatabaseArgument,
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 0,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Show it in the browser.")] = True,
) -> None:
    """Look at a database in the browser of this machine: tables, search, training curves, circuits, SQL."""
    from qstore_db.cli.serving import run_serve

    run_serve(database, port, opens=open_browser)


@app.command()
def shell(database: DatabaseArgument, allow_python: AllowPythonOption = None) -> None:
    """Type SQL line by line; a statement ends with a semicolon, .help lists the other commands."""
    from qstore_db.cli.shell import run_shell
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, progress=True, python_procedures=allow_python or ()) as db:
        run_shell(db)


@app.command("import")
def import_(
    database: DatabaseArgument,
    collection: Annotated[str, typer.Argument(help="The collection to add to; created if it is missing.")],
    file: Annotated[Path, typer.Argument(help="A .parquet, .csv, .npy or .npz file.")],
    metric: Annotated[str, typer.Option(help="l2, cosine or ip, for a new collection.")] = "l2",
    dtype: Annotated[str, typer.Option(help="float32, float16 or int8, for a new collection.")] = "float32",
    id_column: Annotated[str, typer.Option(help="Column with the ids; row numbers where it is missing.")] = "id",
    vector_column: Annotated[str, typer.Option(help="Column with the vectors.")] = "vector",
    dataset: Annotated[
        bool, typer.Option("--dataset", help="Read an .npz of x_train, y_train, x_test, y_test as training data.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted import was.")] = False,
    max_bytes: Annotated[
        int | None, typer.Option(min=1, help="What an .npz may unpack to; by default half of the free memory.")
    ] = None,
) -> None:
    """Read rows from a file into a collection, batch by batch."""
    from qstore_db.cli.importing import import_file
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database) as db:
        rows = import_file(
            db,
            collection,
            file,
            metric=metric,
            dtype=dtype,
            id_column=id_column,
            vector_column=vector_column,
            dataset=dataset,
            resume=resume,
            max_bytes=max_bytes,
        )
        typer.echo(f"{rows:,} rows imported into {collection}")


@app.command("export")
def export_(
    database: DatabaseArgument,
    collection: Annotated[str, typer.Argument(help="The collection or data set.")],
    file: Annotated[Path, typer.Argument(help="A new .parquet, .csv or .npy file (.npy: the vectors alone).")],
    version: Annotated[str | None, typer.Option(help="A version's number or a tag; the newest if left out.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write the rows of a collection to a file, batch by batch."""
    from qstore_db.cli.exporting import export_file
    from qstore_db.database import QuantumDatabase

    wanted = int(version) if version is not None and version.isdecimal() else version
    with QuantumDatabase.open(database, create=False, read_only=True) as db:
        rows = export_file(db, collection, file, overwrite=overwrite, version=wanted)
        typer.echo(f"{rows:,} rows exported to {file}")


@app.command()
def versions(database: DatabaseArgument) -> None:
    """List the versions that can be read, with their tags."""
    from qstore_db.cli.printing import print_result
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, create=False, read_only=True) as db:
        print_result(db.sql("SELECT * FROM versions"), "table")


@app.command()
def vacuum(
    database: DatabaseArgument,
    keep_seconds: Annotated[float, typer.Option(help="Keep versions replaced less long ago.")] = 0.0,
) -> None:
    """Give up old versions that no tag or run needs, and free their space."""
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, create=False) as db:
        report = db.vacuum(keep_seconds)
    typer.echo(f"{report.bytes_before:,} bytes became {report.bytes_after:,}")
    typer.echo(f"versions {report.oldest_version} to {report.version} can be read")
    for version, owners in report.pinned:
        typer.echo(f"version {version} is kept for {', '.join(owners)}")


@app.command()
def train(
    database: DatabaseArgument,
    model: Annotated[str, typer.Argument(help="A model made by CREATE MODEL or db.create_model.")],
    dataset: cli.DatasetOption,
    epochs: cli.EpochsOption = None,
    batch_size: cli.BatchSizeOption = None,
    optimizer: cli.OptimizerOption = None,
    learning_rate: cli.LearningRateOption = None,
    gradient: cli.GradientOption = None,
    backend: cli.BackendOption = None,
    shots: cli.ShotsOption = None,
    sdk: cli.SdkOption = None,
    target: cli.TargetOption = None,
    max_cost_usd: cli.CeilingOption = None,
    validation_fraction: cli.ValidationOption = None,
    seed: cli.SeedOption = None,
    config: cli.ConfigOption = None,
    option: cli.OptionOption = None,
) -> None:
    """Train a model with a progress bar and print its epochs.

    Flags and --option count before the file of --config, that before environment variables QSTORE_TRAIN_<OPTION>.
    """
    flags = {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "gradient": gradient,
        "backend": backend,
        "shots": shots,
        "sdk": sdk,
        "target": target,
        "max_cost_usd": max_cost_usd,
        "validation_fraction": validation_fraction,
        "seed": seed,
    }
    cli.run_training(database, model, dataset, cli.gathered(flags, option, config))


@app.command("search-hyperparameters")
def search_hyperparameters(
    database: DatabaseArgument,
    model: Annotated[str, typer.Argument(help="The model whose specification is varied.")],
    dataset: cli.DatasetOption,
    trials: Annotated[int, typer.Option(help="How many variants are trained.")] = 20,
    space: Annotated[Path | None, typer.Option(help="A TOML file that says what is varied, such as [space].")] = None,
    sampler: Annotated[str, typer.Option(help="tpe, random, grid, gp or annealing.")] = "tpe",
    pruner: Annotated[str | None, typer.Option(help="median or halving: stop what falls behind.")] = None,
    objective: Annotated[str | None, typer.Option(help="validation_accuracy or validation_loss.")] = None,
    study: Annotated[str | None, typer.Option(help="A name for the study.")] = None,
    warm_start: Annotated[bool, typer.Option("--warm-start", help="Begin with what was best in like studies.")] = False,
    workers: Annotated[int, typer.Option(help="Threads that train.")] = 1,
    epochs: cli.EpochsOption = None,
    seed: cli.SeedOption = None,
    config: cli.ConfigOption = None,
    option: cli.OptionOption = None,
) -> None:
    """Train variants of a model and print how each validates; the rest of the options are those of train."""
    options = cli.gathered({"epochs": epochs, "seed": seed}, option, config)
    cli.run_search(
        database,
        model,
        dataset,
        options,
        trials=trials,
        space=cli.space_in(space),
        sampler=sampler,
        pruner=pruner,
        objective=objective,
        study=study,
        warm_start=warm_start,
        workers=workers,
    )


@app.command("resume-search")
def resume_search(
    database: DatabaseArgument,
    study: Annotated[str, typer.Argument(help="The study; SELECT name FROM studies lists them.")],
    trials: Annotated[int | None, typer.Option(help="How many trials there are to be from now on.")] = None,
    max_cost_usd: Annotated[float | None, typer.Option(help="What all trials together may cost from now on.")] = None,
    workers: Annotated[int, typer.Option(help="Threads that train.")] = 1,
) -> None:
    """Go on with a study that was stopped, and print its trials."""
    cli.resume_search(database, study, trials=trials, max_cost_usd=max_cost_usd, workers=workers)


@app.command()
def resume(
    database: DatabaseArgument,
    run_id: Annotated[int, typer.Argument(help="The run; qstore runs lists them.")],
    max_cost_usd: cli.CeilingOption = None,
) -> None:
    """Go on with a run that was stopped, with a progress bar, and print its epochs."""
    cli.resume_training(database, run_id, max_cost_usd)


@app.command()
def jobs(database: DatabaseArgument) -> None:
    """List the jobs that were sent to remote providers, with what they cost."""
    _select(
        database,
        "SELECT tag, run_id, target, status, circuits, shots, estimate_usd, cost_usd, planned_at, ended_at FROM jobs",
    )


@app.command()
def models(database: DatabaseArgument) -> None:
    """List the models."""
    _select(
        database,
        "SELECT name, version, status, kind, qubits, layers, classes, encoding, accuracy, accuracy_on FROM models"
        " ORDER BY name",
    )


@app.command()
def runs(database: DatabaseArgument) -> None:
    """List the training runs."""
    _select(
        database,
        "SELECT run_id, model, version, dataset, status, epochs_done, steps_done, train_loss, train_accuracy,"
        " validation_accuracy, seconds, started_at FROM training_runs ORDER BY run_id",
    )


@app.command()
def doctor(
    database: DatabaseArgument,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Give up what cannot be read (copies in quarantine/); rebuild damaged graphs."),
    ] = False,
) -> None:
    """Check every checksum and invariant; exit code 1 if anything is wrong."""
    from qstore_db.cli.doctoring import examine, mend

    done = mend(database) if repair else []
    for line in done:
        typer.echo(line)
    findings = examine(database)
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding.file or 'database'}: {finding.what} {finding.fix}")
    errors = sum(finding.severity == "error" for finding in findings)
    typer.echo("no damage found" if not errors else f"{errors} error(s) found")
    if errors:
        raise typer.Exit(1)


@app.command("warm-up")
def warm_up_() -> None:
    """Compile the kernels now instead of at their first use; done once per installation."""
    from qstore_db.warming import warm_up

    warm_up()
    typer.echo("the kernels are compiled")


def _select(database: Path, text: str) -> None:
    from qstore_db.cli.printing import print_result
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, create=False, read_only=True) as db:
        print_result(db.sql(text), "table")


def main() -> None:
    """Entry point of the command ``qstore``."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except QStoreError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        sys.exit(130)
