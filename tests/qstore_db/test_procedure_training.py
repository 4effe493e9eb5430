import numpy as np
import pyarrow as pa
import pytest

from qstore_db.backends.named import BACKENDS
from qstore_db.errors import (
    AlreadyExistsError,
    DimensionMismatchError,
    EmptyDatasetError,
    InvalidArgumentError,
    InvalidLabelError,
    InvalidModelError,
    InvalidVectorError,
    UnknownBackendError,
    UnknownModelError,
)
from qstore_db.models.specification import ModelSpec
from qstore_db.sql.model_functions import model_functions
from qstore_db.sql.model_statements import RegistryStatements
from qstore_db.sql.training_procedures import EVALUATION_SCHEMA, RUN_SCHEMA, training_procedures
from qstore_db.sql.training_tables import training_tables
from qstore_db.training.dataset import dataset_info, store_training_data
from qstore_db.training.options import ALIASES, option_names
from qstore_db.training.progress import Silence
from qstore_db.training.registration import create_model
from qstore_db.training.registry import all_models, find_version
from qstore_db.training.trained_models import TrainedModels, predict
from storage_engine.engine import Engine

SPEC = {"kind": "classifier", "qubits": 2, "layers": 1}


def rows(count, seed=0, classes=2):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return (np.eye(4)[labels] + 0.2 * rng.standard_normal((count, 4))).astype(np.float32), labels


def selected(vectors, labels, fixed=False):
    kind = pa.list_(pa.float32(), 4) if fixed else pa.list_(pa.float32())
    return pa.table({"vector": pa.array([list(map(float, row)) for row in vectors], kind), "label": pa.array(labels)})


@pytest.fixture
def engine():
    with Engine.open(None) as engine:
        store_training_data(engine, "d", *rows(24))
        store_training_data(engine, "d", *rows(12, 1), split="test")
        create_model(engine, "m", ModelSpec(classes=2, **SPEC))
        yield engine


@pytest.fixture
def call(engine):
    made = {procedure.name: procedure for procedure in training_procedures(engine, TrainedModels(engine))}
    return lambda name, **arguments: made[name].call(arguments)


@pytest.fixture
def statements(engine):
    return RegistryStatements(engine)


def create(statements, name, options, training_rows=None, or_replace=False, if_not_exists=False):
    return statements.create_model(
        name, options, or_replace=or_replace, if_not_exists=if_not_exists, training_rows=training_rows
    )


def test_train_and_evaluate_answer_with_one_row_each(call):
    table = call("train", model="m", dataset="d", epochs=2, validation_split="test")
    assert table.schema.equals(RUN_SCHEMA)
    (row,) = table.to_pylist()
    assert (row["run_id"], row["model"], row["version"], row["epochs"], row["status"]) == (1, "m", 2, 2, "finished")
    table = call("evaluate", model="m", dataset="d")
    assert table.schema.equals(EVALUATION_SCHEMA)
    (found,) = table.to_pylist()
    assert (found["split"], found["rows"], found["version"]) == ("test", 12, 2)
    assert found["accuracy"] == row["validation_accuracy"]
    assert call("evaluate", model="m", dataset="d", split="train")["rows"].to_pylist() == [24]


def test_parameters_are_the_options_and_their_aliases(engine):
    train, fine_tune, resume, evaluate, *_ = training_procedures(engine, TrainedModels(engine))
    assert [parameter.name for parameter in fine_tune.parameters] == [parameter.name for parameter in train.parameters]
    names = [parameter.name for parameter in train.parameters]
    assert names == ["model", "dataset", *option_names(), *ALIASES]
    assert [parameter.name for parameter in train.parameters if parameter.required] == ["model", "dataset"]
    assert [(parameter.name, parameter.type) for parameter in resume.parameters] == [
        ("run_id", "integer"),
        ("max_cost_usd", "number"),
    ]
    assert [parameter.name for parameter in evaluate.parameters] == [
        *("model", "dataset", "split", "version"),
        *("backend", "shots", "seed"),
    ]


def test_null_arguments_mean_the_default(call):
    (row,) = call("train", model="m", dataset="d", n_epochs=1, validation_split=None, seed=None).to_pylist()
    assert row["epochs"] == 1


def test_wrong_arguments_are_refused_before_a_run_begins(engine, call):
    version = engine.snapshot().version
    for error, arguments in [
        (InvalidArgumentError, {"epochs": 0}),
        (InvalidArgumentError, {"gradient": "guess"}),
        (UnknownBackendError, {"backend": "nowhere"}),
        (UnknownModelError, {"model": "x"}),
    ]:
        with pytest.raises(error):
            call("train", **{"model": "m", "dataset": "d", **arguments})
    assert engine.snapshot().version == version


