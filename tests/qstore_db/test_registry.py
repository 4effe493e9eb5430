import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidModelError,
    UnknownModelError,
    UnknownRunError,
)
from qstore_db.models.specification import ModelSpec
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registration import create_model, drop_model
from qstore_db.training.registry import (
    ModelRecord,
    ModelVersion,
    Run,
    RunStatus,
    Scores,
    all_models,
    all_versions,
    find_model,
    find_run,
    find_version,
    next_run_id,
    package_versions,
)
from storage_engine.batch import FileReference
from storage_engine.engine import Engine

SPEC = ModelSpec(qubits=2, classes=2, layers=1)
FILE = FileReference("ckpt", "a" * 32 + ".zip", 12, "b" * 64)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
scores = st.builds(
    Scores, train_loss=numbers, train_accuracy=numbers, validation_loss=numbers, validation_accuracy=numbers
)
counts = st.integers(0, 2**53)


@pytest.fixture
def engine():
    with Engine.open(None, clock=iter(range(1000, 9000)).__next__) as engine:
        yield engine


def through_json(operation):
    return json.loads(json.dumps(operation.value))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    st.builds(
        ModelVersion,
        model=st.text(min_size=1),
        uuid=st.just("c" * 32),
        version=counts,
        spec=st.just(SPEC),
        created_at=st.floats(0, 1e10),
        parent_version=st.none() | counts,
        run_id=st.none() | counts,
        dataset=st.none() | st.text(),
        dataset_version=st.none() | counts,
        seed=st.none() | counts,
        backend=st.none() | st.just("local"),
        checkpoint=st.sampled_from([None, FILE]),
        scores=scores,
        packages=st.dictionaries(st.text(), st.text(), max_size=2),
    )
)
def test_versions_round_trip_through_json(version):
    assert ModelVersion.from_json(through_json(version.put())) == version


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    st.builds(
        Run,
        id=counts,
        model=st.text(min_size=1),
        model_uuid=st.just("c" * 32),
        parent_version=counts,
        dataset=st.text(),
        dataset_version=counts,
        dataset_digest=st.text(),
        options=st.builds(TrainingOptions, epochs=st.integers(1, 99), learning_rate=st.floats(1e-9, 10)),
        started_at=st.floats(0, 1e10),
        heartbeat_at=st.floats(0, 1e10),
        host=st.text(),
        process_id=counts,
        status=st.sampled_from(RunStatus),
        version=st.none() | counts,
        checkpoint=st.sampled_from([None, FILE]),
        scores=scores,
        seconds=st.floats(0, 1e10),
        finished_at=st.none() | st.floats(0, 1e10),
        error=st.none() | st.text(),
    )
)
def test_runs_round_trip_through_json(run):
    assert Run.from_json(through_json(run.put())) == run


def test_models_round_trip_through_json():
    model = ModelRecord(name="m", uuid="c" * 32, latest_version=3, created_at=1.5, updated_at=2.5)
    assert ModelRecord.from_json(through_json(model.put())) == model


def test_a_created_model_is_version_one_and_untrained(engine):
    version = create_model(engine, "m", SPEC)
    assert (version.version, version.parent_version, version.is_trained) == (1, None, False)
    assert find_version(engine.snapshot(), "m") == version
    assert find_model(engine.snapshot(), "m").latest_version == 1
    assert set(version.packages) == {"python", "qstore-db", "numpy", "numba", "pyarrow", "zarr"}
    assert version.packages == package_versions()


def test_a_taken_name_is_refused_kept_or_given_a_new_version(engine):
    first = create_model(engine, "m", SPEC)
    other = ModelSpec(qubits=3, classes=2)
    with pytest.raises(AlreadyExistsError, match="'m'"):
        create_model(engine, "m", other)
    version = engine.snapshot().version
    assert create_model(engine, "m", other, if_not_exists=True) == first
    assert engine.snapshot().version == version
    second = create_model(engine, "m", other, or_replace=True)
    assert (second.version, second.parent_version, second.spec, second.uuid) == (2, None, other, first.uuid)
    assert find_version(engine.snapshot(), "m", 1) == first
    assert find_version(engine.snapshot(), "m") == second
    assert [found.version for found in all_versions(engine.snapshot())] == [1, 2]
    with pytest.raises(InvalidArgumentError, match="contradict"):
        create_model(engine, "n", SPEC, or_replace=True, if_not_exists=True)


@pytest.mark.parametrize("name", ["", "1m", "a b", "a/b", "ü", "x" * 129, None, 3])
def test_malformed_names_are_refused(engine, name):
    with pytest.raises(InvalidModelError, match="name"):
        create_model(engine, name, SPEC)
    assert engine.snapshot().version == 0


def test_unknown_models_versions_and_runs_name_what_there_is(engine):
    with pytest.raises(UnknownModelError, match="CREATE MODEL"):
        find_model(engine.snapshot(), "m")
    create_model(engine, "m", SPEC)
    create_model(engine, "a", SPEC)
    with pytest.raises(UnknownModelError, match="The models are: a, m"):
        find_version(engine.snapshot(), "x")
    with pytest.raises(UnknownModelError, match="no version 7"):
        find_version(engine.snapshot(), "m", 7)
    with pytest.raises(UnknownRunError, match="No model was trained"):
        find_run(engine.snapshot(), 1)
    with pytest.raises(UnknownRunError):
        find_run(engine.snapshot(), "1")
    assert [model.name for model in all_models(engine.snapshot())] == ["a", "m"]
    assert next_run_id(engine.snapshot()) == 1


def test_a_dropped_model_is_gone_and_its_name_is_free(engine):
    first = create_model(engine, "m", SPEC)
    create_model(engine, "m", SPEC, or_replace=True)
    create_model(engine, "m2", SPEC)
    assert drop_model(engine, "m") == 2
    assert [model.name for model in all_models(engine.snapshot())] == ["m2"]
    with pytest.raises(UnknownModelError):
        drop_model(engine, "m")
    assert drop_model(engine, "m", if_exists=True) == 0
    again = create_model(engine, "m", SPEC)
    assert again.version == 1
    assert again.uuid != first.uuid
