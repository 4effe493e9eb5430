"""What DuckDB can read reaches it as written: same rows, same types, same column names as in plain DuckDB."""

from __future__ import annotations

import duckdb
import pytest

TEXTS = [
    "SELECT * FROM items",
    "FROM items LIMIT 7 OFFSET 3",
    "TABLE docs",
    "SELECT note ->> 'a.b', note -> '$.a.b', note ->> '$.\"a.b\"' FROM items LIMIT 3",
    "SELECT 'it''s; -- no comment', $$dollar ' quoted; text$$, $tag$ $$ $tag$, E'tab\\t', '/* no */'",
    "SELECT /* a /* nested */ comment; */ 1 -- the end; really",
    "SELECT label, count(*), avg(price), sum(label) FROM items GROUP BY ALL ORDER BY ALL",
    "SELECT tag, sum(label) OVER (PARTITION BY tag ORDER BY id) AS s FROM items QUALIFY s > 3 ORDER BY id",
    "SELECT i.id, d.label FROM items i JOIN docs d ON i.label = d.label AND d.price < 1 ORDER BY ALL",
    "SELECT count(*) FROM items i NATURAL JOIN items j",
    "SELECT * FROM items NATURAL JOIN (SELECT label, 1 AS one FROM docs LIMIT 3) ORDER BY id",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) FROM r",
    "WITH docs AS (SELECT 1 AS x) SELECT * FROM docs",
    "SELECT items FROM items ORDER BY items.id LIMIT 2",
    "SELECT i FROM items i ORDER BY i.id LIMIT 2",
    "SELECT #1, #3 FROM items LIMIT 2",
    "SELECT COLUMNS('^l|^p') FROM items ORDER BY ALL",
    "SELECT * EXCLUDE (vector, note) REPLACE (label * 2 AS label) FROM items ORDER BY id LIMIT 3",
    "SELECT items.* FROM items, (VALUES (1)) v(x) ORDER BY id LIMIT 3",
    "PIVOT (SELECT label, sold FROM items) ON sold IN (true, false) USING count(*) ORDER BY label",
    "UNPIVOT (SELECT id, price, label::DOUBLE AS label FROM items) ON price, label ORDER BY ALL LIMIT 5",
    "SUMMARIZE SELECT label, price FROM docs",
    "SELECT id FROM items UNION ALL BY NAME SELECT id, label FROM docs ORDER BY ALL LIMIT 20",
    "SELECT list_transform(vector::FLOAT[], lambda x: x + 1) FROM items ORDER BY id LIMIT 2",
    "SELECT {'a': label, 'b': [tag, 'x']}, map {'k': price} FROM items ORDER BY id LIMIT 2",
    "SELECT x.label FROM items x WHERE EXISTS (SELECT 1 FROM docs y WHERE y.label = x.label) ORDER BY ALL",
    "SELECT count(*) FROM items WHERE sold IS DISTINCT FROM null",
    "SELECT extract(year FROM DATE '2024-02-29'), DATE '2024-02-29' + INTERVAL 1 MONTH, 1_000 + 0x1F",
    "VALUES (1, 'a'), (2, NULL)",
    'SELECT 1 AS "select", 2 AS model, 3 AS call',
    'SELECT "Zürich" FROM (SELECT \'ü\' AS "Zürich")',
    "SELECT a.b.c FROM (SELECT {'b': {'c': 7}} AS a)",
    "SELECT id FROM items TABLESAMPLE 100%  ORDER BY id",
    "SELECT max_by(id, price), arg_min(tag, price), mode(label) FROM docs",
    "SELECT vector FROM docs ORDER BY id LIMIT 2",
    "SELECT array_cosine_similarity(vector, [1, 0, 0, 0]::FLOAT[4]) FROM docs ORDER BY id LIMIT 4",
    "SELECT DISTINCT ON (label) label, tag FROM items ORDER BY label, id",
    "SELECT sum(label)::HUGEINT, 1.5::DECIMAL(10, 2), 'x'::BLOB, NULL FROM items",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_answer_is_that_of_plain_duckdb(sample, text):
    plain = duckdb.connect()
    plain.execute("SET TimeZone = 'UTC'")
    for name in ("items", "docs"):
        plain.register(name, sample.tables[name])
    wanted = plain.sql(text).to_arrow_table()
    plain.close()
    result = sample.session.execute(text)
    assert result.plan is None or result.plan.startswith("every row")
    assert result.arrow().schema.equals(wanted.schema)
    # As text, because NaN is not equal to itself.
    assert repr(result.arrow().to_pylist()) == repr(wanted.to_pylist())