def test_resume_answers_like_train(engine):
    class Stop(Silence):
        def stepped(self, report):
            raise KeyboardInterrupt

    watchers = iter([Stop(), None])
    train, _, resume, *_ = training_procedures(engine, TrainedModels(engine), progress=lambda: next(watchers))
    from qstore_db.errors import TrainingInterruptedError

    with pytest.raises(TrainingInterruptedError):
        train.call({"model": "m", "dataset": "d", "epochs": 1})
    assert resume.call({"run_id": 1})["status"].to_pylist() == ["finished"]


def test_create_model_registers_keeps_replaces(statements, engine):
    (row,) = create(statements, "n", {**SPEC, "CLASSES": 3, "encoding": "angle"}).to_pylist()
    assert (row["model"], row["version"], row["status"], row["run_id"]) == ("n", 1, "created", None)
    with pytest.raises(AlreadyExistsError):
        create(statements, "n", {**SPEC, "classes": 3})
    (row,) = create(statements, "n", {**SPEC, "classes": 4}, if_not_exists=True).to_pylist()
    assert (row["version"], row["status"]) == (1, "exists")
    (row,) = create(statements, "n", {**SPEC, "classes": 4}, or_replace=True).to_pylist()
    assert (row["version"], row["status"]) == (2, "created")
    assert find_version(engine.snapshot(), "n").spec.classes == 4


@pytest.mark.parametrize("fixed", [False, True])
def test_create_model_as_select_stores_the_rows_and_trains(statements, engine, fixed):
    options = {**SPEC, "epochs": 3, "learning_rate": 0.1, "n_classes": 2}
    (row,) = create(statements, "n", options, selected(*rows(20), fixed=fixed)).to_pylist()
    assert (row["version"], row["status"], row["dataset"], row["epochs"]) == (2, "finished", "n_training", 3)
    info = dataset_info(engine.snapshot(), "n_training")
    assert (dict(info.splits), info.classes) == ({"train": 20}, 2)
    found = predict(TrainedModels(engine), "n", rows(20)[0])
    assert np.mean(found == rows(20)[1]) > 0.9
    (row,) = create(statements, "n", options, selected(*rows(8)), or_replace=True).to_pylist()
    assert (row["version"], row["dataset"]) == (4, "n_training_2")


def test_classes_are_counted_where_they_are_not_given(statements, engine):
    create(statements, "n", {**SPEC, "epochs": 1}, selected(*rows(12, classes=4)))
    assert find_version(engine.snapshot(), "n").spec.classes == 4
    create(statements, "one", {**SPEC, "epochs": 1}, selected(rows(3)[0], [0, 0, 0]))
    assert find_version(engine.snapshot(), "one").spec.classes == 2


def test_nothing_is_written_where_create_model_is_refused(statements, engine):
    version = engine.snapshot().version
    good = selected(*rows(6))
    cases = [
        (InvalidModelError, "no option 'colour'", {**SPEC, "classes": 2, "colour": 1}, None),
        (InvalidModelError, "qubits", {"classes": 2}, None),
        (InvalidModelError, "classes", SPEC, None),
        (InvalidArgumentError, "epochs says how to train", {**SPEC, "classes": 2, "epochs": 3}, None),
        (InvalidArgumentError, "epochs is 0", {**SPEC, "epochs": 0}, good),
        (InvalidArgumentError, "validation_split", {**SPEC, "validation_split": "test"}, good),
        (InvalidArgumentError, "holds out no row", {**SPEC, "validation_fraction": 0.01}, good),
        (InvalidArgumentError, "no column 'label'", SPEC, good.drop_columns("label")),
        (InvalidArgumentError, "no column 'vector'", SPEC, good.rename_columns(["v", "label"])),
        (EmptyDatasetError, "no rows", SPEC, good.slice(0, 0)),
        (InvalidLabelError, "no label", SPEC, selected(rows(2)[0], [1, None])),
        (InvalidLabelError, "label 3, but the model has 2 classes", {**SPEC, "classes": 2}, selected(rows(1)[0], [3])),
        (InvalidLabelError, "-1", SPEC, selected(rows(1)[0], [-1])),
        (InvalidVectorError, "Row 1 .* 2 numbers", SPEC, selected([[1, 2, 3], [1, 2]], [0, 1])),
        (InvalidVectorError, "type double", SPEC, pa.table({"vector": [1.0], "label": [0]})),
        (InvalidVectorError, "without a vector", SPEC, pa.table({"vector": [[1.0], None], "label": [0, 1]})),
        (InvalidVectorError, "empty", SPEC, pa.table({"vector": pa.array([[]], pa.list_(pa.float32())), "label": [0]})),
        (InvalidVectorError, "Row 0 is zero", SPEC, selected([[0, 0, 0, 0]], [0])),
        (InvalidVectorError, "nan", SPEC, selected([[1, float("nan"), 0, 0]], [0])),
        (InvalidModelError, "5 numbers", SPEC, selected([[1, 2, 3, 4, 5]], [0])),
        (AlreadyExistsError, "'m'", SPEC, good),
    ]
    for error, named, options, training_rows in cases:
        with pytest.raises(error, match=named):
            create(statements, "m" if error is AlreadyExistsError else "n", options, training_rows)
    assert engine.snapshot().version == version


