"""A process serves a database several times larger than the memory that it may allocate: rows stay in mapped files."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from storage_engine.batch import CreateCollection, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.index import builder
from storage_engine.index.codes import encode
from storage_engine.index.graph import Graph
from storage_engine.schema import CollectionSchema, Metric

ROWS, DIMENSION, LINKS = 40_000, 512, 12
MEGABYTE = 1_000_000
LIMIT = 24 * MEGABYTE

CHILD = """
import json, resource, sys
import numpy as np
from storage_engine.engine import Engine
from storage_engine.compiled_code import process

path, compiled, limit = sys.argv[1], sys.argv[2] == "compiled", int(sys.argv[3])
if compiled:
    assert process.load()
else:
    process.spent = lambda seconds: None  # stay without

def numbers(*names):
    with open("/proc/self/status") as lines:
        found = {line.partition(":")[0]: line.split() for line in lines}
    return [int(found[name][1]) * 1024 for name in names]

np.ones((300, 300)) @ np.ones((300, 300))  # the numerical library's own buffers
data, before = numbers("VmData", "RssAnon")
resource.setrlimit(resource.RLIMIT_DATA, (data + limit, data + limit))
answers, most = [], 0
with Engine.open(path, read_only=True) as engine:
    for name in ("walked", "plain", "cosine"):
        view = engine.snapshot().collection(name)
        some = np.zeros(view.slot_count, np.bool_)
        some[::7] = True
        query = view.vectors_at([5])[0] * np.float32(1.01)
        asked = [{"ef": 30}, {"exact": True}, {"mask": some}, {"mask": some, "exact": True}]
        for how in asked:
            found = view.search(query, 10, **how)
            answers.append([found.slots.tolist(), found.scores.tolist()])
            most = max(most, numbers("RssAnon")[0])
        near = view.search_within(query, float(found.scores[-1]))
        answers.append([near.slots.tolist()[:10], len(near.slots) > 9])
        for step in range(0, view.slot_count, 4000):
            view.search(view.vectors_at([step])[0], 3, ef=20)
        view.column("n")
        assert view.ids_at(found.slots) and len(view.slots_of([str(n) for n in range(100)])) == 100
        most = max(most, numbers("RssAnon")[0])
    mapped = numbers("RssFile")[0]
try:
    np.ones(limit, np.uint8)  # the limit does bind
    binds = False
except MemoryError:
    binds = True
print(json.dumps([answers, most - before, mapped, binds]))
"""


def made_up_graph(vectors, norms, metric, *_):
    """Links at random: what they lead to does not matter here, and they are there at once."""
    g = np.random.default_rng(0)
    n = len(vectors)
    return Graph(
        links=np.sort(g.integers(0, n, (n, LINKS)), axis=1).astype(np.int32),
        levels=np.zeros(n, np.uint8),
        upper=np.empty((0, 1), np.int32),
        entry=0,
        codes=encode(vectors, norms if metric is Metric.COSINE else None, metric is Metric.L2, 0),
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "db"
    g = np.random.default_rng(0)
    vectors = g.standard_normal((ROWS, DIMENSION), np.float32)
    with pytest.MonkeyPatch.context() as patch, Engine.open(path) as engine:
        patch.setattr(builder, "build_graph", made_up_graph)
        for number, (name, metric) in enumerate((("walked", "l2"), ("plain", "ip"), ("cosine", "cosine"))):
            schema = CollectionSchema(name, f"{number:032x}", DIMENSION, Metric(metric))
            engine.commit(WriteBatch([CreateCollection(schema)]))
            rows = ROWS if name == "walked" else ROWS // 4
            for start in range(0, rows, 10_000):
                part = slice(start, min(start + 10_000, rows))
                ids = [str(n) for n in range(part.start, part.stop)]
                table = {"n": np.arange(part.start, part.stop)}
                import pyarrow as pa

                engine.commit(WriteBatch([PutRows(name, ids, vectors[part], metadata=pa.table(table))]))
            engine.seal()
            if name != "plain":
                engine.build_graphs(name)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, limits the data segment")
@pytest.mark.parametrize("code", ["portable", "compiled"])
def test_rows_are_never_copied_to_the_heap(directory, code):
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    assert size > 5 * LIMIT
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(directory), code, str(LIMIT)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    answers, grown, _, binds = json.loads(result.stdout.splitlines()[-1])
    assert binds and grown < LIMIT
    with Engine.open(directory, read_only=True) as engine:  # and the answers are right
        for place, name in enumerate(("walked", "plain", "cosine")):
            view = engine.snapshot().collection(name)
            query = view.vectors_at([5])[0] * np.float32(1.01)
            truth = view.search(query, 10, exact=True)
            assert answers[5 * place + 1] == [truth.slots.tolist(), truth.scores.tolist()]
            within = answers[5 * place + 3][0]
            assert all(slot % 7 == 0 for slot in within) and len(within) == 10
    print(f"{code}: {size / MEGABYTE:.0f} MB served with {grown / MEGABYTE:.1f} MB of the heap")