def test_describe_shows_every_column(session):
    described = {row[0]: row[1] for row in session.execute("DESCRIBE items")}
    assert described["vector"] == "FLOAT[8]"
    assert list(described) == ["id", "vector", "label", "price", "tag", "sold", "note"]
    assert session.execute("SHOW items").fetchall() == session.execute("DESCRIBE items").fetchall()


def test_tables_are_listed(session):
    visible = {
        "collections",
        "datasets",
        "versions",
        "procedures",
        "training_data",
        "items",
        "docs",
        "default",
        "my-coll.x",
        "empty",
    }
    names = {row[0] for row in session.execute("SHOW TABLES")}
    assert names == visible | {"digits", "fashion"}
    assert {row[0] for row in session.execute("SELECT table_name FROM information_schema.tables")} >= names
    text = "SELECT column_name FROM information_schema.columns WHERE table_name = 'docs' ORDER BY ordinal_position"
    assert [row[0] for row in session.execute(text)][:3] == ["id", "vector", "label"]


def test_collections_and_data_sets_are_tables(session):
    rows = session.execute("SELECT * EXCLUDE created_at FROM collections").fetchall()
    assert (
        "docs",
        4,
        "cosine",
        "float32",
        "items",
        376,
    ) in rows
    assert not any("$" in row[0] for row in rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    [(made,)] = session.execute("SELECT created_at FROM collections WHERE name = 'docs'")
    assert made.timestamp() == 1_001.0
    [row] = session.execute("SELECT rows, labels, splits FROM datasets WHERE name = 'fashion'")
    assert row == (400, 10, ["test", "train"])
    assert session.execute("SELECT d.name FROM datasets d JOIN collections c USING (name) ORDER BY 1").fetchall() == [
        ("digits",),
        ("fashion",),
    ]


@pytest.mark.parametrize(
    "text",
    [
        'SELECT count(*) FROM "default"',
        "SELECT count(*) FROM default",
        "SELECT count(default.label) + 57 FROM default WHERE default.id IS NOT NULL",
        "SELECT count(*) FROM items JOIN default ON true WHERE items.id = 'items/0'",
        'SELECT count(*) FROM "my-coll.x"',
        "SELECT count(*) FROM 'my-coll.x'",
        'SELECT count(*) FROM Main."DEFAULT"',
    ],
)
def test_odd_table_names(session, text):
    expected = 400 if "57" not in text else session.execute('SELECT count(label) + 57 FROM "default"').fetchone()[0]
    assert session.execute(text).fetchone() == (expected,)


def test_several_statements_all_run(session):
    assert session.execute("SELECT 1; SELECT 2;; SELECT ';' AS x -- ;").fetchall() == [(";",)]
    assert session.execute("SELECT $a; SELECT $b", {"a": 1, "b": 2}).fetchall() == [(2,)]


def test_a_statement_sees_the_newest_commit(sample):
    import numpy as np

    from storage_engine.batch import DeleteRows, PutRows, WriteBatch

    before = sample.session.execute('SELECT count(*) FROM "my-coll.x"').fetchone()[0]
    put = PutRows("my-coll.x", ["new"], np.zeros((1, 2), np.float32))
    sample.engine.commit(WriteBatch([put]))
    assert sample.session.execute('SELECT count(*) FROM "my-coll.x"').fetchone()[0] == before + 1
    sample.engine.commit(WriteBatch([DeleteRows("my-coll.x", ["new"])]))
    assert sample.session.execute('SELECT count(*) FROM "my-coll.x"').fetchone()[0] == before


def test_threads_do_not_disturb_each_other(sample):
    from concurrent.futures import ThreadPoolExecutor

    def ask(number: int) -> int:
        name = ("items", "docs", "default", "digits")[number % 4]
        got = sample.session.execute(
            f'SELECT count(*) + $n FROM "{name}" WHERE id LIKE $p', {"n": number, "p": f"{name}/%"}
        )
        return got.fetchone()[0] - len(sample.ids[name]) - number

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(60))) == {0}
