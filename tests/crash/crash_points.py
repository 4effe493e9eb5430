"""Stop a workload at every call that changes the disk, let the power fail, recover, and compare.

The workload runs once per seed on a disk that records its calls. From the recording the medium is built as it was after
each call, the power is cut (or the process killed), and the real engine opens what is left. A point is one such image;
before a sync there are three of them, as that is where most can happen.
"""

import argparse
import itertools
import json
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from workload import Workload, deterministic, fingerprint_of, is_kept, open_database

from storage_engine.batch import PutRecord, PutRows
from storage_engine.errors import NotADatabaseError
from storage_engine.follower import Follower
from storage_engine.history.past import load
from storage_engine.history.pins import pins
from storage_engine.snapshot import Snapshot
from storage_engine.testing.medium import Medium
from storage_engine.testing.recording_disk import PowerCutError, RecordingDisk
from storage_engine.verify import verify

KILLED = 0.2  # share of crashes that are a killed process and not a power cut
AGAIN = 0.35  # share of recoveries that are interrupted, too
PAST = 0.2  # share of recoveries after which an old version is read
READER = 0.15  # share of images that a reader opens before a writer does


class ViolationError(Exception):
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
            raise ViolationError(f"{who} shows version {version}; acknowledged {self.lowest}, begun {self.highest}")
        if fingerprint_of(disk, snapshot) != self.prints[version]:
            raise ViolationError(f"{who} shows another version {version} than was committed")
        # What was shown once must not be taken back.
        self.lowest = version


def run(tally, seeds, most_points, open_with=open_database, make_disk=RecordingDisk, most_failures=5):
    """Check the points of workloads until there are ``most_points`` or enough failures."""
    for seed in seeds:
        with deterministic(seed):
            disk = make_disk()
            workload = Workload(seed, disk, open_with=open_with)
            tally.workloads += 1
            try:
                workload.run()
            except Exception as error:  # noqa: BLE001 - whatever the engine raises here is a finding
                tally.failures.append({"seed": seed, "call": "the workload itself"} | describe(error))
            else:
                check_points(tally, seed, workload, most_points, most_failures)
        if tally.points >= most_points or len(tally.failures) >= most_failures:
            return


def check_points(tally, seed, workload, most_points, most_failures):
    journal, events = workload.disk.journal, workload.events
    make_disk, open_with = type(workload.disk), workload.open_with
    medium, event = Medium(), 0
    for call in range(len(journal) + 1):
        if call:
            medium.step(journal[call - 1])
        while event + 1 < len(events) and events[event + 1][0] <= call:
            event += 1
        _, begun, acknowledged = events[event]
        following = journal[call] if call < len(journal) else None
        # Before a sync there is most to lose, in most ways.
        draws = 3 if following is not None and following.kind.startswith("sync") else 1
        for draw in range(draws):
            if tally.points >= most_points or len(tally.failures) >= most_failures:
                return
            tally.points += 1
            random = np.random.default_rng([seed, 2, call, draw])
            try:
                left = crash(tally, medium, random, following)
                check_image(tally, left, Allowed(workload.prints, acknowledged, begun), random, make_disk, open_with)
            except Exception as error:  # noqa: BLE001 - whatever the engine raises here is a finding
                before = "the end" if following is None else f"{following.kind} {following.name}"
                where = {"seed": seed, "call": call, "draw": draw, "before": before}
                tally.failures.append(where | describe(error))


def check_image(tally, medium, allowed, random, make_disk=RecordingDisk, open_with=open_database, readers=True):
    """Recover what a crash left, perhaps with further crashes meanwhile; compare; write; crash; compare."""
    for _ in range(2):
        if random.random() < AGAIN:
            medium = interrupted_recovery(tally, medium, allowed, random, make_disk, open_with)
    if readers and random.random() < READER:
        medium = read_only(tally, medium, allowed, random, make_disk)
    disk = make_disk(medium)
    database = open_with(disk)
    tally.counts["recoveries"] += 1
    allowed.check("recovery", disk, database.snapshot)
    if random.random() < 0.1:
        verified(tally, disk, database)
    if random.random() < PAST:
        read_the_past(tally, disk, database, allowed, random)
    write_again(tally, disk, database, random, make_disk, open_with)


def crash(tally, medium, random, following=None):
    """What the next process finds; a write that was about to follow may have happened in part."""
    if random.random() < KILLED:
        tally.counts["kills"] += 1
        left = medium.killed()
        if following is not None and following.data and random.random() < 0.5:
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
        raise ViolationError(f"verify finds {found[0]}")


def read_the_past(tally, disk, database, allowed, random):
    """An older version is what it was, or not kept any more; but it is kept if somebody said to need it."""
    pinned = sorted(pins(database.snapshot).values())
    version = int(random.integers(0, database.snapshot.version + 1))
    if pinned and random.random() < 0.7:
        version = pinned[random.integers(len(pinned))]
    if not is_kept(database, version):
        if version in pinned:
            raise ViolationError(f"version {version} was given up although it is pinned")
        tally.counts["old versions given up"] += 1
        return
    with database.undisturbed() as manifest:
        snapshot = Snapshot(load(disk, manifest, version))
    if snapshot.version != version or fingerprint_of(disk, snapshot) != allowed.prints[version]:
        raise ViolationError(f"version {version} of the past is another one than was committed")
    tally.counts["old versions read"] += 1


def write_again(tally, disk, database, random, make_disk, open_with):
    """The database must be writable after recovery, and that write must be durable."""
    snapshot = database.snapshot
    rows = [
        PutRows(
            schema.name,
            [f"{schema.name}000"],
            np.rint(9 * random.standard_normal((1, schema.dimension))).astype(np.float32) + 1,
        )
        for schema in snapshot.collections()
    ]
    record = PutRecord("t", "after", {"x": random.bytes(300).hex()})
    # A lone row has the length of every other record in half of the workloads: old bytes would follow without a gap.
    database.commit(rows[-1:] if rows and random.random() < 0.5 else [record, *rows])
    if random.random() < 0.2:
        database.seal()
    expected = fingerprint_of(disk, database.snapshot)
    disk = make_disk(crash(tally, disk.medium(), random))
    database = open_with(disk)
    if database.snapshot.version != snapshot.version + 1 or fingerprint_of(disk, database.snapshot) != expected:
        raise ViolationError("a write after recovery was lost")
    tally.counts["writes after recovery"] += 1


def describe(error):
    where = traceback.extract_tb(error.__traceback__)[-1]
    return {"error": f"{type(error).__name__}: {error}", "where": f"{where.filename}:{where.lineno}"}


def main(run):
    """Run a suite from the command line and print what it counted as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--step", type=int, default=1, help="distance between seeds")
    parser.add_argument("--points", type=int, default=2000, help="how many to check")
    parser.add_argument("--only", type=int, help="one seed, all of its points")
    options = parser.parse_args()
    tally, began = Tally(), time.perf_counter()
    seeds = itertools.count(options.first, options.step) if options.only is None else [options.only]
    run(tally, seeds, options.points)
    print(json.dumps(vars(tally) | {"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(run)
