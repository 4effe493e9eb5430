"""Opening, reopening, refusing."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    AlreadyExistsError,
    DatabaseClosedError,
    DatabaseLockedError,
    DimensionMismatchError,
    EmptyDatasetError,
    InvalidArgumentError,
    InvalidLabelError,
    InvalidModelError,
    NotADatabaseError,
    ReadOnlyError,
    SqlSyntaxError,
    UnknownBackendError,
    UnknownCollectionError,
    UnknownDatasetError,
    UnknownModelError,
    UnknownRunError,
)
from qstore_db.training.options import TrainingOptions


def child(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fill(db):
    rng = np.random.default_rng(3)
    data = rng.normal(size=(120, 8))
    labels = (data[:, 0] > 0).astype(int)
    db.store_training_data("toy", data=data[:100], labels=labels[:100], split="train")
    db.store_training_data("toy", data=data[100:], labels=labels[100:], split="test")
    db.create_model("sign", qubits=3, layers=1, encoding="amplitude", classes=2)
    return data


def test_a_new_process_sees_everything_and_predicts_the_same_bits(tmp_path):
    path = tmp_path / "toy.qdb"
    with QuantumDatabase.open(path) as db:
        data = fill(db)
        db.insert(id="doc", vector=[1, 2], contexts=[("a", 1), ("b", 3)], metadata={"kind": "note"})
        run = db.train("sign", "toy", epochs=2, seed=5)
        expected = db.predict_proba("sign", data[:7]).tobytes().hex()
        losses = run.metrics().fetchall()
    np.save(tmp_path / "data.npy", data[:7])
    told = child(
        """
        import sys
        import numpy as np
        from qstore_db import QuantumDatabase

        with QuantumDatabase.open(sys.argv[1]) as db:
            print(db.predict_proba("sign", np.load(sys.argv[2])).tobytes().hex())
            print(db.run(1).metrics().fetchall())
            print(db.get("doc").metadata, db.get("doc").probabilities)
            print(sorted(db.collections()))
            print(db.sql("SELECT model, version FROM model_versions ORDER BY version").fetchall())
        """,
        str(path),
        str(tmp_path / "data.npy"),
    ).splitlines()
    assert told[0] == expected
    assert told[1] == str(losses)
    assert told[2] == "{'kind': 'note'} {'a': 0.25, 'b': 0.75}"
    assert told[3] == "['default', 'toy']"
    assert told[4] == "[('sign', 1), ('sign', 2)]"


def test_a_second_writer_is_refused_by_name(tmp_path):
    with QuantumDatabase.open(tmp_path / "one.qdb") as db:
        db.insert(id="a", vector=[1.0, 2.0])
        told = child(
            """
            import sys
            from qstore_db import QuantumDatabase
            from qstore_db.errors import DatabaseLockedError

            try:
                QuantumDatabase.open(sys.argv[1])
            except DatabaseLockedError as error:
                print("refused:", error)
            with QuantumDatabase.open(sys.argv[1], read_only=True) as db:
                print(len(db.collection("default")))
            """,
            str(tmp_path / "one.qdb"),
        ).splitlines()
    assert told[0].startswith("refused:")
    assert "process" in told[0] or "pid" in told[0]
    assert told[1] == "1"
    assert issubclass(DatabaseLockedError, Exception)


def test_what_is_no_database_is_refused(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    with pytest.raises(NotADatabaseError, match=r"notes\.txt"):
        QuantumDatabase.open(file)
    assert file.read_text() == "hello"
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.png").write_bytes(b"meow")
    with pytest.raises(NotADatabaseError, match="photos"):
        QuantumDatabase.open(folder)
    assert [path.name for path in folder.iterdir()] == ["cat.png"]
    with pytest.raises(NotADatabaseError, match="absent"):
        QuantumDatabase.open(tmp_path / "absent.qdb", create=False)
    assert not (tmp_path / "absent.qdb").exists()


def test_a_closed_handle_and_a_read_only_handle_say_so(tmp_path):
    db = QuantumDatabase.open(tmp_path / "a.qdb")
    db.insert(id="a", vector=[1.0, 2.0])
    db.close()
    db.close()
    with pytest.raises(DatabaseClosedError):
        db.query([1.0, 2.0])
    with QuantumDatabase.open(tmp_path / "a.qdb", read_only=True) as reader:
        assert reader.query([1.0, 2.0]).ids == ["a"]
        with pytest.raises(ReadOnlyError):
            reader.insert(id="b", vector=[1.0, 2.0])
        with pytest.raises(ReadOnlyError):
            reader.create_collection("more", dimension=2)


def test_a_reader_follows_the_writer(tmp_path):
    with QuantumDatabase.open(tmp_path / "a.qdb") as writer:
        writer.insert(id="a", vector=[1.0, 2.0])
        with QuantumDatabase.open(tmp_path / "a.qdb", read_only=True) as reader:
            writer.insert(id="b", vector=[2.0, 1.0])
            assert reader.refresh() == writer.version
            assert len(reader.collection("default")) == 2


def test_names(tmp_path):
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=2)
        assert repr(items) == "Collection('items', 0 rows, dimension 2, cosine)"
        with pytest.raises(AlreadyExistsError, match="items"):
            db.create_collection("items", dimension=2)
        with pytest.raises(UnknownCollectionError, match="item"):
            db.collection("item")
        for name in ("", "a b", "1a", "a/b", "models", "training_data", "x$branches"):
            with pytest.raises(InvalidArgumentError):
                db.create_collection(name, dimension=2)
        for arguments in ({"dimension": 0}, {"dimension": "8"}, {"dimension": 2, "metric": "hamming"}):
            with pytest.raises(InvalidArgumentError):
                db.create_collection("other", **arguments)
        db.drop_collection("items")
        assert db.collections() == []
        with pytest.raises(UnknownCollectionError):
            items.query([1, 2])


def test_training_refuses_what_it_cannot_do():
    with QuantumDatabase.open(":memory:") as db:
        fill(db)
        version = db.version
        for error, call in {
            UnknownModelError: lambda: db.train("nobody", "toy"),
            UnknownDatasetError: lambda: db.train("sign", "nothing"),
            UnknownBackendError: lambda: db.train("sign", "toy", backend="nowhere"),
            EmptyDatasetError: lambda: db.train("sign", "toy", split="nothing"),
            UnknownRunError: lambda: db.resume(7),
            InvalidModelError: lambda: db.predict("sign", [[1.0] * 8]),
            InvalidLabelError: lambda: db.store_training_data("bad", data=[[1.0, 2.0]], labels=[-1]),
            DimensionMismatchError: lambda: db.store_training_data("toy", data=[[1.0]], labels=[0], split="more"),
            SqlSyntaxError: lambda: db.sql("SELEC 1"),
        }.items():
            with pytest.raises(error) as caught:
                call()
            assert caught.value.fix, error
        with pytest.raises(InvalidArgumentError, match="0"):
            db.train("sign", "toy", epochs=0)
        with pytest.raises(InvalidArgumentError, match="sgd2"):
            db.train("sign", "toy", optimizer="sgd2")
        with pytest.raises(InvalidArgumentError, match="epochs"):
            db.train("sign", "toy", TrainingOptions(), epochs=3)
        assert db.version == version


def test_the_injected_clock_is_the_only_clock():
    now = [1000.0]
    with QuantumDatabase.open(":memory:", clock=lambda: now[0]) as db:
        db.insert(id="doc", vectors={"a": [1, 0], "b": [0, 1]}, contexts=["a", "b"], coherence_time=10.0)
        fresh = db.query([1, 1], context={"a": 1, "b": 1}).scores[0]
        now[0] = 1000.0 + 10.0
        aged = db.query([1, 1], context={"a": 1, "b": 1}).scores[0]
        now[0] = 1e12
        old = db.query([1, 1], context={"a": 1, "b": 1}).scores[0]
        assert fresh == pytest.approx(0.5, abs=1e-6)
        assert old == pytest.approx(0.25, abs=1e-6)
        assert aged == pytest.approx(0.25 + 0.25 * np.exp(-1), abs=1e-6)
        assert db.query([1, 1], context="a", coherent_only=True).ids == []
        assert db.query([1, 1], context="a").ids == ["doc"]
        assert db.sql("SELECT epoch(created_at) FROM collections").fetchall() == [(1000.0,)]
