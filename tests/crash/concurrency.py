"""Eight threads write and search through one handle while readers in other processes watch and the files are rewritten.

Each commit changes two collections and a keyed record together: whoever sees one of the three without the others has
seen half a transaction. Before a thread commits, it notes in a file mapped by all processes what its rows will be after
that commit, and that it has begun; afterwards, that it was acknowledged. So whoever looks at a snapshot knows which of
a thread's commits it must hold and which it cannot hold yet, how many rows that makes, and what they are: a vector
follows from its row's id and stamp, so that a label outside the map, or the vector of another row, shows at once.

Threads take turns as the machine pleases: a seed here chooses what is written, not when.
"""

import argparse
import collections
import faulthandler
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import pyarrow as pa

from qstore_db.database import QuantumDatabase
from qstore_db.errors import ConflictError
from storage_engine.batch import CreateCollection, DeleteRows, PutRecord, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, GraphOptions, Metric

THREADS = 8
READERS = 3
DIMENSION = 16
OWN_IDS = 300  # that one thread may write
SHARED_IDS = 100  # that every thread may write
SHARED = -1  # the owner of such a row
STAMPS = 10**7  # more than one thread ever commits
COLLECTIONS = {"origins": 0, "mirrors": 1000}  # and what makes their vectors differ
KEPT_SNAPSHOTS = 4
TABLE = "progress"
COUNTER = "all"


class AnomalyError(Exception):
    """Somebody saw what cannot be."""


def require(condition, what):
    if not condition:
        raise AnomalyError(what)


def vectors_of(numbers, stamps, shift):
    """float32 of shape (rows, DIMENSION), one for each id, stamp and collection."""
    mixed = (stamps * 2_654_435_761 + numbers * 40_503)[:, None] + (np.arange(DIMENSION) + shift) * 7_919
    mixed = (mixed % 65_521) * 30_011 % 65_521
    return (mixed / 65_521 - 0.5).astype(np.float32)


class Notes:
    """What each thread has begun, what was acknowledged, and what its rows are after each of its commits."""

    def __init__(self, path, commits, mode):
        def mapped(at, shape):
            offset = 8 * at
            return np.memmap(path, np.int64, mode if path.exists() else "w+", offset=offset, shape=shape)

        self.commits = commits
        self.stop = mapped(0, (1,))
        self.begun = mapped(512, (THREADS,))
        self.acknowledged = mapped(1024, (THREADS,))
        self.history = mapped(2048, (THREADS, commits, 2))  # rows, sum of their stamps


