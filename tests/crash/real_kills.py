"""Kill real processes that write to a real directory, and look at what they had acknowledged.

One small process loads the engine once and forks a child for each kill. The child opens the database, writes, and says
through a pipe what it begins (with the fingerprint of the state after it) and what was acknowledged. It dies by
SIGKILL: half of the time at a random moment, otherwise inside a chosen call of the disk, be it during recovery or in
the middle of a write. The next child goes on with the same directory.
"""

import os
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path

import hnswlib  # noqa: F401 - loaded once, here, and not in each child
import numpy as np
import pyarrow.parquet  # noqa: F401 - as above
from crash_points import Allowed, ViolationError, describe, main
from workload import Model, Workload, deterministic, expected_fingerprint, open_database

from storage_engine.real_disk import RealDisk
from storage_engine.verify import verify

LIVES = 20  # kills of one directory
READY, BEGUN, ACKNOWLEDGED = range(3)
MESSAGE = struct.Struct("<BQ32s")


class KillingDisk(RealDisk):
    """Kills its own process at the n-th call that changes something; a write may have happened by half."""

    def __init__(self, path, kill_at):
        self._left = kill_at
        super().__init__(path, create=True)

    def _count(self):
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, handle, offset, data):
        if self._left == 0:
            super().write(handle, offset, memoryview(data).cast("B")[: len(data) // 2])
        self._count()
        return super().write(handle, offset, data)


def _counted(name):
    call = getattr(RealDisk, name)

    def counted(self, *arguments):
        self._count()
        return call(self, *arguments)

    return counted


for _name in ("create", "truncate", "sync", "sync_directory", "make_directory", "rename", "replace", "unlink"):
    setattr(KillingDisk, _name, _counted(_name))


class TellingWorkload(Workload):
    """Says what it does through a pipe."""

    def __init__(self, seed, disk, pipe):
        super().__init__(seed, disk)
        self.pipe = pipe

    def run(self):
        self.database = self.open_with(self.disk)
        self.model = Model.of(self.disk, self.database.snapshot)
        self.tell(READY, self.model)
        while True:
            self.step()

    def begin(self, models):
        for model in models:
            self.tell(BEGUN, model)

    def acknowledge(self, model):
        self.model = model
        self.tell(ACKNOWLEDGED, model)

    def check(self):
        pass

    def tell(self, what, model):
        os.write(self.pipe, MESSAGE.pack(what, model.version, expected_fingerprint(model).encode()))


def run(tally, seeds, most_points, most_failures=5):
    for seed in seeds:
        directory = Path(tempfile.mkdtemp(prefix="qstore-kills-", dir=_fast_folder()))
        tally.workloads += 1
        try:
            one_directory(tally, seed, directory / "db", most_points)
        except Exception as error:  # noqa: BLE001 - whatever the engine raises here is a finding
            tally.failures.append({"seed": seed} | describe(error))
        finally:
            shutil.rmtree(directory)
        if tally.points >= most_points or len(tally.failures) >= most_failures:
            return


def one_directory(tally, seed, path, most_points):
    allowed = Allowed({0: expected_fingerprint(Model())}, 0, 0)
    for life in range(LIVES):
        if tally.points >= most_points:
            return
        random = np.random.default_rng([seed, 5, life])
        tally.points += 1
        live_and_die(tally, seed * LIVES + life, path, allowed, random)
        check_directory(tally, path, allowed, random)


def live_and_die(tally, seed, path, allowed, random):
    by_time = bool(random.random() < 0.5)
    kill_at = 10**9 if by_time else int(random.integers(0, 80))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _live(seed, path, kill_at, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = b""
        if by_time:
            said = pipe.read(MESSAGE.size)
            time.sleep(random.random() * 0.006)
            os.kill(child, signal.SIGKILL)
        said += pipe.read()
    _, status = os.waitpid(child, 0)
    if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        raise ViolationError(f"life {seed}: the child ended with status {status} before it was killed")
    for what, version, fingerprint in MESSAGE.iter_unpack(said):
        if what == BEGUN:
            allowed.prints[version] = fingerprint.decode()
            allowed.highest = version
        elif what == ACKNOWLEDGED:
            allowed.lowest = version
            tally.counts["acknowledged commits"] += 1
        elif not allowed.lowest <= version <= allowed.highest:
            raise ViolationError(f"life {seed}: recovery gave version {version}")
    tally.counts["kills at a random moment" if by_time else "kills inside a call"] += 1
    tally.counts["kills inside opening"] += not said


def _live(seed, path, kill_at, pipe):
    try:
        with deterministic(seed):
            TellingWorkload(seed, KillingDisk(path, kill_at), pipe).run()
    except BaseException:  # noqa: BLE001 - the child must not run the parent's code
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(1)


def check_directory(tally, path, allowed, random):
    disk = RealDisk(path, create=True)
    database = open_database(disk)
    try:
        allowed.check("recovery", disk, database.snapshot)
        if random.random() < 0.1:
            with database.undisturbed() as manifest:
                findings = verify(disk, database.snapshot, manifest, None)
            if found := [finding for finding in findings if finding.severity != "info"]:
                raise ViolationError(f"verify finds {found[0]}")
            tally.counts["verified"] += 1
    finally:
        database.close()
        disk.shut()
    allowed.highest = allowed.lowest


def _fast_folder():
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else None


if __name__ == "__main__":
    main(run)
