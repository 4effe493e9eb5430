"""Regressors: targets in their own units, derivatives, predictions, SQL, resumed runs."""

import numpy as np
import pytest
from small_runs import Stop, bits, metrics_of, state_of

from qstore_db import QuantumDatabase
from qstore_db.errors import (
    InvalidArgumentError,
    InvalidLabelError,
    InvalidMetadataError,
    InvalidModelError,
    InvalidTargetError,
    TrainingInterruptedError,
)
from qstore_db.models.named import model_of
from qstore_db.models.reduction import fit_reduction
from qstore_db.models.regressor import Regressor
from qstore_db.models.specification import ModelSpec
from qstore_db.models.target_scaling import TargetScaling
from qstore_db.training.dataset import fingerprint, split_rows, store_training_data
from qstore_db.training.evaluation import regression_scores
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registration import create_model
from qstore_db.training.targets import with_targets
from qstore_db.training.trainer import fine_tune, resume, train
from storage_engine.engine import Engine

OPTIONS = TrainingOptions(epochs=4, batch_size=8, learning_rate=0.05, seed=3, validation_split="test")


def numbers(count, seed, outputs=1):
    """Rows of four features and targets that are quadratic forms of them, in the hundreds."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 4)).astype(np.float32)
    unit = rows.astype(np.float64) / np.linalg.norm(rows, axis=1, keepdims=True)
    targets = np.stack([150.0 + 90.0 * unit[:, k] * unit[:, k + 1] + 40.0 * unit[:, 0] ** 2 for k in range(outputs)], 1)
    return rows, targets[:, 0] if outputs == 1 else targets


def made(outputs=1, **options):
    rows, targets = numbers(20, 0, outputs)
    spec = ModelSpec(
        **{"kind": "regressor", "qubits": 2, "layers": 2, "outputs": outputs, "dtype": "float64"} | options
    )
    scaling = TargetScaling.fitted(targets.reshape(20, outputs))
    return Regressor(spec, fit_reduction(spec, rows), scaling), rows, targets


def started(model, seed=0):
    """Parameters with a head that is not zero, so that every derivative has something to say."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in model.shapes.items()}


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        for split, seed in (("train", 0), ("test", 1)):
            rows, targets = numbers(40 if split == "train" else 20, seed)
            db.store_training_data("d", rows, targets=targets, split=split)
        db.create_model("r", kind="regressor", qubits=2, layers=2)
        yield db


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("readout", ["pauli_pairs", "z"])
def test_the_gradient_is_that_of_the_mean_square(outputs, readout):
    model, rows, targets = made(outputs, readout=readout)
    parameters = started(model)
    found = model.loss_and_gradient(parameters, rows, targets)
    away = model.predict(parameters, rows) - targets.reshape(20, outputs)
    assert found.loss == pytest.approx(np.square(away / model.scaling.deviation).mean(), rel=1e-12)
    assert found.correct is None and set(found.gradients) == {"circuit", "head_weights", "head_bias"}
    for name, gradient in found.gradients.items():
        for place in np.ndindex(gradient.shape):
            moved = {key: value.copy() for key, value in parameters.items()}
            moved[name][place] += 1e-5
            above = model.loss_and_gradient(moved, rows, targets).loss
            moved[name][place] -= 2e-5
            slope = (above - model.loss_and_gradient(moved, rows, targets).loss) / 2e-5
            assert gradient[place] == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_the_first_loss_is_one_and_predicts_the_mean():
    model, rows, targets = made()
    start = model.initial_parameters(seed=5)
    assert model.loss_and_gradient(start, rows, targets).loss == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(model.predict(start, rows), targets.mean())


def test_a_prediction_does_not_depend_on_its_company():
    model, rows, _ = made(2)
    parameters = started(model)
    whole = model.predict(parameters, rows)
    assert whole.shape == (20, 2)
    for n in (0, 7, 19):
        assert model.predict(parameters, rows[n : n + 1]).tobytes() == whole[n].tobytes()


def test_scaling_of_constant_targets_changes_nothing():
    scaling = TargetScaling.fitted(np.array([[2.0, 1e9], [4.0, 1e9]]))
    assert scaling.mean.tolist() == [3.0, 1e9] and scaling.deviation.tolist() == [1.0, 1.0]
    values = np.array([[1.5, 1e9 + 7]])
    np.testing.assert_allclose(scaling.restored(scaling.standardised(values)), values)
    again = TargetScaling.from_arrays(scaling.arrays, 2)
    assert again.mean.tobytes() == scaling.mean.tobytes()
    with pytest.raises(InvalidModelError, match="1 output"):
        TargetScaling.from_arrays(scaling.arrays, 1)


def test_a_kind_and_its_scaling_belong_together():
    model, rows, _ = made()
    with pytest.raises(InvalidModelError, match="'regressor' needs a scaling"):
        model_of(model.spec, model.reduction)
    classifier = ModelSpec(qubits=2, classes=2)
    with pytest.raises(InvalidModelError, match="'classifier' takes no scaling"):
        model_of(classifier, fit_reduction(classifier, rows), model.scaling)


