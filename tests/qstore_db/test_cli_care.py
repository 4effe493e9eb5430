"""The commands that look after a database: doctor, versions, vacuum, export."""

import subprocess
import sys

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli.app import app


@pytest.fixture
def qstore(tmp_path, capsys, monkeypatch):
    """A command in this process: exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = 0
        try:
            app(args=list(arguments), standalone_mode=True)
        except SystemExit as error:
            code = error.code or 0
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def shop(tmp_path):
    with QuantumDatabase.open(tmp_path / "shop.qdb", progress=False) as db:
        items = db.create_collection("items", dimension=8, metric="l2", minimum_rows=100)
        for start in range(0, 400, 100):
            rows = np.random.default_rng(start).normal(size=(100, 8))
            items.insert([f"i{start + n}" for n in range(100)], rows)
        db.tag("loaded")
        items.delete("i3")
        db._engine.build_graphs()
    return tmp_path / "shop.qdb"


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_doctor_repairs_a_log_and_says_what_was_lost(qstore, shop):
    with QuantumDatabase.open(shop) as db:
        for number in range(10):
            db.collection("items").insert(f"late{number}", np.ones(8))
    log = max((shop / "wal").iterdir())
    flip(log)
    code, out = qstore("doctor", "shop.qdb")
    assert code == 1 and f"error: wal/{log.name}" in out and "--repair" in out
    code, out = qstore("doctor", "shop.qdb", "--repair")
    assert code == 0, out
    assert "are known to be lost" in out and "a copy is in quarantine/wal-" in out and "no damage found" in out
    with QuantumDatabase.open(shop) as db:
        assert 399 < len(db.collection("items")) < 409
    assert qstore("doctor", "shop.qdb", "--repair")[1].startswith("nothing to repair")


def test_doctor_rebuilds_a_graph(qstore, shop):
    [graph] = (shop / "idx").iterdir()
    flip(graph)
    code, out = qstore("doctor", "shop.qdb")
    assert code == 0 and f"warning: idx/{graph.name}" in out
    code, out = qstore("doctor", "shop.qdb", "--repair")
    assert code == 0 and "the graph of items was built anew" in out
    assert "warning" not in qstore("doctor", "shop.qdb")[1]


def test_doctor_keeps_the_rows_that_are_proven_and_names_the_others(qstore, shop):
    with QuantumDatabase.open(shop) as db:
        db.collection("items").insert([f"more{n}" for n in range(6_000)], np.ones((6_000, 8)))
        db._engine.build_graphs()
        db.untag("loaded")
        db.vacuum()
    [vectors] = [file for file in (shop / "seg").iterdir() if file.suffix == ".vec"]
    flip(vectors)
    code, out = qstore("doctor", "shop.qdb")
    assert code == 1 and vectors.name in out and "--repair" in out
    code, out = qstore("doctor", "shop.qdb", "--repair")
    assert code == 0 and f"a copy is in quarantine/seg-{vectors.name}" in out
    assert "rows of collection 'items' are lost: 'more" in out and "-lost.json names every lost row" in out
    with QuantumDatabase.open(shop) as db:
        assert 4_000 < len(db.collection("items")) < 6_399
    assert qstore("doctor", "shop.qdb") == (0, "no damage found\n")


def test_versions_vacuum_and_export(qstore, shop, tmp_path):
    code, out = qstore("versions", "shop.qdb")
    assert code == 0 and "loaded" in out and "items: 100 rows written" in out
    code, out = qstore("vacuum", "shop.qdb")
    assert code == 0 and "is kept for tag loaded" in out
    assert qstore("export", "shop.qdb", "items", "now.npy") == (0, "399 rows exported to now.npy\n")
    assert qstore("export", "shop.qdb", "items", "then.npy", "--version", "loaded")[0] == 0
    assert len(np.load(tmp_path / "then.npy")) == 400


def test_the_module_runs_the_same_commands(shop):
    done = subprocess.run(
        [sys.executable, "-m", "qstore_db.cli", "export", str(shop), "items", str(shop.parent / "x.xlsx")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "use .parquet, .csv or .npy" in done.stderr
