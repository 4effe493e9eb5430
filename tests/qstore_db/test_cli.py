"""The command line as a newcomer types it: in a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from qstore_db.database import QuantumDatabase


@pytest.fixture
def qstore(tmp_path):
    def run(*arguments, text=None):
        return subprocess.run(
            [sys.executable, "-m", "qstore_db.cli", *arguments],
            cwd=tmp_path,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def toy(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 4))
    with QuantumDatabase.open(tmp_path / "toy.qdb") as db:
        db.store_training_data("toy", data=data, labels=(data[:, 0] > 0).astype(int))
        db.create_model("sign", qubits=2, layers=1, classes=2)
    return "toy.qdb"


def test_help_names_every_command(qstore):
    done = qstore("--help")
    assert done.returncode == 0
    for command in ("demo", "sql", "shell", "import", "train", "models", "runs", "doctor"):
        assert command in done.stdout
    assert "--debug" in done.stdout


def test_sql_in_three_forms(qstore, toy):
    text = "SELECT label, count(*) AS rows FROM training_data GROUP BY label ORDER BY label"
    table, comma, lines = (qstore("sql", toy, text, *form) for form in ([], ["--format", "csv"], ["--format", "json"]))
    assert "label" in table.stdout
    assert comma.stdout.splitlines()[0] == "label,rows"
    rows = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [row["label"] for row in rows] == [0, 1]
    assert sum(row["rows"] for row in rows) == 60


def test_an_error_is_one_line_with_the_fix_and_exit_code_2(qstore, toy):
    for arguments, pattern in (
        (("sql", toy, "SELECT * FROM nothing"), "nothing"),
        (("sql", toy, "SELEC 1"), "line 1"),
        (("sql", "absent.qdb", "SELECT 1"), "absent.qdb"),
        (("sql", toy, "SELECT 1", "--format", "xml"), "xml"),
        (("train", toy, "nobody", "--dataset", "toy"), "nobody"),
        (("import", toy, "items", "missing.parquet"), "missing.parquet"),
    ):
        done = qstore(*arguments)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.strip().splitlines()) == 1
        assert pattern in done.stderr
        assert "Traceback" not in done.stderr
    assert "Traceback" in qstore("--debug", "sql", toy, "SELECT * FROM nothing").stderr
    assert "Traceback" in qstore("sql", toy, "SELECT * FROM nothing", "--debug").stderr


def test_wrong_usage_is_exit_code_2(qstore, toy):
    assert qstore("sql").returncode == 2
    assert qstore("nonsense").returncode == 2


def test_train_models_runs_doctor(qstore, toy):
    done = qstore("train", toy, "sign", "--dataset", "toy", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert "train_loss" in done.stdout
    assert "sign" in qstore("models", toy).stdout
    assert "finished" in qstore("runs", toy).stdout
    healthy = qstore("doctor", toy)
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert "no damage found" in healthy.stdout


def test_doctor_finds_damage(qstore, toy, tmp_path):
    victims = [path for path in (tmp_path / toy / "seg").iterdir() if path.suffix == ".vec"]
    victims = victims or list((tmp_path / toy / "wal").iterdir())
    data = bytearray(victims[0].read_bytes())
    data[len(data) // 2] ^= 1
    victims[0].write_bytes(data)
    done = qstore("doctor", toy)
    assert done.returncode in {1, 2}
    assert victims[0].name in done.stdout + done.stderr


def test_shell_runs_statements_and_survives_errors(qstore, toy):
    done = qstore(
        "shell", toy, text=".tables\nSELECT 1 + 1\n AS two;\nSELECT * FROM nothing;\nSELECT 40 + 2 AS answer;\n.quit\n"
    )
    assert done.returncode == 0
    assert "toy" in done.stdout
    assert "two" in done.stdout
    assert "42" in done.stdout
    assert "nothing" in done.stderr


def vector_table(rows):
    vectors = np.random.default_rng(1).normal(size=(rows, 3)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 3)
    return vectors, pa.table({"id": [f"v{n}" for n in range(rows)], "vector": column, "price": np.arange(float(rows))})


def test_import_parquet_csv_and_npy(qstore, tmp_path):
    vectors, table = vector_table(25)
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    text = "id,vector,price\n" + "".join(f'v{n},"{json.dumps(vectors[n].tolist())}",{n}\n' for n in range(len(vectors)))
    (tmp_path / "rows.csv").write_text(text)
    np.save(tmp_path / "rows.npy", vectors)
    for name, ids in (("rows.parquet", "v"), ("rows.csv", "v"), ("rows.npy", "")):
        collection = name.replace(".", "_")
        done = qstore("import", "in.qdb", collection, name)
        assert done.returncode == 0, done.stderr
        assert "25 rows" in done.stdout
        with QuantumDatabase.open(tmp_path / "in.qdb", read_only=True) as db:
            items = db.collection(collection)
            assert len(items) == 25
            assert np.array_equal(items.get(f"{ids}7").vector, vectors[7])
            if ids:
                assert items.get("v7").metadata == {"price": 7.0}


def test_import_a_data_set(qstore, tmp_path):
    rng = np.random.default_rng(2)
    arrays = {name: rng.integers(0, 9, (10, 2, 2)) for name in ("x_train", "x_test")}
    np.savez(tmp_path / "set.npz", **arrays, y_train=np.arange(10) % 3, y_test=np.arange(10) % 3)
    done = qstore("import", "in.qdb", "images", "set.npz", "--dataset")
    assert "20 rows" in done.stdout, done.stderr
    with QuantumDatabase.open(tmp_path / "in.qdb", read_only=True) as db:
        found = db.sql("SELECT split, count(*), max(label) FROM training_data GROUP BY split ORDER BY split").fetchall()
    assert found == [("test", 10, 2), ("train", 10, 2)]


def test_import_refuses_what_holds_no_vectors(qstore, tmp_path):
    pyarrow.parquet.write_table(pa.table({"id": ["a"], "price": [1.0]}), tmp_path / "flat.parquet")
    pyarrow.parquet.write_table(pa.table({"vector": [[1.0, 2.0], [3.0]]}), tmp_path / "ragged.parquet")
    (tmp_path / "notes.txt").write_text("x")
    for name, pattern in (("flat.parquet", "vector"), ("ragged.parquet", "length"), ("notes.txt", ".txt")):
        done = qstore("import", "in.qdb", "items", name)
        assert done.returncode == 2
        assert pattern in done.stderr
