"""Training options from files, the environment and the command line: what counts, and what is refused."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from qstore_db.cli.app import app
from qstore_db.database import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, QStoreError, UnknownBackendError
from qstore_db.training.option_sources import PREFIX, from_texts, options_from
from qstore_db.training.options import TrainingOptions, option_names


@pytest.fixture
def toml(tmp_path):
    def write(text, name="train.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_a_file_gives_options_at_the_top_or_in_its_table(toml):
    expected = TrainingOptions(epochs=3, learning_rate=0.2, shuffle=False, freeze="circuit, head_bias")
    text = 'n_epochs = 3\nLearning_Rate = 0.2\nshuffle = false\nfreeze = ["circuit", "head_bias"]\n'
    assert TrainingOptions.from_toml(toml(text)) == expected
    assert TrainingOptions.from_toml(toml(f"[space]\nlayers = [1]\n[train]\n{text}")) == expected
    assert TrainingOptions.from_toml(toml("")) == TrainingOptions()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("learnig_rate = 0.1", "no training option 'learnig_rate'.*Did you mean learning_rate"),
        ("epoch = 3", "Did you mean epochs"),
        ("epochs = 1\nn_epochs = 2", "epochs is given twice"),
        ("epochs = 'three'", "epochs is 'three'"),
        ("epochs = 1979-05-27", "epochs is datetime"),
        ("epochs = ", "cannot be read"),
        ("train = 3", "train in .* is 3"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(toml, text, says):
    with pytest.raises(InvalidArgumentError, match=says):
        TrainingOptions.from_toml(toml(text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"nothing\.toml"):
        TrainingOptions.from_toml(tmp_path / "nothing.toml")


def test_variables_are_read_by_the_options_types(monkeypatch):
    given = {"EPOCHS": "3", "LEARNING_RATE": "0.5", "SHUFFLE": "False", "OPTIMIZER": "sgd", "MOMENTUM": "0.9"}
    for name, text in given.items():
        monkeypatch.setenv(f"{PREFIX}{name}", text)
    expected = TrainingOptions(epochs=3, learning_rate=0.5, shuffle=False, optimizer="sgd", momentum=0.9)
    assert TrainingOptions.from_environment() == expected
    assert TrainingOptions.from_environment("MINE_", {"MINE_SEED": "7", "SEED": "8"}) == TrainingOptions(seed=7)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("EPOCS", "3", "no training option 'EPOCS' .environment variables QSTORE_TRAIN.*Did you mean epochs"),
        ("EPOCHS", "3.5", "epochs is '3.5'.*whole number"),
        ("EPOCHS", "", "epochs is ''"),
        ("SHUFFLE", "yes", "shuffle is 'yes'.*true or false"),
        ("LEARNING_RATE", "nan", "learning_rate is nan"),
    ],
)
def test_a_wrong_variable_is_refused(name, text, says):
    with pytest.raises(InvalidArgumentError, match=says):
        TrainingOptions.from_environment(environment={f"{PREFIX}{name}": text})


def test_arguments_count_before_the_file_before_the_environment(toml):
    file = toml("epochs = 2\nbatch_size = 2\n")
    variables = {f"{PREFIX}{name}": "1" for name in ("EPOCHS", "BATCH_SIZE", "SEED")}
    options = options_from(arguments={"n_epochs": 3}, file=file, environment=variables)
    assert (options.epochs, options.batch_size, options.seed, options.learning_rate) == (3, 2, 1, 0.01)


def test_every_option_can_be_text():
    texts = {name: json.dumps(value) for name, value in TrainingOptions().to_json().items() if value is not None}
    given = from_texts([f"{name}={text.strip(chr(34))}" for name, text in texts.items()])
    assert TrainingOptions.from_options(given) == TrainingOptions()
    assert {"shots", "validation_split"} <= set(option_names())
    assert TrainingOptions(**from_texts(["shots=100", "validation_split=dev", "gradient=spsa"])).shots == 100
    for wrong in (["epochs"], ["epochs=1", "n_epochs=2"], ["epocs=1"]):
        with pytest.raises(InvalidArgumentError):
            from_texts(wrong)


@pytest.fixture
def toy(tmp_path):
    data = np.random.default_rng(0).normal(size=(60, 4))
    with QuantumDatabase.open(tmp_path / "toy.qdb") as db:
        db.store_training_data("toy", data=data, labels=(data[:, 0] > 0).astype(int))
        db.create_model("sign", qubits=2, layers=1, classes=2)
    return tmp_path / "toy.qdb"


def trained(toy, *arguments, **variables):
    command = ["train", str(toy), "sign", "--dataset", "toy", *map(str, arguments)]
    done = CliRunner().invoke(app, command, env=variables, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with QuantumDatabase.open(toy) as db:
        return db.runs()[-1].record.options


def test_the_command_takes_flags_options_a_file_and_the_environment(toy, toml):
    file = toml("[train]\nepochs = 4\nbatch_size = 30\noptimizer = 'sgd'\n")
    options = trained(
        toy,
        *("--config", file, "--epochs", 1, "-o", "momentum=0.5", "--option", "clip_norm=2"),
        QSTORE_TRAIN_BATCH_SIZE="7",
        QSTORE_TRAIN_SEED="9",
    )
    expected = TrainingOptions(epochs=1, batch_size=30, optimizer="sgd", momentum=0.5, clip_norm=2, seed=9)
    assert options == expected


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["--epochs", "1", "--option", "n_epochs=2"], InvalidArgumentError, "epochs is given by its flag and by"),
        (["--option", "epocs=2"], InvalidArgumentError, "Did you mean epochs"),
        (["--backend", "none"], UnknownBackendError, "none"),
        (["--config", "nothing.toml"], InvalidArgumentError, "nothing.toml"),
    ],
)
def test_the_command_trains_nothing_when_an_option_is_wrong(toy, arguments, error, says):
    done = CliRunner().invoke(app, ["train", str(toy), "sign", "--dataset", "toy", *arguments])
    assert isinstance(done.exception, error)
    assert isinstance(done.exception, QStoreError)
    assert says in str(done.exception)
    with QuantumDatabase.open(toy) as db:
        assert db.runs() == []
