"""Autoencoders: the trash fidelity against states, codes and what they give back, SQL, features as a data set."""

import numpy as np
import pytest
from small_runs import Stop, bits, metrics_of, state_of

from qstore_db import QuantumDatabase
from qstore_db.errors import (
    AlreadyExistsError,
    DimensionMismatchError,
    InvalidArgumentError,
    InvalidModelError,
    TrainingInterruptedError,
)
from qstore_db.models.autoencoder import Autoencoder, trash_projector
from qstore_db.models.losses import LOSSES
from qstore_db.models.reduction import fit_reduction
from qstore_db.models.specification import ModelSpec
from qstore_db.simulation.state_vector import states
from qstore_db.training.dataset import store_training_data
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registration import create_model
from qstore_db.training.trainer import resume, train
from storage_engine.engine import Engine

ROWS = 30


def made(qubits=3, latent=1, width=7):
    rows = np.random.default_rng(0).normal(size=(ROWS, width)) * np.arange(1, ROWS + 1)[:, None]
    spec = ModelSpec(kind="autoencoder", qubits=qubits, latent=latent, layers=2, dtype="float64")
    model = Autoencoder(spec, fit_reduction(spec, rows))
    return model, rows, model.initial_parameters(seed=1)


def correlated(count, seed, width=8):
    """Rows of a plane, and their classes."""
    rng = np.random.default_rng(seed)
    plane = np.linalg.qr(np.random.default_rng(9).normal(size=(width, 2)))[0].T
    labels = rng.integers(0, 2, count)
    places = np.array([[3.0, 0.5], [0.5, 3.0]])[labels] + 0.4 * rng.normal(size=(count, 2))
    return (places @ plane).astype(np.float32), labels


@pytest.mark.parametrize(("qubits", "latent", "width"), [(3, 1, 7), (3, 2, 8), (2, 1, 3)])
def test_the_fidelity_is_that_of_the_states(qubits, latent, width):
    model, rows, parameters = made(qubits, latent, width)
    ends = states(model.plan.circuit, parameters["circuit"], amplitudes=rows)
    expected = (np.abs(ends[:, :: 2 ** (qubits - latent)]) ** 2).sum(axis=1)
    np.testing.assert_allclose(model.fidelities(parameters, rows), expected, atol=1e-12)


def test_the_projector_is_a_projector():
    terms = {str(string): weight for weight, string in trash_projector(3, 1).terms}
    assert terms == {"III": 0.25, "IZI": 0.25, "IIZ": 0.25, "IZZ": 0.25}


@pytest.mark.parametrize("loss", ["fidelity", "mse"])
def test_the_gradient_is_that_of_the_loss(loss):
    model, rows, parameters = made()
    chosen = LOSSES["autoencoder"][loss]
    found = model.loss_and_gradient(parameters, rows, None, loss=chosen)
    assert set(found.gradients) == {"circuit"} and found.correct is None
    for place in range(len(parameters["circuit"])):
        values = []
        for sign in (1, -1):
            moved = {"circuit": parameters["circuit"].copy()}
            moved["circuit"][place] += sign * 1e-5
            values.append(model.loss_and_gradient(moved, rows, None, loss=chosen).loss)
        slope = (values[0] - values[1]) / 2e-5
        assert found.gradients["circuit"][place] == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_the_loss_is_the_square_error_of_what_is_given_back():
    model, rows, parameters = made()
    codes = model.encode(parameters, rows)
    assert codes.shape == (ROWS, model.code_width) == (ROWS, 4)
    kept = codes[:, :2] + 1j * codes[:, 2:]
    fidelities = model.fidelities(parameters, rows)
    squares = (rows**2).sum(axis=1)
    np.testing.assert_allclose((np.abs(kept) ** 2).sum(axis=1), squares * fidelities)
    back = model.reconstruct(parameters, rows)
    assert back.shape == rows.shape
    error = ((back - rows) ** 2).sum(axis=1)
    assert (error <= squares * (1 - fidelities) + 1e-9).all()
    np.testing.assert_allclose(model.decode(parameters, codes), back)


