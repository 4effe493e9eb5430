"""The main job on real data: store, search, train by SQL, compare with classical models, plot, reopen, predict again.

Everything goes through the public interface and is timed where it happens; nothing is chosen on the test rows.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.cli.importing import read_dataset
from qstore_db.errors import InvalidArgumentError, MissingDependencyError

if TYPE_CHECKING:
    from rich.console import Console

    from qstore_db.database import QuantumDatabase

SEARCHES = 200
TOP_K = 10


@dataclass(frozen=True, slots=True)
class DemoData:
    """What the demo runs on: uint8 or float pixels of shape (rows, pixels) and integer labels."""

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """Model and training options, chosen on validation rows of each kind of data."""

    qubits: int
    layers: int
    reduce: str | None
    epochs: int
    batch_size: int
    learning_rate: float
    rotations: str = "ry_rz"
    entanglement: str = "linear"


@dataclass(slots=True)
class Stopwatch:
    """Seconds of each named piece of the demo, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Time the block under a name."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def run_demo(*, data: Path | None, out: Path, epochs: int | None, seed: int) -> None:
    """Run the demo and print what it found.

    Args:
        data: A file with ``x_train, y_train, x_test, y_test``, or ``None`` for scikit-learn's digits.
        out: Folder for the database (made anew) and the two pictures.
        epochs: Passes over the training rows, or ``None`` for the setting of the data.
        seed: Of the split, the parameters and the shuffles.

    Raises:
        MissingDependencyError: scikit-learn or matplotlib is not installed.
        InvalidArgumentError: The data file lacks an array.
    """
    from rich.console import Console

    from qstore_db.database import QuantumDatabase

    console = Console()
    watch = Stopwatch()
    with watch.measure("load the images"):
        images = load_digits(seed) if data is None else load_file(data)
    settings = choose_settings(images, epochs)
    path = fresh_directory(out, images.name)
    console.print(
        f"[bold]{images.name}[/bold]: {len(images.x_train):,} training and {len(images.x_test):,} test images of "
        f"{images.x_train.shape[1]} pixels, {int(images.y_train.max()) + 1} classes"
    )
    with QuantumDatabase.open(path, progress=True) as db:
        with watch.measure("store both splits, durably"):
            db.store_training_data("images", data=images.x_train, labels=images.y_train, split="train")
            db.store_training_data("images", data=images.x_test, labels=images.y_test, split="test")
        with watch.measure("store the gallery and build its graph"):
            gallery = db.create_collection("gallery", dimension=images.x_train.shape[1], metric="l2")
            ids = [f"train/{row}" for row in range(len(images.x_train))]
            gallery.insert(ids, images.x_train, metadata={"label": images.y_train})
            gallery.build_graph()
        with watch.measure(f"search: {SEARCHES} queries by graph, {SEARCHES} exactly"):
            show_searches(console, db, images, seed)
        with watch.measure("train the quantum model by SQL"):
            train(db, "trained", settings, images, seed, train_circuit=True)
        with watch.measure("train the same head on a frozen random circuit"):
            train(db, "frozen", settings, images, seed, train_circuit=False)
        show_epochs(console, db)
        accuracies = {}
        with watch.measure("evaluate both on the test images"):
            accuracies["quantum, trained circuit"] = accuracy(db, "trained")
            accuracies["quantum, frozen random circuit"] = accuracy(db, "frozen")
        with watch.measure("logistic regression on the same pixels"):
            accuracies["logistic regression"] = logistic_regression(images)
        show_accuracies(console, accuracies, len(images.x_test))
        predicted = np.asarray(db.predict("trained", images.x_test), np.int64)  # classes
        with watch.measure("draw two pictures"):
            pictures = draw(db, images, predicted, out)
    with watch.measure("reopen and predict again"), QuantumDatabase.open(path, read_only=True) as db:
        same = bool(np.array_equal(predicted, db.predict("trained", images.x_test)))
    console.print(
        "\nReopened: the stored model predicts the same labels for all test images."
        if same
        else "\n[red]Reopened: predictions differ.[/red]"
    )
    show_times(console, watch)
    console.print(f"Pictures: {pictures[0]}, {pictures[1]} · database: {path}")
    console.print(f'Look around: qstore sql {path} "SELECT name, role, rows FROM collections"')  # noqa: S608 - every piece is a number or a word of ours


def load_digits(seed: int) -> DemoData:
    """scikit-learn's digits: 1,797 real scans of 8 × 8 pixels, split 80 : 20, stratified and seeded."""
    try:
        import sklearn.datasets
        import sklearn.model_selection
    except ImportError as error:
        raise MissingDependencyError("scikit-learn is not installed", fix="pip install 'qstore-db[demo]'") from error
    digits = sklearn.datasets.load_digits()
    x_train, x_test, y_train, y_test = sklearn.model_selection.train_test_split(
        digits.data, digits.target, test_size=0.2, stratify=digits.target, random_state=seed
    )
    return DemoData("digits", x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64))


