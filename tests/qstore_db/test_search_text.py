"""Words and words with vectors: BM25 by its formula, only live rows of the version, fusion of the two rankings."""

import math
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    DimensionMismatchError,
    InvalidArgumentError,
    MissingDependencyError,
    UnknownColumnError,
)

WORDS = ["red", "green", "blue", "shirt", "shoe", "hat", "wool", "silk"]
needs_tantivy = pytest.mark.usefixtures("tantivy")


@pytest.fixture
def tantivy():
    return pytest.importorskip("tantivy")  # of the extra `text`, which the dev extra holds


def kept_length(length):
    """Lucene's one-byte lengths: 24 exact ones, then three bits of precision; rounded down."""
    table = list(range(24))
    for code in range(256 - 24):
        shift = (code >> 3) - 1
        table.append(24 + (code if shift == -1 else ((code & 7) | 8) << shift))
    return max(one for one in table if one <= length)


def bm25(rows, question):
    """The formula of the docstring: {id: score} of rows (id → text or None) that hold a word of the question."""
    texts = {name: re.findall(r"[^\W_]+", text.lower()) for name, text in rows.items() if text is not None}
    mean = sum(len(words) for words in texts.values()) / max(1, len(texts))
    scores = {}
    for name, words in texts.items():
        total, held = 0.0, False
        for word in dict.fromkeys(re.findall(r"[^\W_]+", question.lower())):
            count = words.count(word)
            if count:
                held = True
                n = sum(word in other for other in texts.values())
                weight = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
                length = kept_length(len(words))
                total += weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean))
        if held:
            scores[name] = total
    return scores


def agrees(hits, scores, order, top_k):
    """Whether hits are the best by these scores: up to float32, and equal rows in the order of writing."""
    assert len(hits) == min(top_k, len(scores))
    for name, score in zip(hits.ids, hits.scores.tolist(), strict=True):
        assert score == pytest.approx(scores[name], rel=1e-5)
    pairs = list(zip(hits.scores.tolist(), [-order.index(name) for name in hits.ids], strict=True))
    assert pairs == sorted(pairs, reverse=True)
    if len(hits) < len(scores):
        left = max(score for name, score in scores.items() if name not in hits.ids)
        assert left <= float(hits.scores[-1]) * (1 + 1e-5)


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:") as database:
        yield database


@needs_tantivy
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    changes=st.lists(st.sampled_from(["insert", "delete", "upsert", "seal"]), max_size=5),
    top_k=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_the_ranking_is_that_of_the_formula_whatever_was_written(changes, top_k, seed):
    rng = np.random.default_rng(seed)

    def text():
        return None if rng.random() < 0.1 else " ".join(rng.choice(WORDS, int(rng.integers(0, 9))))

    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=2, metric="l2")
        rows: dict[str, tuple[str | None, int]] = {}
        for step, change in enumerate(["insert", *changes]):
            names = [name for name in rows if rng.random() < 0.3]
            if change == "seal":
                db._engine.seal()
                names = []
            elif change == "delete":
                for name in names:
                    del rows[name]
                items.delete(names)
                names = []
            elif change == "insert":
                names = [f"r{step}_{n}" for n in range(int(rng.integers(1, 15)))]
            if names:
                values = [(text(), int(rng.integers(3))) for _ in names]
                metadata = [{"title": title, "n": n} for title, n in values]
                items.upsert(names, rng.normal(size=(len(names), 2)), metadata=metadata)
                for name, value in zip(names, values, strict=True):
                    rows.pop(name, None)
                    rows[name] = value
            if "title" not in items._view().columns:
                continue
            question = " ".join(rng.choice(WORDS, 2))
            scores = bm25({name: title for name, (title, _) in rows.items()}, question)
            hits = items.search.text(question, top_k, column="title", exact=True)
            agrees(hits, scores, list(rows), top_k)
            chosen = {name: score for name, score in scores.items() if rows[name][1] == 1}
            agrees(
                items.search.text(question, top_k, column="title", exact=True, where="n = 1"), chosen, list(rows), top_k
            )
            loose = items.search.text(question, 50, column="title")
            assert set(loose.ids) == set(scores)  # statistics may be older, rows are not
            assert loose.metadata.column("title").to_pylist() == [rows[name][0] for name in loose.ids]


