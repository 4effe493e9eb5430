"""SQL reaches no file, no network, no setting, no Python variable, and does not bring the process down."""

from __future__ import annotations

import pytest

from query.errors import QueryError, UnsupportedStatementError
from storage_engine.errors import QStoreError

ESCAPES = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM \"read_csv\"('/etc/passwd')",
    "SELECT * FROM system.main.read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_parquet('/tmp/x.parquet')",
    "SELECT * FROM read_json_auto('/tmp/x.json')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd.csv'",
    "SELECT * FROM 'https://example.com/x.parquet'",
    "SELECT (SELECT count(*) FROM read_csv('/etc/passwd'))",
    "WITH x AS (FROM read_text('/etc/passwd')) FROM x",
    "DESCRIBE FROM read_csv('/etc/passwd')",
    "SUMMARIZE FROM read_csv('/etc/passwd')",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{path}/out.csv'",
    "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
    "COPY (SELECT 1) TO '{path}/out.csv'",
    "COPY items FROM '/etc/passwd'",
    "EXPORT DATABASE '{path}/out'",
    "IMPORT DATABASE '{path}/out'",
    "ATTACH '{path}/other.db'",
    "DETACH memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "PRAGMA enable_profiling",
    "PRAGMA database_list",
    "USE temp",
    "BEGIN",
    "CHECKPOINT",
    "VACUUM",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "CREATE SECRET (TYPE s3)",
    "CREATE MACRO f(x) AS x",
    "CREATE VIEW v AS SELECT 1",
    "SET VARIABLE a = 1",
    "SELECT getenv('HOME')",
    "SELECT write_log('x')",
    "SELECT sleep_ms(100000)",
    "FROM enable_logging(storage := 'file', storage_config := {{'path': '{path}/log'}})",
    "FROM enable_profiling(save_location := '{path}/profile')",
    "FROM checkpoint()",
    "FROM query('SELECT 1')",
    "FROM query_table('items')",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "FROM arrow_scan(1, 2, 3)",
    "FROM pandas_scan(140000000000000)",
    "FROM python_map_function()",
    "FROM seq_scan()",
    "FROM duckdb_secrets()",
    "FROM duckdb_settings()",
    "FROM register_external_resource_type('x')",
    "WITH d AS (DELETE FROM items RETURNING *) FROM d",
    "WITH d AS (INSERT INTO items VALUES (1) RETURNING *) FROM d",
    "SELECT * FROM secret_table",
    "SELECT * FROM secret_frame",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_every_way_out_is_closed(session, text, tmp_path):
    import pyarrow as pa

    secret_table = pa.table({"token": ["sk-123"]})
    secret_frame = secret_table.to_pandas()  # noqa: F841
    with pytest.raises(QStoreError) as caught:
        session.execute(text.format(path=tmp_path))
    assert "sk-123" not in str(caught.value)
    assert "root:" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert session.execute('SELECT count(*) FROM "default"').fetchone() == (400,)


def test_most_are_refused_before_duckdb_sees_them(session):
    for text in ("FROM read_csv('x')", "FROM arrow_scan(1, 2, 3)", "COPY items TO 'x'", "SET threads = 1"):
        with pytest.raises(UnsupportedStatementError):
            session.execute(text)


def test_duckdb_alone_would_refuse_files_too(tmp_path):
    import duckdb

    from query.duckdb_connection import HardenedConnection, Limits

    connection = HardenedConnection(Limits())
    for text in (
        "FROM read_csv('/etc/passwd')",
        "FROM '/etc/passwd.csv'",
        f"COPY (SELECT 1) TO '{tmp_path}/x'",
        f"ATTACH '{tmp_path}/x.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "FROM enable_logging()",
    ):
        with pytest.raises((duckdb.Error, OSError)):
            connection.run(text, {}, {})
    assert list(tmp_path.iterdir()) == []
    connection.close()


def test_a_setting_that_does_not_hold_is_found(monkeypatch):
    from query import duckdb_connection

    monkeypatch.setattr(duckdb_connection, "_PROBES", ("SELECT 1",))
    with pytest.raises(QueryError, match="allows"):
        duckdb_connection.HardenedConnection(duckdb_connection.Limits())


def test_names_with_quotes_cannot_leave_their_quotes(sample):
    view = sample.engine.snapshot().collection("my-coll.x")
    mask = sample.session.mask(view, where="label + 0 = 1")
    assert mask.any()
    assert (mask & view.live()).tolist() == [label == 1 for label in view.column("label").to_pylist()]
    from query.dialect import quote_identifier

    assert quote_identifier('a"; DROP') == '"a""; DROP"'