def test_all_qubits_but_perfect_training_gives_rows_back():
    # Rows whose trash is empty without any gates: a circuit of zero angles and its CNOTs moves it nowhere.
    spec = ModelSpec(kind="autoencoder", qubits=2, latent=1, layers=1, dtype="float64")
    rows = np.array([[3.0, 0.0, 0.0, 0.0], [-2.0, 0.0, 0.0, 0.0]])
    model = Autoencoder(spec, fit_reduction(spec, rows))
    parameters = {"circuit": np.zeros(4)}
    np.testing.assert_allclose(model.fidelities(parameters, rows), 1.0)
    np.testing.assert_allclose(model.reconstruct(parameters, rows), rows, atol=1e-12)
    assert model.decode(parameters, np.zeros((1, 4))).tolist() == [[0.0, 0.0, 0.0, 0.0]]


def test_codes_do_not_depend_on_company():
    model, rows, parameters = made()
    codes, back = model.encode(parameters, rows), model.reconstruct(parameters, rows)
    for n in (0, 11, 29):
        assert model.encode(parameters, rows[n : n + 1]).tobytes() == codes[n].tobytes()
        assert model.reconstruct(parameters, rows[n : n + 1]).tobytes() == back[n].tobytes()
    with pytest.raises(DimensionMismatchError, match="5 numbers, but the model's have 4"):
        model.decode(parameters, np.ones((2, 5)))


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        for split, seed in (("train", 0), ("test", 1)):
            db.store_training_data("d", *correlated(40, seed), split=split, metadata={"n": list(range(40))})
        db.create_model("a", kind="autoencoder", qubits=3, latent=1, layers=3)
        yield db


def test_the_picture_of_a_run_without_classes_has_one_chart(db, tmp_path):
    pytest.importorskip("matplotlib")
    run = db.train("a", "d", epochs=2, loss="mse")
    drawn = run.plot(tmp_path / "loss.svg").read_text()
    db.create_model("c", qubits=3, classes=2)
    both = db.train("c", "d", epochs=2).plot(tmp_path / "both.svg").read_text()
    assert both.count('id="axes_') == 2 > drawn.count('id="axes_')


def test_training_needs_no_labels_and_compresses(db):
    db.store_training_data("bare", correlated(40, 0)[0])
    before = db.train("a", "bare", epochs=1, learning_rate=1e-9).record.scores.train_loss
    run = db.train("a", "bare", epochs=25, learning_rate=0.1, seed=2, batch_size=10)
    assert run.record.scores.train_loss < 0.25 * before
    assert run.record.scores.train_accuracy is None
    found = db.evaluate("a", "d")
    rows = correlated(40, 1)[0].astype(np.float64)
    codes = db.features("a", rows)
    back = db.decode("a", codes)
    assert codes.shape == (40, 4)
    assert found.rmse == pytest.approx(np.sqrt(np.mean((back - rows) ** 2)))
    assert found.accuracy is None and found.r2 is None and 0 <= found.loss < 0.3


def test_sql_and_the_verbs_of_other_kinds(db):
    made = db.sql("CREATE MODEL b OPTIONS (kind = 'autoencoder', qubits = 3, latent = 2, epochs = 2) AS SELECT vector"
                  " FROM d WHERE split = 'train'").arrow().to_pylist()  # fmt: skip
    assert made[0]["status"] == "finished" and made[0]["train_accuracy"] is None
    rows = correlated(40, 1)[0]
    table = db.sql("SELECT features('b', vector) AS code, reconstruct('b', vector) AS back FROM d WHERE split = 'test'")
    found = table.fetchall()
    assert found[0][0] == db.features("b", rows)[0].tolist() and len(found[0][1]) == 8
    for call in (lambda: db.predict("b", rows), lambda: db.predict_proba("b", rows)):
        with pytest.raises(InvalidModelError, match="'b' is of kind 'autoencoder'"):
            call()
    db.create_model("c", qubits=3, classes=2)
    db.train("c", "d", epochs=1)
    with pytest.raises(InvalidModelError, match="decode needs a model of kind 'autoencoder'"):
        db.decode("c", np.ones(4))
    with pytest.raises(InvalidArgumentError, match="monitor = 'validation_accuracy' means nothing for models"):
        db.train("a", "d", TrainingOptions(keep_best=True, monitor="validation_accuracy", validation_split="test"))