def load_file(file: Path) -> DemoData:
    """The images of a data file; labels must be integers from 0."""
    arrays = read_dataset(file)
    labels = {split: arrays[f"y_{split}"] for split in ("train", "test")}
    for split, array in labels.items():
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise InvalidArgumentError(f"y_{split} has type {array.dtype}", fix="labels are integers from 0")
    return DemoData(
        file.stem,
        arrays["x_train"],
        labels["train"].astype(np.int64),
        arrays["x_test"],
        labels["test"].astype(np.int64),
    )


def choose_settings(images: DemoData, epochs: int | None) -> DemoSettings:
    """Settings by the size of the images: 6 qubits where 64 amplitudes hold them, else pooled into 8 qubits.

    Both were chosen by cross-validation inside the training rows of scikit-learn's digits and of Fashion-MNIST; layers,
    rotations, entanglement and learning rate differ there by no more than the folds do.
    """
    pixels = images.x_train.shape[1]
    if pixels <= 64:
        return DemoSettings(6, 4, None, 30 if epochs is None else epochs, 32, 0.01)
    side = round(pixels**0.5)
    reduce = "pool" if side * side == pixels else "pca"
    return DemoSettings(8, 8, reduce if pixels > 256 else None, 8 if epochs is None else epochs, 128, 0.005)


def fresh_directory(out: Path, name: str) -> Path:
    """The path of a database that does not exist yet; one left by an earlier demo is removed.

    Raises:
        InvalidArgumentError: Something else stands there.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.qdb"
    if path.exists():
        if not (path / "FORMAT").is_file():
            raise InvalidArgumentError(f"{path} is not a database of an earlier demo", fix="choose another --out")
        shutil.rmtree(path)
    return path


def show_searches(console: Console, db: QuantumDatabase, images: DemoData, seed: int) -> None:
    """Search test images among the training images by the graph and exactly; print recall and latency."""
    gallery = db.collection("gallery")
    rows = np.random.default_rng(seed).choice(len(images.x_test), min(SEARCHES, len(images.x_test)), replace=False)
    gallery.query(images.x_test[rows[0]], top_k=TOP_K)  # the first query of a process loads compiled code
    found, found_ms = timed_searches(db, images.x_test[rows], exact=False)
    truth, truth_ms = timed_searches(db, images.x_test[rows], exact=True)
    shared = [len(set(a.ids) & set(b.ids)) / len(b.ids) for a, b in zip(found, truth, strict=True)]
    same_label = np.mean(
        [
            images.y_train[int(hits.ids[0].removeprefix("train/"))] == images.y_test[row]
            for hits, row in zip(found, rows, strict=True)
        ]
    )
    console.print(
        f"Search, {len(rows)} test images among {len(gallery):,}: recall@{TOP_K} {np.mean(shared):.3f} against exact "
        f"({found[0].strategy}); median {np.median(found_ms):.2f} ms a query, exact {np.median(truth_ms):.2f} ms; "
        f"the nearest image has the right label for {same_label:.1%}"
    )


def timed_searches(db: QuantumDatabase, queries: NDArray[Any], *, exact: bool) -> tuple[list[Any], list[float]]:
    """One call a query; answers and milliseconds."""
    gallery = db.collection("gallery")
    answers, milliseconds = [], []
    for query in queries:
        start = time.perf_counter()
        answers.append(gallery.query(query, top_k=TOP_K, exact=exact))
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return answers, milliseconds


def train(
    db: QuantumDatabase, model: str, settings: DemoSettings, images: DemoData, seed: int, *, train_circuit: bool
) -> None:
    """Register a model and train it, both by SQL."""
    reduce = f", reduce = '{settings.reduce}'" if settings.reduce else ""
    db.sql(
        f"CREATE MODEL {model} OPTIONS (kind = 'classifier', qubits = {settings.qubits}, layers = {settings.layers}, "
        f"encoding = 'amplitude', rotations = '{settings.rotations}', entanglement = '{settings.entanglement}', "
        f"classes = {int(images.y_train.max()) + 1}, train_circuit = {str(train_circuit).lower()}{reduce})"
    )
    db.sql(
        "CALL train(model => $model, dataset => 'images', epochs => $epochs, batch_size => $batch_size, "
        "learning_rate => $learning_rate, validation_fraction => 0.1, seed => $seed)",
        model=model,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=seed,
    )


def show_epochs(console: Console, db: QuantumDatabase) -> None:
    """The first, every few, and the last epochs of the trained model, read by SQL."""
    from rich.table import Table

    rows = db.sql(
        "SELECT m.epoch, m.train_loss, m.train_accuracy, m.validation_accuracy, m.circuits, m.samples_per_second "
        "FROM metrics m JOIN training_runs r USING (run_id) WHERE r.model = 'trained' AND m.step = -1 ORDER BY m.epoch"
    ).fetchall()
    stride = max(1, len(rows) // 8)
    table = Table(title="\nSELECT … FROM metrics WHERE step = -1", box=None, title_justify="left")
    for name in ("epoch", "loss", "accuracy", "validation", "circuits", "samples/s"):
        table.add_column(name, justify="right")
    for number, row in enumerate(rows):
        if number % stride == 0 or number == len(rows) - 1:
            epoch, loss, train_accuracy, validation, circuits, speed = row
            table.add_row(
                str(epoch),
                f"{loss:.3f}",
                f"{train_accuracy:.3f}",
                f"{validation:.3f}",
                f"{circuits:,}",
                f"{speed:,.0f}",
            )
    console.print(table)


def accuracy(db: QuantumDatabase, model: str) -> float:
    """Share of test images with the right label, by SQL."""
    result = db.sql("CALL evaluate(model => $model, dataset => 'images', split => 'test')", model=model)
    return float(result.arrow().column("accuracy")[0].as_py())


def logistic_regression(images: DemoData) -> float:
    """Test accuracy of scikit-learn's logistic regression on the same pixels, scaled to [0, 1], all training rows."""
    import warnings

    import sklearn.linear_model
    import threadpoolctl
    from sklearn.exceptions import ConvergenceWarning

    scale = np.float32(images.x_train.max() or 1)
    x_train, x_test = (np.asarray(x, dtype=np.float32) / scale for x in (images.x_train, images.x_test))
    model = sklearn.linear_model.LogisticRegression(max_iter=100)
    # One thread: on a busy machine threads that wait for each other cost this small problem a hundred times its work.
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the baseline that is reported is "100 iterations"
        model.fit(x_train, images.y_train)
    return float(model.score(x_test, images.y_test))


