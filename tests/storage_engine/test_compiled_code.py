"""When compiled code is loaded, what answers until then, and that nothing depends on it."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import numpy as np
import pytest

from storage_engine import compiled_code
from storage_engine.batch import CreateCollection, PutRows, WriteBatch
from storage_engine.compiled_code import AFTER_SECONDS, LOAD_SECONDS, CompiledCode, CompiledCodeWarning, Stage
from storage_engine.engine import Engine
from storage_engine.graph_file import SegmentGraph
from storage_engine.index.graph_layout import BLOCK
from storage_engine.index.mapped_graph import MappedGraph
from storage_engine.schema import CollectionSchema, GraphOptions, Metric

N, D = 4000, 48


@pytest.fixture
def steps(monkeypatch):
    """Steps of loading that take no time; the test may put others in."""
    given = [lambda: None]
    monkeypatch.setattr(compiled_code, "_STEPS", given)
    return given


def test_a_process_begins_without(steps):
    code = CompiledCode()
    assert code.stage is Stage.PORTABLE and not code.ready and not code.use() and not code.use(LOAD_SECONDS * 0.9)
    for _ in range(9):
        code.spent(AFTER_SECONDS / 10)
    assert code.stage is Stage.PORTABLE


def test_it_loads_in_the_background_after_enough_work(steps):
    begin, done = threading.Event(), threading.Event()
    steps[:] = [lambda: begin.wait(30) and None]
    code = CompiledCode()

    class Listener:
        def compiled_code_is_ready(self):
            assert code.ready
            done.set()

    listener = Listener()
    code.tell(listener)
    code.spent(AFTER_SECONDS)
    assert code.stage is Stage.LOADING and not code.use()  # work goes on meanwhile
    code.spent(1.0)
    begin.set()
    assert done.wait(30) and code.use() and code.stage is Stage.COMPILED


def test_a_large_task_loads_at_once_and_waits_for_a_load_under_way(steps):
    code = CompiledCode()
    assert code.use(LOAD_SECONDS) and code.ready
    calls, going = [], threading.Event()
    steps[:] = [going.set, lambda: time.sleep(0.05), lambda: calls.append(1)]
    other = CompiledCode()
    other.spent(AFTER_SECONDS)
    assert going.wait(30) and other.load() and calls == [1]


def test_loading_asks_itself_and_is_told_no(steps):
    code, seen = CompiledCode(), []
    steps[:] = [lambda: seen.append(code.load())]
    assert code.load() and seen == [False]


def test_without_numba_nothing_is_said(steps, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    code = CompiledCode()
    assert not code.load() and code.stage is Stage.UNAVAILABLE and code.why_not == "Numba is not installed"
    assert not code.use(100.0)


def test_a_broken_numba_is_reported_once(steps):
    def refuse():
        raise ImportError("Numba needs NumPy 1.0 or less")

    steps[:] = [refuse]
    code = CompiledCode()
    with pytest.warns(CompiledCodeWarning, match="needs NumPy 1.0") as said:
        assert not code.load()
    assert len(said) == 1 and "needs NumPy 1.0" in code.why_not
    assert not code.load() and not code.use(9.0)  # a second warning would be an error here


@pytest.mark.parametrize(
    "defect", [ZeroDivisionError(), ImportError("no such name", name="storage_engine.index.walker")]
)
def test_a_defect_is_no_reason_to_go_on_silently(steps, defect):
    def fail():
        raise defect

    steps[:] = [fail]
    code = CompiledCode()
    with pytest.raises(type(defect)):
        code.load()
    assert code.stage is Stage.UNAVAILABLE and code.why_not


def test_a_program_that_has_ended_waits_for_one_step_only(steps, monkeypatch):
    over, done = threading.Event(), []
    steps[:] = [over.set, lambda: done.append(1)]
    monkeypatch.setattr(threading, "main_thread", type("Ended", (), {"is_alive": lambda self: not over.is_set()}))
    code = CompiledCode()
    code.spent(AFTER_SECONDS)
    with code._loading:
        pass
    for _ in range(1000):
        if code.stage is not Stage.LOADING:
            break
        time.sleep(0.001)
    assert code.stage is Stage.PORTABLE and not done


def rows():
    g = np.random.default_rng(0)
    centres = g.normal(size=(40, D))
    return (centres[g.integers(0, 40, N)] + 0.4 * g.normal(size=(N, D))).astype(np.float32)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("compiled") / "db"
    with Engine.open(path) as engine:
        for metric in Metric:
            schema = CollectionSchema(metric.value, f"{list(Metric).index(metric):032x}", D, metric)
            engine.commit(WriteBatch([CreateCollection(schema)]))
            engine.commit(WriteBatch([PutRows(metric.value, [str(n) for n in range(N)], rows())]))
        engine.build_graphs()
        for metric in Metric:  # fresh rows, in no graph
            engine.commit(WriteBatch([PutRows(metric.value, [f"late {n}" for n in range(50)], rows()[:50] * 1.01)]))
    return path


ASK = """
def answers(engine, vectors, rounds=1):
    found = []
    for name in ("l2", "cosine", "ip"):
        view = engine.snapshot().collection(name)
        some = np.arange(view.slot_count) % 3 == 0
        for query in vectors[::200] * np.float32(1.1):
            for how in ({"ef": 40}, {"exact": True}, {"mask": some, "ef": 40}, {"mask": some, "exact": True}):
                for _ in range(rounds):
                    one = view.search(query, 10, **how)
                found.append((one.slots.tolist(), one.scores.tobytes().hex(), one.strategy))
            near = view.search_within(query, float(one.scores[-1]))
            found.append((near.slots.tolist(), near.scores.tobytes().hex(), near.strategy))
        found += [(one.slots.tolist(), one.scores.tobytes().hex(), one.strategy)
                  for one in view.search_many(vectors[:20], 5, ef=30)]
    return found
