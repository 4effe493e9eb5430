"""Plain conditions and filters load neither DuckDB nor what SQL plugs in; others do, with the same rows."""

import subprocess
import sys

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, InvalidFilterError, QStoreError, UnknownColumnError
from query.system.reserved_names import RESERVED_TABLE_NAMES

SCRIPT = """
import sys
import numpy as np
from qstore_db import QuantumDatabase

with QuantumDatabase.open(sys.argv[1], read_only=True) as db:
    items, q = db.collection("items"), np.zeros(4, np.float32)
    assert len(items.query(q, top_k=5, where="label = 3 AND price < 100")) == 5
    assert len(items.query(q, top_k=5, where="label = 3", filter={"price": {"$lt": 100}})) == 5
    assert len(items.search.within(q, 99.0, where="label IN (1, 2)")) == 20
    assert len(db.search_collections(["items"], q, top_k=3, where="label = 3")) == 3
    heavy = {"duckdb", "qstore_db.sql.plugins", "query.session", "qstore_db.training"} & set(sys.modules)
    assert not heavy, heavy
    assert len(items.query(q, top_k=5, where="abs(label) = 3")) == 5
    assert "duckdb" in sys.modules
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "db"
    with QuantumDatabase.open(path, progress=False) as db:
        items = db.create_collection("items", dimension=4, metric="l2")
        rows = [{"label": n % 10, "price": float(n)} for n in range(100)]
        items.insert([f"r{n}" for n in range(100)], np.eye(100, 4, dtype=np.float32), metadata=rows)
    return path


def test_a_process_that_asks_plainly_never_loads_duckdb(path):
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_names_of_all_system_tables_are_known_beforehand():
    with QuantumDatabase.open(":memory:") as db:
        assert db._session().reserved_names == RESERVED_TABLE_NAMES
        with pytest.raises(InvalidArgumentError, match="system table"):
            db.create_collection("Syncs", dimension=2)


def test_a_process_that_creates_a_collection_loads_no_duckdb(tmp_path):
    script = (
        "import sys; from qstore_db import QuantumDatabase\n"
        "with QuantumDatabase.open(sys.argv[1]) as db:\n"
        "    db.create_collection('c', dimension=2).insert(['a'], [[1.0, 2.0]], metadata=[{'n': 1}])\n"
        "assert not {'duckdb', 'qstore_db.sql.plugins'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "db"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_both_ways_select_the_same_rows_and_refuse_the_same(path):
    q = np.zeros(4, np.float32)
    with QuantumDatabase.open(path, read_only=True) as db:
        items = db.collection("items")
        plain = items.query(q, top_k=50, where="label <> 3 AND price >= 40").ids
        assert plain == items.query(q, top_k=50, where="(label <> 3) AND price >= 40").ids
        assert plain == items.query(q, top_k=50, where="price >= 40", filter={"label": {"$ne": 3}}).ids
        for where, filter, error in (  # noqa: A001 - the word of the interface
            ("absent = 3", None, UnknownColumnError),
            ("label =", None, QStoreError),
            ("label = 3", {"absent": 3}, UnknownColumnError),
            (None, {"label": {"$like": 3}}, InvalidFilterError),
        ):
            with pytest.raises(error):
                items.query(q, where=where, filter=filter)
