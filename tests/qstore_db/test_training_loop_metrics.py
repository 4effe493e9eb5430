"""What a step measures of its gradient, metrics of earlier versions, and evaluations on a backend."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from small_runs import rows

from qstore_db import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, UnknownBackendError, UnsupportedRequestError
from qstore_db.training.gradient_facts import GradientFacts
from qstore_db.training.metrics import OLD_WIDTHS, SCHEMA
from qstore_db.training.options import TrainingOptions

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        db.store_training_data("d", *rows(40, 0))
        db.store_training_data("d", *rows(20, 1), split="test")
        db.create_model("m", qubits=2, classes=2, layers=2)
        yield db


def test_the_facts_are_those_of_numpy():
    rng = np.random.default_rng(0)
    gradients = {"head_weights": rng.normal(size=(3, 5)), "circuit": rng.normal(size=12), "head_bias": np.zeros(3)}
    found = GradientFacts.of(gradients, layers=3)
    flat = np.concatenate([array.ravel() for array in gradients.values()])
    assert found.norm == pytest.approx(np.linalg.norm(flat)) and found.variance == pytest.approx(flat.var())
    assert (found.largest, found.smallest) == (flat.max(), flat.min())
    assert found.signal_to_noise == pytest.approx(abs(flat.mean()) / flat.std())
    np.testing.assert_allclose(found.layers, np.linalg.norm(gradients["circuit"].reshape(3, 4), axis=1))
    assert found.head == pytest.approx(np.linalg.norm(gradients["head_weights"]))
    alone = GradientFacts.of({"head_bias": np.full(2, 3.0)}, layers=3)
    assert (alone.layers, alone.signal_to_noise, alone.variance) == ((), None, 0.0)
    assert np.isnan(GradientFacts.of({"circuit": np.array([np.nan, 1.0])}, layers=1).norm)
    assert np.isinf(GradientFacts.of({"circuit": np.array([1e200, 1.0])}, layers=1).norm)


def test_steps_and_epochs_are_measured(db):
    run = db.train("m", "d", epochs=2, batch_size=10)
    table = run.metrics(steps=True).arrow()
    assert table.column_names == SCHEMA.names
    steps = [row for row in table.to_pylist() if row["step"] > 0]
    for row in steps:
        assert len(row["layer_gradient_norms"]) == 2
        squares = sum(norm**2 for norm in row["layer_gradient_norms"]) + row["head_gradient_norm"] ** 2
        assert row["gradient_norm"] == pytest.approx(squares**0.5)
        assert row["gradient_min"] < 0 < row["gradient_max"] and row["gradient_variance"] > 0
        assert (row["qubits"], row["two_qubit_gates"], row["depth"]) == (2, 2, 6)
    assert steps[0]["layer_gradient_norms"] == [0.0, 0.0]  # the head starts at zero and carries nothing back
    (epoch, _) = [row for row in table.to_pylist() if row["step"] == -1]
    assert epoch["gradient_max"] is None and epoch["qubits"] == 2


def test_with_shots_the_bases_are_counted(db):
    run = db.train("m", "d", TrainingOptions(epochs=1, shots=50, gradient="spsa"))
    for row in run.metrics(steps=True).arrow().to_pylist():
        assert row["bases"] == 3  # XX, YY and ZZ read all pairs and all single qubits
    assert db.train("m", "d", epochs=1).metrics().arrow()["bases"].null_count == 1


def test_frozen_layers_have_no_gradient(db):
    run = db.train("m", "d", TrainingOptions(epochs=1, freeze="layer[0]"))
    for row in run.metrics(steps=True).arrow().to_pylist():
        if row["step"] > 1:
            assert row["layer_gradient_norms"][0] == 0.0 < row["layer_gradient_norms"][1]
    run = db.train("m", "d", TrainingOptions(epochs=1, freeze="circuit"))
    assert run.metrics(steps=True).arrow()["layer_gradient_norms"][0].as_py() == []


@pytest.mark.parametrize("name", ["format-1.0.qdb", "format-1.1.qdb", "format-1.2.qdb"])
def test_metrics_of_earlier_versions_are_read_and_compacted(name, tmp_path):
    shutil.copytree(GOLDEN / name, tmp_path / name)
    for folder in [tmp_path / name, *(path for path in (tmp_path / name).rglob("*") if path.is_dir())]:
        folder.chmod(0o700)
    with QuantumDatabase.open(tmp_path / name, progress=False) as db:
        before = db.sql("SELECT * FROM metrics").arrow()
        assert before.column_names == SCHEMA.names and before.num_rows == 2
        assert before["gradient_norm"][0].as_py() > 0
        assert before["gradient_max"].null_count == 2 and len(SCHEMA) not in OLD_WIDTHS
        db.train("m", "toy", epochs=1)
        assert db.sql("SELECT count(*), count(gradient_max) FROM metrics").fetchall() == [(4, 1)]
        version = db._plugins().trained_models.load("m", 2)
        assert version.model.spec.kind == "classifier" and version.version.spec.outputs is None


def test_evaluation_on_the_backend_that_is_asked_for(db):
    db.train("m", "d", epochs=4, learning_rate=0.1)
    exact = db.evaluate("m", "d")
    assert (exact.backend, exact.shots, exact.seed, exact.circuits) == ("local", None, None, 20)
    noisy = db.evaluate("m", "d", backend="local_noisy")
    assert (noisy.backend, noisy.shots) == ("local_noisy", None) and noisy.loss != exact.loss
    assert noisy.loss == pytest.approx(exact.loss, abs=0.3)
    assert db.evaluate("m", "d", shots=100).seed == 0
    sampled = db.evaluate("m", "d", backend="local", shots=100, seed=7)
    assert (sampled.shots, sampled.seed, sampled.circuits) == (100, 7, 60)  # three bases
    assert sampled.loss == db.evaluate("m", "d", backend="local", shots=100, seed=7).loss
    assert sampled.loss != db.evaluate("m", "d", backend="local", shots=100, seed=8).loss
    (row,) = db.sql(
        "CALL evaluate(model => 'm', dataset => 'd', backend => 'local', shots => 100, seed => 7)"
    ).fetchall()
    assert row[5] == sampled.loss and row[-4:] == ("local", 100, 7, 60)


def test_prediction_on_the_backend_that_is_asked_for(db):
    db.train("m", "d", epochs=4, learning_rate=0.1)
    data, _ = rows(20, 1)
    exact = db.predict_proba("m", data)
    many = db.predict_proba("m", data, backend="local", shots=20_000, seed=1)
    np.testing.assert_allclose(many, exact, atol=0.15)
    assert not np.array_equal(many, exact)
    assert np.array_equal(many, db.predict_proba("m", data, shots=20_000, seed=1))
    assert (db.predict("m", data, backend="local_noisy") == db.predict("m", data)).mean() > 0.8


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "nowhere"}, UnknownBackendError, "nowhere"),
        ({"shots": 1}, InvalidArgumentError, "shots is 1"),
        ({"shots": True}, InvalidArgumentError, "shots is True"),
        ({"shots": 10, "seed": -1}, InvalidArgumentError, "seed is -1"),
        ({"seed": 3}, InvalidArgumentError, "there are none"),
    ],
)
def test_readings_that_cannot_be_are_refused(db, options, error, message):
    with pytest.raises(error, match=message):
        db.evaluate("m", "d", **options)


def test_a_backend_without_room_is_refused(db):
    db.create_model("wide", qubits=13, classes=2, layers=1)
    db.store_training_data("w", np.eye(4), [0, 1, 0, 1])
    db.train("wide", "w", epochs=1)
    with pytest.raises(UnsupportedRequestError, match="no room for 13 qubits"):
        db.predict("wide", np.eye(4), backend="local_noisy")


def test_entanglement_and_expressibility_on_request(db):
    from qstore_db.analysis.entanglement import meyer_wallach
    from qstore_db.analysis.expressibility import expressibility_kl
    from qstore_db.simulation.state_vector import states

    run = db.train("m", "d", TrainingOptions(epochs=2, seed=5, learning_rate=0.1, track="entanglement, expressibility"))
    first, last = (row for row in run.metrics().arrow().to_pylist())
    trained = db._plugins().trained_models.load("m")
    circuit = trained.model.plan.circuit
    ends = states(circuit, trained.parameters["circuit"], amplitudes=rows(40, 0)[0].astype(np.float64))
    assert last["entanglement"] == pytest.approx(meyer_wallach(ends).mean()) != first["entanglement"]
    assert first["expressibility"] == last["expressibility"] == expressibility_kl(circuit, seed=5, pairs=1000)
    db.create_model("angles", qubits=4, classes=2, layers=1, encoding="angle")
    run = db.train("angles", "d", TrainingOptions(epochs=1, track=["entanglement"]))
    (row,) = run.metrics().arrow().to_pylist()
    assert 0 < row["entanglement"] < 1 and row["expressibility"] is None
    assert all(step["entanglement"] is None for step in run.metrics(steps=True).arrow().to_pylist() if step["step"] > 0)
    with pytest.raises(InvalidArgumentError, match="track names 'magic'"):
        TrainingOptions(track="entanglement, magic")
