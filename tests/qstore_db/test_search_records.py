"""Records of several vectors: written and deleted as a whole, scored by best, late interaction and weighted sum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    DimensionMismatchError,
    DuplicateIdError,
    InvalidArgumentError,
    InvalidMetadataError,
    InvalidVectorError,
    UnknownCollectionError,
    UnknownColumnError,
    UnknownIdError,
)

PARTS = ["title", "body", "tags"]


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:") as database:
        yield database


def filled(items, rng, records, steps):
    """Records after some changes, in the order of writing: id → (parts, n)."""
    stored: dict[str, tuple[dict[str, np.ndarray], int]] = {}

    def drawn():
        names = [part for part in PARTS if rng.random() < 0.7] or ["title"]
        vectors = rng.integers(-2, 3, size=(len(names), 3)).astype(np.float32)
        vectors[~vectors.any(axis=1)] = 1
        return dict(zip(names, vectors, strict=True))

    def write(verb, names):
        made = [(drawn(), int(rng.integers(3))) for _ in names]
        verb(names, [parts for parts, _ in made], metadata=[{"n": n} for _, n in made])
        for name, one in zip(names, made, strict=True):
            stored.pop(name, None)
            stored[name] = one

    write(items.records.insert, [f"d{n}" for n in range(records)])
    for step in steps:
        some = [name for name in stored if rng.random() < 0.3]
        if step == "delete" and some:
            items.records.delete(some)
            for name in some:
                del stored[name]
        elif step == "upsert":
            write(items.records.upsert, [*some, f"new {len(stored)} {rng.integers(10**9)}"])
        elif step == "seal":
            items._engine.seal()
    return stored


def row_score(metric, q, v):
    """As rows are reported: float32."""
    q, v = np.asarray(q, np.float64), v.astype(np.float64)
    if metric == "l2":
        return np.float32(np.sqrt(((v - q) ** 2).sum()))
    if metric == "ip":
        return np.float32(v @ q)
    cosine = (v @ q) / (np.sqrt(q @ q) * np.float64(np.float32(np.sqrt(v @ v))))
    return np.float32(np.sign(cosine) if 1 < abs(cosine) < 1 + 1e-6 else cosine)


def brute_force(stored, metric, asked, top_k, keep=lambda n: True):
    """The definition. ``asked`` is a list of (vector, weight, part or None)."""
    best = min if metric == "l2" else max
    found = []
    for name, (parts, n) in stored.items():
        total = 0.0
        for vector, weight, part in asked:
            scores = [row_score(metric, vector, v) for own, v in parts.items() if part in {None, own} and keep(n)]
            if not scores:
                break
            total += weight * float(best(scores))
        else:
            found.append((name, np.float32(total), total))
    found.sort(key=lambda row: row[2] if metric == "l2" else -row[2])  # stable: equal ones by writing
    return [row[0] for row in found][:top_k], [row[1] for row in found][:top_k]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    metric=st.sampled_from(["l2", "cosine", "ip"]),
    records=st.integers(1, 40),
    steps=st.lists(st.sampled_from(["delete", "upsert", "seal"]), max_size=4),
    top_k=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_every_score_is_that_of_its_definition(metric, records, steps, top_k, seed):
    rng = np.random.default_rng(seed)
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=3, metric=metric)
        stored = filled(items, rng, records, steps)
        q = rng.integers(-2, 3, size=(3, 3)).astype(np.float32)
        q[:, 0] = 1
        held = {part for parts, _ in stored.values() for part in parts}
        questions = [
            (q[0], {}, [(q[0], 1.0, None)]),
            (q, {}, [(one, 1.0, None) for one in q]),
        ]
        if {"title", "body"} <= held:
            questions += [
                ({"title": q[0], "body": q[1]}, {}, [(q[0], 1.0, "title"), (q[1], 1.0, "body")]),
                (
                    {"title": q[0], "body": q[1]},
                    {"weights": {"body": 0.25}},
                    [(q[0], 1.0, "title"), (q[1], 0.25, "body")],
                ),
                (
                    q[2],
                    {"weights": {"body": 0.5, "title": 2}},
                    [(q[2], 0.5, "body"), (q[2], 2.0, "title")],
                ),
            ]
        for vectors, more, asked in questions:
            hits = items.records.query(vectors, top_k, **more)
            assert (hits.ids, hits.scores.tolist()) == brute_force(stored, metric, asked, top_k)
            hits = items.records.query(vectors, top_k, where="n > 0", **more)
            expected = brute_force(stored, metric, asked, top_k, lambda n: n > 0)
            assert (hits.ids, hits.scores.tolist()) == expected
            assert hits.metadata.column("n").to_pylist() == [stored[name][1] for name in hits.ids]
            assert hits.metadata.column("record").to_pylist() == hits.ids


def test_the_threshold_holds_among_thousands_of_rows(db):
    rng = np.random.default_rng(7)
    items = db.create_collection("items", dimension=40, metric="cosine")
    stored = {}
    names, vectors = [], []
    for n in range(600):
        parts = {f"p{k}": rng.normal(size=40).astype(np.float32) for k in range(int(rng.integers(1, 5)))}
        names.append(f"d{n}")
        vectors.append(parts)
        stored[f"d{n}"] = (parts, 0)
    items.records.insert(names, vectors)
    items.build_graph()
    q = rng.normal(size=(4, 40)).astype(np.float32)
    for top_k in (1, 10, 100):
        hits = items.records.query(q, top_k)
        assert (hits.ids, hits.scores.tolist()) == brute_force(stored, "cosine", [(one, 1.0, None) for one in q], top_k)
        hits = items.records.query({"p0": q[0], "p3": q[1]}, top_k, weights={"p3": 3.0})
        asked = [(q[0], 1.0, "p0"), (q[1], 3.0, "p3")]
        assert (hits.ids, hits.scores.tolist()) == brute_force(stored, "cosine", asked, top_k)


def test_the_best_sum_may_be_first_for_no_vector(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    names = [*(f"title {n}" for n in range(300)), *(f"body {n}" for n in range(300)), "even"]
    parts = [
        *({"title": [n / 100], "body": [100.0]} for n in range(300)),
        *({"title": [100.0], "body": [n / 100]} for n in range(300)),
        {"title": [10.0], "body": [10.0]},
    ]
    items.records.insert(names, parts)
    hits = items.records.query({"title": [0.0], "body": [0.0]}, 2)
    assert hits.ids == ["even", "title 0"]
    assert hits.scores.tolist() == [20.0, 100.0]
    assert items.records.query([[0.0], [100.0]], 1).ids == ["title 0"]
    assert len(items.records.query({"title": [0.0], "body": [0.0]}, 10_000)) == 601


def test_a_record_is_written_and_deleted_whole(db):
    items = db.create_collection("items", dimension=2, metric="l2")
    before = db.version
    made = items.records.insert("doc/1", {"title": [0.0, 1.0], "body": [1.0, 0.0]}, metadata={"lang": "en"})
    assert made == before + 1
    record = items.records.get("doc/1")
    assert list(record.vectors) == ["title", "body"]
    assert record.vectors["body"].tolist() == [1.0, 0.0]
    assert record.metadata == {"lang": "en"}
    assert items.get("doc/1/body").metadata == {"record": "doc/1", "part": "body", "lang": "en"}
    assert db.sql("SELECT record, min(vector <-> $q) FROM items GROUP BY record", q=[0.0, 1.0]).fetchall() == [
        ("doc/1", 0.0)
    ]
    before = db.version
    assert items.records.upsert("doc/1", [[5.0, 5.0], [6.0, 6.0], [7.0, 7.0]]) == db.version == before + 1
    assert list(items.records.get("doc/1").vectors) == ["0", "1", "2"]
    assert len(items) == 3
    assert items.records.get("doc/1").metadata == {"lang": None}
    items.records.insert(["b", "c"], [{"x": [1.0, 1.0]}, [[2.0, 2.0]]], metadata={"lang": ["de", "fr"]})
    assert [one.metadata["lang"] for one in items.records.get(["c", "b"])] == ["fr", "de"]
    before = db.version
    assert items.records.delete(["doc/1", "c"]) == before + 1
    assert len(items) == 1
    with pytest.raises(UnknownIdError):
        items.records.get("doc/1")
    items.insert("alone", [0.0, 0.0])  # an ordinary row is no record
    assert items.records.query([0.0, 0.0], 5).ids == ["b"]


def test_replacing_is_part_of_a_transaction(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    items.records.insert("a", {"x": [1.0], "y": [2.0]})
    before = db.version
    with pytest.raises(ZeroDivisionError), db.transaction():
        items.records.upsert("a", {"x": [9.0]})
        assert list(items.records.get("a").vectors) == ["x"]
        raise ZeroDivisionError
    assert list(items.records.get("a").vectors) == ["x", "y"]
    with db.transaction():
        items.records.upsert("a", {"z": [9.0]})
        items.records.insert("b", {"x": [3.0]})
        items.records.delete("b")
    assert db.version == before + 1
    assert list(items.records.get("a").vectors) == ["z"]
    with db.at(before) as old:
        assert list(old.collection("items").records.get("a").vectors) == ["x", "y"]
        assert old.collection("items").records.query([2.0], 1).scores.tolist() == [0.0]


def test_the_default_collection_is_created_by_its_first_record():
    for write in ("insert", "upsert"):
        with QuantumDatabase.open(":memory:") as fresh:
            with pytest.raises(UnknownCollectionError):
                fresh.records.query([1.0, 0.0, 0.0])
            getattr(fresh.records, write)("d1", {"title": [1.0, 0.0, 0.0], "body": [0.0, 1.0, 0.0]})
            fresh.records.upsert("d2", {"title": [0.0, 0.0, 1.0]}, metadata={"lang": "en"})
            assert fresh.records.query([0.1, 1.0, 0.0], top_k=2).ids[0] == "d1"
            assert fresh.collection("default").records.get("d2").metadata == {"lang": "en"}
            fresh.records.delete("d1")
            assert len(fresh.collection("default")) == 1
            with pytest.raises(DimensionMismatchError):
                fresh.records.insert("d3", {"title": [1.0, 0.0]})


def test_a_collection_without_records(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    assert items.records.query([0.0]).ids == []
    assert items.records.query([0.0]).arrow().num_rows == 0
    items.records.delete("a", missing_ok=True)
    numbers = db.create_collection("numbers", dimension=1, metric="l2")
    numbers.insert("a", [0.0], metadata={"record": 7, "part": "x"})
    with pytest.raises(InvalidArgumentError, match="no records"):
        numbers.records.query([0.0])


def test_refusals_write_nothing(db):
    items = db.create_collection("items", dimension=2, metric="cosine")
    items.records.insert("a", {"title": [1.0, 0.0], "body": [0.0, 1.0]})
    version = db.version
    wrong = [
        (DuplicateIdError, ("a", {"other": [1.0, 0.0]})),
        (DuplicateIdError, (["b", "b"], [[[1.0, 0.0]], [[1.0, 0.0]]])),
        (InvalidVectorError, ("b", {})),
        (InvalidVectorError, ("b", [1.0, 0.0])),
        (InvalidVectorError, ("b", {"x": [0.0, 0.0]})),
        (InvalidVectorError, ("b", {"x": [1.0, 0.0], "y": [1.0]})),
        (InvalidVectorError, (["b", "c"], [[[1.0, 0.0]]])),
        (DimensionMismatchError, ("b", {"x": [1.0]})),
        (InvalidArgumentError, ("b", {"x/y": [1.0, 0.0]})),
        (InvalidArgumentError, ("b", {"": [1.0, 0.0]})),
        (InvalidMetadataError, ("b", {"x": [1.0, 0.0]}, {"part": "z"})),
    ]
    for error, arguments in wrong:
        with pytest.raises(error):
            items.records.insert(*arguments)
    with pytest.raises(UnknownIdError):
        items.records.delete(["a", "b"])
    assert db.version == version
    q = [1.0, 0.0]
    for arguments, options in (
        ((q, 0), {}),
        (({"title": q, "summary": q},), {}),
        (({"title": q},), {"weights": {"body": 1.0}}),
        ((q,), {"weights": {}}),
        ((q,), {"weights": {"title": -1.0}}),
        ((q,), {"weights": {"title": float("nan")}}),
        ((q,), {"weights": {"title": True}}),
        (({},), {}),
    ):
        with pytest.raises(InvalidArgumentError):
            items.records.query(*arguments, **options)
    for vectors in ([[[1.0, 0.0]]], np.empty((0, 2)), [0.0, 0.0], [float("nan"), 1.0]):
        with pytest.raises(InvalidVectorError):
            items.records.query(vectors)
    with pytest.raises(InvalidVectorError):
        items.records.query([q, q], weights={"title": 1.0})
    with pytest.raises(DimensionMismatchError):
        items.records.query([1.0])
    with pytest.raises(UnknownColumnError):
        items.records.query(q, where="absent = 1")
    with pytest.raises(UnknownColumnError):
        items.records.query(q, include=["absent"])
