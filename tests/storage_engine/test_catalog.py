import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from storage_engine.catalog import Catalog, CollectionState, DeferredColumns
from storage_engine.schema import CollectionSchema, Metric
from storage_engine.vector_store import VectorStore

COLUMNS = {"n": pa.int64(), "s": pa.string()}


def test_deferred_columns_are_worked_out_once_and_only_when_asked():
    asked = []

    def work_out():
        asked.append(1)
        return COLUMNS

    columns = DeferredColumns(work_out)
    assert asked == []
    assert len(columns) == 2
    assert (list(columns), columns["n"], columns.get("x")) == (["n", "s"], pa.int64(), None)
    assert dict(columns) == COLUMNS
    assert asked == [1]


def test_deferred_columns_let_go_of_what_they_were_worked_out_from():
    class Segments:
        def columns(self):
            return COLUMNS

    segments = Segments()
    columns = DeferredColumns(segments.columns)
    watched = weakref.ref(segments)
    del segments
    assert watched() is not None
    assert "s" in columns
    assert watched() is None


def test_columns_that_cannot_be_worked_out_are_tried_again():
    answers = [OSError("not now"), COLUMNS]

    def work_out():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    columns = DeferredColumns(work_out)
    with pytest.raises(OSError, match="not now"):
        len(columns)
    assert dict(columns) == COLUMNS


def test_many_threads_see_the_same_columns():
    ready = threading.Barrier(8)

    def work_out():
        return dict(COLUMNS)

    columns = DeferredColumns(work_out)

    def ask(_):
        ready.wait(5)
        return dict(columns)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [COLUMNS] * 8


def test_a_collection_is_found_by_its_uuid():
    schema = CollectionSchema("c", "c" * 32, 2, Metric.L2)
    state = CollectionState(schema, VectorStore(2))
    catalog = Catalog(collections={"c": state})
    assert catalog.by_uuid("c" * 32) is state
    assert catalog.by_uuid("d" * 32) is None