@pytest.mark.parametrize("after", [2, 6])
def test_a_resumed_run_ends_in_the_same_bits(after):
    options = TrainingOptions(epochs=3, batch_size=8, learning_rate=0.1, loss="mse", validation_fraction=0.2)
    with Engine.open(None) as whole, Engine.open(None) as cut:
        for engine in (whole, cut):
            store_training_data(engine, "d", correlated(30, 0)[0])
            create_model(engine, "a", ModelSpec(kind="autoencoder", qubits=3, latent=1, layers=1))
        straight = train(whole, "a", "d", options)
        with pytest.raises(TrainingInterruptedError):
            train(cut, "a", "d", options, progress=Stop(after))
        resumed = resume(cut, 1)
        assert bits(state_of(whole, straight)) == bits(state_of(cut, resumed))
        assert metrics_of(whole, straight).equals(metrics_of(cut, resumed))


def test_features_become_a_data_set_for_any_classifier(db):
    db.train("a", "d", epochs=8, learning_rate=0.1, seed=2, batch_size=10)
    made = db.extract_features("d", "a")
    assert (made.info.name, made.info.rows, made.info.dimension) == ("d_a_features", 80, 4)
    assert (made.model, made.version, made.source) == ("a", 2, "d")
    assert made.info.splits == {"train": 40, "test": 40} and made.info.classes == 2
    rows, labels = correlated(40, 1)
    expected = db.features("a", rows).astype(np.float32)
    stored = db.sql("SELECT id, vector, label, n FROM d_a_features WHERE split = 'test' ORDER BY n").df()
    assert np.array_equal(np.stack(stored["vector"]), expected)
    assert stored["label"].tolist() == labels.tolist() and stored["id"].tolist() == [f"test/{n}" for n in range(40)]
    db.create_model("c", qubits=2, classes=2)
    db.train("c", "d_a_features", epochs=10, learning_rate=0.1)
    assert db.evaluate("c", "d_a_features").accuracy > 0.8
    with pytest.raises(AlreadyExistsError, match="'d_a_features'"):
        db.extract_features("d", "a")
    (row,) = db.sql("CALL extract_features(model => 'c@2', dataset => 'd_a_features', name => 'again')").fetchall()
    assert row[:5] == ("again", 80, 9, "c", 2)
    for name in ("metrics", "Models", "no name"):
        with pytest.raises(InvalidArgumentError, match=f"'{name}'"):
            db.extract_features("d", "a", name=name)
    record = db._engine.snapshot().table("feature_extractions")["d_a_features"]
    assert record == {"model": "a", "version": 2, "source": "d", "source_version": made.source_version}


def test_shots_and_noise_train_and_evaluate(db):
    options = TrainingOptions(epochs=1, batch_size=20, shots=400, gradient="spsa", backend="local_noisy")
    run = db.train("a", "d", options)
    assert run.metrics(steps=True).arrow()["bases"].to_pylist() == [1, 1, 1]  # all strings are of Z
    exact, sampled = db.evaluate("a", "d"), db.evaluate("a", "d", shots=20_000, seed=3)
    assert sampled.loss == pytest.approx(exact.loss, abs=0.02) and sampled.loss != exact.loss
    assert sampled.rmse is None and sampled.circuits == 40
    noisy = db.evaluate("a", "d", backend="local_noisy")
    assert abs(noisy.loss - 0.75) < abs(exact.loss - 0.75)  # noise moves F towards 2^-2, that of two mixed qubits
