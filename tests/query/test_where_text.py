"""Conditions and filters give the rows that DuckDB's WHERE gives, whichever way they are evaluated."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query import where_text
from query.errors import InvalidFilterError, InvalidParameterError, SqlSyntaxError, UnsupportedStatementError
from query.filter_mapping import parse_filter
from query.predicates import to_predicate
from query.relations import CollectionRelation
from query.session import Session
from query.simple_condition import RESERVED, simple_condition
from storage_engine.batch import CreateCollection, DeleteRows, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import QStoreError, UnknownColumnError
from storage_engine.filters.expression import canonical_text
from storage_engine.schema import CollectionSchema, Metric

CONDITIONS = [
    "label = 3",
    'LABEL >= 3 AND "Label" < 7',
    "3 < label",
    "label <> 3",
    "label != -1",
    "label = 3.0",
    "label = '3'",
    "label IN (1, 2, NULL)",
    "label NOT IN (1, 2)",
    "label NOT IN (1, NULL)",
    "label BETWEEN 2 AND 4",
    "label NOT BETWEEN 2 AND 4",
    "label IS NULL OR NOT sold",
    "NOT (label = 3 OR tag = 'red')",
    "price > 5",
    "price > 5.25 AND price <= 9",
    "price = 'NaN'::DOUBLE",
    "price >= 0.1 + 0.2",
    "tag = 'Zürich'",
    "tag > 'green'",
    "'red' = tag",
    "tag LIKE '%e%' AND tag ILIKE 'R%'",
    "tag IS NOT NULL",
    "sold",
    "sold = true",
    "sold IS NOT TRUE",
    "true",
    "NULL",
    "id = 'items/7' OR id > 'items/95'",
    "id IN ('items/1', 'items/3', 'nobody')",
    "items.label = 4 AND items.id <> ''",
    "note ->> 'a.b' = 'k1'",
    "vector <-> [0,0,0,0,0,0,0,0] < 2.5",
    "vector[1] > 0 AND len(vector) = 8",
    "vector <#> [1,0,0,0,0,0,0,0] < -0.5",
    "label IN (SELECT label FROM docs WHERE price < 1)",
    "EXISTS (SELECT 1 FROM items other WHERE other.label > items.label)",
    "label = 3 -- a comment",
    "/* ) */ label = 3",
    "CASE WHEN label > 5 THEN sold ELSE tag = 'red' END",
    "COALESCE(label, 0) = 0",
    "label = 9223372036854775808",
    "price < 9007199254740993",
    "row(label, 1) = row(3, 1)",
]


def rows_of(sample, condition: str) -> list[str]:
    """By DuckDB over the whole table."""
    return [row[0] for row in sample.session.execute(f"SELECT id FROM items WHERE (\n{condition}\n)")]


def masked(sample, **how) -> list[str]:
    view = sample.engine.snapshot().collection("items")
    mask = sample.session.mask(view, **how)
    assert mask.dtype == np.bool_
    assert mask.shape == (view.slot_count,)
    return view.ids_at(np.flatnonzero(mask & view.live()))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_selects_what_duckdb_selects(sample, condition):
    assert sorted(masked(sample, where=condition)) == sorted(rows_of(sample, condition))


def test_simple_conditions_do_not_need_duckdb(sample, monkeypatch):
    calls = []
    real = where_text.to_predicate
    monkeypatch.setattr(where_text, "to_predicate", lambda *given: calls.append(real(*given)) or calls[-1])
    for condition in ("label = 3", "tag = 'red' AND NOT price > 2.5", "label IN (1, 2)", "label BETWEEN 1 AND 2"):
        masked(sample, where=condition)
    masked(sample, where="label = $x AND tag = $t", parameters={"x": 3, "t": "red"})
    assert all(predicate is not None for predicate in calls)
    calls.clear()
    for condition in ("label = '3'", "label = 3.0", "length(tag) = 3", "price = 0.12345678901234567"):
        masked(sample, where=condition)
    assert calls == [None] * 4


def test_parameters_in_conditions(sample):
    assert masked(sample, where="label = $x", parameters={"x": 3}) == rows_of(sample, "label = 3")
    assert masked(sample, where="label = $x", parameters={"x": np.int64(3)}) == rows_of(sample, "label = 3")
    assert masked(sample, where="label = $x", parameters={"x": 3.5}) == []
    assert masked(sample, where="label IN $x", parameters={"x": [1, 2]}) == rows_of(sample, "label IN (1, 2)")
    query = np.zeros(8, np.float32)
    near = masked(sample, where="vector <-> $q < $r", parameters={"q": query, "r": 2.5})
    assert near == rows_of(sample, "vector <-> [0,0,0,0,0,0,0,0] < 2.5")
    with pytest.raises(InvalidParameterError):
        masked(sample, where="label = $x")
    with pytest.raises(InvalidParameterError):
        masked(sample, where="label = 1", parameters={"x": 1})
    with pytest.raises(InvalidParameterError):
        masked(sample, filter={"label": 1}, parameters={"x": 1})


@pytest.mark.parametrize(
    "condition",
    [
        "",
        " -- nothing",
        "label =",
        "label = 3)",
        "(label = 3",
        "label = 3; SELECT 1",
        "label = 3) UNION SELECT 1 WHERE (1 = 1",
        "label = 3) ORDER BY (label",
        "label = 3) LIMIT (1",
        "label = 3) GROUP BY (label",
        "COLUMNS(*) = 1",
        "SELECT 1",
    ],
)
def test_what_is_no_condition(sample, condition):
    with pytest.raises(SqlSyntaxError):
        masked(sample, where=condition)


def test_errors_in_conditions(sample):
    with pytest.raises(UnknownColumnError, match="label"):
        masked(sample, where="labl = 3")
    with pytest.raises(SqlSyntaxError) as caught:
        masked(sample, where="label = 1\nAND AND tag")
    assert (caught.value.line, caught.value.column) == (2, 5)
    with pytest.raises(UnsupportedStatementError):
        masked(sample, where="label IN (SELECT 1 FROM read_csv('x'))")


def test_hidden_collections_can_be_filtered(sample):
    view = sample.engine.snapshot().collection("docs$branches")
    assert sample.session.mask(view, where="label = 3").sum() == sample.session.mask(view, where="label + 0 = 3").sum()


def test_neither_means_no_mask(sample):
    assert sample.session.mask(sample.engine.snapshot().collection("items")) is None


FILTERS = [
    ({"label": 3}, "label = 3"),
    ({"label": {"$eq": 3}}, "label = 3"),
    ({"label": {"$ne": 3}}, "label <> 3"),
    ({"label": {"$gt": 3, "$lte": 6}}, "label > 3 AND label <= 6"),
    ({"label": {"$gte": 3}, "price": {"$lt": 5.5}}, "label >= 3 AND price < 5.5"),
    ({"label": {"$in": [1, 2]}}, "label IN (1, 2)"),
    ({"label": {"$in": np.array([1, 2])}}, "label IN (1, 2)"),
    ({"label": {"$in": []}}, "false"),
    ({"label": {"$nin": [1, 2]}}, "label NOT IN (1, 2)"),
    ({"label": {"$nin": []}}, "true"),
    ({"label": {"$exists": True}}, "label IS NOT NULL"),
    ({"label": {"$exists": False}}, "label IS NULL"),
    ({"label": None}, "label IS NULL"),
    ({"label": {"$ne": None}}, "label IS NOT NULL"),
    ({"$or": [{"label": 3}, {"tag": "red"}]}, "label = 3 OR tag = 'red'"),
    (
        {"$and": [{"label": {"$gt": 1}}, {"$or": [{"sold": True}, {"tag": "green"}]}]},
        "label > 1 AND (sold OR tag = 'green')",
    ),
    ({"$not": {"label": 3, "tag": "red"}}, "NOT (label = 3 AND tag = 'red')"),
    ({"label": {"$not": {"$gt": 3}}}, "NOT label > 3"),
    ({"id": {"$in": ["items/1", "items/2"]}}, "id IN ('items/1', 'items/2')"),
    ({"tag": "Zürich"}, "tag = 'Zürich'"),
    ({}, "true"),
]


@pytest.mark.parametrize(("mapping", "condition"), FILTERS)
def test_a_filter_means_its_condition(sample, mapping, condition):
    assert masked(sample, filter=mapping) == rows_of(sample, condition)


def test_both_must_hold(sample):
    both = masked(sample, where="label > 3", filter={"tag": "red"})
    assert both == rows_of(sample, "label > 3 AND tag = 'red'")


@pytest.mark.parametrize(
    "mapping",
    [
        {"label": {"$regex": "x"}},
        {"$nor": []},
        {"$and": []},
        {"$or": {"label": 1}},
        {"$not": 3},
        {"label": {}},
        {"label": [1, 2]},
        {"label": {"$in": 3}},
        {"label": {"$in": "abc"}},
        {"label": {"$in": [None]}},
        {"label": {"$gt": None}},
        {"label": {"$exists": 1}},
        {"label": {"$eq": object()}},
        {"label": {"$not": 3}},
        {"label": {"gt": 3}},
        {"label": {"$gt": "text"}},
        {"label": float("nan")},
        {3: 1},
        {"": 1},
        [("label", 1)],
    ],
)
def test_what_is_no_filter(sample, mapping):
    with pytest.raises(InvalidFilterError):
        masked(sample, filter=mapping)


def test_filters_cannot_nest_without_end(sample):
    deep: dict = {"label": 1}
    for _ in range(100):
        deep = {"$and": [deep]}
    with pytest.raises(InvalidFilterError):
        masked(sample, filter=deep)
    with pytest.raises(UnknownColumnError):
        masked(sample, filter={"labl": 3})


columns = st.sampled_from(["label", "price", "tag", "sold", "id"])
scalars = st.one_of(
    st.integers(-2, 11), st.floats(-1, 11), st.sampled_from(["red", "Zürich", "items/4"]), st.booleans()
)
comparisons = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])


def literal(value) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    return str(value) if isinstance(value, bool | int) else f"{value!r}::DOUBLE"


leaf = st.one_of(
    st.builds(lambda c, o, v: f"{c} {o} {literal(v)}", columns, comparisons, scalars),
    st.builds(
        lambda c, v: f"{c} IN ({', '.join(map(literal, v))})", columns, st.lists(scalars, min_size=1, max_size=3)
    ),
    st.builds(lambda c, n: f"{c} IS {'NOT ' if n else ''}NULL", columns, st.booleans()),
)
condition_trees = st.deferred(
    lambda: st.one_of(
        leaf,
        st.builds(lambda a, b: f"({a} AND {b})", leaf, condition_trees),
        st.builds(lambda a, b: f"({a} OR {b})", condition_trees, leaf),
        st.builds(lambda a: f"NOT ({a})", condition_trees),
    )
)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(condition_trees)
def test_random_conditions(sample, condition):
    try:
        wanted = rows_of(sample, condition)
    except QStoreError as error:
        with pytest.raises(type(error)):
            masked(sample, where=condition)
    else:
        assert masked(sample, where=condition) == wanted


keys = st.sampled_from(["label", "tag", "$and", "$or", "$not", "$x", "", 3])
junk = st.deferred(
    lambda: st.one_of(
        st.none(),
        st.integers(),
        st.text(max_size=3),
        st.floats(),
        st.binary(max_size=2),
        st.lists(junk, max_size=2),
        st.dictionaries(keys, junk, max_size=2),
    )
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(junk)
def test_junk_is_a_filter_or_a_typed_error(mapping):
    try:
        parse_filter(mapping)
    except QStoreError as error:
        assert str(error)


def test_a_condition_is_worked_out_once_for_the_same_rows(sample):
    view = sample.engine.snapshot().collection("items")
    session = sample.session

    def twice(**how):
        return session.selection(view, **how) is session.selection(view, **how)

    assert twice(where="label = 3")
    assert session.selection(view, where="label = 3") is session.selection(view, where="3 = items.label")
    assert session.selection(view, where="label = 3") is session.selection(view, filter={"label": 3})
    assert twice(where="label + 0 = 3")  # by DuckDB
    assert twice(where="label = $n", parameters={"n": 3})  # the value is part of what is kept
    assert session.selection(view, where="label = $n", parameters={"n": 3}) is not session.selection(
        view, where="label = $n", parameters={"n": 4}
    )
    for changing in (
        "label + random() > 3",
        "current_date > DATE '2000-01-01'",
        "now() > TIMESTAMP '2000-01-01'",
        "label IN (SELECT label FROM items WHERE label < 4)",
    ):
        assert not twice(where=changing), changing
    first, second = (session.selection(view, where="label + 0 = $n", parameters={"n": n}) for n in (3, 4))
    assert first.count != second.count


def test_what_a_condition_selected_is_forgotten_with_the_rows():
    with Engine.open(None) as engine, contextlib.closing(Session(engine)) as session:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("items", "a" * 32, 2, Metric.L2))]))
        metadata = pa.table({"label": [1, 3, 3]})
        engine.commit(WriteBatch([PutRows("items", ["a", "b", "c"], np.ones((3, 2), np.float32), metadata=metadata)]))
        before = engine.snapshot().collection("items")
        old = session.selection(before, where="label = 3")
        engine.commit(WriteBatch([DeleteRows("items", ["b"])]))
        after = engine.snapshot().collection("items")
        new = session.selection(after, where="label = 3")
        assert (old.mask.tolist(), new.mask.tolist()) == ([False, True, True], [False, False, True])
        assert session.selection(before, where="label = 3") is old
        assert session.selection(after, where="label = 3 AND true", filter={"label": 3}).count == 1
        with pytest.raises(ValueError, match="read-only"):
            new.mask[0] = True


PLAIN = [
    "label = 3",
    " label=3 ",
    "LABEL >= 3 AND Price < 0.75",
    "label <> 3 and tag = 'red'",
    "label != -1",
    "tag = ''",
    "tag IN ('red', 'Zürich')",
    "label in (1,2 , 3) AND price > -2.5\nAND tag <> 'green'",
    "id = 'items/7'",
]
NOT_PLAIN = [
    "",
    "label",
    "label = ",
    "label = 3 OR label = 4",
    "label = 3 AND",
    "label = 3AND price < 1",
    "label = 3;",
    "label = 3 -- why",
    "label = 3.",
    "label = .5",
    "label = 1e3",
    "label = +3",
    "label = - 3",
    "label =-3",
    "label == 3",
    "label <=> 3",
    "label = 3 = 4",
    "label < -3 < 4",
    "tag = 'it''s'",
    "tag = E'a'",
    "tag = 'a' 'b'",
    "tag = 'a\\n'",
    "label = 3::BIGINT",
    "items.label = 3",
    '"label" = 3',
    "label IN ()",
    "label IN (1, 2",
    "label IN (1, NULL)",
    "label NOT IN (1)",
    "null = 3",
    "not = 3",
    "select = 3",
    "3 = label",
    "label = 1_000",
    "label = 0x1F",
    "label = 3\u00a0",
    "label = 3 AND (price < 1)",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_conditions_need_no_parser_and_mean_the_same(sample, text, monkeypatch):
    view = sample.engine.snapshot().collection("items")
    started = sample.session._duckdb()
    node = simple_condition(text)
    parsed = started.parser.condition(text, "items")[1].node
    relation = CollectionRelation(view, sample.session._cache)
    ours, theirs = (to_predicate(one, relation.schema, ("items",), {}) for one in (node, parsed))
    assert ours is not None
    assert canonical_text(ours) == canonical_text(theirs)
    monkeypatch.setattr(started.parser, "condition", None)
    assert sample.session.selection(view, where=text) is not None


def test_reserved_words_are_those_of_duckdb(sample):
    assert sample.session._duckdb().connection.words.reserved == RESERVED


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_the_parser(sample, text):
    if simple_condition(text) is not None:  # then the parser must read the same in it
        assert text == "label =-3"
        parsed = sample.session._duckdb().parser.condition(text, "items")[1].node
        assert parsed["right"]["literal"]["text"] == "-3"


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from([*" ()=<>!'-.,", "label", "price", "AND", "IN", "3", "0.5", "'red'", "null"]), max_size=9)
)
def test_whatever_is_read_without_the_parser_is_read_like_it(sample, words):
    text = "".join(words)
    started = sample.session._duckdb()
    node = simple_condition(text)
    if node is None:
        return
    schema = CollectionRelation(sample.engine.snapshot().collection("items"), sample.session._cache).schema
    parsed = started.parser.condition(text, "items")[1].node
    ours, theirs = (to_predicate(one, schema, ("items",), {}) for one in (node, parsed))
    assert (ours is None) == (theirs is None)
    assert ours is None or canonical_text(ours) == canonical_text(theirs)
