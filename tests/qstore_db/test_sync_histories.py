"""Random histories of edits on both sides: a dictionary knows what must come out."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pinecone", reason="the extra pinecone is not installed")

from qstore_db import QuantumDatabase
from qstore_db.emulators.pinecone.emulator import PineconeEmulator
from qstore_db.emulators.pinecone.faults import Fault, FaultKind
from qstore_db.errors import RemoteIndexError
from qstore_db.sync.merging import DIRECTIONS, PREFERENCES
from qstore_db.sync.options import SyncOptions
from qstore_db.sync.pinecone_index import PineconeIndex
from qstore_db.sync.syncing import sync

IDS = ["a", "b", "c", "d", "e", "f"]
VALUES = st.tuples(st.integers(1, 3), st.sampled_from([{}, {"n": 1}, {"n": 2.5}, {"t": ["x"]}]))


class Sides:
    """A collection and an index with a clock of their own."""

    def __init__(self, delay_seconds=0.0, seed=0):
        self.now = 1_000.0
        clock = lambda: self.now  # noqa: E731 - one of them for both
        self.emulator = PineconeEmulator(delay_seconds=delay_seconds, clock=clock, seed=seed)
        self.index = self.emulator.create_index("items", 1, "euclidean")
        self.db = QuantumDatabase.open(":memory:", clock=clock)
        self.items = self.db.create_collection("items", dimension=1, metric="l2")
        self.remote = PineconeIndex.connect(
            "items",
            api_key=self.emulator.key,
            host=self.emulator.url,
            retry_seconds=0.0,
            sleep=lambda seconds: None,
        )

    def sync(self, direction="both", prefer="local", settle_seconds=0.0):
        options = SyncOptions(direction, prefer, allow_emptying=True, settle_seconds=settle_seconds)
        return sync(self.db._engine, "items", self.remote, options)

    def edit(self, side, row_id, value):
        """Write a row, or delete it where the value is None."""
        if side == "local":
            if value is None:
                self.items.delete(row_id, missing_ok=True)
            else:
                self.items.upsert(row_id, [value[0]], metadata=value[1] or None)
        elif value is None:
            with contextlib.suppress(KeyError):  # nothing was ever written to the namespace
                self.index.remove([row_id])
        else:
            self.index.put({row_id: ([value[0]], value[1])})

    def local(self):
        rows = self.items.get([row_id for row_id in (*IDS, *MINE, *THEIRS, *SHARED) if row_id in self.items])
        return {
            row.id: (row.vector[0], {name: one for name, one in row.metadata.items() if one is not None})
            for row in rows
        }

    def there(self):
        return {row_id: (values[0], metadata) for row_id, (values, metadata) in self.index.rows().items()}

    def close(self):
        self.remote.close()
        self.db.close()
        self.emulator.close()


MINE = ["l1", "l2", "l3"]
THEIRS = ["r1", "r2", "r3"]
SHARED = ["s1", "s2"]


@pytest.fixture(autouse=True, scope="module")
def no_waits_inside_the_sdk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pinecone._internal.http_client._retry_sleep", lambda seconds: None, raising=False)
        yield


def merged(base, local, remote, direction, prefer):
    """The three-way merge as its definition says it, on dictionaries that it changes; the ids in conflict."""
    conflicts = []
    for row_id in IDS:
        agreed, here, there = base.get(row_id), local.get(row_id), remote.get(row_id)
        changed_here, changed_there = here != agreed, there != agreed
        if direction == "push" and not changed_here:
            continue
        if here == there:
            agreed = here
        elif changed_here and changed_there:
            conflicts.append(row_id)
            if prefer == "local" and direction != "pull":
                there = agreed = here
            if prefer == "remote" and direction != "push":
                here = agreed = there
        elif changed_here and direction != "pull":
            there = agreed = here
        elif changed_there and direction != "push":
            here = agreed = there
        for side, value in ((base, agreed), (local, here), (remote, there)):
            side.pop(row_id, None)
            if value is not None:
                side[row_id] = value
    return conflicts


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["local", "remote"]), st.sampled_from(IDS), st.none() | VALUES),
            st.tuples(st.just("sync"), st.sampled_from(DIRECTIONS), st.sampled_from(PREFERENCES)),
        ),
        max_size=25,
    )
)
def test_every_history_ends_as_a_three_way_merge(history):
    base, local, remote = {}, {}, {}
    with contextlib.closing(Sides()) as sides:
        for what, first, second in history:
            if what == "sync":
                report = sides.sync(first, second)
                conflicts = merged(base, local, remote, first, second)
                assert sorted(one.id for one in report.conflicts) == conflicts
            else:
                sides.edit(what, first, second)
                side = local if what == "local" else remote
                side.pop(first, None)
                if second is not None:
                    side[first] = second
            assert sides.local() == local
            assert sides.there() == remote


FAULTS = {
    "refused": [Fault(status=400, path="/vectors/upsert|/vectors/delete")],
    "lost": [
        Fault(FaultKind.LOST_ANSWER, path="/vectors/upsert|/vectors/delete"),
        Fault(status=400, path="/vectors/upsert|/vectors/delete"),
    ],
    "unread": [Fault(status=400, path="/vectors/fetch")],
}


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.integers(0, 2**31),
    st.lists(
        st.one_of(
            st.tuples(st.just("local"), st.sampled_from(MINE), st.none() | VALUES),
            st.tuples(st.just("remote"), st.sampled_from(THEIRS), st.none() | VALUES),
            st.tuples(st.sampled_from(["local", "remote"]), st.sampled_from(SHARED), st.none() | VALUES),
            st.tuples(st.just("sync"), st.sampled_from(DIRECTIONS), st.sampled_from(["local", "remote"])),
            st.tuples(st.just("fault"), st.sampled_from(sorted(FAULTS)), st.none()),
            st.tuples(st.just("wait"), st.floats(0.1, 20.0), st.none()),
        ),
        max_size=30,
    ),
)
def test_nothing_is_lost_or_brought_back_by_faults_and_by_reads_that_are_behind(seed, history):
    """Rows that only one side edits end as that side last wrote them, whatever reads showed and requests did.

    Rows that both edit end equal on both sides, as one of them once was.
    """
    delay, settle = 5.0, 6.0
    wanted, shared = {}, {row_id: [None] for row_id in SHARED}
    with contextlib.closing(Sides(delay, seed)) as sides:
        for what, first, second in history:
            if what == "sync":
                with contextlib.suppress(RemoteIndexError):
                    sides.sync(first, second, settle)
            elif what == "fault":
                sides.emulator.faults += FAULTS[first]
            elif what == "wait":
                sides.now += first
            else:
                sides.edit(what, first, second)
                if first in SHARED:
                    shared[first].append(second)
                else:
                    wanted[first] = second
            mine = {row_id: row for row_id, row in sides.local().items() if row_id in MINE}
            assert mine == {i: value for i, value in wanted.items() if i in MINE and value is not None}
        sides.emulator.faults.clear()
        for _ in range(3):
            sides.now += delay + settle
            sides.sync("both", "local", settle)
        final, there = sides.local(), sides.there()
        assert final == there
        assert {row_id: value for row_id, value in final.items() if row_id not in SHARED} == {
            row_id: value for row_id, value in wanted.items() if value is not None
        }
        assert all(final.get(row_id) in values for row_id, values in shared.items())


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.sampled_from(["local", "remote"]), st.sampled_from(IDS), st.none() | VALUES), max_size=15))
def test_the_plan_is_what_is_done(history):
    with contextlib.closing(Sides()) as sides:
        for side, row_id, value in history[::2]:
            sides.edit(side, row_id, value)
        sides.sync()
        for side, row_id, value in history[1::2]:
            sides.edit(side, row_id, value)
        only_plan = SyncOptions("both", dry_run=True, allow_emptying=True)
        planned = sync(sides.db._engine, "items", sides.remote, only_plan)
        done = sides.sync()
        assert sorted(planned.changes.to_pylist(), key=str) == sorted(done.changes.to_pylist(), key=str)
