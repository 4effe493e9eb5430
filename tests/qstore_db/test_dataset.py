import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import (
    AlreadyExistsError,
    DimensionMismatchError,
    EmptyDatasetError,
    InvalidArgumentError,
    InvalidLabelError,
    InvalidMetadataError,
    InvalidVectorError,
    UnknownDatasetError,
)
from qstore_db.training.dataset import dataset_info, find_dataset, fingerprint, split_rows, store_training_data
from qstore_db.training.loader import Loader, data_loader, epoch_order, hold_out
from storage_engine.batch import CreateCollection, DeleteRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, Metric, Role


@pytest.fixture
def engine():
    with Engine.open(None) as engine:
        yield engine


def data(rows, dimension=3, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)


def test_a_stored_split_is_a_collection_with_ids_splits_and_labels(engine):
    info = store_training_data(engine, "d", data(5), [0, 1, 2, 1, 0])
    assert (info.name, info.rows, info.dimension, dict(info.splits), info.classes) == ("d", 5, 3, {"train": 5}, 3)
    view = engine.snapshot().collection("d")
    assert view.schema.role is Role.DATASET
    assert view.schema.metric is Metric.L2
    table = view.arrow()
    assert table["id"].to_pylist() == [f"train/{n}" for n in range(5)]
    assert table["split"].to_pylist() == ["train"] * 5
    assert table["label"].to_pylist() == [0, 1, 2, 1, 0]
    assert np.array_equal(view.vectors_at(np.arange(5)), data(5))


def test_splits_are_counted_in_the_order_in_which_they_were_stored(engine):
    store_training_data(engine, "d", data(4), [0] * 4, split="train")
    info = store_training_data(engine, "d", data(2), [6, 7], split="a-test")
    assert list(info.splits.items()) == [("train", 4), ("a-test", 2)]
    assert info.classes == 8
    assert info.version == engine.snapshot().version


def test_rows_may_have_no_label_and_further_columns(engine):
    info = store_training_data(engine, "d", data(3), metadata={"price": [1.5, None, 2.0]})
    assert info.classes is None
    store_training_data(engine, "d", data(2), [3, None], split="some")
    view = find_dataset(engine.snapshot(), "d")
    assert view.column("label").to_pylist() == [None, None, None, 3, None]
    assert view.column("price").to_pylist() == [1.5, None, 2.0, None, None]
    assert split_rows(view, "some").labels is None
    assert split_rows(view, "some").unlabelled == 1


def test_a_split_is_never_mixed_silently(engine):
    store_training_data(engine, "d", data(3), [0, 1, 0])
    version = engine.snapshot().version
    with pytest.raises(AlreadyExistsError, match="append=True"):
        store_training_data(engine, "d", data(3), [0, 1, 0])
    assert engine.snapshot().version == version


def test_appending_goes_on_counting_even_after_deletes(engine):
    store_training_data(engine, "d", data(3), [0, 1, 0])
    engine.commit(WriteBatch([DeleteRows("d", ["train/0"])]))
    info = store_training_data(engine, "d", data(2, seed=1), [1, 1], append=True)
    assert info.rows == 4
    view = find_dataset(engine.snapshot(), "d")
    assert view.arrow(["id"])["id"].to_pylist() == ["train/1", "train/2", "train/3", "train/4"]
    assert view.ids_at(split_rows(view, "train").slots) == ["train/1", "train/2", "train/3", "train/4"]


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ([0, 1], "2"),
        ([0, -1, 0], "-1"),
        ([0, 1.0, 0.5], "0.0|1.0|0"),
        (["a", "b", "c"], "'a'"),
        ([True, False, True], "True"),
        ([[0], [1], [0]], "3, 1"),
        (np.array([0, 1, 2**64 - 1], dtype=np.uint64), str(2**64 - 1)),
    ],
)
def test_wrong_labels_are_refused_and_nothing_is_written(engine, labels, named):
    with pytest.raises(InvalidLabelError, match=named):
        store_training_data(engine, "d", data(3), labels)
    assert engine.snapshot().version == 0


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (np.zeros((0, 3)), EmptyDatasetError),
        (np.zeros((2, 3, 3)), InvalidVectorError),
        (np.zeros(3), InvalidVectorError),
        ([[1.0, 2.0], [1.0]], InvalidVectorError),
        ([["a", "b"]], InvalidVectorError),
        ([[1.0, np.nan]], InvalidVectorError),
        ([[1.0, -np.inf]], InvalidVectorError),
        ([[1.0, 1e300]], InvalidVectorError),
    ],
)
def test_wrong_rows_are_refused_and_nothing_is_written(engine, rows, error):
    with pytest.raises(error):
        store_training_data(engine, "d", rows)
    assert engine.snapshot().version == 0


def test_what_contradicts_the_stored_set_is_refused(engine):
    store_training_data(engine, "d", data(3), [0, 1, 0])
    schema = CollectionSchema("items", "0" * 32, 3, Metric.L2)
    engine.commit(WriteBatch([CreateCollection(schema)]))
    version = engine.snapshot().version
    with pytest.raises(DimensionMismatchError, match="4 numbers"):
        store_training_data(engine, "d", data(2, 4), split="test")
    with pytest.raises(AlreadyExistsError, match="ordinary collection"):
        store_training_data(engine, "items", data(2))
    with pytest.raises(InvalidMetadataError, match="label"):
        store_training_data(engine, "d", data(2), split="test", metadata={"label": [1, 2]})
    with pytest.raises(InvalidMetadataError):
        store_training_data(engine, "d", data(2), split="test", metadata=[{"a": 1}])
    with pytest.raises(InvalidArgumentError, match="split"):
        store_training_data(engine, "d", data(2), split="a/b")
    with pytest.raises(InvalidArgumentError):
        store_training_data(engine, "no name", data(2))
    assert engine.snapshot().version == version