def test_a_run_learns_numbers_and_says_how_well(db):
    run = db.train("r", "d", epochs=40, batch_size=8, learning_rate=0.05, seed=3, validation_split="test")
    scores = run.record.scores
    assert scores.train_accuracy is None and scores.validation_accuracy is None
    assert scores.validation_loss < 0.2
    found = db.evaluate("r", "d")
    rows, targets = numbers(20, 1)
    predicted = db.predict("r", rows)
    assert predicted.dtype == np.float64 and predicted.shape == (20,)
    assert found.rmse == pytest.approx(np.sqrt(np.mean((predicted - targets) ** 2)))
    assert found.mae == pytest.approx(np.abs(predicted - targets).mean())
    assert found.r2 == pytest.approx(1 - np.sum((predicted - targets) ** 2) / np.sum((targets - targets.mean()) ** 2))
    assert found.r2 > 0.8 and found.accuracy is None and found.confusion is None
    assert found.loss == pytest.approx(scores.validation_loss)
    assert db.predict("r", rows[3]).tolist() == predicted[3:4].tolist()


def test_scores_by_hand():
    found = regression_scores(np.array([[1.0], [3.0]]), np.array([[0.0], [4.0]]))
    assert found == {"rmse": 1.0, "mae": 1.0, "r2": 1 - 2 / 8}
    assert regression_scores(np.array([[1.0], [3.0]]), np.array([[2.0], [2.0]]))["r2"] is None


@pytest.mark.parametrize("after", [1, 7, 11])
def test_a_resumed_run_ends_in_the_same_bits(after):
    with Engine.open(None) as whole, Engine.open(None) as cut:
        for engine in (whole, cut):
            for split, seed in (("train", 0), ("test", 1)):
                rows, targets = numbers(20, seed, 2)
                store_training_data(engine, "d", rows, split=split, targets=targets)
            create_model(engine, "r", ModelSpec(kind="regressor", qubits=2, layers=1, outputs=2))
        straight = train(whole, "r", "d", OPTIONS)
        with pytest.raises(TrainingInterruptedError):
            train(cut, "r", "d", OPTIONS, progress=Stop(after))
        resumed = resume(cut, 1)
        assert bits(state_of(whole, straight)) == bits(state_of(cut, resumed))
        assert metrics_of(whole, straight).equals(metrics_of(cut, resumed))
        assert resumed.scores == straight.scores


def test_fine_tuning_keeps_the_units_of_the_targets(db):
    db.train("r", "d", epochs=1)
    rows, targets = numbers(30, 5)
    db.store_training_data("other", rows, targets=targets + 500.0)
    tuned = fine_tune(db._engine, "r", "other", TrainingOptions(epochs=1))
    models = db._plugins().trained_models
    first, second = models.load("r", 2).model, models.load("r", tuned.version).model
    assert first.scaling.mean.tobytes() == second.scaling.mean.tobytes()


def test_sql_creates_trains_predicts_and_evaluates(db):
    db.sql("CREATE MODEL q OPTIONS (kind = 'regressor', qubits = 2, epochs = 3) AS SELECT vector, target FROM d")
    version = db.sql("SELECT kind, version, accuracy FROM models WHERE name = 'q'").fetchall()
    assert version == [("regressor", 2, None)]
    rows, targets = numbers(40, 0)
    table = db.sql("SELECT predict_value('q', vector) AS v, predict_values('q', vector) AS vs, target FROM d"
                   " WHERE split = 'train'").df()  # fmt: skip
    assert table["v"].tolist() == db.predict("q", rows).tolist() == [value[0] for value in table["vs"]]
    assert table["target"].tolist() == targets.tolist()
    (row,) = db.sql("CALL evaluate(model => 'q', dataset => 'd')").arrow().to_pylist()
    found = db.evaluate("q", "d")
    assert (row["rmse"], row["r2"], row["accuracy"]) == (found.rmse, found.r2, None)
    split = "(SELECT * FROM d WHERE split = 'test')"
    (row,) = db.sql(f"SELECT * FROM ML.EVALUATE_VALUE(MODEL q, {split})").arrow().to_pylist()
    assert row == {
        "rows": 20,
        "rmse": pytest.approx(found.rmse),
        "mae": pytest.approx(found.mae),
        "r2": pytest.approx(found.r2),
    }
    shown = db.sql(f"SELECT predicted FROM ML.PREDICT_VALUE(MODEL q, {split})").arrow()["predicted"].to_pylist()
    assert shown == db.predict("q", numbers(20, 1)[0]).tolist()
    with pytest.raises(InvalidModelError, match=r"ML\.PREDICT_VALUE"):
        db.sql(f"SELECT * FROM ML.EVALUATE(MODEL q, (SELECT vector, 0 AS label FROM {split}))").fetchall()
    with pytest.raises(
        InvalidModelError, match="predict needs a model of kind 'classifier', but 'q' is of kind 'regressor'"
    ):
        db.sql("SELECT predict('q', vector) FROM d").fetchall()
    with pytest.raises(InvalidModelError, match="predict_proba needs a model of kind 'classifier'"):
        db.predict_proba("q", rows)