@needs_tantivy
def test_long_texts_are_ranked_by_rounded_lengths(db):
    rng = np.random.default_rng(0)
    items = db.create_collection("items", dimension=1, metric="l2")
    rows = {f"r{n}": " ".join(rng.choice(WORDS, int(rng.integers(1, 500)))) for n in range(60)}
    items.insert(list(rows), np.zeros((60, 1)), metadata={"title": list(rows.values())})
    for question in ("red", "silk hat", "green GREEN shoe"):
        agrees(items.search.text(question, 20, column="title"), bm25(rows, question), list(rows), 20)


@needs_tantivy
def test_equal_scores_stand_in_the_order_of_writing_also_at_the_end(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    for start in range(0, 900, 100):  # several pieces of an index
        names = [f"r{n}" for n in range(start, start + 100)]
        items.insert(names, np.zeros((100, 1)), metadata={"title": ["same words"] * 100, "n": list(range(100))})
        items.search.text("same", 1, column="title")
    items.delete("r2")
    assert items.search.text("words", 5, column="title").ids == ["r0", "r1", "r3", "r4", "r5"]
    assert items.search.text("words", 3, column="title", where="n = 99").ids == ["r99", "r199", "r299"]
    assert len(items.search.text("words", 10_000, column="title")) == 899


@needs_tantivy
def test_words_languages_and_columns(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    rows = [
        {"title": "Running shoes", "note": "made of wool_blend"},
        {"title": "A runner's hat", "note": None},
        {"title": "naïve Straße 42", "note": "run"},
        {"title": None, "note": "shoes, shoes & shoes"},
    ]
    items.insert(["a", "b", "c", "d"], np.zeros((4, 1)), metadata=rows)
    assert items.search.text("SHOES!", column="title").ids == ["a"]
    assert items.search.text("shoe", column="title").ids == []
    assert items.search.text("shoe", column="title", language="english").ids == ["a"]
    assert items.search.text("run", column="title", language="english").ids == ["a"]
    assert items.search.text("straße", column="title").ids == ["c"]
    assert items.search.text("NAÏVE", column="title").ids == ["c"]
    assert set(items.search.text("shoes", column=["title", "note"]).ids) == {"a", "d"}
    assert items.search.text("wool", column=["title", "note"]).ids == ["a"]
    hits = items.search.text("hat", column="title", include=["note"])
    assert hits.arrow().to_pydict()["note"] == [None]
    assert hits.strategy == "text"
    assert hits[0].score == float(hits.scores[0]) > 0


@needs_tantivy
def test_old_and_new_versions_each_see_their_own_words(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    items.insert([f"r{n}" for n in range(20)], np.zeros((20, 1)), metadata={"title": ["red hat"] * 20})
    first = db.version
    items.insert("late", [0.0], metadata={"title": "red shoe"})
    items.delete("r0")
    assert items.search.text("shoe", column="title").ids == ["late"]
    with db.at(first) as old:
        assert old.collection("items").search.text("shoe", column="title").ids == []
        assert len(old.collection("items").search.text("red", 50, column="title")) == 20
    with db.transaction():
        items.insert("draft", [0.0], metadata={"title": "silk shoe"})
        assert set(items.search.text("shoe", column="title").ids) == {"late", "draft"}
    before = db._engine.snapshot()
    items.upsert([f"r{n}" for n in range(1, 6)], np.zeros((5, 1)), metadata={"title": ["blue"] * 5})
    assert len(items.search.text("red", 50, column="title")) == 15
    engine_snapshot = db._engine.snapshot
    db._engine.snapshot = lambda: before  # a reader that took its snapshot before
    assert len(items.search.text("red", 50, column="title")) == 20
    assert items.search.text("blue", column="title").ids == []
    db._engine.snapshot = engine_snapshot
    assert len(items.search.text("blue", column="title")) == 5


@needs_tantivy
def test_an_older_snapshot_finds_rows_that_were_dead_when_the_index_was_made(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    items.insert([f"r{n}" for n in range(60)], np.zeros((60, 1)), metadata={"title": ["red hat"] * 60})
    before = db._engine.snapshot()
    items.delete(["r3", "r4"])
    assert len(items.search.text("red", 100, column="title")) == 58  # the index is made now
    newest = db._engine.snapshot
    db._engine.snapshot = lambda: before
    assert items.search.text("red", 100, column="title").ids == [f"r{n}" for n in range(60)]
    db._engine.snapshot = newest
    assert len(items.search.text("red", 100, column="title")) == 58


@needs_tantivy
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    metric=st.sampled_from(["l2", "cosine", "ip"]),
    top_k=st.integers(1, 10),
    more=st.integers(0, 10),
    k=st.sampled_from([0, 60]),
    weights=st.sampled_from([(1.0, 1.0), (0.0, 1.0), (2.0, 0.5)]),
    seed=st.integers(0, 2**32),
)
def test_both_rankings_are_fused_by_the_formula(metric, top_k, more, k, weights, seed):
    rng = np.random.default_rng(seed)
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=3, metric=metric)
        titles = [" ".join(rng.choice(WORDS, int(rng.integers(1, 6)))) for _ in range(30)]
        vectors = rng.integers(1, 4, size=(30, 3)).astype(np.float32)
        items.insert([f"r{n}" for n in range(30)], vectors, metadata={"title": titles, "n": list(range(30))})
        asked = {"where": "n < 25", "exact": True}
        query, fetch = [1.0, -2.0, 1.0], top_k + more
        by_words = items.search.text("red hat", fetch, column="title", **asked).ids
        by_vector = items.query(query, fetch, **asked).ids
        scores: dict[str, float] = {}
        for ranking, weight in ((by_words, weights[0]), (by_vector, weights[1])):
            for rank, name in enumerate(ranking, 1):
                scores[name] = scores.get(name, 0.0) + weight / (k + rank)
        hits = items.search.hybrid(
            "red hat", query, top_k, column="title", fetch_k=fetch, rank_constant=k, weights=weights, **asked
        )
        appeared = list(scores)
        expected = sorted(scores, key=lambda name: (-np.float64(scores[name]), appeared.index(name)))[:top_k]
        assert hits.ids == expected
        assert hits.scores.tolist() == pytest.approx([scores[name] for name in expected], rel=1e-6)


@needs_tantivy
def test_a_row_that_only_one_ranking_finds_is_found(db):
    items = db.create_collection("items", dimension=2, metric="cosine")
    items.insert(
        ["both", "words", "near", "neither"],
        [[1.0, 0.1], [-1.0, 0.0], [1.0, 0.0], [0.0, -1.0]],
        metadata={"title": ["red hat", "red hat hat", "shoe", "glove"]},
    )
    hits = items.search.hybrid("hat", [1.0, 0.0], 3, column="title", fetch_k=3)
    assert hits.ids[0] == "both"
    assert set(hits.ids) == {"both", "words", "near"}


@needs_tantivy
def test_refusals(db):
    items = db.create_collection("items", dimension=2, metric="l2")
    items.insert("a", [0.0, 1.0], metadata={"title": "red", "n": 1, "empty": None})
    assert items.search.text("red", column="empty").ids == []
    for wrong in (
        {"words": ""},
        {"words": " ,.!"},
        {"words": 3},
        {"top_k": 0},
        {"top_k": 10_001},
        {"column": "n"},
        {"column": []},
        {"column": ["title", "title"]},
        {"language": "klingon"},
    ):
        with pytest.raises(InvalidArgumentError):
            items.search.text(**{"words": "red", "column": "title", **wrong})
    for wrong in ({"fetch_k": 5}, {"rank_constant": -1}, {"weights": (1.0, -1.0)}, {"weights": (1.0,)}):
        with pytest.raises(InvalidArgumentError):
            items.search.hybrid("red", [0.0, 1.0], 10, column="title", **wrong)
    for name in ("absent", "id"):
        with pytest.raises(UnknownColumnError):
            items.search.text("red", column=name)
    with pytest.raises(UnknownColumnError):
        items.search.text("red", column="title", include=["absent"])
    with pytest.raises(DimensionMismatchError):
        items.search.hybrid("red", [0.0], column="title")


@needs_tantivy
def test_indexes_are_dropped_with_their_rows(db):
    import gc

    from qstore_db.search.text_index import _INDEXES

    items = db.create_collection("items", dimension=1, metric="l2")
    items.insert("a", [0.0], metadata={f"c{n}": "red" for n in range(9)})
    for n in range(9):
        items.search.text("red", column=f"c{n}")
    mine = _INDEXES[items._view().numbering]
    assert len(mine) <= 4
    kept = len(_INDEXES)
    db.drop_collection("items")
    db.sql("SELECT 1")
    del items
    gc.collect()
    assert len(_INDEXES) <= kept


def test_without_the_library_the_error_says_what_to_install(db, monkeypatch):
    items = db.create_collection("items", dimension=1, metric="l2")
    items.insert("a", [0.0], metadata={"title": "red"})
    monkeypatch.setitem(sys.modules, "tantivy", None)
    with pytest.raises(MissingDependencyError, match="qstore-db\\[text\\]"):
        items.search.text("red", column="title")
    assert items.query([0.0]).ids == ["a"]
