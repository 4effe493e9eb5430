"""Aliases of model versions, promotion behind a threshold, and training on from a version's parameters."""

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import (
    InvalidArgumentError,
    InvalidModelError,
    PromotionRefusedError,
    UnknownModelError,
)
from qstore_db.training import checkpoints
from qstore_db.training.options import TrainingOptions


def rows(count, seed, turned=False):
    """Two classes that a line divides, with some noise; four features."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    centres = np.array([[1.0, 0.2, 0.1, 0.3], [0.2, 1.0, 0.4, 0.1]])[:: -1 if turned else 1]
    return centres[labels] + 0.2 * rng.standard_normal((count, 4)), labels


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:", clock=lambda: 5.0) as db:
        for split, count, seed in (("train", 48, 1), ("test", 24, 2)):
            data, labels = rows(count, seed)
            db.store_training_data("d", data=data, labels=labels, split=split)
            data, labels = rows(count, seed, turned=True)
            db.store_training_data("turned", data=data, labels=labels, split=split)
        db.create_model("m", qubits=2, classes=2, layers=1)
        yield db


def train(db, **options):
    return db.train("m", "d", epochs=6, batch_size=8, learning_rate=0.1, seed=3, **options)


def parameters(db, version):
    (file,) = db.sql("SELECT checkpoint FROM model_versions WHERE version = $v", v=version).fetchone()
    reference = next(item for item in db._engine.snapshot().files("ckpt") if item.name == file)
    return checkpoints.load(db._engine, reference).state.parameters


def test_an_alias_stands_for_its_version_and_moves(db):
    train(db)
    db.train("m", "turned", epochs=6, batch_size=8, learning_rate=0.1, seed=3)
    data, _ = rows(24, 2)
    given = db.promote("m", version=2)
    assert (given.alias, given.version, given.promoted_at) == ("champion", 2, 5.0)
    assert (given.accuracy, given.measured_on) == (None, None)
    assert np.array_equal(db.predict("m@champion", data), db.predict("m", data, version=2))
    assert not np.array_equal(db.predict("m@champion", data), db.predict("m", data))
    assert np.array_equal(db.predict("m@3", data), db.predict("m", data))
    assert db.evaluate("m@champion", "d").version == 2
    said = db.sql("SELECT DISTINCT predict('m@champion', vector) = predict('m@2', vector) FROM d").fetchall()
    assert said == [(True,)]
    assert db.sql("CALL evaluate(model => 'm@champion', dataset => 'd')").fetchone()[1] == 2
    db.promote("m@champion", "old")
    db.promote("m")
    assert [(alias.alias, alias.version) for alias in db.aliases("m")] == [("champion", 3), ("old", 2)]
    assert db.sql("SELECT version, aliases FROM model_versions ORDER BY 1").fetchall() == [
        (1, []),
        (2, ["old"]),
        (3, ["champion"]),
    ]
    db.demote("m", "old")
    with pytest.raises(UnknownModelError, match=r"has the alias 'old'\. Its aliases are: champion"):
        db.predict("m@old", data)


def test_only_a_version_that_is_good_enough_is_promoted(db):
    train(db)
    accuracy = db.evaluate("m", "d").accuracy
    assert accuracy > 0.8
    before = db.versions()
    with pytest.raises(PromotionRefusedError, match=r"on turned/test, below 0\.8"):
        db.promote("m", min_accuracy=0.8, dataset="turned")
    with pytest.raises(InvalidModelError, match="without validation rows"):
        db.promote("m", min_accuracy=0.1)
    with pytest.raises(InvalidModelError, match="not trained"):
        db.promote("m", version=1)
    for alias in ("", "a b", "3", "@", "x" * 65, None):
        with pytest.raises(InvalidArgumentError, match="is no alias"):
            db.promote("m", alias)
    with pytest.raises(InvalidArgumentError, match=r"min_accuracy is 80"):
        db.promote("m", min_accuracy=80, dataset="d")
    assert db.versions() == before
    assert db.aliases() == []
    row = db.sql("CALL promote(model => 'm', alias => 'live', min_accuracy => 0.8, dataset => 'd')").fetchall()
    assert row == [("m", "live", 2, accuracy, "d/test")]
    run = train(db, validation_split="test")
    assert db.promote("m", min_accuracy=0.8).accuracy == run.record.scores.validation_accuracy
    with pytest.raises(PromotionRefusedError, match="on validation"):
        db.promote("m", min_accuracy=1.0)


def test_references_are_read_strictly(db):
    train(db)
    with pytest.raises(UnknownModelError, match="has no version 9"):
        db.predict("m@9", np.ones(4))
    with pytest.raises(UnknownModelError, match=r"Give it one with db\.promote"):
        db.predict("m@champion", np.ones(4))
    with pytest.raises(UnknownModelError, match="no model 'n'"):
        db.predict("n@champion", np.ones(4))
    with pytest.raises(InvalidArgumentError, match="version 1 is given beside it"):
        db.predict("m@2", np.ones(4), version=1)


def test_a_dropped_model_leaves_no_alias_to_the_next_of_its_name(db):
    train(db)
    db.promote("m")
    db.sql("DROP MODEL m")
    assert db.aliases() == []
    db.create_model("m", qubits=2, classes=2, layers=1)
    with pytest.raises(UnknownModelError, match="alias 'champion'"):
        db.predict("m@champion", np.ones(4))


def test_fine_tuning_starts_where_a_version_ended(db):
    train(db)
    run = db.fine_tune("m@2", "turned", epochs=2, batch_size=8, learning_rate=0.05, freeze="circuit", seed=9)
    assert (run.record.version, run.record.starts_from, run.record.parent_version) == (3, 2, 2)
    before, after = parameters(db, 2), parameters(db, 3)
    assert np.array_equal(before["circuit"], after["circuit"])
    assert not np.array_equal(before["head_weights"], after["head_weights"])
    first = run.metrics(steps=True).df().query("step >= 0").iloc[0]
    # What was learnt from one data set is worse than nothing on its mirror image, until it is tuned.
    assert first.train_loss > np.log(2)
    assert db.evaluate("m@3", "turned").loss < db.evaluate("m@2", "turned").loss
    listed = db.sql("SELECT run_id, starts_from FROM training_runs ORDER BY 1").fetchall()
    assert listed == [(1, None), (2, 2)]


def test_fine_tuning_needs_parameters_and_can_be_called_in_sql(db):
    with pytest.raises(InvalidModelError, match="no parameters to start from"):
        db.fine_tune("m", "d", epochs=1)
    train(db)
    with pytest.raises(InvalidArgumentError, match="options were given, and epochs beside them"):
        db.fine_tune("m", "d", TrainingOptions(), epochs=1)
    shown = db.sql("CALL fine_tune(model => 'm', dataset => 'turned', epochs => 1, freeze => 'circuit')").arrow()
    assert shown["version"].to_pylist() == [3]
