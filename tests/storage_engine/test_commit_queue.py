"""The line in front of the log, above all when a thread in it is interrupted."""

import dis
import sys
import threading
import time

import numpy as np
import pytest

from storage_engine import commit_queue, committer
from storage_engine.batch import CreateCollection, PutRecord, PutRows, WriteBatch
from storage_engine.commit_queue import PATIENCE_SECONDS, CommitQueue, CommitRequest
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, Metric
from storage_engine.wal import writer

# Where the interpreter lets a signal handler run: on entering a function, after a call, when a loop goes round.
_SIGNALS_AFTER = ("RESUME", "CALL", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "CALL_KW")


class Interrupt:
    """Raises KeyboardInterrupt at the n-th place of some modules at which Ctrl-C could, in the thread that traces."""

    def __init__(self, modules, place):
        self._files = {module.__file__ for module in modules}
        self._place = place
        self._before = {}
        self.places = 0

    def __call__(self, frame, event, _):
        if frame.f_code.co_filename not in self._files:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame, event, _):
        if event == "opcode":
            before = self._before.get(frame)
            name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            self._before[frame] = name
            if before in _SIGNALS_AFTER and name not in ("CACHE", "PRECALL"):
                self.places += 1
                if self.places == self._place:
                    raise KeyboardInterrupt
        return self._step


def interrupted(work, modules, place):
    """Run work in this thread, interrupted at a place; whether there was such a place."""
    interrupt = Interrupt(modules, place)
    sys.settrace(interrupt)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def in_thread(work):
    errors = []

    def run():
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told to the test
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, errors


class Groups:
    """Stands for the log: notes what was committed and may be slow."""

    def __init__(self):
        self.committed = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, group):
        self.gate.wait(5)
        for request in group:
            if not request.done:
                self.committed.append(request)
                request.version = len(self.committed)


def request(name):
    return CommitRequest([PutRecord("t", name, {})])


def name_of(one):
    return one.operations[0].key


def test_a_leader_interrupted_anywhere_stalls_nobody():
    place = 0
    while True:
        place += 1
        groups = Groups()
        queue = CommitQueue(groups)
        first = request("interrupted")
        hit = interrupted(lambda queue=queue, first=first: queue.run(first), [commit_queue], place)
        second = request("after")
        thread, errors = in_thread(lambda queue=queue, second=second: queue.run(second))
        thread.join(5)
        assert not thread.is_alive(), f"stalled after an interrupt at place {place}"
        assert not errors
        assert second.done
        names = [name_of(one) for one in groups.committed]
        assert names in (["interrupted", "after"], ["after"]), place
        if not hit:
            break
    assert place > 15


def test_a_leader_interrupted_while_others_wait_stalls_nobody():
    place = 0
    while True:
        place += 1
        groups = Groups()
        queue = CommitQueue(groups)
        groups.gate.clear()
        waiting = [request(f"waiting {number}") for number in range(3)]
        threads = []

        def arrive(queue=queue, waiting=waiting, threads=threads, groups=groups):
            # Called inside the leader's group: the others line up behind it.
            threads += [in_thread(lambda one=one: queue.run(one)) for one in waiting]
            limit = time.monotonic() + 5
            while len(queue._waiting) < 4 and time.monotonic() < limit:
                time.sleep(0.001)
            groups.gate.set()

        def commit(group, groups=groups, arrive=arrive, threads=threads):
            if not threads:
                arrive()
            groups(group)

        queue._commit_group = commit
        first = request("interrupted")
        hit = interrupted(lambda queue=queue, first=first: queue.run(first), [commit_queue], place)
        groups.gate.set()
        threads = threads or [in_thread(lambda one=one, queue=queue: queue.run(one)) for one in waiting]
        for thread, errors in threads:
            thread.join(5)
            assert not thread.is_alive(), f"stalled after an interrupt at place {place}"
            assert not errors
        assert all(one.done for one in waiting)
        assert len(set(groups.committed)) == len(groups.committed), f"committed twice at place {place}"
        if not hit:
            break


def test_a_waiting_thread_interrupted_anywhere_stalls_nobody():
    place = 0
    while True:
        place += 1
        groups = Groups()
        queue = CommitQueue(groups)
        groups.gate.clear()
        leader = request("leader")
        leading, _ = in_thread(lambda queue=queue, leader=leader: queue.run(leader))
        while not queue._taken:
            time.sleep(0.0005)
        behind = request("behind")
        opener = threading.Timer(0.02, groups.gate.set)
        opener.start()
        first = request("interrupted")
        hit = interrupted(lambda queue=queue, first=first: queue.run(first), [commit_queue], place)
        follower, _ = in_thread(lambda queue=queue, behind=behind: queue.run(behind))
        for thread in (leading, follower):
            thread.join(5)
            assert not thread.is_alive(), f"stalled after an interrupt at place {place}"
        opener.join()
        assert leader.done
        assert behind.done
        assert len(set(groups.committed)) == len(groups.committed)
        if not hit:
            break


def test_what_nobody_had_begun_is_not_committed_after_an_interrupt():
    class Interrupted(CommitRequest):
        __slots__ = ()

        def wait(self):
            raise KeyboardInterrupt

    groups = Groups()
    queue = CommitQueue(groups)
    groups.gate.clear()
    leader = request("leader")
    leading, _ = in_thread(lambda: queue.run(leader))
    while not queue._taken:
        time.sleep(0.0005)
    with pytest.raises(KeyboardInterrupt):
        queue.run(Interrupted([PutRecord("t", "withdrawn", {})]))
    groups.gate.set()
    leading.join(5)
    queue.run(request("after"))
    assert [name_of(one) for one in groups.committed] == ["leader", "after"]


def test_a_thread_that_is_told_does_not_wait_for_its_patience():
    groups = Groups()
    queue = CommitQueue(groups)
    start = time.monotonic()
    for number in range(50):
        pair = [in_thread(lambda number=number, side=side: queue.run(request(f"{number} {side}"))) for side in "ab"]
        for thread, errors in pair:
            thread.join(5)
            assert not errors
    assert len(groups.committed) == 100
    assert time.monotonic() - start < 50 * PATIENCE_SECONDS / 2


def test_a_commit_interrupted_anywhere_happens_once_or_not_at_all():
    """The engine's own steps: acknowledged later, refused, or unknown with the handle closed; never written twice."""
    row = np.ones((1, 2), np.float32)
    seen, modules = set(), [commit_queue, committer, writer]
    place = 0
    while True:
        place += 1
        with Engine.open(None) as engine:
            engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, 2, Metric.L2))]))
            batch = WriteBatch([PutRows("c", ["interrupted"], row, mode="upsert")])
            hit = interrupted(lambda engine=engine, batch=batch: engine.commit(batch), modules, place)
            outcome = "taken"
            try:
                version = engine.commit(WriteBatch([PutRows("c", ["after"], row)]))
            except committer.DatabaseClosedError:
                outcome = "closed"
            else:
                view = engine.snapshot().collection("c")
                assert engine.snapshot().version == version
                assert version - 1 == len(view) == view.slot_count, f"place {place}"
            seen.add(outcome)
        if not hit:
            break
    assert seen == {"taken", "closed"}
    assert place > 50
