"""``create_collection(codes="computed")``: less on disk, the same answers."""

import shutil
import sys

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli import doctoring
from qstore_db.cli.doctoring import examine
from qstore_db.errors import DamagedError, InvalidArgumentError
from storage_engine import compiled_code
from storage_engine.compiled_code import CompiledCode
from storage_engine.segment.block_file import BLOCK_BYTES

N, D = 3000, 96


@pytest.fixture(scope="module")
def vectors():
    g = np.random.default_rng(0)
    return (g.normal(size=(50, D))[g.integers(0, 50, N)] + 0.3 * g.normal(size=(N, D))).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory, vectors):
    path = tmp_path_factory.mktemp("computed") / "db"
    with QuantumDatabase.open(path, progress=False, build_threads=1) as db:
        for metric in ("l2", "cosine", "ip"):
            for codes in ("stored", "computed"):
                items = db.create_collection(f"{metric}_{codes}", D, metric, m=8, ef_construction=60, codes=codes)
                items.insert(
                    [str(n) for n in range(N)], vectors, metadata={"part": np.arange(N) % 3, "rare": np.arange(N) % 97}
                )
                items.build_graph()
    return path


def answers(path, name, vectors):
    with QuantumDatabase.open(path, read_only=True) as db:
        items = db.collection(name)
        asked = [{"ef": 20}, {"exact": True}, {"where": "rare = 7"}, {"where": "part <> 1", "ef": 20}]
        hits = [items.query(query * np.float32(1.1), 10, **how) for query in vectors[:200:20] for how in asked]
        return [(one.ids, one.scores.tobytes(), one.strategy) for one in hits]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_answers_are_those_of_stored_codes(path, vectors, metric, compiled, monkeypatch):
    code = CompiledCode()
    monkeypatch.setattr(compiled_code, "process", code)
    monkeypatch.setattr(code, "spent", lambda seconds: None)
    assert not compiled or code.load()
    stored = answers(path, f"{metric}_stored", vectors)
    assert answers(path, f"{metric}_computed", vectors) == stored
    assert {one[2] for one in stored} >= {"graph", "exact", "exact_rows"} and code.ready == compiled


def test_the_codes_are_not_on_disk(path):
    with QuantumDatabase.open(path, read_only=True) as db:
        states = db._engine.snapshot().states()
        size = {one.schema.name: one.rows.layout.chunks[0].graph.file.file.length for one in states}
    for metric in ("l2", "cosine", "ip"):
        assert size[f"{metric}_stored"] - size[f"{metric}_computed"] >= N * 128  # a row of codes: 96 + 8, to 64
    assert not [one for one in examine(path) if one.severity != "info"]


def far_from_its_neighbours(vectors):
    """A row whose nearest 8 lie in other blocks of the file: only its own block knows that it is damaged."""
    for row in range(N):
        near = np.argsort(((vectors - vectors[row]) ** 2).sum(axis=1))[1:9]
        if (np.abs(near - row) > 2 * BLOCK_BYTES // (4 * D)).all():
            return row
    raise AssertionError("choose other rows")


def test_rows_that_codes_would_be_computed_from_are_checked(path, vectors, tmp_path, monkeypatch):
    shutil.copytree(path, tmp_path / "db")
    monkeypatch.setattr(compiled_code, "process", CompiledCode())
    row = far_from_its_neighbours(vectors)
    for file in (tmp_path / "db" / "seg").glob("*.vec"):
        stored = bytearray(file.read_bytes())
        at = stored.index(vectors[row].tobytes())
        stored[at : at + 4 * D] = (-vectors[row]).tobytes()  # a row like any other, far from where it was
        file.write_bytes(stored)
    assert compiled_code.process.load()
    with QuantumDatabase.open(tmp_path / "db", read_only=True) as db, pytest.raises(DamagedError, match="seg/"):
        db.collection("l2_computed").query(vectors[row], 3, exact=True)


def test_another_word_is_refused(tmp_path):
    with QuantumDatabase.open(tmp_path / "db") as db:
        with pytest.raises(InvalidArgumentError, match="'none'"):
            db.create_collection("c", 3, codes="none")
        assert db.collections() == []


def test_the_doctor_says_that_compiled_code_is_missing(tmp_path, monkeypatch):
    with QuantumDatabase.open(tmp_path / "db") as db:
        db.create_collection("c", 3)
    monkeypatch.setattr(doctoring, "process", CompiledCode())
    assert examine(tmp_path / "db") == []
    monkeypatch.setattr(doctoring, "process", CompiledCode())
    monkeypatch.setitem(sys.modules, "numba", None)
    [finding] = examine(tmp_path / "db")
    assert finding.severity == "info" and "Numba is not installed" in finding.what and "Numba" in finding.fix
