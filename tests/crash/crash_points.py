"""Stop a workload at every call that changes the disk, let the power fail, recover, and compare.

The workload runs once per seed on a disk that records its calls. From the recording the medium is built as it was after
each call, the power is cut (or the process killed), and the real engine opens what is left. A point is one such image.
"""

import json
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from workload import Workload, deterministic, fingerprint_of, open_database

from storage_engine.batch import PutRecord, PutRows
from storage_engine.errors import NotADatabaseError, QStoreError
from storage_engine.follower import Follower
from storage_engine.testing.recording_disk import PowerCutError, RecordingDisk
from storage_engine.verify import verify

KILLED = 0.2  # share of crashes that are a killed process and not a power cut
AGAIN = 0.35  # share of recoveries that are interrupted, too
READER = 0.15  # share of images that a reader opens before a writer does


class Violation(Exception):
    pass


@dataclass
class Tally:
    points: int = 0
    workloads: int = 0
    counts: Counter = field(default_factory=Counter)
    failures: list = field(default_factory=list)


@dataclass
class Allowed:
    """Fingerprints by version, the newest version acknowledged and the newest one begun."""

    prints: dict
    lowest: int
    highest: int

    def check(self, who, disk, snapshot):
        version = snapshot.version
        if not self.lowest <= version <= self.highest:
            raise Violation(f"{who} shows version {version}; acknowledged {self.lowest}, begun {self.highest}")
        if fingerprint_of(disk, snapshot) != self.prints[version]:
            raise Violation(f"{who} shows another version {version} than was committed")
        # What was shown once must not be taken back.
        self.lowest = version


def run(tally, seeds, most_points, open_with=open_database, make_disk=RecordingDisk, most_failures=5):
    """Check the points of workloads until there are ``most_points`` or enough failures."""
    for seed in seeds:
        with deterministic(seed):
            disk = make_disk()
            workload = Workload(seed, disk, open_with=open_with)
            workload.run()
            tally.workloads += 1
            journal, events = disk.journal, workload.events
            medium = RecordingDisk().medium()
            event = 0
            for point in range(len(journal) + 1):
                if point:
                    medium.step(journal[point - 1])
                while event + 1 < len(events) and events[event + 1][0] <= point:
                    event += 1
                if tally.points >= most_points or len(tally.failures) >= most_failures:
                    return
                allowed = Allowed(workload.prints, events[event][2], events[event][1])
                tally.points += 1
                try:
                    following = journal[point] if point < len(journal) else None
                    random = np.random.default_rng([seed, 2, point])
                    left = crash(tally, medium, random, following)
                    check_image(tally, left, allowed, random, make_disk, open_with)
                except (Violation, QStoreError) as error:
                    tally.failures.append({"seed": seed, "point": point, "call": _before(journal, point)} | describe(error))


def check_image(tally, medium, allowed, random, make_disk=RecordingDisk, open_with=open_database):
    """Recover what a crash left, perhaps with further crashes meanwhile; compare; write; crash; compare."""
    for _ in range(2):
        if random.random() < AGAIN:
            medium = interrupted_recovery(tally, medium, allowed, random, make_disk, open_with)
    if random.random() < READER:
        medium = read_only(tally, medium, allowed, random, make_disk)
    disk = make_disk(medium)
    database = open_with(disk)
    tally.counts["recoveries"] += 1
    allowed.check("recovery", disk, database.snapshot)
    if random.random() < 0.1:
        verified(tally, disk, database)
    write_again(tally, disk, database, random, make_disk, open_with)


def crash(tally, medium, random, following=None):
    """What the next process finds; a write that was about to follow may have happened in part."""
    if random.random() < KILLED:
        tally.counts["kills"] += 1
        left = medium.killed()
        if following is not None and following.kind == "write" and random.random() < 0.5:
            part = following.data[: int(random.integers(0, len(following.data)))]
            left.step(replace(following, data=part))
        return left
    tally.counts["power cuts"] += 1
    return medium.power_cut(random)


def interrupted_recovery(tally, medium, allowed, random, make_disk, open_with):
    disk = make_disk(medium, cut_after=int(random.integers(0, 14)))
    try:
        database = open_with(disk)
    except PowerCutError:
        tally.counts["crashes inside recovery"] += 1
    else:
        allowed.check("recovery", disk, database.snapshot)
        tally.counts["crashes right after recovery"] += 1
    return crash(tally, disk.medium(), random)


def read_only(tally, medium, allowed, random, make_disk):
    disk = make_disk(medium)
    try:
        reader = Follower(disk)
    except NotADatabaseError:
        if allowed.lowest > 0:
            raise
    else:
        allowed.check("a reader", disk, reader.snapshot)
    tally.counts["readers"] += 1
    return crash(tally, disk.medium(), random)


def verified(tally, disk, database):
    with database.undisturbed() as manifest:
        findings = verify(disk, database.snapshot, manifest, None)
    tally.counts["verified"] += 1
    if found := [finding for finding in findings if finding.severity != "info"]:
        raise Violation(f"verify finds {found[0]}")


def write_again(tally, disk, database, random, make_disk, open_with):
    """The database must be writable after recovery, and that write must be durable."""
    operations = [PutRecord("t", "after", {"x": random.bytes(300).hex()})]
    for schema in database.snapshot.collections():
        vectors = random.standard_normal((1, schema.dimension)).astype(np.float32)
        operations.append(PutRows(schema.name, ["after"], vectors))
    before = database.snapshot.version
    database.commit(operations)
    if random.random() < 0.2:
        database.seal()
    expected = fingerprint_of(disk, database.snapshot)
    disk = make_disk(crash(tally, disk.medium(), random))
    database = open_with(disk)
    if database.snapshot.version != before + 1 or fingerprint_of(disk, database.snapshot) != expected:
        raise Violation("a write after recovery was lost")
    tally.counts["writes after recovery"] += 1


def _before(journal, point):
    return "the end" if point == len(journal) else f"before {journal[point].kind} {journal[point].name}"


def describe(error):
    where = traceback.extract_tb(error.__traceback__)[-1]
    return {"error": f"{type(error).__name__}: {error}", "where": f"{where.filename}:{where.lineno}"}


def main(first_seed, step, points):
    tally, began = Tally(), time.perf_counter()
    run(tally, range(first_seed, 10**9, step), points)
    print(json.dumps(vars(tally) | {"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
