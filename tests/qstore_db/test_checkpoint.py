import io
import random
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qstore_db.errors import DamagedError
from qstore_db.models.classifier import Classifier
from qstore_db.models.reduction import fit_reduction
from qstore_db.models.specification import ModelSpec
from qstore_db.optimizers.adam import Adam
from qstore_db.training.checkpoints import Checkpoint, decode, encode, load, pack, save, unpack
from qstore_db.training.options import TrainingOptions
from qstore_db.training.step import EpochSums, TrainState
from storage_engine.batch import AttachFile, WriteBatch
from storage_engine.engine import Engine


def checkpoint(reduce=None):
    spec = ModelSpec(qubits=2, classes=3, layers=1, reduce=reduce)
    rows = np.random.default_rng(0).standard_normal((20, 9 if reduce else 4))
    reduction = fit_reduction(spec, rows)
    parameters = Classifier(spec, reduction).initial_parameters(seed=1)
    state = TrainState(
        parameters=parameters,
        optimizer_state=Adam(0.1).init(parameters),
        epoch=3,
        sums=EpochSums(steps=2, rows=64, loss=0.1 + 0.2, correct=11, circuits=64, seconds=1e-3),
        steps=12,
        circuits=999,
        seconds=0.7,
    )
    return Checkpoint(
        model="m",
        run_id=4,
        spec=spec,
        options=TrainingOptions(epochs=9, learning_rate=0.1),
        reduction=reduction,
        state=state,
        saved_at=12.5,
    )


def assert_same_arrays(left, right):
    assert list(left) == list(right) or sorted(left) == sorted(right)
    for name, array in left.items():
        assert array.dtype == right[name].dtype
        assert array.shape == right[name].shape
        assert array.tobytes() == right[name].tobytes()


@pytest.mark.parametrize("reduce", [None, "pca", "pool"])
def test_a_checkpoint_round_trips_bit_for_bit(reduce):
    before = checkpoint(reduce)
    after = decode(encode(before), name="x")
    assert (after.model, after.run_id, after.spec, after.options, after.saved_at) == (
        "m",
        4,
        before.spec,
        before.options,
        12.5,
    )
    assert after.state.sums == before.state.sums
    assert (after.state.epoch, after.state.steps, after.state.circuits, after.state.seconds) == (3, 12, 999, 0.7)
    assert_same_arrays(before.state.parameters, after.state.parameters)
    assert_same_arrays(before.state.optimizer_state, after.state.optimizer_state)
    assert_same_arrays(dict(before.reduction.arrays), dict(after.reduction.arrays))
    assert after.reduction.method == reduce


def test_equal_checkpoints_give_equal_bytes():
    assert encode(checkpoint()) == encode(checkpoint())


def test_the_file_is_a_zarr_zip_store_that_zarr_reads(tmp_path):
    import zarr

    before = checkpoint()
    path = tmp_path / "c.zip"
    path.write_bytes(encode(before))
    store = zarr.storage.ZipStore(path, mode="r")
    group = zarr.open_group(store, mode="r")
    layout = {entry["name"]: entry for entry in group.attrs["layout"]}
    entry = layout["parameters/circuit"]
    flat = group[entry["dtype"]][:]
    size = int(np.prod(entry["shape"]))
    assert flat[entry["offset"] : entry["offset"] + size].tobytes() == before.state.parameters["circuit"].tobytes()
    store.close()


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.dictionaries(
        st.text("abc/", min_size=1, max_size=6),
        st.one_of(
            arrays.arrays(np.float64, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
            arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=2, max_side=4)),
            arrays.arrays(np.int64, arrays.array_shapes(min_dims=1, max_dims=2, max_side=4)),
        ),
        max_size=4,
    )
)
def test_any_arrays_round_trip_with_nan_and_zeros(given_arrays):
    found, document = unpack(pack(given_arrays, {"a": [1, None, "x"]}), name="x")
    assert document == {"a": [1, None, "x"]}
    assert_same_arrays(given_arrays, found)


def test_arrays_of_other_types_are_refused():
    with pytest.raises(TypeError, match="complex128"):
        pack({"a": np.zeros(2, dtype=complex)}, {})


def same_as(content, original):
    try:
        arrays_found, document = unpack(content, name="damaged.zip")
    except DamagedError as error:
        assert "damaged.zip" in str(error)
        return True
    expected, expected_document = unpack(original, name="x")
    return (
        document == expected_document
        and arrays_found.keys() == expected.keys()
        and all(arrays_found[name].tobytes() == expected[name].tobytes() for name in expected)
    )


def test_a_flipped_bit_is_an_error_or_changes_nothing():
    original = encode(checkpoint())
    rng = random.Random(7)
    refused = 0
    for _ in range(300):
        content = bytearray(original)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        assert same_as(bytes(content), original)
        try:
            unpack(bytes(content), name="x")
        except DamagedError:
            refused += 1
    assert refused > 250


def test_truncation_is_an_error():
    original = encode(checkpoint())
    for length in range(0, len(original), 97):
        with pytest.raises(DamagedError):
            decode(original[:length], name="x")


def rewritten(content, change):
    entries = {}
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        for info in file.infolist():
            entries[info.filename] = file.read(info)
    change(entries)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, value in entries.items():
            file.writestr(name, value)
    return buffer.getvalue()


def swap_codec(entries):
    entries["float64/zarr.json"] = entries["float64/zarr.json"].replace(b'"crc32c"', b'"vlen-bytes"')


def other_document(entries):
    entries["zarr.json"] = entries["zarr.json"].replace(b'"run_id": 4', b'"run_id": 5')


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: entries.pop("float64/c/0"),
        lambda entries: entries.pop("zarr.json"),
        lambda entries: entries.update({"float64/c/0": entries["float64/c/0"][:-8]}),
        lambda entries: entries.update({"float64/c/1": b"more"}),
        lambda entries: entries.update({"../evil": b"more"}),
        lambda entries: entries.update({"zarr.json": b"[]"}),
        swap_codec,
        other_document,
    ],
)
def test_a_file_put_together_anew_is_refused(change):
    content = rewritten(encode(checkpoint()), change)
    with pytest.raises(DamagedError):
        decode(content, name="x")


def test_zarr_never_opens_an_array_with_other_codecs(monkeypatch):
    import zarr

    monkeypatch.setattr(zarr, "open_group", lambda *_, **__: pytest.fail("zarr was asked to open it"))
    with pytest.raises(DamagedError, match="codecs"):
        decode(rewritten(encode(checkpoint()), swap_codec), name="x")


def test_a_missing_chunk_is_not_read_as_zeros():
    content = pack({"a": np.zeros(100)}, {})
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert len(file.read("float64/c/0")) == 804


def test_a_checkpoint_lives_in_the_database():
    with Engine.open(None) as engine:
        before = checkpoint()
        file = save(engine, before)
        engine.commit(WriteBatch([AttachFile(file)]))
        assert_same_arrays(load(engine, file).state.parameters, before.state.parameters)
