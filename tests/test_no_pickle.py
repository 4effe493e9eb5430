"""No byte is ever unpickled: a whole life of a database with every unpickler made to explode."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LIFE = """
import pickle, _pickle, sys

original = {name: getattr(pickle, name) for name in ("load", "loads", "Unpickler")}
seen = []

def guarded(name):
    def unpickle(*arguments, **more):
        frame = sys._getframe(1)
        while frame is not None and "/numba/" not in frame.f_code.co_filename:
            frame = frame.f_back
        if frame is None:  # machine code in Numba's own cache is Numba's own business
            raise AssertionError("something was unpickled")
        seen.append(name)
        return original[name](*arguments, **more)
    return unpickle

for module in (pickle, _pickle):
    for name in original:
        setattr(module, name, guarded(name))
try:
    pickle.loads(b"N.")
except AssertionError:
    pass
else:
    raise SystemExit("the guard does not work")

import numpy as np
from qstore_db import QuantumDatabase

path = sys.argv[1]
rows = np.random.default_rng(0).normal(size=(3000, 40))
with QuantumDatabase.open(path, progress=False, build_threads=1) as db:
    items = db.create_collection("items", 40, "cosine", minimum_rows=100)
    items.insert([str(n) for n in range(3000)], rows, metadata=[{"n": n, "tags": ["x"]} for n in range(3000)])
    db._engine.build_graphs()
    db.insert(id="doc", vectors={"a": [1.0, 0.0], "b": [0.0, 1.0]}, contexts=[("a", 0.5), ("b", 0.5)])
    db.store_training_data("toy", data=rows[:40, :4], labels=(rows[:40, 0] > 0).astype(np.int64))
    db.create_model("m", qubits=2, layers=1, classes=2)
    db.train("m", "toy", epochs=1, seed=0)
    db.tag("now")
with QuantumDatabase.open(path, progress=False) as db:
    assert items is not None and len(db.collection("items").query(rows[0], top_k=5).ids) == 5
    assert db.sql("SELECT count(*) FROM items WHERE n < 10").fetchall() == [(10,)]
    assert db.predict("m", rows[:3, :4]).shape == (3,)
    assert db.measure("doc", seed=1).outcome in ("a", "b")
    db.vacuum()
    assert [one for one in db.verify() if one.severity != "info"] == []
print("lived")
"""


def test_a_database_lives_without_unpickling(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIFE, str(tmp_path / "db")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "lived"
