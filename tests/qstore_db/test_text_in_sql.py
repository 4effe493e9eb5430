"""``text_match`` and ``hybrid_score``: what Python ranks by, wherever a query may name a row's value."""

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import DimensionMismatchError, InvalidArgumentError, QStoreError, UnknownColumnError

WORDS = ["red", "green", "blue", "shirt", "shoe", "hat", "wool", "silk"]
pytest.importorskip("tantivy")  # of the extra `text`, which the dev extra holds


@pytest.fixture(scope="module")
def db():
    g = np.random.default_rng(4)
    with QuantumDatabase.open(":memory:") as made:
        shop = made.create_collection("shop", dimension=4, metric="l2")
        texts = [" ".join(g.choice(WORDS, g.integers(1, 9))) for _ in range(120)]
        rows = [{"title": None if n % 9 == 0 else text, "price": n % 20} for n, text in enumerate(texts)]
        shop.insert([f"r{n}" for n in range(120)], g.normal(size=(120, 4)).astype(np.float32), metadata=rows)
        shop.delete([f"r{n}" for n in range(0, 120, 7)])
        other = made.create_collection("other", dimension=2, metric="cosine")
        other.insert(["a", "b"], np.eye(2), metadata=[{"title": "red hat"}, {"title": "blue shoe"}])
        yield made


def test_scores_are_those_of_the_verb(db):
    hits = db.collection("shop").search.text("red hat", top_k=200, column="title")
    found = db.sql("SELECT id, text_match(title, 'red hat') FROM shop ORDER BY 2 DESC")
    assert found.columns == ["id", "text_match"]
    scores = dict(found.fetchall())
    assert {name: score for name, score in scores.items() if score > 0} == dict(zip(hits.ids, hits.scores, strict=True))
    assert len(scores) == 102
    matching = (
        "SELECT id FROM shop WHERE text_match(title, $words) AND price < 9 ORDER BY text_match(title, $words) DESC"
    )
    kept = db.collection("shop").search.text("red hat", top_k=200, column="title", where="price < 9")
    assert sorted(name for (name,) in db.sql(matching, words="red hat")) == sorted(kept.ids)
    without = "SELECT count(*) FROM shop WHERE NOT text_match(title, 'red hat')"
    assert db.sql(without).fetchone() == (102 - len(hits.ids),)
    english = "SELECT id FROM shop WHERE text_match(title, 'shoes', language => 'english') > 0"
    assert sorted(name for (name,) in db.sql(english)) == sorted(
        db.collection("shop").search.text("shoes", top_k=200, column="title", language="english").ids
    )


def test_hybrid_order_is_that_of_the_verb(db):
    q = [0.3, -1.0, 0.2, 0.0]
    hits = db.collection("shop").search.hybrid("red hat", q, top_k=20, column="title")
    text = "SELECT id, hybrid_score(title, 'red hat', $q) AS score FROM shop ORDER BY score DESC LIMIT 20"
    found = db.sql(text, q=q).fetchall()
    assert [score for _, score in found] == hits.scores.tolist()
    assert dict(found)[hits.ids[0]] == hits.scores[0]
    few = db.sql("SELECT count(*) FROM shop WHERE hybrid_score(title, 'hat', $q, fetch_k => 3) > 0", q=q).fetchone()
    assert 3 <= few[0] <= 6
    literal = (
        "SELECT id, hybrid_score(title, 'red hat', [0.3, -1.0, 0.2, 0.0]) AS score FROM shop ORDER BY 2 DESC LIMIT 20"
    )
    assert [score for _, score in db.sql(literal)] == hits.scores.tolist()


