"""A bound on the distance in WHERE: the same answer as comparing all rows, from as few rows as can satisfy it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.session import Session
from storage_engine.batch import CreateCollection, DeleteRows, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import DimensionMismatchError, InvalidVectorError
from storage_engine.schema import CollectionSchema, GraphOptions, Metric

Q = np.arange(8, dtype=np.float32) / 8

SHAPES = [
    "SELECT id FROM items WHERE {} ORDER BY id",
    "SELECT id, vector <-> $q AS d, price FROM items WHERE label = 3 AND {} ORDER BY ALL",
    "SELECT label, count(*), min(price) FROM items WHERE {} AND tag <> 'red' "
    "GROUP BY label HAVING count(*) > 1 ORDER BY 1",
    "SELECT count(*) FROM items i WHERE sold AND (price < 5 AND {})",
    "SELECT DISTINCT tag FROM items WHERE {} ORDER BY tag DESC LIMIT 2",
    "SELECT id, row_number() OVER (ORDER BY price, id) FROM items WHERE {} "
    "QUALIFY row_number() OVER (ORDER BY id) < 9 ORDER BY id",
    "FROM items WHERE {} ORDER BY id",
]
OPERATORS = {"items": "<->", "docs": "<=>", "default": "<#>"}
BOUNDS = ["vector <-> $q < $r", "$r >= vector <-> $q", "(vector <-> $q) BETWEEN 0.5 AND $r", "$q <-> vector <= $r"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bound", BOUNDS)
def test_the_answer_is_that_of_all_rows(sample, shape, bound):
    for radius in (0.0, 2.0, 3.0, 1e9, -1.0):
        parameters = {"q": Q, "r": radius}
        quick = sample.session.execute(shape.format(bound), parameters)
        slow = sample.session.execute(shape.format(f"({bound} OR false)"), parameters)
        assert quick.plan.startswith(f"within {radius:g} by <->: "), quick.plan
        assert slow.plan.startswith("every row is compared")
        assert repr(quick.fetchall()) == repr(slow.fetchall())


@pytest.mark.parametrize("name", OPERATORS)
def test_each_metric_by_its_own_operator(sample, name):
    rng = np.random.default_rng(len(name))
    table, mine = '"default"' if name == "default" else name, OPERATORS[name]
    for operator in OPERATORS.values():
        for _ in range(4):
            q = rng.standard_normal(sample.vectors[name].shape[1]).astype(np.float32)
            rows = sample.session.execute(
                f"SELECT vector {operator} $q AS d FROM {table} ORDER BY d", {"q": q}
            ).fetchall()
            for bound in (rows[0][0], rows[7][0], rows[-1][0], rows[0][0] - 1e-4):
                text = f"SELECT id, price FROM {table} WHERE {{}} AND label < 6 ORDER BY id"
                parameters = {"q": q, "r": bound}
                quick = sample.session.execute(text.format(f"vector {operator} $q <= $r"), parameters)
                slow = sample.session.execute(text.format(f"(vector {operator} $q <= $r OR false)"), parameters)
                assert quick.plan.startswith("within" if operator == mine else "every row is compared"), quick.plan
                assert repr(quick.fetchall()) == repr(slow.fetchall())


def test_a_zero_vector_is_left_to_sql(sample):
    result = sample.session.execute("SELECT count(*) FROM docs WHERE vector <=> $q < 0.5", {"q": np.zeros(4)})
    assert result.plan.startswith("every row is compared")
    result = sample.session.execute('SELECT count(*) FROM "default" WHERE vector <#> $q <= 0', {"q": np.zeros(4)})
    assert result.fetchall() == [(len(sample.ids["default"]),)]


def test_few_rows_are_read(sample):
    distances = np.sort(np.linalg.norm(sample.vectors["items"].astype(np.float64) - Q, axis=1))
    radius = float(distances[4] + distances[5]) / 2
    result = sample.session.execute("SELECT id FROM items WHERE vector <-> $q < $r", {"q": Q, "r": radius})
    assert len(result) == 5
    assert result.plan.startswith(f"within {radius:g} by <->: 5 of {len(distances)} rows of 'items' can be: exact")
    explained = sample.session.execute("EXPLAIN SELECT id FROM items WHERE vector <-> $q < 2", {"q": Q})
    assert explained.fetchone()[0] == "index"
    assert "within 2 by <->" in explained.fetchall()[0][1]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM items WHERE vector <-> $q > 2",
        "SELECT id FROM items WHERE vector <-> $q < 2 OR label = 3",
        "SELECT id FROM items WHERE NOT vector <-> $q < 2",
        "SELECT id FROM items WHERE vector <-> $q < price",
        "SELECT id FROM docs WHERE vector <-> [1, 2, 3, 4]::FLOAT[4] < 2 AND $q IS NOT NULL",
        "SELECT id FROM items WHERE vector <=> $q < 2",
        "SELECT a.id FROM items a JOIN items b USING (id) WHERE a.vector <-> $q < 2",
        "SELECT id FROM items WHERE vector <-> $q < 2 AND price < (SELECT avg(price) FROM items)",
        "WITH near AS (FROM items WHERE vector <-> $q < 2) SELECT id FROM near",
        "SELECT id FROM items WHERE vector <-> $q < 2 UNION SELECT id FROM items",
        "SELECT id FROM (FROM items) WHERE vector <-> $q < 2",
        "SELECT id, [0, 0, 0, 0, 0, 0, 0, 0]::FLOAT[8] AS vector FROM items WHERE vector <-> $q < 2",
        "SELECT id FROM items TABLESAMPLE reservoir(50 ROWS) REPEATABLE (7) WHERE vector <-> $q < 2",
        "SELECT id FROM items WHERE vector <-> $q < 'NaN'::FLOAT",
    ],
)
def test_what_is_of_another_shape_is_compared_with_all_rows(sample, text):
    plan = sample.session.execute(text, {"q": Q}).plan
    assert plan is None or not plan.startswith("within")


def test_values_that_are_no_bound_are_left_to_sql(sample):
    text = "SELECT count(*) FROM items WHERE vector <-> $q < $r"
    rows = len(sample.ids["items"])
    for value, count in ((None, 0), (float("inf"), rows), (float("nan"), rows), (float("-inf"), 0)):
        result = sample.session.execute(text, {"q": Q, "r": value})
        assert result.fetchall() == [(count,)]
        assert not result.plan.startswith("within")
    with pytest.raises(DimensionMismatchError):
        sample.session.execute(text, {"q": Q[:3], "r": 1.0})
    with pytest.raises(InvalidVectorError):
        sample.session.execute(text, {"q": Q * np.float32(np.nan), "r": 1.0})


def test_one_data_set_of_training_data(sample):
    text = "SELECT id FROM training_data WHERE dataset = 'digits' AND {} ORDER BY id"
    quick = sample.session.execute(text.format("vector <-> $q < 1.5"), {"q": np.zeros(6)})
    slow = sample.session.execute(text.format("(vector <-> $q < 1.5 OR false)"), {"q": np.zeros(6)})
    assert quick.plan.startswith("within 1.5")
    assert quick.fetchall() == slow.fetchall()
    assert len(quick)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    metric=st.sampled_from(list(Metric)),
    dimension=st.sampled_from([3, 40, 300]),
    scale=st.sampled_from([1e-30, 1e-19, 1.0, 1e6, 1e18]),
    offset=st.sampled_from([0.0, 1e4]),
    seed=st.integers(0, 2**32),
)
def test_no_row_is_lost_to_the_rounding_of_float32(within_engine, metric, dimension, scale, offset, seed):
    """Bounds are the distances that DuckDB itself reports, where the two computations may fall apart."""
    rng = np.random.default_rng(seed)
    engine, session = within_engine(metric, dimension)
    vectors = ((rng.normal(size=(60, dimension)) + offset) * scale).astype(np.float32)
    vectors[30:] = vectors[:30] * np.float32(1 + 1e-6)
    engine.commit(WriteBatch([PutRows("c", [f"r{n}" for n in range(60)], vectors, mode="upsert")]))
    q = vectors[3] + (rng.normal(size=dimension) * scale).astype(np.float32)
    operator = {Metric.L2: "<->", Metric.COSINE: "<=>", Metric.IP: "<#>"}[metric]
    reported = session.execute(f"SELECT id, vector {operator} $q AS d FROM c", {"q": q}).fetchall()
    for _, bound in reported[::7]:
        got = session.execute(f"SELECT id FROM c WHERE vector {operator} $q <= $r ORDER BY id", {"q": q, "r": bound})
        assert got.plan.startswith("within") or not 1e-9 < scale * (1 + offset) < 1e7 or not np.isfinite(bound)
        assert [row[0] for row in got] == sorted(name for name, distance in reported if distance <= bound)


@pytest.fixture(scope="module")
def within_engine():
    opened = {}

    def of(metric, dimension):
        if (metric, dimension) not in opened:
            engine = Engine.open(None, build_threads=1)
            schema = CollectionSchema("c", f"{dimension:032x}", dimension, metric)
            engine.commit(WriteBatch([CreateCollection(schema)]))
            opened[metric, dimension] = (engine, Session(engine))
        return opened[metric, dimension]

    yield of
    for engine, session in opened.values():
        session.close()
        engine.close()


def test_rows_scored_by_another_norm_are_compared_by_sql():
    with Engine.open(None) as engine:
        rows = np.array([[0.5, 0.0], [0.0, 1.0]], np.float32)
        batch = [
            CreateCollection(CollectionSchema("c", "c" * 32, 2, Metric.COSINE)),
            PutRows("c", ["short", "other"], rows, np.ones(2, np.float32)),
        ]
        engine.commit(WriteBatch(batch))
        session = Session(engine)
        result = session.execute("SELECT id FROM c WHERE vector <=> $q < 0.1", {"q": [1.0, 0.0]})
        assert result.fetchall() == [("short",)]
        assert result.plan.startswith("every row is compared")
        session.close()


def test_with_a_graph_with_codes_and_dead_rows():
    rng = np.random.default_rng(0)
    with Engine.open(None, build_threads=1) as engine:
        options = GraphOptions(m=8, ef_construction=40, minimum_rows=500)
        vectors = rng.normal(size=(900, 40)).astype(np.float32)
        engine.commit(
            WriteBatch(
                [
                    CreateCollection(CollectionSchema("c", "c" * 32, 40, Metric.L2, graph=options)),
                    PutRows("c", [f"r{n:03}" for n in range(900)], vectors),
                ]
            )
        )
        engine.build_graphs()
        engine.commit(WriteBatch([DeleteRows("c", [f"r{n:03}" for n in range(0, 900, 5)])]))
        session = Session(engine)
        for row in range(1, 900, 97):
            for radius in (5.0, 8.0):
                parameters = {"q": vectors[row], "r": radius}
                quick = session.execute("SELECT id FROM c WHERE vector <-> $q < $r ORDER BY id", parameters)
                slow = session.execute("SELECT id FROM c WHERE (vector <-> $q < $r OR false) ORDER BY id", parameters)
                assert quick.fetchall() == slow.fetchall()
                assert "within" in quick.plan
        session.close()
