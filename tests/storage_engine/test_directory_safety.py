"""What is in a database directory stays private, and nothing in it leads elsewhere."""

import os
import shutil
import stat

import numpy as np
import pyarrow as pa
import pytest

from storage_engine.batch import AttachFile, CreateCollection, DeleteRows, PutRecord, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import DatabaseError
from storage_engine.files import LinkedFileError
from storage_engine.schema import CollectionSchema, GraphOptions, Metric

FILES = [
    "FORMAT",
    "SYNCED",
    "manifest/*.man",
    "wal/*.wal",
    "seg/*.vec",
    "seg/*.ids",
    "seg/*.meta",
    "seg/*.del",
    "seg/*.tab",
]


def fill(path):
    with Engine.open(path, build_threads=1) as engine:
        schema = CollectionSchema("c", "c" * 32, 4, Metric.L2, graph=GraphOptions(m=4, minimum_rows=10))
        engine.commit(WriteBatch([CreateCollection(schema)]))
        rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
        engine.commit(
            WriteBatch([PutRows("c", [str(n) for n in range(50)], rows, metadata=pa.table({"n": range(50)}))])
        )
        engine.build_graphs()
        reference = engine.stage_file("ckpt", ".zip", lambda stream: stream.write(b"content"))
        engine.commit(WriteBatch([AttachFile(reference), PutRecord("t", "k", {}), DeleteRows("c", ["3"])]))
        engine.seal()
        engine.commit(WriteBatch([PutRecord("t", "k", {"x": 1})]))
    return rows


@pytest.fixture
def path(tmp_path):
    fill(tmp_path / "db")
    return tmp_path / "db"


def test_everything_is_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        fill(tmp_path / "db")
        with Engine.open(tmp_path / "db", read_only=True) as reader:
            modes = {
                file: stat.S_IMODE(file.lstat().st_mode) for file in [tmp_path / "db", *(tmp_path / "db").rglob("*")]
            }
            reader.snapshot()
    finally:
        os.umask(before)
    assert {file.parent.name for file in modes if file.is_file()} >= {"db", "manifest", "wal", "seg", "idx", "ckpt"}
    for file, mode in modes.items():
        assert mode == (0o700 if file.is_dir() else 0o600), file


def refused_or_right(path, read_only=False):
    """Opening is refused, or shows every row (the manifest before and the log hold them, too)."""
    expected = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    try:
        with Engine.open(path, read_only=read_only) as engine:
            view = engine.snapshot().collection("c")
            assert len(view) == 49 and engine.snapshot().table("t")["k"] == {"x": 1}
            slots = view.slots_of([str(n) for n in range(50) if n != 3])
            assert view.vectors_at(slots).tobytes() == np.delete(expected, 3, axis=0).tobytes()
            assert view.metadata_at(slots).column("n").to_pylist() == [n for n in range(50) if n != 3]
    except DatabaseError:
        return True
    return False


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("pattern", FILES)
def test_a_link_in_place_of_a_file_is_not_followed(path, tmp_path, pattern, read_only):
    victims = list(path.glob(pattern))
    content = {}
    for victim in victims:
        elsewhere = tmp_path / f"elsewhere-{victim.name}"
        shutil.move(victim, elsewhere)
        victim.symlink_to(elsewhere)
        content[elsewhere] = elsewhere.read_bytes()
    refused = refused_or_right(path, read_only)
    assert refused or pattern.startswith("seg/")
    assert {file: file.read_bytes() for file in content} == content


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("pattern", ["LOCK", *FILES])
def test_a_file_with_a_second_name_is_not_opened(path, tmp_path, pattern, read_only):
    victims = list(path.glob(pattern))
    assert victims
    for place, victim in enumerate(victims):
        os.link(victim, tmp_path / f"second-{place}")
    content = [victim.read_bytes() for victim in victims]
    if read_only and pattern in {"LOCK", "SYNCED"}:  # readers take no lock
        refused_or_right(path, read_only)
    else:
        with (
            pytest.raises(LinkedFileError, match=r"has 2 names \(hard links\)") as caught,
            Engine.open(path, read_only=read_only) as engine,
        ):
            engine.snapshot().collection("c").metadata_at(np.arange(3))
        assert "mv COPY FILE" in str(caught.value)
        assert isinstance(caught.value, DatabaseError)
    assert [victim.read_bytes() for victim in victims] == content
    for place in range(len(victims)):
        (tmp_path / f"second-{place}").unlink()
    assert not refused_or_right(path, read_only)


def test_a_graph_with_a_second_name_is_not_used_and_rows_are_compared(path, tmp_path):
    victims = list(path.glob("idx/*"))
    assert victims
    for place, victim in enumerate(victims):
        os.link(victim, tmp_path / f"second-{place}")
    query = np.random.default_rng(0).normal(size=4).astype(np.float32)
    with Engine.open(path) as engine:
        assert engine.snapshot().collection("c").search(query, 5).strategy == "exact"
        assert any(finding.file.startswith("idx/") for finding in engine.verify())


@pytest.mark.parametrize("folder", ["manifest", "wal", "seg"])
def test_a_link_in_place_of_a_folder_is_not_followed(path, tmp_path, folder):
    shutil.move(path / folder, tmp_path / "elsewhere")
    (path / folder).symlink_to(tmp_path / "elsewhere")
    before = sorted(os.listdir(tmp_path / "elsewhere"))
    with pytest.raises(DatabaseError):
        Engine.open(path)
    assert sorted(os.listdir(tmp_path / "elsewhere")) == before


@pytest.mark.parametrize("pattern", ["manifest/*.man", "wal/*.wal", "seg/*.vec"])
def test_a_pipe_in_place_of_a_file_does_not_hang(path, pattern):
    for victim in list(path.glob(pattern)):
        victim.unlink()
        os.mkfifo(victim)
    assert refused_or_right(path) or pattern.startswith("seg/")


def test_names_of_users_never_become_names_of_files(tmp_path):
    secret = "Hush-Hush_name"
    with Engine.open(tmp_path / "db") as engine:
        schema = CollectionSchema(secret, "c" * 32, 2, Metric.L2)
        engine.commit(WriteBatch([CreateCollection(schema)]))
        put = PutRows(secret, [f"../{secret}", f"/{secret}"], np.ones((2, 2)), metadata=pa.table({secret: [1, 2]}))
        engine.commit(WriteBatch([put, PutRecord(secret, f"../../{secret}", {})]))
        engine.build_graphs()
    for file in (tmp_path / "db").rglob("*"):
        assert secret.lower() not in file.name.lower()
    assert sorted(os.listdir(tmp_path)) == ["db"]
