"""Damage one file of a database, then open, search, read and verify it in a process that may die.

Right is: everything as it was; or an error that the engine announces, at the latest when the damaged bytes are touched.
A shorter history is right only inside the documented window: commits behind the watermark of a database that was not
closed. A part of the cases is repaired: then every row that is left must be as it was, and every other one be named.
"""

import os
import resource
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from crash_points import describe, main
from workload import Workload, deterministic, fingerprint_of, open_database

from storage_engine.batch import PutRecord, PutRows
from storage_engine.errors import DatabaseError
from storage_engine.follower import Follower
from storage_engine.real_disk import RealDisk
from storage_engine.testing.recording_disk import RecordingDisk
from storage_engine.verify import verify
from storage_engine.wal.watermark import read_watermark

CASES = 50  # of one database
REPAIRED = 0.3  # of the cases
SECONDS = 60  # of one case, before it counts as hanging
MEMORY = 8 << 30
QUERIES = 3
TOP_K = 4


class WrongError(Exception):
    pass


@dataclass
class Original:
    """An undamaged database, what it holds, and what it answers."""

    files: dict
    earlier: list  # its files at earlier moments
    prints: dict
    version: int
    watermark: int
    scores: dict  # (collection, query number) → id → score
    models: dict  # version → what it holds


class History(Workload):
    """A client that leaves files of every kind behind, and copies of the directory at several moments."""

    def __init__(self, seed, disk):
        super().__init__(seed, disk, steps=10)
        self.same_length = False
        self.copies = []
        self.models = {0: self.model}

    def acknowledge(self, model):
        super().acknowledge(model)
        self.models[model.version] = model

    def run(self):
        self.database = self.open_with(self.disk)
        for name in ("alpha", "beta"):
            model = self.model.next()
            self.commit(model, [self.create(model, name), self.record(model)])
        model = self.model.next()
        self.commit(model, [self.put(model, "alpha", 450, True), self.put(model, "beta", 120, True)])
        self.attach()
        self.compact()
        self.copy()
        for _ in range(self.steps):
            self.step()
            self.copy()
        if self.chance(0.5):
            self.write()

    def copy(self):
        self.copies.append({name: bytes(file.data) for name, file in self.disk.names.items()})


def original(seed):
    random = np.random.default_rng([seed, 6])
    with deterministic(seed):
        disk = RecordingDisk()
        history = History(seed, disk)
        history.run()
        snapshot = history.database.snapshot
        scores = {}
        for schema in snapshot.collections():
            view = snapshot.collection(schema.name)
            for number, query in enumerate(queries(schema)):
                found = view.search(query, 1000, exact=True)
                ids = view.ids_at(found.slots)
                scores[schema.name, number] = dict(zip(ids, found.scores.tolist(), strict=True))
        closed = random.random() < 0.7
        if closed:
            history.database.close()
        medium = disk.medium()
        if not closed:
            medium = medium.killed() if random.random() < 0.3 else medium.power_cut(random)
        files = medium.files()
        watermark = _watermark(files)
    return Original(files, history.copies, history.prints, history.model.version, watermark, scores, history.models)


def queries(schema):
    random = np.random.default_rng(schema.dimension)
    return random.standard_normal((QUERIES, schema.dimension)).astype(np.float32)


def _watermark(files):
    disk = RecordingDisk()
    if "SYNCED" not in files:
        return 0
    handle = disk.create("SYNCED")
    disk.write(handle, 0, files["SYNCED"])
    return read_watermark(disk, files["FORMAT"][8:24].hex())


# -- damage ------------------------------------------------------------------------------------------------------------


