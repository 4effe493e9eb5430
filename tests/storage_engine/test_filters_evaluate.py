"""Evaluation of predicates: against DuckDB on random tables, and against Python where DuckDB rounds."""

from __future__ import annotations

import datetime
import operator as op

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.errors import InvalidArgumentError, UnknownColumnError
from storage_engine.filters.evaluate import evaluate
from storage_engine.filters.expression import (
    OPERATORS,
    And,
    Between,
    Comparison,
    Constant,
    InSet,
    IsNull,
    Like,
    Not,
    Or,
)

INTEGERS = st.integers(-3, 3) | st.integers(-(2**52), 2**52)
FLOATS = st.sampled_from([-1.5, -0.0, 0.0, 0.5, 1.0, 2.5, float("inf")]) | st.floats(allow_nan=False)
TEXTS = st.text(st.sampled_from("abAB%_é\n"), max_size=4)
MOMENTS = st.datetimes(datetime.datetime(1960, 1, 1), datetime.datetime(2100, 1, 1))
COLUMNS = {
    "i": (pa.int64(), INTEGERS),
    "s": (pa.int16(), st.integers(-5, 5)),
    "f": (pa.float64(), FLOATS | st.just(float("nan"))),
    "t": (pa.string(), TEXTS),
    "b": (pa.bool_(), st.booleans()),
    "w": (pa.timestamp("us"), MOMENTS),
    "d": (pa.date32(), st.dates(datetime.date(1960, 1, 1), datetime.date(2100, 1, 1))),
}
VALUES = {"i": INTEGERS, "s": st.integers(-5, 70_000), "f": FLOATS, "t": TEXTS, "b": st.booleans(), "w": MOMENTS}
VALUES["d"] = COLUMNS["d"][1]

SETTINGS = settings(derandomize=True, deadline=None, max_examples=150)


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 30))
    cut = draw(st.integers(0, rows))
    columns = {}
    for name, (kind, values) in COLUMNS.items():
        cells = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        whole = pa.array(cells, type=kind)
        columns[name] = pa.chunked_array([whole.slice(0, cut), whole.slice(cut)], type=kind)
    return pa.table(columns)


@st.composite
def leaves(draw):
    name = draw(st.sampled_from(sorted(COLUMNS)))
    value = st.none() | VALUES[name]
    kind = draw(st.sampled_from(["compare", "in", "between", "null", "like"]))
    if kind == "compare":
        return Comparison(name, draw(st.sampled_from(OPERATORS)), draw(value))
    if kind == "in":
        return InSet(name, tuple(draw(st.lists(value, min_size=1, max_size=20))))
    if kind == "between":
        return Between(name, draw(value), draw(value))
    if kind == "like":
        return Like("t", draw(TEXTS), None, draw(st.booleans()))
    return IsNull(name)


PREDICATES = st.recursive(
    leaves() | st.builds(Constant, st.sampled_from([True, False, None])),
    lambda inner: (
        st.builds(lambda a: And(tuple(a)), st.lists(inner, min_size=1, max_size=3))
        | st.builds(lambda a: Or(tuple(a)), st.lists(inner, min_size=1, max_size=3))
        | st.builds(Not, inner)
    ),
    max_leaves=6,
)


def sql_of(predicate, bound):
    """The same predicate for DuckDB, values bound as parameters."""

    def bind(value, column):
        if value is None:
            return f"CAST(NULL AS {kinds[column]})"
        bound.append(value)
        return f"CAST(${len(bound)} AS {wide[column]})"

    kinds = {"i": "BIGINT", "s": "BIGINT", "f": "DOUBLE", "t": "VARCHAR", "b": "BOOLEAN", "w": "TIMESTAMP", "d": "DATE"}
    wide = kinds
    match predicate:
        case Comparison(column, sign, value):
            return f'("{column}" {sign} {bind(value, column)})'
        case InSet(column, values):
            return f'("{column}" IN ({", ".join(bind(value, column) for value in values)}))'
        case Between(column, low, high):
            return f'("{column}" BETWEEN {bind(low, column)} AND {bind(high, column)})'
        case IsNull(column):
            return f'("{column}" IS NULL)'
        case Like(column, pattern, _, ignore_case):
            return f'("{column}" {"ILIKE" if ignore_case else "LIKE"} {bind(pattern, column)})'
        case And(operands):
            return "(" + " AND ".join(sql_of(operand, bound) for operand in operands) + ")"
        case Or(operands):
            return "(" + " OR ".join(sql_of(operand, bound) for operand in operands) + ")"
        case Not(operand):
            return f"(NOT {sql_of(operand, bound)})"
        case Constant(value):
            return "CAST(NULL AS BOOLEAN)" if value is None else str(value).upper()


