"""Whatever the text, the answer is a result or a typed error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.duckdb_connection import Limits
from query.own_statements import parse
from query.result import QueryResult
from query.session import Session
from storage_engine.errors import QStoreError

WORDS = [
    *("SELECT", "FROM", "WHERE", "ORDER BY", "LIMIT", "OFFSET", "GROUP BY", "AS", "AND", "NOT", "IN", "WITH", "UNION"),
    *("EXPLAIN", "DESCRIBE", "SHOW", "CALL", "CREATE MODEL", "DROP MODEL", "OPTIONS", "DISTINCT", "NULL", "DEFAULT"),
    *("items", "docs", "training_data", "collections", "vector", "label", "id", "i", "*", "count(*)", "COLUMNS(*)"),
    *(
        "<->",
        "<=>",
        "<#>",
        "=",
        "=>",
        "<",
        "+",
        "-",
        "::",
        "->>",
        ",",
        ";",
        ".",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "?",
        "#1",
    ),
    *("$q", "$x", "1", "2.5", "'a'", '"b"', "$$c$$", "-- d", "/* e */", "'", '"', "$$", "/*", "é", "\n", "\\", "%"),
    *(
        "[1,2,3,4,5,6,7,8]",
        "FLOAT[8]",
        "EXCLUDE",
        "PIVOT",
        "ON",
        "USING",
        "JOIN",
        "OVER",
        "dataset",
        "TABLESAMPLE",
        "10%",
    ),
]


@pytest.fixture(scope="module")
def limited(sample):
    session = Session(sample.engine, limits=Limits(seconds=2, rows=10_000, memory_mib=512))
    yield session
    session.close()


def run(session, text):
    parameters = {}
    if "$q" in text:
        parameters["q"] = [0.5] * 8
    if "$x" in text:
        parameters["x"] = 2
    try:
        result = session.execute(text, parameters)
    except QStoreError as error:
        assert str(error)
    else:
        assert isinstance(result, QueryResult)
        repr(result)


@settings(derandomize=True, deadline=None, max_examples=250)
@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_words_in_any_order(limited, words):
    run(limited, " ".join(words))


@settings(derandomize=True, deadline=None, max_examples=250)
@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    st.integers(0, 17),
    st.sampled_from(
        [
            "SELECT id , label , vector <-> $q AS d FROM items i WHERE label > 3 ORDER BY d LIMIT 5",
            "SELECT id FROM training_data WHERE dataset = 'digits' ORDER BY vector <-> [1,2,3,4,5,6] LIMIT 5",
            "CREATE OR REPLACE MODEL m OPTIONS ( a = 1 , b = 'x' ) AS SELECT vector FROM docs",
        ]
    ),
)
def test_near_misses(limited, words, position, text):
    parts = text.split(" ")
    parts[position : position + 1] = words
    run(limited, " ".join(parts))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.text(max_size=40))
def test_any_characters(limited, text):
    run(limited, text)
    try:
        parse(text)
    except QStoreError as error:
        assert str(error)
