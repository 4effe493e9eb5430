"""Ranges and groups against brute force: all metrics, ties, filters, deletes, fresh and sealed rows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    DimensionMismatchError,
    InvalidArgumentError,
    InvalidVectorError,
    UnknownCollectionError,
    UnknownColumnError,
)

METRICS = ["l2", "cosine", "ip"]
CHANGES = st.lists(st.sampled_from(["insert", "delete", "seal", "upsert"]), min_size=1, max_size=6)


def filled(db, metric, changes, rng):
    """A collection after some changes, and its rows in the order of writing: (id, vector, label)."""
    items = db.create_collection("items", dimension=4, metric=metric)
    rows: dict[str, tuple[np.ndarray, object]] = {}

    def drawn(count):
        vectors = rng.integers(-2, 3, size=(count, 4)).astype(np.float32)  # many ties
        vectors[~vectors.any(axis=1)] = 1
        return vectors, [[None, 0, 1, 2, 3][n] for n in rng.integers(0, 5, count)]

    for change in ["insert", *changes]:
        if change == "seal":
            db._engine.seal()
        elif change == "delete":
            gone = [name for name in rows if rng.random() < 0.3]
            for name in gone:
                del rows[name]
            if gone:
                items.delete(gone)
        else:
            names = (
                [name for name in rows if rng.random() < 0.3]
                if change == "upsert"
                else [f"n{db.version}_{n}" for n in range(int(rng.integers(1, 12)))]
            )
            if names:
                vectors, labels = drawn(len(names))
                items.upsert(names, vectors, metadata=[{"label": label} for label in labels])
                for name, vector, label in zip(names, vectors, labels, strict=True):
                    rows.pop(name, None)
                    rows[name] = (vector, label)
    return items, rows


def ranked(rows, query, metric, keep=lambda label: True):
    """The definition: (id, score, label) by score, equal ones in the order of writing."""
    q = query.astype(np.float64)
    found = []
    for name, (vector, label) in rows.items():
        x = vector.astype(np.float64)
        if metric == "l2":
            score = math.sqrt(float(((x - q) ** 2).sum()))
        elif metric == "ip":
            score = float(x @ q)
        else:
            score = float(x @ q) / (math.sqrt(float(q @ q)) * float(np.float32(np.sqrt(x @ x))))
            score = math.copysign(1.0, score) if 1 < abs(score) < 1 + 1e-6 else score
        if keep(label):
            found.append((name, np.float32(score), label))
    order = np.argsort([row[1] if metric == "l2" else -row[1] for row in found], kind="stable")
    return [found[n] for n in order]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(metric=st.sampled_from(METRICS), changes=CHANGES, limit=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_ranges_equal_brute_force(metric, changes, limit, seed):
    rng = np.random.default_rng(seed)
    with QuantumDatabase.open(":memory:") as db:
        items, rows = filled(db, metric, changes, rng)
        query = rng.integers(-2, 3, size=4).astype(np.float32)
        query[0] = 1
        search = items.search.within if metric == "l2" else items.search.at_least
        for keep, where, chosen in (
            (lambda label: True, None, None),
            (lambda label: label in {1, 2}, "label IN (1, 2)", {"label": {"$in": [1, 2]}}),
        ):
            everything = ranked(rows, query, metric, keep)
            for bound in {row[1] for row in everything} | {np.float32(0.5)}:
                inside = [row for row in everything if (row[1] <= bound if metric == "l2" else row[1] >= bound)]
                hits = search(query, float(bound), where=where)
                assert (hits.ids, hits.scores.tolist()) == ([row[0] for row in inside], [row[1] for row in inside])
                assert hits.metadata.column("label").to_pylist() == [row[2] for row in inside]
                assert search(query, float(bound), filter=chosen, limit=limit).ids == hits.ids[:limit]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    metric=st.sampled_from(METRICS),
    changes=CHANGES,
    top_k=st.integers(1, 7),
    per_group=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_groups_equal_brute_force(metric, changes, top_k, per_group, seed):
    rng = np.random.default_rng(seed)
    with QuantumDatabase.open(":memory:") as db:
        items, rows = filled(db, metric, changes, rng)
        query = rng.integers(-2, 3, size=4).astype(np.float32)
        query[0] = 1
        for keep, where in ((lambda label: True, None), (lambda label: label is not None, "label IS NOT NULL")):
            expected: dict[object, list] = {}
            for row in ranked(rows, query, metric, keep):
                expected.setdefault(row[2], []).append(row)
            found = items.search.groups(query, "label", top_k, per_group=per_group, where=where)
            assert [group.value for group in found] == list(expected)[:top_k]
            for group in found:
                best = expected[group.value][:per_group]
                assert group.hits.ids == [row[0] for row in best]
                assert group.hits.scores.tolist() == [row[1] for row in best]


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:") as database:
        yield database


def test_groups_are_found_behind_thousands_of_nearer_rows(db):
    rng = np.random.default_rng(1)
    items = db.create_collection("items", dimension=3, metric="l2")
    near = rng.normal(size=(4000, 3)).astype(np.float32)
    far = rng.normal(size=(30, 3)).astype(np.float32) + 100
    labels = ["near"] * 4000 + [f"far {n % 10}" for n in range(30)]
    items.insert([f"r{n}" for n in range(4030)], np.concatenate([near, far]), metadata={"label": labels})
    items.build_graph()
    groups = items.search.groups(np.zeros(3), "label", 100, per_group=3)
    assert len(groups) == 11
    assert groups[0].value == "near"
    assert all(len(group.hits) == 3 for group in groups)
    firsts = [float(group.hits.scores[0]) for group in groups]
    assert firsts == sorted(firsts)
    distances = np.linalg.norm(far.astype(np.float64), axis=1)
    assert firsts[1] == pytest.approx(distances.min(), rel=1e-6)


def test_a_group_is_filled_up_from_far_behind_its_best_row(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    places = np.concatenate([[0.5], np.arange(1.0, 301.0), [1000.0, 2000.0, 3000.0]])
    labels = ["few", *["many"] * 300, "few", "few", "few"]
    items.insert([f"r{n}" for n in range(304)], places[:, None], metadata={"label": labels})
    few, many = items.search.groups([0.0], "label", 2, per_group=3)
    assert (few.value, few.hits.scores.tolist()) == ("few", [0.5, 1000.0, 2000.0])
    assert (many.value, many.hits.scores.tolist()) == ("many", [1.0, 2.0, 3.0])
    assert [group.hits.ids for group in items.search.groups([0.0], "label", where="label = 'few'", per_group=9)] == [
        ["r0", "r301", "r302", "r303"]
    ]


def test_values_that_sql_calls_equal_are_one_group(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    values = [0.0, -0.0, float("nan"), float("nan"), None, 1.5, None]
    items.insert([f"r{n}" for n in range(7)], np.arange(7.0)[:, None], metadata=[{"x": value} for value in values])
    groups = items.search.groups([0.0], "x", per_group=9)
    assert [group.hits.ids for group in groups] == [["r0", "r1"], ["r2", "r3"], ["r4", "r6"], ["r5"]]
    assert groups[0].value == 0.0
    assert math.isnan(groups[1].value)
    assert groups[2].value is None
    rows = db.sql("SELECT count(*) FROM items GROUP BY x").fetchall()
    assert len(rows) == len(groups)


@pytest.mark.parametrize(
    "values", [["a", "b", "a"], [True, False, True], [b"a", b"b", b"a"], [1, 2, 1], [0.5, 1.5, 0.5], [None] * 3]
)
def test_any_column_of_single_values_groups(db, values):
    items = db.create_collection("items", dimension=1, metric="l2")
    items.insert(["a", "b", "c"], [[0.0], [1.0], [2.0]], metadata=[{"x": value} for value in values])
    groups = items.search.groups([0.0], "x", per_group=3, include=[])
    assert [(group.value, len(group.hits)) for group in groups] == (
        [(None, 3)] if values[0] is None else [(values[0], 2), (values[1], 1)]
    )
    assert groups[0].hits.arrow().column_names == ["id", "score"]


def test_the_words_fit_the_metric(db):
    for metric in METRICS:
        items = db.create_collection(metric, dimension=2, metric=metric)
        items.insert(["a"], [[1.0, 0.0]])
        wrong, right = items.search.within, items.search.at_least
        if metric == "l2":
            wrong, right = right, wrong
        assert right([1.0, 0.0], 0.5).ids == ["a"]
        with pytest.raises(InvalidArgumentError, match=metric):
            wrong([1.0, 0.0], 0.5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_reported_score_as_bound_finds_its_row(db, dtype):
    rng = np.random.default_rng(2)
    for metric in METRICS:
        items = db.create_collection(metric, dimension=40, metric=metric, dtype=dtype)
        vectors = np.clip((rng.normal(size=(2500, 40)) * 20).round(), -128, 127).astype(np.float32)
        items.insert([f"r{n}" for n in range(2500)], vectors)
        items.build_graph()
        items.insert([f"fresh {n}" for n in range(100)], vectors[:100] + 1 if dtype != "int8" else vectors[100:200])
        search = items.search.within if metric == "l2" else items.search.at_least
        for vector in vectors[:8]:
            hits = items.query(vector, 7, exact=True)
            found = search(vector, float(hits.scores[-1]))
            assert found.ids[:7] == hits.ids
            assert set(found.scores[7:].tolist()) <= {float(hits.scores[-1])}  # more rows as far away


def test_refusals_come_before_anything_is_done(db):
    items = db.create_collection("items", dimension=2, metric="l2")
    items.insert(["a"], [[1.0, 0.0]], metadata=[{"n": 1, "tags": ["x", "y"]}])
    q = [1.0, 0.0]
    for bound in (-1.0, float("nan"), "near", None):
        with pytest.raises(InvalidArgumentError):
            items.search.within(q, bound)
    with pytest.raises(InvalidArgumentError):
        items.search.within(q, 1.0, limit=0)
    for bad in ([[1.0, 0.0]], [float("inf"), 0.0]):
        with pytest.raises(InvalidVectorError):
            items.search.within(bad, 1.0)
    with pytest.raises(DimensionMismatchError):
        items.search.groups([1.0], "n")
    for name in ("absent", "id", "vector"):
        with pytest.raises(UnknownColumnError):
            items.search.groups(q, name)
    with pytest.raises(InvalidArgumentError, match="list"):
        items.search.groups(q, "tags")
    for numbers in ({"top_k": 0}, {"per_group": 0}, {"top_k": True}, {"per_group": 20_000}):
        with pytest.raises(InvalidArgumentError):
            items.search.groups(q, "n", **numbers)
    with pytest.raises(UnknownColumnError):
        items.search.within(q, 1.0, include=["absent"])
    with pytest.raises(UnknownColumnError):
        items.search.groups(q, "n", include=["absent"])
    db.drop_collection("items")
    with pytest.raises(UnknownCollectionError):
        items.search.within(q, 1.0)


def test_the_default_collection_has_the_same_verbs(db):
    db.insert("a", [1.0, 0.0], metadata={"n": 1})
    assert db.search.at_least([1.0, 0.0], 0.9).ids == ["a"]