def test_lists_of_numbers_are_targets_of_several_outputs(db):
    db.sql("CREATE MODEL two OPTIONS (kind = 'regressor', qubits = 2, epochs = 1) AS"
           " SELECT vector, [target, -target] AS target FROM d")  # fmt: skip
    assert db.predict("two", numbers(3, 0)[0]).shape == (3, 2)
    with pytest.raises(InvalidModelError, match=r"gives 2 numbers, not one.*predict_values"):
        db.sql("SELECT predict_value('two', vector) FROM d").fetchall()
    assert len(db.sql("SELECT target FROM two_training LIMIT 1").fetchone()[0]) == 2


@pytest.mark.parametrize(
    ("statement", "error", "message"),
    [
        ("AS SELECT vector FROM d", InvalidArgumentError, "no column 'target'"),
        ("AS SELECT vector, NULL::DOUBLE AS target FROM d", InvalidTargetError, "Row 0 of AS SELECT has no target"),
        ("AS SELECT vector, 'x' AS target FROM d", InvalidTargetError, "not real numbers"),
        ("AS SELECT vector, 1.0 / 0 AS target FROM d", InvalidTargetError, "no target|inf"),
    ],
)
def test_create_model_refuses_before_it_writes(db, statement, error, message):
    version = db.version
    with pytest.raises(error, match=message):
        db.sql(f"CREATE MODEL bad OPTIONS (kind = 'regressor', qubits = 2) {statement}")
    assert db.version == version


def test_refusals_of_training(db):
    rows, _ = numbers(10, 0)
    db.store_training_data("bare", rows)
    with pytest.raises(InvalidTargetError, match="Data set 'bare' has no targets"):
        db.train("r", "bare")
    db.store_training_data("partly", rows, targets=np.arange(10.0))
    db.store_training_data("partly", rows, split="more")
    with pytest.raises(InvalidTargetError, match="Row 'more/0' of data set 'partly' has no target"):
        db.train("r", "partly", split="more")
    db.create_model("two", kind="regressor", qubits=2, outputs=2)
    with pytest.raises(InvalidTargetError, match=r"'train/0'.*1 number\(s\), but the model has 2"):
        db.train("two", "partly")
    db.create_model("c", qubits=2, classes=2)
    with pytest.raises(InvalidLabelError, match="has no label"):
        db.train("c", "partly")
    with pytest.raises(InvalidArgumentError, match="balanced = True means nothing for models of kind 'regressor'"):
        db.train("r", "d", balanced=True)
    assert db.runs() == []


def test_targets_are_stored_bit_for_bit_and_checked(db):
    rows, targets = numbers(40, 0)
    stored = with_targets(split_rows(db._engine.snapshot().collection("d"), "train"), 1)
    assert stored.targets[:, 0].tobytes() == targets.tobytes()
    for wrong in (targets[:3], np.ones((40, 0)), ["a"] * 40, [1.0] * 39 + [float("inf")], [[1.0]] * 39 + [[1.0, 2.0]]):
        with pytest.raises(InvalidTargetError):
            db.store_training_data("new", rows, targets=wrong)
    with pytest.raises(InvalidMetadataError, match="targets are given beside it"):
        db.store_training_data("new", rows, targets=targets, metadata={"target": targets})
    assert "new" not in [schema.name for schema in db._engine.snapshot().collections()]


def test_a_metadata_column_of_that_name_is_a_target_too(db):
    rows, targets = numbers(12, 0)
    db.store_training_data("given", rows, metadata={"target": targets.astype(np.float32)})
    db.train("r", "given", epochs=1)
    db.store_training_data("words", rows, metadata={"target": ["x"] * 12})
    with pytest.raises(InvalidTargetError, match="of type string"):
        db.train("r", "words")


def test_the_loader_brings_targets_on_request(db):
    _, targets = numbers(40, 0)
    for batch in db.data_loader("d", batch_size=7, seed=2, outputs=1, prefetch=2):
        numbered = [int(name.partition("/")[2]) for name in batch.ids]
        assert batch.targets[:, 0].tolist() == targets[numbered].tolist() and batch.labels is None
    assert next(iter(db.data_loader("d"))).targets is None
    with pytest.raises(InvalidTargetError):
        db.data_loader("d", outputs=2)


def test_changed_targets_are_another_data_set():
    with Engine.open(None) as engine:
        rows, targets = numbers(10, 0)
        digests = []
        for name, values in (("a", targets), ("b", targets), ("c", targets + 1e-9)):
            store_training_data(engine, name, rows, targets=values)
            view = engine.snapshot().collection(name)
            digests.append(fingerprint(with_targets(split_rows(view, "train"), 1)))
        assert digests[0] == digests[1] != digests[2]