def test_unknown_sets_and_splits_name_what_there_is(engine):
    with pytest.raises(UnknownDatasetError, match="store_training_data"):
        find_dataset(engine.snapshot(), "d")
    store_training_data(engine, "d", data(3))
    with pytest.raises(UnknownDatasetError, match="The data sets are: d"):
        dataset_info(engine.snapshot(), "e")
    with pytest.raises(EmptyDatasetError, match="splits are: train"):
        data_loader(engine, "d", split="test")


def test_an_emptied_set_has_no_rows_to_give(engine):
    store_training_data(engine, "d", data(2))
    engine.commit(WriteBatch([DeleteRows("d", ["train/0", "train/1"])]))
    assert dataset_info(engine.snapshot(), "d").rows == 0
    with pytest.raises(EmptyDatasetError):
        data_loader(engine, "d")


def test_batches_hold_their_own_rows_bit_for_bit(engine):
    rows = data(10)
    store_training_data(engine, "d", rows, np.arange(10))
    for batch in data_loader(engine, "d", batch_size=4, epochs=2):
        assert batch.labels is not None
        assert np.array_equal(batch.data, rows[batch.labels])
        assert batch.ids == [f"train/{label}" for label in batch.labels]


def test_every_epoch_visits_every_row_once_in_an_order_of_its_own(engine):
    store_training_data(engine, "d", data(50), np.arange(50))
    loader = data_loader(engine, "d", batch_size=8, epochs=3, seed=5)
    orders = {}
    for batch in loader:
        orders.setdefault(batch.epoch, []).extend(batch.labels.tolist())
    assert [sorted(order) for order in orders.values()] == [list(range(50))] * 3
    assert orders[1] != orders[2] != orders[3]
    assert orders[2] == epoch_order(50, seed=5, epoch=2).tolist()
    assert len(loader) == 3 * 7
    assert [batch.step for batch in loader][:8] == [1, 2, 3, 4, 5, 6, 7, 1]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    drop_last=st.booleans(),
    shuffle=st.booleans(),
    prefetch=st.integers(0, 5),
    seed=st.integers(0, 2**40),
)
def test_prefetch_changes_nothing_and_the_counts_hold(rows, batch_size, drop_last, shuffle, prefetch, seed):
    with Engine.open(None) as engine:
        store_training_data(engine, "d", data(rows), np.arange(rows))
        held = split_rows(find_dataset(engine.snapshot(), "d"), "train")
        made = [
            Loader(
                rows=held,
                batch_size=batch_size,
                drop_last=drop_last,
                shuffle=shuffle,
                seed=seed,
                epochs=2,
                prefetch=ahead,
            )
            for ahead in (0, prefetch)
        ]
        plain, ahead = (list(loader) for loader in made)
        assert [batch.labels.tolist() for batch in plain] == [batch.labels.tolist() for batch in ahead]
        assert len(plain) == len(made[0])
        if drop_last:
            assert all(len(batch) == batch_size for batch in plain)
        else:
            assert sum(map(len, plain)) == 2 * rows


def test_an_epoch_continues_where_it_was_left(engine):
    store_training_data(engine, "d", data(11), np.arange(11))
    loader = data_loader(engine, "d", batch_size=2)
    whole = [batch.labels.tolist() for batch in loader.epoch(3)]
    assert [batch.labels.tolist() for batch in loader.epoch(3, done=4)] == whole[4:]


def test_a_loader_sees_one_snapshot(engine):
    store_training_data(engine, "d", data(6), np.arange(6))
    loader = data_loader(engine, "d", batch_size=2, shuffle=False)
    engine.commit(WriteBatch([DeleteRows("d", ["train/3"])]))
    assert [batch.ids for batch in loader] == [["train/0", "train/1"], ["train/2", "train/3"], ["train/4", "train/5"]]


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"epochs": 0}, {"seed": -1}, {"prefetch": -1}, {"seed": 1.5}])
def test_numbers_out_of_range_are_named(engine, wrong):
    store_training_data(engine, "d", data(6))
    with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
        data_loader(engine, "d", **wrong)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    fraction=st.floats(0, 0.99),
    seed=st.integers(0, 1000),
)
def test_holding_out_is_stratified_and_divides_the_rows(labels, fraction, seed):
    given_labels = np.array(labels, dtype=np.int64)
    training, held = hold_out(given_labels, fraction, seed=seed)
    assert sorted([*training, *held]) == list(range(len(labels)))
    for label in set(labels):
        members = labels.count(label)
        assert np.count_nonzero(given_labels[held] == label) == round(fraction * members)
    again = hold_out(given_labels, fraction, seed=seed)
    assert np.array_equal(held, again[1])


def test_labels_may_come_from_arrow(engine):
    store_training_data(engine, "d", data(3), pa.chunked_array([[1, 2], [None]]))
    assert find_dataset(engine.snapshot(), "d").column("label").to_pylist() == [1, 2, None]


def test_the_fingerprint_sees_rows_order_and_labels(engine):
    rows = data(5)
    store_training_data(engine, "a", rows, [0, 1, 0, 1, 0])
    store_training_data(engine, "b", rows, [0, 1, 0, 1, 1])
    store_training_data(engine, "c", rows[::-1].copy(), [0, 1, 0, 1, 0])
    store_training_data(engine, "e", rows, [0, 1, 0, 1, 0])
    prints = {
        name: fingerprint(split_rows(find_dataset(engine.snapshot(), name), "train")) for name in ("a", "b", "c", "e")
    }
    assert prints["a"] == prints["e"]
    assert len(set(prints.values())) == 3
