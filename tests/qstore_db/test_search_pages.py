"""Pages: disjoint, together one large answer, the same whatever is written, and refused once the version is gone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    DimensionMismatchError,
    InvalidArgumentError,
    TransactionError,
    UnknownColumnError,
    UnknownVersionError,
)
from qstore_db.search.paging import Cursor
from storage_engine.schema import MAX_TOP_K


def database(path=":memory:"):
    return QuantumDatabase.open(path, build_threads=1)


def tied(rng, rows):
    """Few distinct vectors, so that most scores are equal."""
    return rng.integers(0, 3, size=(rows, 3)).astype(np.float32) + 1


def walked(items, query, sizes, **asked):
    """All pages, with something written between them."""
    pages, cursor = [], None
    for size in sizes:
        pages.append(items.search.page(query, size, cursor=cursor, **asked))
        cursor = pages[-1].cursor
        if cursor is None:
            return pages
        number = len(pages)
        items.upsert(f"r{number}", [9.0, 9.0, 9.0])
        items.insert(f"later {number}", query)
        items.delete(f"r{number + 40}", missing_ok=True)
    raise AssertionError("not enough sizes")


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    metric=st.sampled_from(["l2", "cosine", "ip"]),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    where=st.sampled_from([None, "n % 3 > 0"]),
    seed=st.integers(0, 2**32),
)
def test_pages_are_one_answer_cut_up(metric, sizes, where, seed):
    rng = np.random.default_rng(seed)
    with database() as db:
        items = db.create_collection("items", dimension=3, metric=metric)
        items.insert([f"r{n}" for n in range(90)], tied(rng, 90), metadata={"n": list(range(90))})
        db._engine.seal()
        items.delete([f"r{n}" for n in range(0, 90, 11)])
        items.upsert("r5", [1.0, 2.0, 3.0], metadata={"n": 5})
        query = tied(rng, 1)[0]
        whole = items.query(query, 200, where=where, exact=True)
        before = items.query(query, 200, where=where, exact=True).scores.tobytes()
        pages = walked(items, query, [*sizes, 30, 30, 30, 30], where=where)
        assert [name for page in pages for name in page.hits.ids] == whole.ids
        assert b"".join(page.hits.scores.tobytes() for page in pages) == before
        assert len({page.version for page in pages}) == 1
        starts = np.cumsum([0, *(len(page.hits) for page in pages)])
        assert [page.offset for page in pages] == starts[:-1].tolist()
        assert [row for page in pages for row in page.hits.metadata.column("n").to_pylist()] == (
            whole.metadata.column("n").to_pylist()
        )


def test_a_page_by_offset_and_version_is_the_one_by_cursor():
    rng = np.random.default_rng(0)
    with database() as db:
        items = db.create_collection("items", dimension=3, metric="l2")
        items.insert([f"r{n}" for n in range(50)], tied(rng, 50))
        first = items.search.page([1.0, 1.0, 1.0], 20)
        items.insert("nearest", [1.0, 1.0, 1.0])
        by_cursor = items.search.page([1.0, 1.0, 1.0], 20, cursor=first.cursor)
        by_number = items.search.page([1.0, 1.0, 1.0], 20, offset=20, version=first.version)
        assert by_cursor.hits.ids == by_number.hits.ids
        assert by_cursor.cursor == by_number.cursor
        assert "nearest" not in first.hits.ids + by_cursor.hits.ids
        assert items.search.page([1.0, 1.0, 1.0], 60).hits.ids.count("nearest") == 1
        assert items.search.page([1.0, 1.0, 1.0], 10, offset=51).hits.ids == []
        assert items.search.page([1.0, 1.0, 1.0], 10, offset=41).cursor is None
        assert items.search.page([1.0, 1.0, 1.0], 10, offset=40).cursor is not None


def test_a_cursor_outlives_the_handle_and_what_was_rewritten(tmp_path):
    rng = np.random.default_rng(3)
    path = tmp_path / "db"
    with database(path) as db:
        items = db.create_collection("items", dimension=3, metric="l2")
        for start in range(0, 60, 20):
            items.insert([f"r{n}" for n in range(start, start + 20)], tied(rng, 20))
            db._engine.seal()
        items.delete(["r3", "r30"])
        whole = items.query([2.0, 2.0, 2.0], 100, exact=True).ids
        page = items.search.page([2.0, 2.0, 2.0], 25)
        db.tag("keep", page.version)
        items.delete([f"r{n}" for n in range(5, 50)], missing_ok=True)
    with database(path) as db:
        db.vacuum()
        rest = db.collection("items").search.page([2.0, 2.0, 2.0], 100, cursor=page.cursor)
        assert page.hits.ids + rest.hits.ids == whole
        assert rest.version == page.version


@pytest.mark.parametrize("kind", ["memory", "directory"])
def test_a_version_that_is_gone_is_an_error(tmp_path, kind):
    with database(":memory:" if kind == "memory" else tmp_path / "db") as db:
        items = db.create_collection("items", dimension=3, metric="l2")
        items.insert([f"r{n}" for n in range(30)], tied(np.random.default_rng(0), 30))
        page = items.search.page([1.0, 1.0, 1.0], 10)
        items.delete("r1")
        assert len(items.search.page([1.0, 1.0, 1.0], 10, cursor=page.cursor).hits) == 10
        db.vacuum()
        with pytest.raises(UnknownVersionError):
            items.search.page([1.0, 1.0, 1.0], 10, cursor=page.cursor)
        with pytest.raises(UnknownVersionError):
            items.search.page([1.0, 1.0, 1.0], 10, version=10_000)


def test_what_is_no_cursor_of_this_question_is_refused():
    with database() as db:
        items = db.create_collection("items", dimension=3, metric="l2")
        items.insert([f"r{n}" for n in range(30)], tied(np.random.default_rng(0), 30), metadata={"n": list(range(30))})
        q = [1.0, 1.0, 1.0]
        page = items.search.page(q, 5, where="n > 1", filter={"n": {"$lt": 25}})
        for other in (
            {"where": "n > 1"},
            {"where": "n > 2", "filter": {"n": {"$lt": 25}}},
            {"filter": {"n": {"$lt": 25}}},
        ):
            with pytest.raises(InvalidArgumentError, match="another question"):
                items.search.page(q, 5, cursor=page.cursor, **other)
        with pytest.raises(InvalidArgumentError, match="another question"):
            items.search.page([1.0, 1.0, 2.0], 5, cursor=page.cursor, where="n > 1", filter={"n": {"$lt": 25}})
        for text in ("", "nonsense", "ä", 7, page.cursor[:-6], Cursor(1, -1, "x").to_text()):
            with pytest.raises(InvalidArgumentError, match="no cursor"):
                items.search.page(q, 5, cursor=text)
        for given in ({"offset": 3}, {"version": 1}):
            with pytest.raises(InvalidArgumentError):
                items.search.page(q, 5, cursor=page.cursor, where="n > 1", filter={"n": {"$lt": 25}}, **given)
        for given in ({"size": 0}, {"size": 2.5}, {"offset": -1}, {"size": True}):
            with pytest.raises(InvalidArgumentError):
                items.search.page(q, **given)
        with pytest.raises(InvalidArgumentError):
            items.search.pages(q, 0)
        with pytest.raises(UnknownColumnError):
            items.search.pages(q, 5, include=["absent"])
        with pytest.raises(DimensionMismatchError):
            next(items.search.pages([1.0], 5))
        with db.transaction(), pytest.raises(TransactionError):
            items.search.page(q, 5)


def test_walking_through_all_rows_goes_beyond_what_one_search_gives():
    rng = np.random.default_rng(4)
    rows = MAX_TOP_K + 1_500
    with database() as db:
        items = db.create_collection("items", dimension=2, metric="ip")
        vectors = rng.integers(0, 50, size=(rows, 2)).astype(np.float32)
        items.insert([f"r{n}" for n in range(rows)], vectors)
        ids: list[str] = []
        for number, hits in enumerate(items.search.pages([1.0, 2.0], 1_000, include=[])):
            assert len(hits) == min(1_000, rows - 1_000 * number)
            ids += hits.ids
            items.upsert(f"r{number}", [9e9, 9e9])  # the iterator keeps to the rows it began with
        order = np.argsort(-(vectors @ np.array([1.0, 2.0])), kind="stable")
        assert ids == [f"r{n}" for n in order]
        deep = items.search.page([1.0, 2.0], 50, offset=MAX_TOP_K + 1_400, version=2)
        assert deep.hits.ids == ids[MAX_TOP_K + 1_400 : MAX_TOP_K + 1_450]


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 8, 40, 41])
def test_the_last_page_is_the_last(rows):
    with database() as db:
        items = db.create_collection("items", dimension=1, metric="l2")
        if rows:
            items.insert([f"r{n}" for n in range(rows)], np.arange(float(rows))[:, None])
        sizes = [len(hits) for hits in items.search.pages([0.0], 5)]
        assert sizes == [5] * (rows // 5) + ([rows % 5] if rows % 5 else [])