def test_drop_model_says_how_much_went(statements, engine, call):
    call("train", model="m", dataset="d", epochs=1)
    assert statements.drop_model("m", if_exists=False).to_pylist() == [{"model": "m", "versions": 2}]
    assert statements.drop_model("m", if_exists=True).to_pylist() == [{"model": "m", "versions": 0}]
    with pytest.raises(UnknownModelError):
        statements.drop_model("m", if_exists=False)
    assert all_models(engine.snapshot()) == []
    assert engine.snapshot().files("ckpt") == ()
    runs = next(table for table in training_tables(engine) if table.name == "training_runs")
    assert runs.rows(engine.snapshot())["checkpoint"].to_pylist() == [None]


def test_predict_in_sql_terms(engine, call):
    call("train", model="m", dataset="d", epochs=5, learning_rate=0.1)
    create_model(engine, "untrained", ModelSpec(classes=2, **SPEC))
    function = model_functions(TrainedModels(engine))[0]
    assert (function.name, function.argument_types, function.result_type) == (
        "predict",
        ("VARCHAR", "FLOAT[]"),
        "BIGINT",
    )
    vectors, _ = rows(9, 3)
    expected = predict(TrainedModels(engine), "m", vectors).tolist()
    lists = vectors.tolist()
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 4), pa.list_(pa.float64())):
        found = function.evaluate([pa.array(["m"] * 9), pa.array(lists, kind)])
        assert found.type == pa.int64()
        assert found.to_pylist() == expected
    sliced = pa.array(lists, pa.list_(pa.float32())).slice(2, 4)
    assert function.evaluate([pa.array(["m"] * 4), sliced]).to_pylist() == expected[2:6]
    with_nulls = function.evaluate([pa.array(["m", None, "m"]), pa.array([lists[0], lists[1], None])])
    assert with_nulls.to_pylist() == [expected[0], None, None]
    assert function.evaluate([pa.array([], pa.string()), pa.array([], pa.list_(pa.float32()))]).to_pylist() == []
    assert function.evaluate([pa.array([None], pa.string()), pa.array([[1.0]])]).to_pylist() == [None]
    with pytest.raises(DimensionMismatchError, match="3 numbers"):
        function.evaluate([pa.array(["m"]), pa.array([[1.0, 2.0, 3.0]])])
    with pytest.raises(InvalidVectorError):
        function.evaluate([pa.array(["m"]), pa.array([[1.0, None, 3.0, 4.0]])])
    with pytest.raises(InvalidModelError, match="not trained"):
        function.evaluate([pa.array(["untrained"]), pa.array(lists[:1])])
    with pytest.raises(UnknownModelError):
        function.evaluate([pa.array(["x"]), pa.array(lists[:1])])


def test_tables_keep_their_schemas_empty_and_filled(engine, call):
    with Engine.open(None) as empty:
        for table in training_tables(empty):
            found = table.rows(empty.snapshot())
            assert found.schema.equals(table.schema)
            assert found.num_rows == (len(BACKENDS) if table.name == "backends" else 0)
    call("train", model="m", dataset="d", epochs=1, validation_fraction=0.25)
    create_model(engine, "a", ModelSpec(classes=2, **SPEC))
    tables = {table.name: table.rows(engine.snapshot()) for table in training_tables(engine)}
    assert list(tables) == ["models", "model_versions", "training_runs", "metrics", "checkpoints", "backends"]
    for table in training_tables(engine):
        assert tables[table.name].schema.equals(table.schema)
    untrained, trained = tables["models"].to_pylist()
    assert (untrained["name"], untrained["status"], untrained["accuracy"], untrained["accuracy_on"]) == (
        "a",
        "created",
        None,
        None,
    )
    assert (trained["name"], trained["version"], trained["status"], trained["accuracy_on"]) == (
        "m",
        2,
        "trained",
        "validation",
    )
    (run,) = tables["training_runs"].to_pylist()
    assert trained["accuracy"] == run["validation_accuracy"]
    assert [(row["model"], row["version"]) for row in tables["model_versions"].to_pylist()] == [
        ("a", 1),
        ("m", 1),
        ("m", 2),
    ]
    (checkpoint,) = tables["checkpoints"].to_pylist()
    assert (checkpoint["file"], checkpoint["version"], checkpoint["epochs_done"]) == (run["checkpoint"], 2, 1)
    assert tables["metrics"]["step"].to_pylist() == [1, -1]
    backends = {row["name"]: row for row in tables["backends"].to_pylist()}
    assert list(backends) == sorted(BACKENDS)
    assert [name for name, row in backends.items() if "adjoint" in row["gradients"]] == ["local", "local_noisy"]
    assert {name: row["max_qubits"] for name, row in backends.items() if row["max_qubits"] != 24} == {
        "local_noisy": 12,
        "ionq_simulator": 29,
        "ionq_qpu": 36,
    }
    assert [name for name, row in backends.items() if not row["shots"]] == ["trajectories"]