"""
exec(ASK)  # the same text runs in the children


def child(directory, body, *, before="", env=None, vectors=None, timeout=120):
    """Run a program over the database; its last line is JSON."""
    np.save(directory.parent / "vectors.npy", rows())
    program = f"""
{before}
import json, sys, threading, warnings
import numpy as np
from storage_engine.engine import Engine
from storage_engine.compiled_code import process
{ASK}
vectors = np.load({str(directory.parent / "vectors.npy")!r})
{textwrap.dedent(body)}
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=os.environ | (env or {}),
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1]), result.stderr


@pytest.fixture(scope="module")
def compiled_answers(directory):
    assert compiled_code.process.load()
    with Engine.open(directory, read_only=True) as engine:
        found = answers(engine, rows())  # noqa: F821 - see ASK
        reasons = [engine.snapshot().collection("l2").search(rows()[3], 5, ef=20).reason]
    assert not any("NumPy" in reason for reason in reasons)
    return json.loads(json.dumps(found))


def test_everything_works_without_numba(directory, compiled_answers):
    (found, reason, stage, loaded, more), errors = child(
        directory,
        f"""
        with Engine.open({str(directory)!r}, read_only=True) as engine:
            found = answers(engine, vectors)
            reason = engine.snapshot().collection("l2").search(vectors[3], 5, ef=20).reason
        from storage_engine.batch import CreateCollection, PutRows, WriteBatch
        from storage_engine.schema import CollectionSchema, GraphOptions, Metric
        with Engine.open(None) as engine:  # building, too
            for metric in Metric:
                uuid, graph = "%032x" % list(Metric).index(metric), GraphOptions(m=4, ef_construction=20)
                schema = CollectionSchema(metric.value, uuid, 40, metric, graph=graph)
                engine.commit(WriteBatch([CreateCollection(schema)]))
                engine.commit(WriteBatch([PutRows(metric.value, [str(n) for n in range(600)], vectors[:600, :40])]))
                engine.build_graphs(metric.value)
            more = [engine.snapshot().collection(m.value).search(vectors[9, :40], 3, ef=5).strategy for m in Metric]
        loaded = [name for name in sys.modules if name.partition(".")[0] in ("numba", "llvmlite") and sys.modules[name]]
        print(json.dumps([found, reason, process.stage, loaded, more]))
        """,
        before='import sys; sys.modules["numba"] = sys.modules["llvmlite"] = None',
    )
    assert found == compiled_answers
    assert "in NumPy" in reason and stage == "unavailable" and loaded == [] and errors == ""
    assert len(more) == 3