class Looks:
    """Compares snapshots with the notes.

    Args:
        notes: Of all threads.
        counts: What was looked at is added here.
    """

    def __init__(self, notes, counts):
        self.notes = notes
        self.counts = counts
        self.highest = np.zeros(THREADS, np.int64)

    def newest(self, engine, random, *, refresh):
        """Look at the newest commit; returns its snapshot."""
        lowest = self.notes.acknowledged.copy()
        if refresh:
            engine.refresh()
        snapshot = engine.snapshot()
        seen = self.whole(snapshot)
        begun = self.notes.begun.copy()
        require((seen >= lowest).all(), f"acknowledged were {lowest}, version {snapshot.version} holds {seen}")
        require((seen <= begun).all(), f"begun were {begun}, version {snapshot.version} holds {seen}")
        require((seen >= self.highest).all(), f"{self.highest} were seen, then {seen}")
        self.highest = seen
        self.search(snapshot, random)
        return snapshot

    def whole(self, snapshot):
        """Whether a snapshot holds whole transactions only; returns how many commits of each thread it holds."""
        records = snapshot.table(TABLE)
        seen = np.array([records[str(thread)]["commits"] for thread in range(THREADS)])
        added = sum(records[str(thread)]["added"] for thread in range(THREADS))
        require(records[COUNTER]["value"] == added, f"the counter is {records[COUNTER]}, the threads added {added}")
        sides = [self.rows(snapshot.collection(name), shift) for name, shift in COLLECTIONS.items()]
        require(sides[0].keys() == sides[1].keys(), f"only in one collection: {sides[0].keys() ^ sides[1].keys()}")
        require(sides[0] == sides[1], "the collections hold different stamps")
        rows, sums = np.zeros(THREADS, np.int64), np.zeros(THREADS, np.int64)
        for owner, stamp in sides[0].values():
            thread, commit = divmod(stamp, STAMPS)
            require(commit <= seen[thread], f"a row of commit {commit} of thread {thread}, which is not there yet")
            if owner != SHARED:
                rows[owner] += 1
                sums[owner] += stamp
        for thread, commits in enumerate(seen):
            expected = self.notes.history[thread, commits]
            found = rows[thread], sums[thread]
            require(tuple(expected) == found, f"thread {thread} after {commits} commits: {found} instead of {expected}")
        self.counts["snapshots"] += 1
        return seen

    def rows(self, view, shift):
        """Id → owner and stamp of all rows."""
        live = np.flatnonzero(view.live())
        require(len(live) == len(view), f"{len(view)} rows, {len(live)} of them live")
        ids = view.ids_at(live)
        require(len(set(ids)) == len(ids), "an id is there twice")
        require((view.slots_of(ids) == live).all(), "an id leads to another row")
        if not ids:
            return {}
        labels = view.metadata_at(live, ["owner", "stamp"])
        owners, stamps = (labels[name].to_numpy() for name in ("owner", "stamp"))
        right = vectors_of(numbers_of(ids), stamps, shift)
        require(np.array_equal(view.vectors_at(live), right), "a row has the vector of another")
        return dict(zip(ids, zip(owners.tolist(), stamps.tolist(), strict=True), strict=True))

    def search(self, snapshot, random):
        """One query of a snapshot, with and without a mask."""
        name = str(random.choice(list(COLLECTIONS)))
        view = snapshot.collection(name)
        query = (random.random(DIMENSION) - 0.5).astype(np.float32)
        top_k = int(random.choice([1, 10, 200]))
        mask, wanted = None, view.live()
        if random.random() < 0.5 and len(view):
            owner = int(random.integers(-1, THREADS))
            mask = view.column("owner").to_numpy() == owner
            wanted = wanted & mask
        exact = bool(random.random() < 0.3)
        narrow = None if exact or random.random() < 0.5 else 10  # by default few rows are all compared
        found = view.search(query, top_k, mask=mask, exact=exact, ef=narrow)
        slots = found.slots
        require(len(slots) == min(top_k, int(wanted.sum())), f"{len(slots)} of {top_k} rows, {wanted.sum()} match")
        require(len(set(slots.tolist())) == len(slots), "a row was found twice")
        require(bool(wanted[slots].all()), "a row was found that is deleted or does not match")
        distances = np.linalg.norm(view.vectors_at(slots).astype(np.float64) - query, axis=1)
        require(np.allclose(found.scores, distances, rtol=1e-5, atol=1e-6), "a score belongs to another row")
        require(bool((np.diff(found.scores) >= 0).all()), "not the nearest first")
        if exact:
            every = np.linalg.norm(view.vectors_at(np.flatnonzero(wanted)).astype(np.float64) - query, axis=1)
            best = np.sort(every)[:top_k]
            require(np.allclose(found.scores, best, rtol=1e-5, atol=1e-6), "an exact search missed a row")
        self.counts["searches"] += 1
        self.counts["searches by graph"] += found.strategy in {"graph", "masked_graph"}


def numbers_of(ids):
    return np.array([int(one.rpartition("-")[2]) for one in ids], np.int64)


