"""Let one call of the disk fail, or all from there on, and look at every promise about errors.

Each fault runs its workload from the beginning. An error must come before the acknowledgement and be one that the
engine announces; what was acknowledged stays readable; after the repair the same handle goes on (or a new one, if it
was poisoned) without any further help; and a crash at that moment changes nothing.
"""

from collections import Counter

import numpy as np
from crash_points import Allowed, ViolationError, check_image, crash, describe, main
from workload import Workload, deterministic

from storage_engine.errors import (
    CommitUnknownError,
    DatabaseClosedError,
    DatabaseError,
    QStoreError,
    WriteFailedError,
)
from storage_engine.testing.failing_disk import FailingDisk, Fault

STEPS = 7
NEVER = 10**9


class FaultyWorkload(Workload):
    """A client that takes errors as they come and believes what they say.

    Attributes:
        unknown: Newest version that may or may not be there, as an error said; the acknowledged one if there is none.
        errors: Names of the errors met.
    """

    def __init__(self, seed, disk):
        super().__init__(seed, disk, steps=STEPS)
        self.unknown = 0
        self.errors = Counter()

    def run(self):
        if not self.attempt(self.open):
            return
        for _ in range(self.steps):
            if not self.attempt(self.step) and (self.database is None or self.database.committer.poison):
                return

    def open(self):
        self.database = self.open_with(self.disk)
        self.check()

    def reopen(self):
        before, self.database = self.database, None
        before.close()
        self.open()

    def attempt(self, action):
        before = self.model.version
        try:
            action()
        except DatabaseError as error:
            self.errors[type(error).__name__] += 1
            if self.model.version != before:
                raise ViolationError(f"{action.__name__} was acknowledged and then failed: {error}") from error
            self.read_on()
            return False
        return True

    def read_on(self):
        if self.database is not None:
            self.check()

    def check(self):
        """Read everything; where reading fails too, the disk is whole meanwhile."""
        fault = self.disk.fault
        if fault is not None and fault.reading:
            self.disk.fault = None
        try:
            super().check()
        finally:
            self.disk.fault = fault

    def sent(self, models, results):
        errors = [result for result in results if isinstance(result, QStoreError)]
        if not errors:
            super().sent(models, results)
            return
        if len(errors) < len(results):
            raise ViolationError(f"of one group some commits failed and others did not: {results}")
        for error in errors:
            if isinstance(error, CommitUnknownError):
                self.unknown = models[-1].version
                if not self.database.committer.poison:
                    raise ViolationError("a commit is unknown and the handle takes more")
            elif isinstance(error, DatabaseClosedError):
                if not sum(self.errors.values()):
                    raise ViolationError(f"closed without a reason: {error}")
            elif not isinstance(error, WriteFailedError):
                raise ViolationError(f"a commit failed with {type(error).__name__}: {error}")
        raise errors[0]


def run(tally, seeds, most_points, most_failures=5):
    for seed in seeds:
        random = np.random.default_rng([seed, 3])
        kind = ["full", "broken", "interrupted", "short_write"][seed % 4]
        reading = kind == "broken" and bool(random.random() < 0.3)
        with deterministic(seed):
            disk = FailingDisk(None, Fault(kind, NEVER, reading=reading))
            FaultyWorkload(seed, disk).run()
        tally.workloads += 1
        calls = disk.calls
        chosen = sorted(random.choice(calls, min(calls, 60), replace=False).tolist())
        for at in chosen:
            if tally.points >= most_points or len(tally.failures) >= most_failures:
                return
            fault = Fault(kind, at, forever=bool(random.random() < 0.5), reading=reading)
            tally.points += 1
            try:
                with deterministic(seed):
                    check_fault(tally, seed, fault)
            except Exception as error:  # noqa: BLE001 - whatever the engine raises here is a finding
                tally.failures.append({"seed": seed, "fault": str(fault)} | describe(error))


def check_fault(tally, seed, fault):
    random = np.random.default_rng([seed, 4, fault.at])
    disk = FailingDisk(None, fault)
    workload = FaultyWorkload(seed, disk)
    workload.run()
    tally.counts.update(workload.errors)
    tally.counts["calls refused"] += disk.hits
    disk.fault = None
    database = workload.database
    if database is not None and not database.committer.poison:
        # Nothing was unknown: the handle must go on as if nothing had happened.
        for _ in range(2):
            workload.step()
        database = workload.database
        tally.counts["went on with the same handle"] += 1
    ending = random.random()
    if database is not None and ending < 0.4:
        try:
            database.close()
        except DatabaseError as error:
            raise ViolationError(f"closing after the repair: {error}") from error
        tally.counts["closed"] += 1
    failed_sync = any(call.kind == "failed_sync" for call in disk.journal)
    medium = disk.medium(random)
    medium = medium.killed() if ending < 0.6 else crash(tally, medium, random)
    lowest = workload.model.version
    allowed = Allowed(workload.prints, lowest, max(lowest, workload.unknown))
    # A reader trusts a sync; after one that failed, only a writer puts right what the system has forgotten.
    check_image(tally, medium, allowed, random, readers=not failed_sync)
    tally.counts["reopened without repair"] += 1


if __name__ == "__main__":
    main(run)
