"""The index must give what brute force gives, and say when it is used."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.batch import CreateCollection, PutRows, WriteBatch
from storage_engine.errors import DimensionMismatchError, InvalidVectorError
from storage_engine.schema import CollectionSchema, Metric

OPERATORS = {"items": "<->", "docs": "<=>", "default": "<#>"}
CONDITIONS = {
    "": lambda table: np.ones(len(table), bool),
    "label = 3": lambda table: pc.equal(table["label"], 3),
    "label IN (1, 2) AND price < 5": lambda table: pc.and_kleene(
        pc.is_in(table["label"], pa.array([1, 2])), pc.less(table["price"], 5)
    ),
    "NOT (tag = 'red' OR label > 4)": lambda table: pc.invert(
        pc.or_kleene(pc.equal(table["tag"], "red"), pc.greater(table["label"], 4))
    ),
    "label * 2 + 1 > 9 AND upper(tag) LIKE 'Z%'": lambda table: pc.and_kleene(
        pc.greater(pc.add(pc.multiply(table["label"], 2), 1), 9), pc.equal(table["tag"], "Zürich")
    ),
    "label IS NULL AND sold": lambda table: pc.and_kleene(pc.is_null(table["label"]), table["sold"]),
    "label = 99": lambda table: pc.equal(table["label"], 99),
}


def distances(operator: str, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    if operator == "<->":
        return np.linalg.norm(vectors - query, axis=1)
    if operator == "<#>":
        return -vectors @ query
    return 1 - vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)


def expected_ids(sample, name, operator, query, keep, first, count):
    found = distances(operator, sample.vectors[name], query)
    rows = np.flatnonzero(keep)
    return sample.ids[name][rows[np.argsort(found[rows], kind="stable")]][first : first + count].tolist()


def quoted(name: str) -> str:
    return '"default"' if name == "default" else name


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", OPERATORS)
def test_the_index_answers_like_brute_force(sample, name, condition):
    rng = np.random.default_rng(len(condition))
    keep = np.asarray(pc.fill_null(CONDITIONS[condition](sample.tables[name]), False)) if condition else None
    keep = CONDITIONS[""](sample.tables[name]) if keep is None else keep
    where = f"WHERE {condition}" if condition else ""
    for first, count in ((0, 1), (0, 10), (3, 7), (0, 1000)):
        query = rng.standard_normal(sample.vectors[name].shape[1]).astype(np.float32)
        result = sample.session.execute(
            f"SELECT id FROM {quoted(name)} {where} ORDER BY vector {OPERATORS[name]} $q LIMIT {count} OFFSET {first}",
            {"q": query},
        )
        assert result.plan.startswith("nearest "), result.plan
        wanted = expected_ids(sample, name, OPERATORS[name], query, keep, first, count)
        assert [row[0] for row in result] == wanted


@pytest.mark.parametrize("operator", ["<->", "<=>", "<#>"])
@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_that_the_index_does_not_know_is_answered_exactly(sample, name, operator):
    query = np.random.default_rng(3).standard_normal(sample.vectors[name].shape[1]).astype(np.float32)
    result = sample.session.execute(
        f"SELECT id, vector {operator} $q AS d FROM {quoted(name)} ORDER BY d LIMIT 9", {"q": query}
    )
    assert result.plan.startswith("nearest" if operator == OPERATORS[name] else "every row is compared")
    keep = np.ones(len(sample.ids[name]), bool)
    assert [row[0] for row in result] == expected_ids(sample, name, operator, query, keep, 0, 9)
    found = np.sort(distances(operator, sample.vectors[name], query))[:9]
    np.testing.assert_allclose([row[1] for row in result], found, rtol=1e-5, atol=1e-6)


NEAREST = [
    "SELECT id FROM items ORDER BY vector <-> $q LIMIT 5",
    "select ID from ITEMS i order by I.Vector <-> $q asc nulls last limit 5",
    "SELECT id FROM items ORDER BY $q <-> vector LIMIT 5",
    "SELECT id FROM items AS t ORDER BY t.vector <-> $q::FLOAT[8], id LIMIT $k",
    "SELECT id FROM items ORDER BY vector <-> CAST($q AS DOUBLE[]) LIMIT 5",
    "SELECT id, vector <-> $q FROM items ORDER BY 2 LIMIT 5",
    "SELECT id, round(vector <-> $q, 3) + 1, vector <-> $q AS price FROM items ORDER BY price LIMIT 5",
    "FROM items SELECT id ORDER BY array_distance(vector, $q) LIMIT 5",
    "SELECT id FROM items ORDER BY list_distance(vector, $q) LIMIT 5",
    "SELECT id FROM main.items ORDER BY vector <-> /* comment ; */ $q LIMIT 5 -- end",
    "SELECT id FROM items WHERE (label >= 0 OR label IS NULL) ORDER BY vector <-> $q LIMIT 5",
    "SELECT id FROM items i WHERE length(i.tag) > 0 OR i.tag IS NULL ORDER BY vector <-> $q LIMIT 5",
]
EXACT = [
    "SELECT id FROM items ORDER BY (vector <-> $q) + 0 LIMIT 5",
    "SELECT id FROM items ORDER BY vector <-> $q, id",
    "SELECT id FROM items ORDER BY vector <-> $q LIMIT 0",
    "SELECT id FROM items ORDER BY vector <-> $q LIMIT 5%",
    "SELECT id FROM items ORDER BY vector <-> $q DESC LIMIT 5",
    "SELECT id FROM items ORDER BY label, vector <-> $q LIMIT 5",
    "SELECT DISTINCT id FROM items ORDER BY vector <-> $q LIMIT 5",
    "SELECT id, row_number() OVER (ORDER BY id) FROM items ORDER BY vector <-> $q LIMIT 5",
    "SELECT count(*) FROM items GROUP BY vector <-> $q ORDER BY vector <-> $q LIMIT 5",
    "SELECT i.id FROM items i JOIN docs d USING (label) ORDER BY i.vector <-> $q, i.id, d.id LIMIT 5",
    "SELECT id FROM items WHERE label IN (SELECT label FROM docs) ORDER BY vector <-> $q LIMIT 5",
    "SELECT * FROM (SELECT id FROM items ORDER BY vector <-> $q LIMIT 5) ORDER BY id",
    "WITH near AS (SELECT id FROM items ORDER BY vector <-> $q LIMIT 5) FROM near ORDER BY id",
    "SELECT id, list_reverse(vector::FLOAT[]) AS vector FROM items ORDER BY vector <-> $q LIMIT 5",
    "SELECT id, [label, 0, 0, 0, 0, 0, 0, 0]::FLOAT[8] AS vector FROM items ORDER BY vector <-> $q, id LIMIT 5",
    "SELECT id, label + 1 AS half FROM items WHERE half > 3 ORDER BY vector <-> $q LIMIT 5",
    "SELECT id FROM items WHERE random() >= 0 ORDER BY vector <-> $q LIMIT 5",
    "SELECT id FROM items vector ORDER BY vector.vector <-> $q LIMIT 5",
    "SELECT unnest([1, 2]), id FROM items ORDER BY vector <-> $q, 1 LIMIT 5",
    "SELECT id FROM items ORDER BY vector <-> $q LIMIT 5 OFFSET 10000",
]


@pytest.mark.parametrize("text", NEAREST + EXACT)
def test_the_plan_never_changes_the_answer(sample, text):
    import duckdb

    query = np.random.default_rng(11).standard_normal(8).astype(np.float32)
    parameters = {"q": query, **({"k": 5} if "$k" in text else {})}
    result = sample.session.execute(text, parameters)
    assert result.plan.startswith("nearest" if text in NEAREST else "every row is compared"), result.plan
    plain = duckdb.connect()
    for name in ("items", "docs"):
        plain.register(name, sample.tables[name])
    bound = {name: value.tolist() if name == "q" else value for name, value in parameters.items()}
    text = text.replace("$q::FLOAT[8]", "$q").replace("$q", "CAST($q AS FLOAT[8])")
    wanted = plain.sql(text.replace("main.", ""), params=bound).to_arrow_table()
    plain.close()
    assert result.arrow().to_pylist() == wanted.rename_columns(result.columns).to_pylist()


numbers = st.floats(-3, 3, width=32)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    query=st.lists(numbers, min_size=8, max_size=8),
    label=st.integers(-1, 10),
    price=st.floats(0, 10),
    limit=st.integers(1, 30),
    offset=st.integers(0, 5),
    literal=st.booleans(),
)
def test_any_query_vector_and_bounds(sample, query, label, price, limit, offset, literal):
    table = sample.tables["items"]
    keep = pc.and_kleene(pc.greater_equal(table["label"], label), pc.less(table["price"], price))
    given_vector = "[" + ", ".join(repr(number) for number in query) + "]" if literal else "$q"
    result = sample.session.execute(
        f"SELECT id, vector <-> {given_vector} AS d FROM items WHERE label >= $label AND price < $price "
        f"ORDER BY d LIMIT $limit OFFSET $offset",
        {"label": label, "price": price, "limit": limit, "offset": offset, **({} if literal else {"q": query})},
    )
    found = distances("<->", sample.vectors["items"], np.array(query, np.float32))
    rows = np.flatnonzero(np.asarray(pc.fill_null(keep, False)))
    wanted = np.sort(found[rows])[offset : offset + limit]
    assert len(result) == len(wanted)
    np.testing.assert_allclose([row[1] for row in result], wanted, rtol=1e-5, atol=1e-6)


def test_training_data_uses_the_index_of_the_data_set(sample):
    query = np.zeros(6, np.float32)
    text = "SELECT id, label FROM training_data WHERE dataset = $d AND label = 3 ORDER BY vector <-> $q LIMIT 4"
    result = sample.session.execute(text, {"d": "digits", "q": query})
    assert result.plan.startswith("nearest 4")
    keep = np.asarray(pc.fill_null(pc.equal(sample.tables["digits"]["label"], 3), False))
    assert [row[0] for row in result] == expected_ids(sample, "digits", "<->", query, keep, 0, 4)
    assert {row[1] for row in result} == {3}


def test_training_data_without_a_data_set(sample):
    run = sample.session.execute
    with pytest.raises(DimensionMismatchError, match="choose one data set"):
        run("SELECT id FROM training_data ORDER BY vector <-> $q LIMIT 3", {"q": np.zeros(6)})
    mixed = run(
        "SELECT id FROM training_data WHERE len(vector) = 6 ORDER BY vector <-> $q, id LIMIT 3", {"q": np.zeros(6)}
    )
    assert mixed.plan.startswith("every row is compared")
    assert run("SELECT count(*) FROM training_data").fetchone() == (len(sample.ids["digits"]) + 400,)
    assert run("SELECT id FROM training_data WHERE dataset = 'none'").fetchall() == []
    [(columns,)] = run("SELECT list(column_name) FROM (DESCRIBE training_data)")
    assert columns == ["dataset", "id", "split", "label", "vector", "maker"]
    joined = run(
        "SELECT count(*), any_value(len(t.vector)) FROM training_data t JOIN datasets d ON d.name = t.dataset "
        "WHERE t.dataset = 'fashion' AND t.split = 'test'"
    )
    assert joined.fetchone() == (80, 5)
    assert run("SELECT maker FROM training_data WHERE dataset = 'digits' LIMIT 1").fetchall() == [(None,)]


def test_wrong_vectors_are_refused(sample):
    run = sample.session.execute
    text = "SELECT id FROM items ORDER BY vector <-> $q LIMIT 3"
    for bad in ([float("nan")] * 8, [float("inf")] * 8, [1e300] * 8, "abc", None, [[1.0]], [], ["a"]):
        with pytest.raises(InvalidVectorError):
            run(text, {"q": bad})
    with pytest.raises(DimensionMismatchError, match="4 numbers"):
        run(text, {"q": [1.0] * 4})
    with pytest.raises(DimensionMismatchError):
        run("SELECT id FROM items ORDER BY vector <-> [1.0, 2.0] LIMIT 3")
    with pytest.raises(DimensionMismatchError):
        run("SELECT vector <-> $q FROM empty", {"q": [1.0]})
    with pytest.raises(InvalidVectorError):
        run("SELECT id FROM docs ORDER BY vector <=> $q LIMIT 3", {"q": [0.0] * 4})
    assert run("SELECT id FROM empty ORDER BY vector <-> [1, 2, 3] LIMIT 3").fetchall() == []


def test_rows_scored_by_another_norm_are_compared_exactly(sample):
    engine, run = sample.engine, sample.session.execute
    engine.commit(WriteBatch([CreateCollection(CollectionSchema("mixed", "a" * 32, 2, Metric.COSINE))]))
    rows = np.array([[0.9, 0.0], [0.5, 0.05]], np.float32)
    engine.commit(WriteBatch([PutRows("mixed", ["a", "b"], rows)]))
    text = "SELECT id FROM mixed ORDER BY vector <=> [1.0, 0.1] LIMIT 1"
    assert run(text).plan.startswith("nearest")
    # With norm 1 the score of a is 0.9 and that of b 0.5, while b has the smaller angle.
    engine.commit(WriteBatch([PutRows("mixed", ["a", "b"], rows, norms=np.ones(2, np.float32))]))
    assert run(text).fetchall() == [("b",)]
    assert "norm" in run(text).plan


def test_explain_shows_the_choice(session):
    query = np.zeros(8)
    text = "SELECT id FROM items WHERE label = 3 ORDER BY vector <-> $q LIMIT 3"
    for prefix in ("EXPLAIN", "EXPLAIN ANALYZE", "EXPLAIN (FORMAT json)"):
        result = session.execute(f"{prefix} {text}", {"q": query})
        assert result.fetchone()[0] == "index"
        assert "nearest 3 of" in result.fetchone()[1]
    assert len(session.execute(f"EXPLAIN {text}", {"q": query})) >= 2


def test_unnamed_columns_keep_the_operator_as_written(session):
    result = session.execute("SELECT vector <#> $q FROM default ORDER BY vector <#> $q LIMIT 1", {"q": np.ones(4)})
    assert result.columns == ["(vector <#> $q)"]
    assert result.plan.startswith("nearest")