class Writer:
    """One of the threads: a client of the shared handle that knows what it has written."""

    def __init__(self, number, engine, database, notes, seed):
        self.number = number
        self.engine = engine
        self.database = database
        self.notes = notes
        self.random = np.random.default_rng([seed, number])
        self.counts = collections.Counter()
        self.looks = Looks(notes, self.counts)
        self.rows = {}  # number of each own id → stamp
        self.commits = 0
        self.added = 0
        self.kept = collections.deque(maxlen=KEPT_SNAPSHOTS)

    def step(self):
        actions = [self.write, self.write_in_transaction, self.look, self.look_again, self.ask]
        actions[self.random.choice(len(actions), p=[0.6, 0.2, 0.12, 0.04, 0.04])]()

    def write(self):
        """Both collections and the record in one batch."""
        operations, after = self.change()
        self.commit(after, lambda: self.engine.commit(WriteBatch([*operations, self.record(self.added)])))

    def write_in_transaction(self):
        """The same as several commits of one transaction, which also counts in a record that all threads write."""
        operations, after = self.change()

        def transaction():
            with self.engine.transaction():
                value = self.engine.snapshot().table(TABLE)[COUNTER]["value"]
                for operation in operations:
                    self.engine.commit(WriteBatch([operation]))
                self.engine.commit(WriteBatch([PutRecord(TABLE, COUNTER, {"value": value + 1})]))
                self.engine.commit(WriteBatch([self.record(self.added + 1)]))

        if self.commit(after, transaction):
            self.added += 1
            self.counts["transactions"] += 1

    def commit(self, after, write):
        following = self.commits + 1
        require(following < self.notes.commits, "more commits than there is room for in the notes")
        self.notes.history[self.number, following] = len(after), sum(after.values())
        self.notes.begun[self.number] = following
        try:
            write()
        except ConflictError:
            self.counts["conflicts"] += 1
            return False
        self.notes.acknowledged[self.number] = following
        self.commits, self.rows = following, after
        self.counts["commits"] += 1
        return True

    def change(self):
        """Operations of one kind on both collections, and the own rows after them."""
        stamp = self.number * STAMPS + self.commits + 1
        kind = self.random.choice(["insert", "upsert", "update", "delete", "shared"], p=[0.3, 0.2, 0.15, 0.2, 0.15])
        count = int(self.random.integers(1, 25))
        after = dict(self.rows)
        if kind == "shared":
            numbers = self.random.choice(SHARED_IDS, count, replace=False)
            if self.random.random() < 0.3:
                ids = [f"shared-{number}" for number in numbers]
                return [DeleteRows(name, ids, missing_ok=True) for name in COLLECTIONS], after
            return self.puts("shared", SHARED, numbers, stamp, "upsert"), after
        stored = np.array(sorted(self.rows), np.int64)
        free = np.setdiff1d(np.arange(OWN_IDS), stored)
        pool = {"insert": free, "upsert": np.arange(OWN_IDS), "update": stored, "delete": stored}[kind]
        if not len(pool):
            kind, pool = ("insert", free) if len(free) else ("delete", stored)
        numbers = self.random.choice(pool, min(count, len(pool)), replace=False)
        if kind == "delete":
            ids = [f"{self.number}-{number}" for number in numbers]
            for number in numbers.tolist():
                del after[number]
            return [DeleteRows(name, ids) for name in COLLECTIONS], after
        after |= dict.fromkeys(numbers.tolist(), stamp)
        return self.puts(str(self.number), self.number, numbers, stamp, kind), after

    def puts(self, prefix, owner, numbers, stamp, mode):
        ids = [f"{prefix}-{number}" for number in numbers]
        stamps = np.full(len(ids), stamp, np.int64)
        labels = pa.table({"owner": pa.array([owner] * len(ids), pa.int64()), "stamp": stamps})
        return [
            PutRows(name, ids, vectors_of(numbers, stamps, shift), metadata=labels, mode=mode)
            for name, shift in COLLECTIONS.items()
        ]

    def record(self, added):
        return PutRecord(TABLE, str(self.number), {"commits": self.commits + 1, "added": added})

    def look(self):
        self.kept.append(self.looks.newest(self.engine, self.random, refresh=False))

    def look_again(self):
        """A snapshot taken long ago still says the same."""
        if self.kept:
            snapshot = self.kept[int(self.random.integers(len(self.kept)))]
            self.looks.whole(snapshot)
            self.looks.search(snapshot, self.random)
            self.counts["old snapshots"] += 1

    def ask(self):
        """One statement of SQL sees one version."""
        text = "SELECT (SELECT count(*) FROM origins), (SELECT count(*) FROM mirrors), (SELECT sum(stamp) FROM origins)"
        text += ", (SELECT sum(stamp) FROM mirrors)"
        ((left, right, sum_left, sum_right),) = self.database.sql(text).fetchall()
        require((left, sum_left) == (right, sum_right), f"SQL sees {left} and {right} rows")
        self.counts["statements of SQL"] += 1


def maintain(engine, random, counts):
    """Seals, graph builds and compaction, again and again."""
    what = random.choice(["seal", "graphs", "vacuum", "past"], p=[0.4, 0.25, 0.2, 0.15])
    if what == "seal":
        engine.seal()
    elif what == "graphs":
        engine.build_graphs()
    elif what == "vacuum":
        engine.vacuum()
    else:
        require(not (found := engine.verify()), f"verify finds {found[:1]}")
    counts[{"seal": "seals", "graphs": "graph builds", "vacuum": "vacuums", "past": "verified"}[str(what)]] += 1