def test_calls_may_stand_where_values_may(db):
    joined = db.sql(
        "SELECT s.id, o.id, text_match(s.title, 'silk') * 2 AS twice "
        "FROM shop s JOIN other o ON s.price = length(o.id) "
        "WHERE text_match(s.title, 'silk') > 0 AND text_match(o.title, 'hat') > 0"
    )
    alone = dict(db.sql("SELECT id, text_match(title, 'silk') FROM shop WHERE price = 1").fetchall())
    assert {row: (other, twice) for row, other, twice in joined} == {
        row: ("a", 2 * score) for row, score in alone.items() if score > 0
    }
    grouped = db.sql("SELECT price, max(text_match(title, 'wool')) FROM shop GROUP BY price ORDER BY price")
    assert grouped.columns == ["price", "max(text_match(title, 'wool'))"]
    with_rows = db.sql("WITH x AS (SELECT id, text_match(title, 'wool') AS s FROM shop) SELECT max(s) FROM x")
    assert with_rows.fetchone()[0] == max(score for _, score in grouped)
    old = db.sql("SELECT count(*) FROM shop AT (VERSION => 2) WHERE text_match(title, 'wool') > 0").fetchone()
    assert old > db.sql("SELECT count(*) FROM shop WHERE text_match(title, 'wool') > 0").fetchone()
    near = db.sql("SELECT id FROM shop WHERE text_match(title, 'wool') ORDER BY vector <-> $q LIMIT 3", q=[0, 0, 0, 1])
    assert near.plan.startswith("every row is compared: words")
    exact = db.collection("shop").search.text("wool", top_k=200, column="title").ids
    assert [name for (name,) in near] == [
        name for name in db.collection("shop").query([0, 0, 0, 1], top_k=102).ids if name in exact
    ][:3]
    star = db.sql("SELECT * FROM shop ORDER BY text_match(title, 'wool') DESC LIMIT 1")
    assert star.columns == ["id", "vector", "title", "price"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("SELECT text_match(title) FROM shop", QStoreError, "is given 'words' not at all"),
        ("SELECT text_match('a', 'b') FROM shop", QStoreError, "needs a column first"),
        ("SELECT text_match(title, 'b', deep => 1) FROM shop", QStoreError, "'deep' which it does not know"),
        ("SELECT text_match(title, 'b', words => 'c') FROM shop", QStoreError, "'words' twice"),
        ("SELECT text_match(title, 'b', 'c', 'd') FROM shop", QStoreError, "a column and 2 arguments, not 4"),
        ("SELECT text_match(title, title) FROM shop", QStoreError, "is no literal"),
        ("SELECT text_match(title, 4) FROM shop", InvalidArgumentError, "'words' of text_match is 4"),
        ("SELECT text_match(title, '…') FROM shop", InvalidArgumentError, "no word"),
        ("SELECT text_match(absent, 'b') FROM shop", UnknownColumnError, "absent"),
        ("SELECT text_match(price, 'b') FROM shop", InvalidArgumentError, "no text"),
        ("SELECT text_match(name, 'b') FROM collections", QStoreError, "'collections' is none"),
        ("SELECT text_match(title, 'b') FROM shop, other", QStoreError, "not certain which"),
        ("SELECT text_match(title, 'b') OVER () FROM shop", QStoreError, "needs a column first"),
        ("SELECT hybrid_score(title, 'b', [1, 2]) FROM shop", DimensionMismatchError, "2 numbers"),
        ("SELECT hybrid_score(title, 'b', [1, 2, 3, 4], fetch_k => 0) FROM shop", InvalidArgumentError, "fetch_k"),
    ],
)
def test_what_is_no_call_is_refused(db, text, error, message):
    with pytest.raises(error, match=message):
        db.sql(text)


def test_parameters_of_calls_are_checked_and_conditions_alone_cannot_hold_them(db):
    with pytest.raises(QStoreError, match="Parameter \\$words has no value"):
        db.sql("SELECT text_match(title, $words) FROM shop")
    with pytest.raises(InvalidArgumentError, match="is None"):
        db.sql("SELECT text_match(title, $words) FROM shop", words=None)
    with pytest.raises(QStoreError, match="not in a condition alone"):
        db.collection("shop").query([0, 0, 0, 1], where="text_match(title, 'hat') > 0")
    with pytest.raises(QStoreError, match="line 2, column 1"):
        db.sql("SELECT text_match(title, 'hat') AS s,\nnonsense FROM shop")


def test_procedures_may_call_them(db):
    db.sql(
        "CREATE PROCEDURE best(words VARCHAR) AS BEGIN "
        "SELECT id FROM shop WHERE text_match(title, $words) ORDER BY text_match(title, $words) DESC, id LIMIT 2; END"
    )
    hits = db.collection("shop").search.text("silk", top_k=1, column="title")
    assert hits.ids[0] in {name for (name,) in db.sql("CALL best('silk')")}
