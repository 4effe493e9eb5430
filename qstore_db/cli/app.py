"""The command line: each command is a few lines over the Python interface.

Errors are one line with the fix and exit code 2; ``--debug`` shows the traceback instead.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

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

DatabaseArgument = Annotated[Path, typer.Argument(help="The database directory, such as clothes.qdb.")]


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
) -> None:
    """Run SQL and print the result."""
    from qstore_db.cli.printing import print_result
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, create=False, progress=True) as db:
        print_result(db.sql(text), output)


@app.command()
def shell(database: DatabaseArgument) -> None:
    """Type SQL line by line; a statement ends with a semicolon, .help lists the other commands."""
    from qstore_db.cli.shell import run_shell
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, progress=True) as db:
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
    dataset: Annotated[str, typer.Option(help="The data set to learn from.")],
    epochs: Annotated[int, typer.Option(help="Passes over the training split.")] = 5,
    batch_size: Annotated[int, typer.Option(help="Rows per step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Step size of the optimizer (Adam).")] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of the parameters and the shuffles.")] = 0,
) -> None:
    """Train a model with a progress bar and print its epochs."""
    from qstore_db.cli.printing import print_result
    from qstore_db.database import QuantumDatabase

    with QuantumDatabase.open(database, create=False, progress=True) as db:
        run = db.train(model, dataset, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
        print_result(
            db.sql(
                "SELECT epoch, train_loss, train_accuracy, validation_accuracy FROM metrics"
                " WHERE run_id = $run AND step = -1 ORDER BY epoch",
                run=run.id,
            ),
            "table",
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
