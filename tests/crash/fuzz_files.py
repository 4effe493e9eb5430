"""Bytes that no writer made, for every reader of files: an error that it announces, or data; in time, and in memory.

Half of the inputs are damaged at random, and then whatever is accepted must be what was written. In the others every
checksum is put right again after the damage, so that what lies behind the checksums is reached as well: lengths,
offsets, counts, names, JSON of other shapes. Such bytes may say anything, but not crash, hang or ask for memory without
bound.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import struct
import zipfile
from zlib import crc32

import numpy as np
import pyarrow as pa
from crash_points import main
from damaged_files import watch

from qstore_db.training import checkpoints
from storage_engine.batch import CreateCollection, DeleteRecord, DeleteRows, PutRecord, PutRows
from storage_engine.errors import QStoreError
from storage_engine.format_file import Format, pack_format, read_format
from storage_engine.history.reader_pin import live_pins
from storage_engine.index.builder import build_graph
from storage_engine.index.graph import Graph
from storage_engine.index.graph_layout import BLOCK
from storage_engine.index.mapped_graph import MappedGraph
from storage_engine.index.walker import Walker
from storage_engine.manifest.manifest import Manifest, SealedCollection, SealedSegment, pack_manifest, unpack_manifest
from storage_engine.memory_disk import MemoryDisk
from storage_engine.recovery import load_manifest
from storage_engine.schema import CollectionSchema, GraphOptions, Metric, VectorType
from storage_engine.segment.block_file import BLOCK_BYTES, FOOTER_BYTES
from storage_engine.segment.deletes import read_deletes, write_deletes
from storage_engine.segment.segment import Segment
from storage_engine.segment.tables import read_tables, write_tables
from storage_engine.segment.writer import RowChunk, SegmentRows, write_segment
from storage_engine.staged_file import StoredFile
from storage_engine.wal.entry import decode_operations, encode_operations
from storage_engine.wal.reader import LogReader
from storage_engine.wal.record import FILE_HEADER_BYTES, pack_record
from storage_engine.wal.watermark import Watermark, read_watermark
from storage_engine.wal.writer import LogWriter

DATABASE, COLLECTION, SEGMENT, OTHER = "1" * 32, "c" * 32, "5" * 32, "6" * 32
CASES = 2_000  # of one seed
SPARE_BYTES = 256 << 20
ROWS, DIMENSION = 300, 40
INTEGERS = [0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
VALUES = [None, True, -1, 0, 1, 2**31, 2**63, 2**70, 1e308, -0.5, "", "x", "../../etc/passwd", "/etc/passwd", [], {}]


class WrongError(Exception):
    pass


class Corpus:
    """One valid file of every kind."""

    def __init__(self, seed):
        random = np.random.default_rng([seed, 8])
        disk = self.disk = MemoryDisk()
        for folder in ("manifest", "wal", "seg", "idx", "ckpt", "metrics", "quarantine", "readers"):
            disk.make_directory(folder)
        kind = list(VectorType)[seed % 3]
        self.schema = CollectionSchema("c", COLLECTION, DIMENSION, Metric.L2, dtype=kind)
        ids = [f"row {n} é" for n in range(ROWS)]
        vectors = np.rint(random.standard_normal((ROWS, DIMENSION)) * 20).astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1).astype(np.float32)
        table = pa.table({"n": range(ROWS), "t": [None if n % 3 else f"text {n}" for n in range(ROWS)]})
        born = np.arange(1, ROWS + 1, dtype=np.uint64)
        rows = SegmentRows(DIMENSION, [RowChunk(ids, vectors, norms, born, table)], table.schema, kind)
        self.segment = write_segment(disk, COLLECTION, rows, uuid=SEGMENT)
        dead = np.array([3, 5, 200], np.int64)
        self.deletes = write_deletes(disk, uuid=OTHER, segment_rows=ROWS, rows=dead, lsns=dead.astype(np.uint64) + 400)
        self.tables = write_tables(disk, {"t": {"a": {"x": [1, None]}, "b": {}}, "u": {"c": {"y": "é"}}}, uuid="7" * 32)
        sealed = SealedCollection(self.schema, (SealedSegment(self.segment, self.deletes),))
        self.manifest = Manifest(1, DATABASE, 1.5, "", 1, 500, 77, (sealed,), self.tables, (), 2.5)
        self.ids, self.vectors, self.norms = ids, vectors, norms
        self.payload = encode_operations(
            [
                CreateCollection(dataclasses.replace(self.schema, name="d", uuid="d" * 32)),
                PutRows("d" * 32, ids[:9], vectors[:9].astype(kind.value), norms[:9], table.slice(0, 9)),
                DeleteRows(COLLECTION, ids[:3]),
                PutRecord("t", "k", {"x": [1, {"y": "z"}]}),
                DeleteRecord("t", "k"),
            ]
        )
        log = LogWriter.create(disk, DATABASE, 1, first_lsn=501, previous_crc=77, created_at=1.5)
        log.append([self.payload, encode_operations([PutRecord("t", "l", {})])], time=2.5)
        log.close()
        mark = Watermark(disk, DATABASE)
        mark.write(502)
        mark.close()
        self.format = pack_format(Format(DATABASE, 1.5))
        self.graph_of = build_graph(vectors, norms, Metric.L2, GraphOptions(m=4, ef_construction=20, seed=seed))
        self.graph = self.graph_of.to_bytes()
        arrays = {"parameters/circuit": np.arange(6.0), "optimizer/step": np.ones(1)}
        self.checkpoint = checkpoints.pack(arrays, {"model": "m", "epoch": 3})

    def file(self, name):
        return self.disk.read(name)

    def alone(self, name, data):
        """A disk on which one file has other bytes."""
        disk = MemoryDisk()
        disk.directories = set(self.disk.directories)
        for other in self.disk.names:
            handle = disk.create(other)
            disk.write(handle, 0, data if other == name else self.file(other))
        if name not in disk.names:
            disk.write(disk.create(name), 0, data)
        return disk


# -- damage ------------------------------------------------------------------------------------------------------------


def mutated(data, random, start=0, stop=None):
    """The bytes after one to four random changes between two places."""
    changed = bytearray(data)
    stop = len(changed) if stop is None else stop
    for _ in range(random.integers(1, 5)):
        at = int(random.integers(start, max(start + 1, min(stop, len(changed)))))
        match random.integers(8):
            case 0 | 1:
                if at < len(changed):
                    changed[at] ^= 1 << int(random.integers(8))
            case 2:
                changed[at : at + 1] = bytes([int(random.choice([0, 1, 127, 128, 255]))])
            case 3 | 4:
                width = int(random.choice([2, 4, 8]))
                value = int(INTEGERS[random.integers(len(INTEGERS))]) % 2 ** (8 * width)
                at -= at % width
                changed[at : at + width] = value.to_bytes(width, "little")
            case 5:
                length = int(random.integers(1, 64))
                other = int(random.integers(start, max(start + 1, stop)))
                changed[at : at + length] = changed[other : other + length]
            case 6:
                changed[at : at + int(random.integers(1, 16))] = b""
            case 7:
                changed[at:at] = random.bytes(int(random.integers(1, 16)))
    return bytes(changed)


def other_json(value, random):
    """The value with one part of it replaced, removed or doubled."""
    places = list(_places(value))
    holder, key = places[random.integers(len(places))]
    choice = random.integers(4)
    if choice == 0 and isinstance(holder, dict):
        del holder[key]
    elif choice == 1 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif choice == 2 and isinstance(holder[key], str):
        holder[key] = mutated(holder[key].encode(), random).decode("utf-8", "replace")
    elif choice == 3 and isinstance(holder[key], int | float):
        holder[key] = int(holder[key]) + int(random.integers(-3, 4))
    else:
        holder[key] = VALUES[random.integers(len(VALUES))]
    return value


def _places(value):
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def stored(name, data):
    return StoredFile(name, len(data), hashlib.sha256(data).hexdigest())


def sealed_block_file(data):
    """The same bytes with a right block table and a right footer checksum, as far as they have the length for it."""
    body = bytearray(data)
    if len(body) < FOOTER_BYTES + 64:
        return bytes(body)
    footer = body[-FOOTER_BYTES:]
    end = int.from_bytes(footer[32:40], "little")
    rest = len(body) - FOOTER_BYTES
    if 64 <= end <= rest and end + 4 * -(-end // BLOCK_BYTES) == rest:
        body[60:64] = struct.pack("<I", crc32(body[:60]))
        table = b"".join(
            struct.pack("<I", crc32(body[at : min(at + BLOCK_BYTES, end)])) for at in range(0, end, BLOCK_BYTES)
        )
        body[end:rest] = table
        footer[40:44] = struct.pack("<I", crc32(table))
    footer[-4:] = struct.pack("<I", crc32(footer[:-4]))
    body[-FOOTER_BYTES:] = footer
    return bytes(body)


# -- readers: each gets damaged bytes, and says what it made of them ---------------------------------------------------


def fuzz_format(corpus, random, sealed):
    data = mutated(corpus.format, random)
    if sealed:
        data = data[:56].ljust(56, b"\0") + struct.pack("<I", crc32(data[:56].ljust(56, b"\0")))
    disk = MemoryDisk()
    disk.write(disk.create("FORMAT"), 0, data)
    return read_format(disk), Format(DATABASE, 1.5)


def fuzz_watermark(corpus, random, sealed):
    data = bytearray(mutated(corpus.file("SYNCED"), random))
    if sealed:
        for at in (0, 512):
            data[at + 508 : at + 512] = struct.pack("<I", crc32(data[at : at + 508]))
    found = read_watermark(corpus.alone("SYNCED", bytes(data)), DATABASE)
    if not sealed and found not in (0, 502):
        raise WrongError(f"a watermark of {found}")
    return None, None


def fuzz_manifest(corpus, random, sealed):
    data = pack_manifest(corpus.manifest)
    if sealed:
        body = json.dumps(other_json(json.loads(data[16:-4]), random)).encode()
        data = data[:8] + struct.pack("<Q", len(body)) + body
        data += struct.pack("<I", crc32(data))
    else:
        data = mutated(data, random)
    manifest = unpack_manifest(data, "manifest/0000000001.man")
    if sealed:
        catalog = load_manifest(corpus.disk, manifest)
        for state in catalog.collections.values():
            slots = np.arange(state.slot_count)
            state.rows.ids_at(slots), state.rows.vectors_at(slots), list(state.columns)
    return manifest, corpus.manifest


def fuzz_payload(corpus, random, sealed):
    operations = decode_operations(mutated(corpus.payload, random))
    with contextlib.suppress(QStoreError, UnicodeEncodeError):
        encode_operations(operations)
    return None, None


def fuzz_log(corpus, random, sealed):
    name = "wal/0000000001.wal"
    data = corpus.file(name)
    if sealed:
        seed = int.from_bytes(data[60:64], "little")
        record, _ = pack_record(seed, 501, 500, 2.5, 77, mutated(corpus.payload, random))
        data = data[:FILE_HEADER_BYTES] + record
    else:
        data = mutated(data, random)
    reader = LogReader(corpus.alone(name, data), 1, DATABASE)
    found = [decode_operations(entry.payload) for entry in reader.entries()]
    reader.finish(0)
    if not sealed:
        whole = [corpus.payload, encode_operations([PutRecord("t", "l", {})])]
        if [encode_operations(one) for one in found] != whole[: len(found)]:
            raise WrongError("a record that was not written")
    return None, None


def fuzz_segment(corpus, random, sealed):
    which = ["vectors", "ids", "metadata"][random.integers(3)]
    file = getattr(corpus.segment, which)
    data = mutated(corpus.file(file.name), random)
    reference = corpus.segment
    if sealed and which != "metadata":  # a forged digest lets Parquet's own reader loose on it, which is not promised
        data = sealed_block_file(data)
        reference = dataclasses.replace(reference, **{which: stored(file.name, data)})
    else:
        file = dataclasses.replace(file, length=len(data))
        reference = dataclasses.replace(reference, **{which: file})
    segment = Segment.open(corpus.alone(file.name, data), reference)
    rows = np.sort(random.choice(ROWS, 20, replace=False))
    asked = [corpus.ids[row] for row in rows]
    for steps in random.permutation(3):
        if steps == 0:
            segment.verify_rows(rows)
            got = segment.mapped_vectors[rows].astype(np.float32), segment.norms[rows], segment.born[rows]
            if not sealed and got[0].tolist() != corpus.vectors[rows].tolist():
                raise WrongError("another vector than was written")
        elif steps == 1:
            few, many = segment.ids.lookup(asked), segment.ids.lookup([*corpus.ids, "absent"])
            if not sealed and (few.tolist() != rows.tolist() or many.tolist() != [*range(ROWS), -1]):
                raise WrongError("an id leads to another row")
        else:
            got_ids, table = segment.ids.at(rows), segment.metadata()
            if not sealed and (got_ids != asked or table.column("n").to_pylist() != list(range(ROWS))):
                raise WrongError("another id or another value than was written")
    segment.verify()
    return None, None


def fuzz_deletes(corpus, random, sealed):
    data = mutated(corpus.file(corpus.deletes.name), random)
    if sealed:
        data = sealed_block_file(data)
    disk = corpus.alone(corpus.deletes.name, data)
    rows, lsns = read_deletes(disk, stored(corpus.deletes.name, data), ROWS)
    if not sealed and (rows.tolist(), lsns.tolist()) != ([3, 5, 200], [403, 405, 600]):
        raise WrongError("other dead rows than were written")
    return None, None


def fuzz_tables(corpus, random, sealed):
    data = corpus.file(corpus.tables.name)
    if sealed:
        lines, crc = [], 0
        values = [json.loads(line[9:]) for line in data.splitlines()]
        for value in other_json(values, random):
            text = json.dumps(value).encode()
            crc = crc32(text, crc)
            lines.append(b"%08x %s\n" % (crc, text))
        data = b"".join(lines)
    else:
        data = mutated(data, random)
    disk = corpus.alone(corpus.tables.name, data)
    return read_tables(disk, stored(corpus.tables.name, data)), read_tables(corpus.disk, corpus.tables)


def fuzz_graph(corpus, random, sealed):
    data = corpus.graph
    end = len(data) - 4 - 4 * -(-(len(data) - 4) // (BLOCK + 4))
    if sealed:
        body = bytearray(mutated(data[:end], random))[:end].ljust(end, b"\0")
        body[60:64] = struct.pack("<I", crc32(body[:60]))
        sums = b"".join(struct.pack("<I", crc32(body[at : at + BLOCK])) for at in range(0, end, BLOCK))
        data = bytes(body) + sums + struct.pack("<I", crc32(sums))
    else:
        data = mutated(data, random)
    if random.random() < 0.3:
        mapped = MappedGraph(data, "graph")
        for row in random.integers(0, max(1, mapped.rows), 20).tolist():
            if row < mapped.rows:
                mapped.neighbours(row, 0)
        return None, None
    graph = Graph.from_buffer(data, where="graph")
    if not sealed and graph.to_bytes() != corpus.graph:
        raise WrongError("another graph than was written")
    if graph.rows == ROWS and (graph.codes is None or graph.codes.dimension == DIMENSION):
        Walker(graph, corpus.vectors, corpus.norms, Metric.L2).search(corpus.vectors[0], 5, 20)
    return None, None


def fuzz_checkpoint(corpus, random, sealed):
    data = corpus.checkpoint
    if sealed:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entries = {name: file.read(name) for name in file.namelist()}
        name = sorted(entries)[random.integers(len(entries))]
        if name.endswith(".json") and random.random() < 0.7:
            entries[name] = json.dumps(other_json(json.loads(entries[name]), random)).encode()
        elif random.random() < 0.3:
            entries[["../../x", "/x", name + "x", ""][random.integers(4)] or "y"] = entries.pop(name)
        else:
            entries[name] = mutated(entries[name], random)
        buffer = io.BytesIO()
        compression = zipfile.ZIP_DEFLATED if random.random() < 0.2 else zipfile.ZIP_STORED
        with zipfile.ZipFile(buffer, "w", compression) as file:
            for entry, content in entries.items():
                file.writestr(entry, content)
        data = buffer.getvalue()
    else:
        data = mutated(data, random)
    arrays, document = checkpoints.unpack(data, name="a.zip")
    expected = {"parameters/circuit": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "optimizer/step": [1.0]}
    if {name: array.tolist() for name, array in arrays.items()} != expected or document != {"model": "m", "epoch": 3}:
        raise WrongError("another checkpoint than was written")
    return None, None


def fuzz_pin(corpus, random, sealed):
    text = b'{"manifest":1,"version":5,"pid":1,"since":1.5}'
    data = json.dumps(other_json(json.loads(text), random)).encode() if sealed else mutated(text, random)
    live_pins(corpus.alone(f"readers/{'9' * 32}.pin", data), remove_dead=False)
    return None, None


READERS = {
    name.removeprefix("fuzz_"): function
    for name, function in list(globals().items())
    if name.startswith("fuzz_") and callable(function)
}


def fuzz(corpus, random, say):
    name = sorted(READERS)[random.integers(len(READERS))]
    sealed = bool(random.random() < 0.5)
    say(f"{name}, checksums put right: {sealed}")
    try:
        found, written = READERS[name](corpus, random, sealed)
    except QStoreError as error:
        return [f"{name} refused" if type(error).__name__ == "DamagedError" else f"{name}: {type(error).__name__}"]
    if not sealed and found != written:
        raise WrongError(f"{name} gives something else than was written")
    return [f"{name} read"]


def run(tally, seeds, most_points, most_failures=5):
    for seed in seeds:
        corpus = Corpus(seed)
        tally.workloads += 1
        case, last = 0, min(CASES, most_points - tally.points)
        while case < last:
            case = watch(tally, seed, corpus, case, last, fuzz, SPARE_BYTES)
        if tally.points >= most_points or len(tally.failures) >= most_failures:
            return


if __name__ == "__main__":
    main(run)