def set_up(path, notes):
    """Empty collections, and records that say so."""
    engine = Engine.open(path)
    graph = GraphOptions(m=6, ef_construction=30, minimum_rows=300)
    schemas = [
        CollectionSchema(name, f"{number:032x}", DIMENSION, Metric.L2, graph=graph)
        for number, name in enumerate(COLLECTIONS)
    ]
    records = [PutRecord(TABLE, str(thread), {"commits": 0, "added": 0}) for thread in range(THREADS)]
    first = [CreateCollection(schema) for schema in schemas]
    engine.commit(WriteBatch([*first, *records, PutRecord(TABLE, COUNTER, {"value": 0})]))
    notes.stop[0] = 0
    return engine


def write(path, notes, seconds, seed, failures):
    """The threads and the upkeep of the files, until the time is over or one of them fails."""
    engine = set_up(path, notes)
    common = ["--read", str(path), "--seconds", str(seconds), "--commits", str(notes.commits)]
    readers = [
        subprocess.Popen(
            [sys.executable, __file__, *common, "--seed", str(seed + 1 + reader)], stdout=subprocess.PIPE, text=True
        )
        for reader in range(READERS)
    ]
    counts = collections.Counter()
    until = time.monotonic() + seconds

    def guarded(step):
        try:
            while time.monotonic() < until and not failures:
                step()
        except BaseException:  # noqa: BLE001 - whatever a thread ends with is a finding
            failures.append(traceback.format_exc())

    try:
        with QuantumDatabase.open(path, progress=False) as database:
            writers = [Writer(number, engine, database, notes, seed) for number in range(THREADS)]
            threads = [threading.Thread(target=guarded, args=(writer.step,)) for writer in writers]
            for thread in threads:
                thread.start()
            random = np.random.default_rng([seed, THREADS])
            guarded(lambda: maintain(engine, random, counts))
            for thread in threads:
                thread.join()
    finally:
        notes.stop[0] = 1
        said = [reader.communicate()[0] for reader in readers]
    failures += [f"a reader ended with {reader.returncode}" for reader in readers if reader.returncode]
    for writer in writers:
        counts += writer.counts
    for text in said:
        counts += collections.Counter(json.loads(text)["counts"] if text else {})
    if not failures:
        finish(engine, path, notes, writers)
    return counts


def finish(engine, path, notes, writers):
    """When all is quiet, exactly what was acknowledged is there, also after opening anew."""
    random = np.random.default_rng(0)
    for _ in range(2):
        looks = Looks(notes, collections.Counter())
        snapshot = looks.newest(engine, random, refresh=False)
        require((looks.highest == [writer.commits for writer in writers]).all(), "a commit is missing at the end")
        require(snapshot.table(TABLE)[COUNTER]["value"] == sum(w.added for w in writers), "an addition was lost")
        require(not (found := engine.verify()), f"verify finds {found[:1]}")
        engine.close()
        engine = Engine.open(path)
    engine.close()


def read(path, notes, seconds, seed, counts):
    """A process that only looks, until it is told to stop."""
    random = np.random.default_rng([seed, THREADS + 1])
    looks = Looks(notes, counts)
    until = time.monotonic() + seconds + 60
    kept = None
    with Engine.open(path, read_only=True) as engine:
        while not notes.stop[0] and time.monotonic() < until:
            before = engine.snapshot().version
            snapshot = looks.newest(engine, random, refresh=True)
            require(snapshot.version >= before, f"after version {before} came {snapshot.version}")
            counts["looks of other processes"] += 1
            time.sleep(0.01)  # the writers need the processors too
            if kept is None or random.random() < 0.1:
                kept = snapshot
            elif random.random() < 0.1:
                looks.whole(kept)
                counts["old snapshots"] += 1


def main():
    faulthandler.enable()
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--read", type=Path)
    parser.add_argument("--commits", type=int)
    options = parser.parse_args()
    faulthandler.dump_traceback_later(options.seconds + 200, exit=True)
    counts, failures = collections.Counter(), []
    if options.read is not None:
        notes = Notes(options.read.parent / "notes", options.commits, "r+")
        read(options.read, notes, options.seconds, options.seed, counts)
    else:
        folder = Path(tempfile.mkdtemp(prefix="qstore-threads-"))
        notes = Notes(folder / "notes", int(5_000 * (options.seconds + 1)), "r+")
        try:
            counts = write(folder / "db", notes, options.seconds, options.seed, failures)
        finally:
            shutil.rmtree(folder)
    print(json.dumps({"counts": dict(counts), "failures": failures}))


if __name__ == "__main__":
    main()