def damaged(original, random):
    """The files after one damage, what was done, and the names touched."""
    files = dict(original.files)
    kinds = {}
    for name in sorted(files):
        kinds.setdefault(name.rpartition(".")[2] if "." in name else name, []).append(name)
    names = kinds[sorted(kinds)[random.integers(len(kinds))]]
    name = names[random.integers(len(names))]
    what = ["flip", "flip", "zero", "truncate", "extend", "delete", "copy", "swap", "old", "new name"][
        random.integers(10)
    ]
    data = bytearray(files[name])
    folder = name.rpartition("/")[0]
    others = sorted(other for other in files if other != name and (other.rpartition("/")[0] == folder))
    touched = [name]
    match what:
        case "flip" if data:
            bit = int(random.integers(8 * len(data)))
            data[bit // 8] ^= 1 << bit % 8
            files[name] = bytes(data)
            what = f"flip bit {bit}"
        case "zero" if data:
            start = int(random.integers(len(data))) // 512 * 512
            data[start : start + 512] = bytes(len(data[start : start + 512]))
            files[name] = bytes(data)
            what = f"zero 512 bytes at {start}"
        case "truncate" if data:
            length = int(random.integers(len(data)))
            files[name] = bytes(data[:length])
            what = f"truncate to {length}"
        case "extend":
            files[name] = bytes(data) + random.bytes(int(random.integers(1, 2000)))
        case "copy" if others:
            other = others[random.integers(len(others))]
            files[name] = files[other]
            what = f"copy {other} over it"
        case "swap" if others:
            other = others[random.integers(len(others))]
            files[name], files[other] = files[other], files[name]
            touched.append(other)
            what = f"swap with {other}"
        case "old":
            older = [copy for copy in original.earlier if copy.get(name, files[name]) != files[name]]
            gone = sorted({other for copy in original.earlier for other in copy} - set(files))
            if older and random.random() < 0.7:
                files[name] = older[random.integers(len(older))][name]
            elif gone:
                name = gone[random.integers(len(gone))]
                files[name] = next(copy[name] for copy in original.earlier if name in copy)
                touched = [name]
            what = "restore an old copy"
        case "new name" if "/" in name:
            stem, _, suffix = name.rpartition("/")[2].rpartition(".")
            fresh = f"{int(stem) + 1:010d}" if stem.isdigit() else random.bytes(16).hex()
            touched = [f"{folder}/{fresh}.{suffix}"]
            files[touched[0]] = files[name]
            what = f"copy it to {touched[0]}"
        case _:
            del files[name]
            what = "delete"
    return files, f"{name}: {what}", touched


# -- one case, in the process that may die ----------------------------------------------------------------------------


def check_case(original, files, touched, random):
    """What happened, in a word or two. Raises if it was wrong."""
    changed = {name for name in touched if files.get(name) != original.files.get(name)}
    with tempfile.TemporaryDirectory(prefix="qstore-damage-", dir=_fast_folder()) as folder:
        path = Path(folder) / "db"
        write_files(path, files)
        outcomes = []
        if random.random() < 0.5:
            outcomes.append("reader " + read_only(original, path, random))
        outcomes.append("writer " + for_writing(original, path, changed, random))
        if random.random() < REPAIRED:
            write_files(path, files)
            outcomes.append("repair " + repaired(original, path))
        return outcomes


def write_files(path, files):
    shutil.rmtree(path, ignore_errors=True)
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def repaired(original, path):
    """Repair, and compare what is left with what was there; what happened, in a word or two."""
    disk = RealDisk(path, create=True)
    try:
        try:
            database = open_database(disk, repair="rows")
        except DatabaseError as error:
            return f"refused: {type(error).__name__}"
        try:
            snapshot, report = database.snapshot, database.repaired
            if not original.watermark <= snapshot.version <= original.version and report is None:
                raise WrongError(f"version {snapshot.version} instead of {original.version}, and nothing is said")
            lost = survivors(snapshot, original.models[snapshot.version], report)
            with database.undisturbed() as manifest:
                findings = verify(disk, snapshot, manifest, None)
            for one in findings:
                if one.severity == "error" and one.file.partition("/")[0] not in ("ckpt", "metrics"):
                    raise WrongError(f"after the repair: {one.what}")
            database.seal()
            write_again(disk, database)
            if report is None:
                return "not needed"
            return "of rows, some lost" if lost else "of rows, none lost" if report.copies else "told"
        finally:
            database.close()
    finally:
        disk.shut()


def survivors(snapshot, model, report):
    """How many rows are lost; every one of them is named, and the others are as they were."""
    if {schema.name for schema in snapshot.collections()} != set(model.collections):
        raise WrongError("a collection is lost or new")
    lost = 0
    for name, collection in model.collections.items():
        view = snapshot.collection(name)
        live = np.flatnonzero(view.live())
        ids = view.ids_at(live)
        expected = [collection.rows[row_id] for row_id in ids]  # a row that was never there is a KeyError
        if view.vectors_at(live).tobytes() != b"".join(row.vector.tobytes() for row in expected):
            raise WrongError("a vector that is left has changed")
        if view.norms_at(live).tolist() != [row.norm for row in expected]:
            raise WrongError("a norm that is left has changed")
        for row, given in zip(view.metadata_at(live).to_pylist() or [{}] * len(ids), expected, strict=True):
            if any(value != given.metadata.get(column) for column, value in row.items()):
                raise WrongError("metadata that is left has changed")
        told = [one for one in report.lost_rows if one.collection == name] if report is not None else []
        named = {row_id for one in told for row_id in one.ids}
        missing = set(collection.rows) - set(ids)
        # A row without an id may have been deleted later; nobody can tell.
        if not named <= missing or len(missing) > len(named) + sum(len(one.unnamed) for one in told):
            raise WrongError(f"{len(missing)} rows of {name} are lost, {len(named)} are named")
        lost += len(missing)
    for name, records in model.tables.items():
        if dict(snapshot.table(name)) != records:
            raise WrongError("a keyed table has changed")
    return lost


def read_only(original, path, random):
    disk = RealDisk(path)
    try:
        reader = Follower(disk)
        return compare(original, disk, reader.snapshot, random)
    except DatabaseError as error:
        return f"refused: {type(error).__name__}"
    finally:
        disk.shut()


def for_writing(original, path, changed, random):
    disk = RealDisk(path, create=True)
    try:
        try:
            database = open_database(disk)
        except DatabaseError as error:
            return f"refused: {type(error).__name__}"
        try:
            try:
                outcome = compare(original, disk, database.snapshot, random)
            except DatabaseError as error:
                outcome = f"error at first touch: {type(error).__name__}"
            with database.undisturbed() as manifest:
                findings = [one for one in verify(disk, database.snapshot, manifest, None) if one.severity != "info"]
            if changed & manifest.file_names() and not findings:
                raise WrongError("verify finds nothing")
            if outcome.startswith("error") and not findings:
                raise WrongError(f"{outcome}, and verify finds nothing")
            if outcome == "whole":
                write_again(disk, database)
            return outcome + (", verify reports it" if findings else "")
        finally:
            database.close()
    finally:
        disk.shut()


def compare(original, disk, snapshot, random):
    version = snapshot.version
    if not original.watermark <= version <= original.version:
        raise WrongError(
            f"version {version} is shown instead of {original.version}; the watermark is {original.watermark}"
        )
    steps = [search, rows] if random.random() < 0.5 else [rows, search]
    for step in steps:
        step(original, disk, snapshot)
    return "whole" if version == original.version else "shorter inside the window"


def rows(original, disk, snapshot):
    if fingerprint_of(disk, snapshot) != original.prints[snapshot.version]:
        raise WrongError("other rows are shown than were committed")


def search(original, disk, snapshot):
    if snapshot.version != original.version:
        return
    for schema in snapshot.collections():
        view = snapshot.collection(schema.name)
        for number, query in enumerate(queries(schema)):
            scores = original.scores[schema.name, number]
            for options in ({"exact": True}, {"ef": 8}):
                found = view.search(query, TOP_K, **options)
                ids = view.ids_at(found.slots)
                if len(ids) != min(TOP_K, len(scores)):
                    raise WrongError(f"{len(ids)} rows found instead of {min(TOP_K, len(scores))}")
                if found.scores.tolist() != [scores.get(row_id) for row_id in ids]:
                    raise WrongError("a search gives a row or a score that is not stored")
                if "exact" in found.strategy and ids != list(scores)[: len(ids)]:
                    raise WrongError("an exact search misses a row")


def write_again(disk, database):
    rows = [
        PutRows(schema.name, ["after"], np.ones((1, schema.dimension), np.float32))
        for schema in database.snapshot.collections()
    ]
    database.commit([PutRecord("t", "after", {"x": 1}), *rows])
    database.seal()


# -- the process that watches -----------------------------------------------------------------------------------------


def run(tally, seeds, most_points, most_failures=5):
    for seed in seeds:
        base = original(seed)
        tally.workloads += 1
        case, last = 0, min(CASES, most_points - tally.points)
        while case < last:
            case = watch(tally, seed, base, case, last)
        if tally.points >= most_points or len(tally.failures) >= most_failures:
            return


def watch(tally, seed, base, first, last, check=None, spare=None):
    """Let a child do cases until it dies; the first case that nobody has done yet.

    ``spare``: how many bytes of memory it may take beyond what it has.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        memory = MEMORY if spare is None else spare + address_space()
        _work(seed, base, first, last, writing, check or damage_and_check, memory)
    os.close(writing)
    done, what = first, ""
    with os.fdopen(reading) as lines:
        for line in lines:
            kind, _, text = line.rstrip("\n").partition(" ")
            if kind == "case":
                what = text
                continue
            tally.points += 1
            done += 1
            if kind == "ok":
                tally.counts.update(text.split("; "))
            else:
                tally.failures.append({"seed": seed, "case": done - 1, "damage": what, "error": text})
    _, status = os.waitpid(child, 0)
    if status:
        death = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status}"
        tally.points += 1
        tally.failures.append({"seed": seed, "case": done, "damage": what, "error": f"the process died: {death}"})
        done += 1
    return done


def damage_and_check(base, random, say):
    """One case: what happened, in words; ``say`` is told what is done before."""
    files, what, touched = damaged(base, random)
    say(what)
    return check_case(base, files, touched, random)


def address_space():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _work(seed, base, first, last, pipe, check, memory):
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(pipe, "w", buffering=1) as lines:
        for case in range(first, last):
            random = np.random.default_rng([seed, 7, case])
            signal.alarm(SECONDS)
            try:
                outcomes = check(base, random, lambda what: print(f"case {what}", file=lines))
            except Exception as error:  # noqa: BLE001 - whatever the engine raises here is a finding
                why = describe(error)
                print(f"wrong {why['error']} at {why['where']}".replace("\n", " "), file=lines)
            else:
                print("ok " + "; ".join(outcomes), file=lines)
            signal.alarm(0)
    os._exit(0)


def _fast_folder():
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else None


if __name__ == "__main__":
    main(run)