def test_a_numba_that_cannot_be_imported_is_named(directory, compiled_answers, tmp_path):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('Numba needs NumPy 1.0 or less')")
    (found, why), errors = child(
        directory,
        f"""
        with Engine.open({str(directory)!r}, read_only=True) as engine:
            process.load()
            found = answers(engine, vectors)
        print(json.dumps([found, process.why_not]))
        """,
        env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    assert found == compiled_answers
    assert "needs NumPy 1.0" in why and errors.count("CompiledCodeWarning") == 1 and "needs NumPy 1.0" in errors


def test_a_few_questions_load_nothing(directory):
    (loaded, stage, threads), _ = child(
        directory,
        f"""
        with Engine.open({str(directory)!r}, read_only=True) as engine:
            for query in vectors[:5]:
                engine.snapshot().collection("l2").search(query, 10, ef=20)
        heavy = ("numba", "llvmlite", "duckdb", "pandas", "pyarrow.parquet", "scipy", "numpy.ma")
        loaded = [name for name in heavy if name in sys.modules]
        print(json.dumps([loaded, process.stage, threading.active_count()]))
        """,
    )
    assert (loaded, stage, threads) == ([], "portable", 1)


def test_many_questions_load_it_beside_and_the_answers_stay(directory, compiled_answers):
    (found, again, before, after), _ = child(
        directory,
        f"""
        import time
        with Engine.open({str(directory)!r}, read_only=True) as engine:
            view = engine.snapshot().collection("l2")
            before = view.search(vectors[3], 5, ef=20).reason
            found = answers(engine, vectors)
            deadline = time.monotonic() + 100
            while not process.ready and time.monotonic() < deadline:
                view.search(vectors[3], 5, ef=20)
                assert process.stage != "unavailable"
            again = answers(engine, vectors)
            after = view.search(vectors[3], 5, ef=20).reason
        print(json.dumps([found, again, before, after]))
        """,
    )
    assert found == compiled_answers and again == compiled_answers
    assert "in NumPy" in before and "in NumPy" not in after


def test_a_fork_while_loading_neither_hangs_nor_harms(directory):
    (status, ready), _ = child(
        directory,
        f"""
        import os, signal
        with Engine.open({str(directory)!r}, read_only=True) as engine:
            engine.snapshot().collection("l2").search(vectors[0], 5, ef=20)
            process.spent(1.0)
            assert process.stage == "loading"
            pid = os.fork()
            if pid == 0:
                signal.alarm(60)
                with Engine.open({str(directory)!r}, read_only=True) as own:
                    first = own.snapshot().collection("l2").search(vectors[0], 5, ef=20)
                    ok = process.load() and first.slots[0] == 0
                os._exit(0 if ok else 1)
            _, status = os.waitpid(pid, 0)
        print(json.dumps([status, process.load()]))
        """,
    )
    assert (status, ready) == (0, True)


def test_a_script_may_end_while_loading(directory):
    _, errors = child(
        directory,
        f"""
        engine = Engine.open({str(directory)!r}, read_only=True)
        engine.snapshot().collection("l2").search(vectors[0], 5, ef=20)
        process.spent(1.0)
        print(json.dumps(process.stage))
        """,
    )
    assert errors == ""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "db"
    x = np.random.default_rng(1).normal(size=(3000, 64)).astype(np.float32)
    with Engine.open(path) as engine:
        schema = CollectionSchema("c", "c" * 32, 64, Metric.L2, graph=GraphOptions(m=8, ef_construction=40))
        engine.commit(WriteBatch([CreateCollection(schema)]))
        engine.commit(WriteBatch([PutRows("c", [str(n) for n in range(3000)], x)]))
        engine.build_graphs()
    return path, x


@pytest.fixture
def fresh(built, tmp_path, monkeypatch):
    """A copy of a database, its rows, its graph file, and this process as it is before anything is loaded."""
    shutil.copytree(built[0], tmp_path / "db")
    code = CompiledCode()
    monkeypatch.setattr(compiled_code, "process", code)
    monkeypatch.setattr(code, "spent", lambda seconds: None)
    [file] = (tmp_path / "db" / "idx").iterdir()
    return tmp_path / "db", built[1], file, code


def chunk_of(engine):
    return engine.snapshot().states()[0].rows.layout.chunks[0]


def blocks_not_checked_at_once(file):
    return np.flatnonzero(~MappedGraph(file.read_bytes(), "g")._checked).tolist()


def break_blocks(file, blocks):
    stored = bytearray(file.read_bytes())
    with file.open("r+b") as other:  # in place: the file is mapped
        for block in blocks:
            other.seek(block * BLOCK + 5)
            other.write(bytes([stored[block * BLOCK + 5] ^ 1]))


def test_damage_that_a_walk_meets_is_announced_and_the_answer_is_right(fresh):
    path, x, file, code = fresh
    break_blocks(file, blocks_not_checked_at_once(file))
    with Engine.open(path, read_only=True) as engine:
        view, graph = engine.snapshot().collection("c"), chunk_of(engine).graph
        assert chunk_of(engine).walker() is not None and graph.damage is None  # nothing has been noticed yet
        for query in x[:5]:
            found = view.search(query, 10, ef=30)
            truth = np.argsort(((x - query).astype(np.float64) ** 2).sum(axis=1), kind="stable")[:10]
            assert found.slots.tolist() == truth.tolist() and found.strategy == "exact" and "damaged" in found.reason
            assert view.search(query, 10, exact=True).slots.tolist() == truth.tolist()
            assert view.search_many(x[:3], 1, ef=30)[2].slots.tolist() == [2]
            assert len(view.search_within(query, float(found.scores[4])).slots) == 5
        assert "checksum" in str(graph.damage) and chunk_of(engine).walker() is None
        assert any(one.file.startswith("idx/") for one in engine.verify())
    assert not code.ready


def test_damage_found_when_compiled_code_takes_over(fresh):
    path, x, file, code = fresh
    with Engine.open(path, read_only=True) as engine:
        view = engine.snapshot().collection("c")
        assert view.search(x[0], 3, ef=20).strategy == "graph"
        break_blocks(file, blocks_not_checked_at_once(file))  # what was read before is still right
        assert code.load()
        found = view.search(x[0], 3, ef=20)
        assert found.strategy == "exact" and found.slots[0] == 0 and chunk_of(engine).graph.damage is not None


def test_compiled_code_takes_over_where_it_is_told_to(fresh):
    path, x, _, code = fresh
    with Engine.open(path, read_only=True) as engine:
        view = engine.snapshot().collection("c")
        before = view.search(x[7], 10, ef=20)
        walker = chunk_of(engine).walker()
        assert walker.compiled is None and code.load() and walker.compiled is not None
        after = view.search(x[7], 10, ef=20)
        assert (after.slots == before.slots).all() and after.scores.tobytes() == before.scores.tobytes()
        assert before.reason.removesuffix("; in NumPy") == after.reason != before.reason


def test_many_queries_at_once_do_not_wait_for_the_background(fresh):
    path, x, _, code = fresh
    with Engine.open(path, read_only=True) as engine:
        view = engine.snapshot().collection("c")
        alone = [view.search(query, 3, ef=20) for query in x[:20]]
        assert not code.ready and alone[0].strategy == "graph"
        found = view.search_many(x[:400], 3, ef=20)
        assert code.ready and len(found) == 400
        assert [one.slots.tolist() for one in found[:20]] == [one.slots.tolist() for one in alone]


def test_who_searches_first_holds_nothing_longer_than_it_lives(fresh):
    path, x, _, _ = fresh
    gc.collect()
    gc.disable()
    try:
        with Engine.open(path, read_only=True) as engine:
            chunk = chunk_of(engine)
            graph = SegmentGraph(engine._source.disk, chunk.graph.file, Metric.L2)
            graph.walker(chunk.segment).search(x[0], 3, 20)
            mapped = weakref.ref(graph.walker(chunk.segment).graph)
            assert mapped() is not None
            del graph
            assert mapped() is None
    finally:
        gc.enable()