def show_accuracies(console: Console, accuracies: dict[str, float], rows: int) -> None:
    """The accuracies side by side, and a sentence that says which won."""
    from rich.table import Table

    table = Table(title="\nTest accuracy", box=None, title_justify="left")
    table.add_column("model")
    table.add_column("accuracy", justify="right")
    for name, value in accuracies.items():
        table.add_row(name, f"{value:.4f}")
    console.print(table)
    console.print(verdict(accuracies, rows))


def verdict(accuracies: dict[str, float], rows: int) -> str:
    """One honest sentence: who won, by how much, and whether the gap exceeds two standard errors.

    The standard error of an accuracy a on n rows is √(a(1 − a)/n); the gap of two models is compared with twice the
    root of the sum of both squares, as if they were independent.
    """
    order = sorted(accuracies, key=lambda name: -accuracies[name])
    best, second = (accuracies[name] for name in order[:2])
    error = float(np.sqrt((best * (1 - best) + second * (1 - second)) / rows))
    clear = "a clear gap" if best - second > 2 * error else "within the noise of this test set"
    tail = (
        " A classical model does this job as well or better; train here for the comparison, not for the accuracy."
        if order[0] == "logistic regression"
        else ""
    )
    return f"Best: {order[0]}, {100 * (best - second):.1f} points ahead of {order[1]} ({clear}).{tail}"


def draw(db: QuantumDatabase, images: DemoData, predicted: NDArray[np.int64], out: Path) -> tuple[Path, Path]:
    """Write ``loss.png`` and ``confusion.png``; returns their paths."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib is not installed", fix="pip install 'qstore-db[demo]'") from error
    loss_path, confusion_path = out / "loss.png", out / "confusion.png"
    db.runs()[0].plot(loss_path)
    classes = int(images.y_train.max()) + 1
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (images.y_test, predicted), 1)
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(np.sqrt(confusion), cmap="Blues")
    for row, column in np.ndindex(classes, classes):
        if confusion[row, column]:
            dark = confusion[row, column] > confusion.max() / 3
            axes.text(
                column, row, str(confusion[row, column]), ha="center", va="center", color="white" if dark else "black"
            )
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"{images.name}: test images by true and predicted class",
        xticks=range(classes),
        yticks=range(classes),
    )
    figure.savefig(confusion_path, dpi=120)
    return loss_path, confusion_path


def show_times(console: Console, watch: Stopwatch) -> None:
    """What took how long."""
    from rich.table import Table

    table = Table(title="\nTime", box=None, title_justify="left")
    table.add_column("piece")
    table.add_column("seconds", justify="right")
    for name, seconds in watch.seconds.items():
        table.add_row(name, f"{seconds:.2f}")
    table.add_row("all", f"{sum(watch.seconds.values()):.2f}")
    console.print(table)
