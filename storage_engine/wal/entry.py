"""The payload of a log record: the operations of one commit as bytes, and back.

Payload, little-endian: ``u32 count``, then each operation as ``u8 kind, u8 flags, u16 zero, u32 length, body``.
A text is ``u32 length`` + UTF-8; texts are ``u32 count``, ``count`` times ``u32 length``, then all of them in UTF-8.
Bodies::

    1 create collection   schema as JSON
    2 drop collection     text name
    3 put rows            text collection, texts ids, u32 dimension, then what the flags announce, in this order:
                          vectors (row-major; bit 0), norms (float32; bit 1), metadata (Arrow IPC stream to the end of
                          the body; bit 2). Bits 4-5 are the mode: 0 insert, 1 upsert, 2 update. Bits 6-7 are the type
                          of the vectors: 0 float32, 1 float16, 2 int8
    4 delete rows         text collection, texts ids; bit 0: missing ids are fine
    5 put record          text table, text key, record as JSON; bit 0: the key must be new
    6 delete record       text table, text key
    7 attach file         text kind, text name, u64 length, text sha256
    8 detach file         text kind, text name
    9 attach segment      text collection uuid, texts deleted ids, segment reference as JSON

Decoding gives back equal values, floats bit by bit. Bytes that no encoder made raise :class:`DamagedError`; nothing is
allocated that the remaining bytes do not fill.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.batch import (
    AttachFile,
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DetachFile,
    DropCollection,
    FileReference,
    Operation,
    PutMode,
    PutRecord,
    PutRows,
)
from storage_engine.errors import DamagedError, InvalidMetadataError
from storage_engine.files import Bytes, check_name
from storage_engine.json_text import dump_json
from storage_engine.metadata.schema_memo import SchemaMemo
from storage_engine.schema import VectorType
from storage_engine.schema_json import schema_from_json, schema_to_json
from storage_engine.segment.reference import AttachSegment, reference_from_json, reference_to_json
from storage_engine.vectors.types import CODE, StoredVectors, number_bytes, numpy_type, type_of, type_of_code
from storage_engine.wal.record import gathered

LoggedOperation: TypeAlias = Operation | AttachSegment

_COUNT = struct.Struct("<I")
_HEAD = struct.Struct("<BBHI")
_LENGTH = struct.Struct("<Q")
_FLOAT32 = np.dtype("<f4")
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_MODES: tuple[PutMode, ...] = ("insert", "upsert", "update")
_HAS_VECTORS, _HAS_NORMS, _HAS_METADATA, _MODE_SHIFT, _TYPE_SHIFT = 1, 2, 4, 4, 6


class _Coded(NamedTuple):
    kind: int
    flags: int
    parts: list[Bytes]


def encode_operations(operations: Sequence[LoggedOperation]) -> bytes:
    """The payload of one commit in one piece; see :func:`encode_pieces`."""
    return b"".join(encode_pieces(operations))


def encode_pieces(operations: Sequence[LoggedOperation]) -> list[Bytes]:
    """The payload of one commit; large arrays are not copied. About 10 µs for one row with three metadata columns.

    Raises:
        InvalidArgumentError: A record holds what JSON cannot express.
        InvalidMetadataError: A metadata column has a type that cannot be written down.
        UnicodeEncodeError: A name or id with lone surrogates, which validation refuses before.
    """
    pieces: list[Bytes] = [_COUNT.pack(len(operations))]
    for operation in operations:
        kind, flags, parts = _encode(operation)
        pieces.append(_HEAD.pack(kind, flags, 0, sum(map(len, parts))))
        pieces += parts
    return gathered(pieces)


def decode_operations(payload: bytes | memoryview) -> list[LoggedOperation]:
    """Inverse of :func:`encode_operations`. Arrays are fresh copies; nothing refers to ``payload`` afterwards.

    Raises:
        DamagedError: The bytes are not what an encoder makes; names the offset within the payload.
    """
    view = memoryview(payload)
    cursor = _Cursor(view)
    try:
        count = cursor.u32()
        operations = []
        for _ in range(count):
            kind, flags, zero, length = _HEAD.unpack(cursor.take(_HEAD.size))
            body = _Cursor(cursor.take(length))
            decoder = _DECODERS.get(kind)
            if decoder is None or zero:
                raise ValueError(f"no operation is of kind {kind}")
            operations.append(decoder(body, flags))
            body.expect_end()
        cursor.expect_end()
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, struct.error, pa.ArrowException) as error:
        raise DamagedError(
            f"a log record is damaged near offset {cursor.at} of its payload: {error}",
            fix="Restore the log from a backup of the directory.",
            value=cursor.at,
        ) from error
    return operations


def _encode(operation: LoggedOperation) -> _Coded:
    match operation:
        case PutRows():
            return _encode_rows(operation)
        case DeleteRows(collection, ids, missing_ok):
            return _Coded(4, int(missing_ok), [_text(collection), *_texts(ids)])
        case PutRecord(table, key, value, must_be_new):
            record = dump_json(dict(value), f"record {key!r} of table {table!r}")
            return _Coded(5, int(must_be_new), [_text(table), _text(key), record])
        case DeleteRecord(table, key):
            return _Coded(6, 0, [_text(table), _text(key)])
        case AttachFile(file):
            return _Coded(7, 0, [_text(file.kind), _text(file.name), _LENGTH.pack(file.length), _text(file.sha256)])
        case DetachFile(kind, name):
            return _Coded(8, 0, [_text(kind), _text(name)])
        case CreateCollection(schema):
            return _Coded(1, 0, [dump_json(schema_to_json(schema), f"collection {schema.name!r}")])
        case DropCollection(name):
            return _Coded(2, 0, [_text(name)])
        case AttachSegment(collection, segment, deleted):
            reference = dump_json(reference_to_json(segment), f"segment {segment.uuid}")
            return _Coded(9, 0, [_text(collection), *_texts(deleted), reference])


def _encode_rows(rows: PutRows) -> _Coded:
    flags = _MODES.index(rows.mode) << _MODE_SHIFT
    dimension = 0
    parts: list[Bytes] = [_text(rows.collection), *_texts(rows.ids), b""]
    if rows.vectors is not None:
        kind = type_of(rows.vectors)
        flags |= _HAS_VECTORS | CODE[kind] << _TYPE_SHIFT
        dimension = rows.vectors.shape[1]
        parts.append(_bytes_of(rows.vectors, numpy_type(kind)))
    if rows.norms is not None:
        flags |= _HAS_NORMS
        parts.append(_bytes_of(rows.norms, _FLOAT32))
    if rows.metadata is not None:
        flags |= _HAS_METADATA
        parts.append(_encode_table(rows.metadata))
    parts[3] = _COUNT.pack(dimension)
    return _Coded(3, flags, parts)


def _bytes_of(numbers: NDArray[Any], kind: np.dtype[Any]) -> Bytes:
    """The bytes of numbers, without a copy where they lie as they are to be written."""
    if not numbers.size:
        return b""
    return np.ascontiguousarray(numbers, dtype=kind).data.cast("B")


def _encode_table(table: pa.Table) -> Bytes:
    # The messages that pa.ipc.new_stream would write, without making a stream for each commit.
    try:
        messages = [_schema_message(table.schema), *(batch.serialize() for batch in table.to_batches())]
    except pa.ArrowException as error:
        raise InvalidMetadataError(
            f"metadata of the columns {table.column_names} cannot be stored: {error}",
            fix="Use numbers, text, booleans, dates, timestamps, or lists and structs of them.",
            value=table.column_names,
        ) from error
    return b"".join([*messages, _END_OF_STREAM])


@SchemaMemo
def _schema_message(schema: pa.Schema) -> bytes:
    return bytes(schema.serialize())


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _COUNT.pack(len(encoded)) + encoded


def _texts(texts: Sequence[str]) -> tuple[bytes, bytes]:
    joined = "".join(texts)
    if joined.isascii():
        lengths, encoded = map(len, texts), joined.encode()
    else:
        each = [text.encode() for text in texts]
        lengths, encoded = map(len, each), b"".join(each)
    return _COUNT.pack(len(texts)) + np.fromiter(lengths, "<u4", len(texts)).tobytes(), encoded


class _Cursor:
    """Reads a buffer from front to back and never beyond its end."""

    __slots__ = ("_view", "at")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.at = 0

    def take(self, length: int) -> memoryview:
        end = self.at + length
        if end > len(self._view):
            raise ValueError(f"{length} bytes expected, {len(self._view) - self.at} left")
        piece = self._view[self.at : end]
        self.at = end
        return piece

    def rest(self) -> memoryview:
        return self.take(len(self._view) - self.at)

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def text(self) -> str:
        return str(self.take(self.u32()), "utf-8")

    def texts(self) -> list[str]:
        count = self.u32()
        lengths = struct.unpack(f"<{count}I", self.take(4 * count))
        whole = self.take(sum(lengths))
        texts, start = [], 0
        for length in lengths:
            texts.append(str(whole[start : start + length], "utf-8"))
            start += length
        return texts

    def vectors(self, kind: VectorType, rows: int, width: int) -> StoredVectors:
        # A copy, since bytes of a log are neither aligned nor to be kept alive by a row.
        numbers = np.frombuffer(self.take(number_bytes(kind) * rows * width), numpy_type(kind))
        own: StoredVectors = numbers.astype(numbers.dtype.newbyteorder("=")).reshape(rows, width)
        return own

    def norms(self, rows: int) -> NDArray[np.float32]:
        return np.frombuffer(self.take(4 * rows), dtype="<f4").astype(np.float32)

    def json(self) -> Any:
        return json.loads(bytes(self.rest()))

    def expect_end(self) -> None:
        if self.at != len(self._view):
            raise ValueError(f"{len(self._view) - self.at} bytes too many")


def _decode_rows(body: _Cursor, flags: int) -> PutRows:
    collection, ids, dimension = body.text(), body.texts(), body.u32()
    mode = flags >> _MODE_SHIFT & 3
    kind = type_of_code(flags >> _TYPE_SHIFT)
    if mode >= len(_MODES) or flags & 8 or (not flags & _HAS_VECTORS and kind is not VectorType.FLOAT32):
        raise ValueError(f"no rows are put with flags {flags:#x}")
    vectors = body.vectors(kind, len(ids), dimension) if flags & _HAS_VECTORS else None
    norms = body.norms(len(ids)) if flags & _HAS_NORMS else None
    metadata = _decode_table(body.rest(), len(ids)) if flags & _HAS_METADATA else None
    return PutRows(collection, ids, vectors, norms, metadata, _MODES[mode])


def _decode_table(data: memoryview, rows: int) -> pa.Table:
    try:
        # A copy, so that the table does not keep the whole log in memory.
        table = pa.ipc.open_stream(pa.py_buffer(bytes(data))).read_all()
        # Offsets inside the stream are believed by every later reader: check them while an error can still be given.
        table.validate(full=True)
        names = table.column_names
    except OSError as error:  # Arrow's name for a stream that ends too early
        raise ValueError(str(error)) from error
    if len(set(names)) != len(names):
        raise ValueError("two metadata columns have one name")
    if table.num_rows != rows and (names or table.num_rows):
        raise ValueError(f"metadata of {table.num_rows} rows stands beside {rows} ids")
    return table


def _flag(flags: int) -> bool:
    if flags not in (0, 1):
        raise ValueError(f"unknown flags {flags:#x}")
    return bool(flags)


def _plain(make: Callable[[_Cursor], LoggedOperation]) -> Callable[[_Cursor, int], LoggedOperation]:
    def decode(body: _Cursor, flags: int) -> LoggedOperation:
        if flags:
            raise ValueError(f"unknown flags {flags:#x}")
        return make(body)

    return decode


def _decode_file(body: _Cursor) -> AttachFile:
    kind, name = body.text(), body.text()
    (length,) = _LENGTH.unpack(body.take(_LENGTH.size))
    check_name(f"{kind}/{name}")
    return AttachFile(FileReference(kind, name, length, body.text()))


def _decode_record(body: _Cursor, flags: int) -> PutRecord:
    table, key, value = body.text(), body.text(), body.json()
    if not isinstance(value, dict):
        raise TypeError("a record is not a JSON object")
    return PutRecord(table, key, value, _flag(flags))


def _decode_segment(body: _Cursor) -> AttachSegment:
    collection, deleted = body.text(), tuple(body.texts())
    return AttachSegment(collection, reference_from_json(body.json()), deleted)


_DECODERS: dict[int, Callable[[_Cursor, int], LoggedOperation]] = {
    1: _plain(lambda body: CreateCollection(schema_from_json(body.json()))),
    2: _plain(lambda body: DropCollection(body.text())),
    3: _decode_rows,
    4: lambda body, flags: DeleteRows(body.text(), body.texts(), _flag(flags)),
    5: _decode_record,
    6: _plain(lambda body: DeleteRecord(body.text(), body.text())),
    7: _plain(_decode_file),
    8: _plain(lambda body: DetachFile(body.text(), body.text())),
    9: _plain(_decode_segment),
}
