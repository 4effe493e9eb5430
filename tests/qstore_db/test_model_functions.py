"""probabilities, features and fidelity in SQL, against the same numbers computed another way."""

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import DimensionMismatchError, InvalidVectorError, SqlSyntaxError
from qstore_db.models.losses import softmax
from qstore_db.simulation import reference


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(4)
    data, labels = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 3, 30)
    with QuantumDatabase.open(":memory:") as db:
        db.store_training_data("d", data=data, labels=labels, split="train")
        db.create_model("m", qubits=2, classes=3, layers=2, dtype="float64")
        db.train("m", "d", epochs=2, learning_rate=0.1, seed=1)
        yield db, data


def test_features_are_the_readouts_of_the_circuit(trained):
    db, data = trained
    model = db._plugins().trained_models.load("m")
    plan = model.model.plan
    amplitudes = data.astype(float) / np.linalg.norm(data.astype(float), axis=1, keepdims=True)
    states = reference.state_vector(plan.circuit, model.parameters["circuit"], amplitudes=amplitudes)
    expected = reference.expectations(states, plan.observables)
    assert expected.shape == (30, 9)  # X, Y, Z of two qubits, XX, YY, ZZ of the pair
    assert np.allclose(db.features("m", data), expected, atol=1e-12)
    listed = db.sql("SELECT id, features('m', vector) FROM d ORDER BY id").fetchall()
    order = db.sql("SELECT id, predict('m', vector) FROM d ORDER BY id").fetchall()
    rows = np.array([int(name.split("/")[1]) for name, _ in listed])
    assert np.array_equal(np.array([values for _, values in listed]), db.features("m", data)[rows])
    head = 8 * expected @ model.parameters["head_weights"].T + model.parameters["head_bias"]
    assert [found for _, found in order] == head[rows].argmax(axis=1).tolist()
    said = db.sql("SELECT probabilities('m', vector) FROM d ORDER BY id").fetchall()
    assert np.allclose(np.array([values for (values,) in said]), softmax(head)[rows], atol=1e-12)


def test_null_gives_null(trained):
    db, _ = trained
    text = "SELECT features('m', NULL), probabilities(NULL, [1, 0, 0, 0]), fidelity(NULL, [1.0])"
    assert db.sql(text).fetchall() == [(None, None, None)]
    with pytest.raises(DimensionMismatchError, match=r"features\('m', vector\) got a vector of 3"):
        db.sql("SELECT features('m', [1, 2, 3])")


def test_fidelity_is_the_squared_overlap_of_amplitudes(trained):
    db, data = trained
    rows = data.astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = (unit @ unit[7]) ** 2
    found = db.sql("SELECT id, fidelity(vector, $q) FROM d", q=data[7]).fetchall()
    assert np.allclose(
        [value for _, value in found], [expected[int(name.split("/")[1])] for name, _ in found], atol=1e-12
    )
    assert db.sql(
        "SELECT fidelity([3, 4], [-3, -4]), fidelity([1, 0], [0, 2]), fidelity([1, 1], [1, 0])"
    ).fetchall() == [(1.0, 0.0, pytest.approx(0.5, abs=1e-15))]
    with pytest.raises(InvalidVectorError, match="zero or not finite"):
        db.sql("SELECT fidelity([0, 0], [1, 0])")
    with pytest.raises(DimensionMismatchError, match="2 and 3 numbers"):
        db.sql("SELECT fidelity([1, 0], [1, 0, 0])")


def test_models_as_tables(trained):
    db, data = trained
    found = db.sql("SELECT id, predicted FROM ML.PREDICT(MODEL m, TABLE d) ORDER BY id").fetchall()
    assert found == db.sql("SELECT id, predict('m', vector) FROM d ORDER BY id").fetchall()
    measured = db.evaluate("m", "d", split="train")
    rows, accuracy, loss = db.sql('SELECT * FROM ml.evaluate(MODEL "m", TABLE d)').fetchone()
    assert (rows, accuracy) == (30, pytest.approx(measured.accuracy))
    assert loss == pytest.approx(measured.loss, abs=1e-12)
    nested = """
        SELECT count(*), p.predicted FROM ML.PREDICT(MODEL 'm@2', (
            SELECT * FROM d WHERE id IN (SELECT id FROM ML.PREDICT(MODEL m, TABLE d) WHERE predicted = label)
            ORDER BY vector <#> $q LIMIT 5)) AS p GROUP BY ALL ORDER BY ALL"""
    right = db.sql(nested, q=data[0]).fetchall()
    assert sum(count for count, _ in right) == 5
    info = db.sql("SELECT epoch, train_loss FROM ML.TRAINING_INFO(MODEL m) AS info WHERE epoch >= 1").fetchall()
    epochs = db.run(1).metrics().arrow().select(["epoch", "train_loss"]).to_pylist()
    assert info == [(row["epoch"], row["train_loss"]) for row in epochs]
    assert len(info) == 2


@pytest.mark.parametrize(
    ("text", "says", "column"),
    [
        ("SELECT 1 FROM ML.GUESS(MODEL m, TABLE d)", "no ML.GUESS", 18),
        ("SELECT 1 FROM ML.PREDICT(m, TABLE d)", "needs a model", 15),
        ("SELECT 1 FROM ML.PREDICT(MODEL 3, TABLE d)", "'3' is no model's name", 32),
        ("SELECT 1 FROM ML.PREDICT(MODEL m)", "needs rows", 33),
        ("SELECT 1 FROM ML.PREDICT(MODEL m, d)", "needs TABLE name or", 35),
        ("SELECT 1 FROM ML.PREDICT(MODEL m, TABLE d", "not closed", 25),
        ("SELECT 1 FROM ML.TRAINING_INFO(MODEL m, TABLE d)", "takes a model only", 39),
    ],
)
def test_calls_that_cannot_be_read_name_their_place(trained, text, says, column):
    db, _ = trained
    with pytest.raises(SqlSyntaxError, match=says) as caught:
        db.sql(text)
    assert (caught.value.line, caught.value.column) == (1, column)