def columns_of_table(table):
    return {name: table.column(name) for name in table.column_names}


@pytest.fixture(scope="module")
def duck():
    with duckdb.connect(":memory:") as connection:
        yield connection


@SETTINGS
@given(table=tables(), predicate=PREDICATES)
def test_agrees_with_duckdb(duck, table, predicate):
    bound = []
    text = sql_of(predicate, bound)
    numbered = table.append_column("row", pa.array(range(len(table)), pa.int64()))
    cursor = duck.cursor()
    cursor.register("rows_to_filter", numbered)
    found = {row for (row,) in cursor.execute(f"SELECT row FROM rows_to_filter WHERE {text}", bound).fetchall()}
    mask = evaluate(predicate, columns_of_table(table), len(table))
    assert mask.dtype == np.bool_
    assert set(np.flatnonzero(mask).tolist()) == found, text


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    stored=st.lists(
        st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, -(2**63)]), max_size=8
    ),
    value=st.floats(allow_nan=False)
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([2.0**53, 2.0**63, -(2.0**63), 0.5]),
    sign=st.sampled_from(OPERATORS),
)
def test_integers_compare_with_any_number_exactly(stored, value, sign):
    column = pa.chunked_array([pa.array(stored, pa.int64())])
    function = {"=": op.eq, "!=": op.ne, "<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge}[sign]
    expected = [function(number, value) for number in stored]  # Python compares int with float exactly
    assert evaluate(Comparison("n", sign, value), {"n": column}, len(stored)).tolist() == expected
    among = evaluate(InSet("n", (value, 0.25, 2**53 + 1)), {"n": column}, len(stored))
    assert among.tolist() == [number in {value, 0.25, 2**53 + 1} for number in stored]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    stored=st.lists(st.floats(allow_nan=False) | st.sampled_from([2.0**53, 2.0**53 + 2, 2.0**63]), max_size=8),
    value=st.integers(-(2**70), 2**70) | st.sampled_from([2**53 + 1, 2**63 - 1, 10**400, -(10**400)]),
    sign=st.sampled_from(OPERATORS),
)
def test_floats_compare_with_any_integer_exactly(stored, value, sign):
    column = pa.chunked_array([pa.array(stored, pa.float64())])
    function = {"=": op.eq, "!=": op.ne, "<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge}[sign]
    expected = [function(number, value) for number in stored]
    assert evaluate(Comparison("n", sign, value), {"n": column}, len(stored)).tolist() == expected


@pytest.mark.parametrize("size", [1, 40])
def test_membership_of_many_values(size):
    column = pa.chunked_array([pa.array([1, None, 30], pa.int32()), pa.array([7], pa.int32())])
    wanted = InSet("n", (*range(1, size + 1), 7.0, 2.5))
    assert evaluate(wanted, {"n": column}, 4).tolist() == [True, False, size == 40, True]
    assert evaluate(Not(wanted), {"n": column}, 4).tolist() == [False, False, size != 40, False]


def test_null_among_the_values_makes_the_rest_unknown():
    column = pa.chunked_array([pa.array(["a", "b", None])])
    wanted = InSet("t", ("a", None))
    assert evaluate(wanted, {"t": column}, 3).tolist() == [True, False, False]
    assert evaluate(Not(wanted), {"t": column}, 3).tolist() == [False, False, False]
    assert evaluate(InSet("t", ()), {"t": column}, 3).tolist() == [False] * 3
    assert evaluate(Not(InSet("t", ())), {"t": column}, 3).tolist() == [True] * 3


def test_dictionary_float32_null_and_zoned_columns():
    words = pa.chunked_array([pa.array(["x", None, "y"]).dictionary_encode()])
    assert evaluate(Comparison("c", "=", "y"), {"c": words}, 3).tolist() == [False, False, True]
    assert evaluate(IsNull("c"), {"c": words}, 3).tolist() == [False, True, False]
    small = pa.chunked_array([pa.array([0.1, 0.5], pa.float32())])
    assert evaluate(Comparison("c", "=", 0.1), {"c": small}, 2).tolist() == [False, False]
    assert evaluate(Comparison("c", "=", 0.5), {"c": small}, 2).tolist() == [False, True]
    empty = pa.chunked_array([pa.nulls(2)])
    assert evaluate(Comparison("c", "=", 1), {"c": empty}, 2).tolist() == [False, False]
    assert evaluate(IsNull("c"), {"c": empty}, 2).tolist() == [True, True]
    noon = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
    zoned = pa.chunked_array([pa.array([noon], pa.timestamp("ms", tz="Europe/Berlin"))])
    assert evaluate(Comparison("c", "=", noon), {"c": zoned}, 1).tolist() == [True]
    assert evaluate(Comparison("c", "=", "2024-05-01T14:00:00+02:00"), {"c": zoned}, 1).tolist() == [True]
    with pytest.raises(InvalidArgumentError, match="time zone"):
        evaluate(Comparison("c", "=", noon.replace(tzinfo=None)), {"c": zoned}, 1)


def test_text_is_read_as_a_date_where_the_column_is_one():
    days = pa.chunked_array([pa.array([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)])])
    assert evaluate(Comparison("c", ">", "2024-01-01"), {"c": days}, 2).tolist() == [False, True]
    assert evaluate(Comparison("c", ">", "2024-01-01 10:00"), {"c": days}, 2).tolist() == [False, True]
    with pytest.raises(InvalidArgumentError, match="soon"):
        evaluate(Comparison("c", ">", "soon"), {"c": days}, 2)


def test_like_takes_the_escape_literally():
    column = pa.chunked_array([pa.array(["50%", "50x", "a_b", "axb"])])
    assert evaluate(Like("c", "50!%", "!"), {"c": column}, 4).tolist() == [True, False, False, False]
    assert evaluate(Like("c", "a!_b", "!"), {"c": column}, 4).tolist() == [False, False, True, False]
    assert evaluate(Like("c", "a.b"), {"c": column}, 4).tolist() == [False] * 4


def test_an_unknown_column_names_the_known_ones():
    with pytest.raises(UnknownColumnError, match=r"price.*year"):
        evaluate(Comparison("prise", "=", 1), {"price": pa.chunked_array([[1]]), "year": pa.chunked_array([[1]])}, 1)


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (["a"], 1),
        ([1], "a"),
        ([1], True),
        ([True], 1),
        ([1.0], "1"),
        ([datetime.datetime(2024, 1, 1)], 5),
        ([[1]], 1),
        (["a"], "\ud800"),
    ],
)
def test_incomparable_types_are_refused(cells, value):
    column = pa.chunked_array([pa.array(cells)])
    for predicate in (Comparison("c", "=", value), InSet("c", (value,))):
        with pytest.raises(InvalidArgumentError):
            evaluate(predicate, {"c": column}, 1)
    assert evaluate(IsNull("c"), {"c": column}, 1).tolist() == [False]


def test_like_on_numbers_is_refused():
    with pytest.raises(InvalidArgumentError, match="LIKE needs a text column"):
        evaluate(Like("c", "1%"), {"c": pa.chunked_array([[1]])}, 1)


def test_a_source_of_columns_may_be_a_function():
    column = pa.chunked_array([[1, 2]])
    assert evaluate(Comparison("c", ">", 1), lambda name: {"c": column}[name], 2).tolist() == [False, True]
    with pytest.raises(InvalidArgumentError, match="2 values for 3 rows"):
        evaluate(Comparison("c", ">", 1), lambda _: column, 3)


def test_every_short_like_pattern_agrees_with_duckdb(duck):
    texts = ["", "a", "b", "A", "ab", "aa", "ba", "a\nb", "aéb", "é", "É", "%", "_", "a.b", "\\", "ß", "ſ", "İ"]
    patterns = [
        "",
        "a",
        "A",
        "_",
        "%",
        "__",
        "a_",
        "_b",
        "a%",
        "%b",
        "a%b",
        "%a%",
        "a_b",
        "É",
        "\\",
        ".",
        "%%_",
        "s",
        "i%",
    ]
    column = pa.chunked_array([pa.array(texts)])
    cursor = duck.cursor()
    for pattern in patterns:
        for word, ignore_case in (("LIKE", False), ("ILIKE", True)):
            expected = cursor.execute(
                f"SELECT list(t {word} $2 ORDER BY n) FROM (SELECT unnest($1) t, generate_subscripts($1, 1) n)",
                [texts, pattern],
            ).fetchone()[0]
            found = evaluate(Like("c", pattern, None, ignore_case), {"c": column}, len(texts))
            assert found.tolist() == expected, (word, pattern)


def test_a_stored_nan_is_greater_than_every_number(duck):
    cells = [float("nan"), float("inf"), 1.0, None]
    column = pa.chunked_array([pa.array(cells, pa.float64(), from_pandas=False)])
    for sign in OPERATORS:
        for value in (1.0, float("inf"), 3):
            expected = duck.execute(
                f"SELECT list(coalesce(x {sign} $2, false) ORDER BY n) FROM "
                "(SELECT unnest($1::DOUBLE[]) x, generate_subscripts($1, 1) n)",
                [cells, value],
            ).fetchone()[0]
            assert evaluate(Comparison("c", sign, value), {"c": column}, 4).tolist() == expected, (sign, value)
