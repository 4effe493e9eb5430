import math
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.batch import (
    AttachFile,
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DetachFile,
    DropCollection,
    FileReference,
    PutRecord,
    PutRows,
)
from storage_engine.errors import DamagedError, InvalidArgumentError
from storage_engine.schema import CollectionSchema, GraphOptions, Metric, Role, VectorType
from storage_engine.segment.reference import AttachSegment, SegmentReference
from storage_engine.staged_file import StoredFile
from storage_engine.wal.entry import decode_operations, encode_operations

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
bits32 = st.integers(0, 2**32 - 1)
numbers64 = st.integers(0, 2**64 - 1)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
uuids = st.text("0123456789abcdef", min_size=32, max_size=32)
file_names = st.from_regex(r"[a-z0-9_-][a-z0-9._-]{0,20}", fullmatch=True)
files = st.builds(StoredFile, file_names.map("seg/{}".format), numbers64, texts)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
schemas = st.builds(
    CollectionSchema,
    name=names,
    uuid=uuids,
    dimension=st.integers(1, 65536),
    metric=st.sampled_from(Metric),
    role=st.sampled_from(Role),
    created_at=floats,
    graph=st.builds(
        GraphOptions, st.integers(2, 128), st.integers(1, 10**5), st.integers(0, 2**31 - 1), st.integers(1, 10**6)
    ),
    attributes=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    dtype=st.sampled_from(VectorType),
)
segments = st.builds(
    SegmentReference,
    uuid=texts,
    collection=texts,
    rows=numbers64,
    dimension=st.integers(1, 65536),
    first_lsn=numbers64,
    last_lsn=numbers64,
    vectors=files,
    ids=files,
    metadata=st.none() | files,
    dtype=st.sampled_from(VectorType),
    metadata_sums=st.sampled_from(["", "AAAAAA==", "AQIDBAUGBwg="]),
)
column_kinds = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint8(), st.integers(0, 255)),
    (pa.float64(), st.floats()),
    (pa.float32(), st.floats(width=32)),
    (pa.string(), texts),
    (pa.bool_(), st.booleans()),
    (pa.binary(), st.binary(max_size=5)),
    (pa.timestamp("us", "UTC"), st.integers(-(2**62), 2**62)),
    (pa.list_(pa.int32()), st.lists(st.integers(-5, 5), max_size=3)),
    (pa.struct([("x", pa.int8()), ("y", pa.string())]), st.fixed_dictionaries({"x": st.integers(-5, 5), "y": texts})),
    (pa.null(), st.none()),
]


@st.composite
def tables(draw, rows):
    columns = {}
    for name in draw(st.lists(texts, unique=True, min_size=1, max_size=3)):
        kind, values = draw(st.sampled_from(column_kinds))
        columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), kind)
    return pa.table(columns)


@st.composite
def puts(draw):
    ids = draw(st.lists(texts, max_size=4))
    dimension = draw(st.integers(1, 5))

    def bit_patterns(count):
        return np.array(draw(st.lists(bits32, min_size=count, max_size=count)), np.uint32).view(np.float32)

    vectors = bit_patterns(len(ids) * dimension).reshape(len(ids), dimension) if draw(st.booleans()) else None
    if vectors is not None:
        kind = draw(st.sampled_from(["float32", "float16", "int8"]))
        vectors = vectors.view(kind)[:, :dimension].copy()
    return PutRows(
        collection=draw(texts),
        ids=ids,
        vectors=vectors,
        norms=bit_patterns(len(ids)) if draw(st.booleans()) else None,
        metadata=draw(tables(len(ids))) if draw(st.booleans()) else None,
        mode=draw(st.sampled_from(["insert", "upsert", "update"])),
    )


operations = st.one_of(
    puts(),
    st.builds(CreateCollection, schemas),
    st.builds(DropCollection, texts),
    st.builds(DeleteRows, texts, st.lists(texts, max_size=4), st.booleans()),
    st.builds(PutRecord, texts, texts, st.dictionaries(texts, json_values, max_size=4), st.booleans()),
    st.builds(DeleteRecord, texts, texts),
    st.builds(AttachFile, st.builds(FileReference, file_names, file_names, numbers64, texts)),
    st.builds(DetachFile, texts, texts),
    st.builds(AttachSegment, texts, segments, st.lists(texts, max_size=4).map(tuple)),
)


def same(one, other):
    if isinstance(one, PutRows):
        return (
            isinstance(other, PutRows)
            and (one.collection, list(one.ids), one.mode) == (other.collection, list(other.ids), other.mode)
            and same_bits(one.vectors, other.vectors)
            and same_bits(one.norms, other.norms)
            and (one.metadata is None) == (other.metadata is None)
            and (one.metadata is None or same_table(one.metadata, other.metadata))
        )
    return one == other and type(one) is type(other)


def same_bits(one, other):
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def same_table(one, other):
    # NaN differs from itself and -0.0 equals 0.0: compare what Arrow writes down.
    return one.schema == other.schema and [written(chunk) for chunk in one.to_batches()] == [
        written(chunk) for chunk in other.to_batches()
    ]


def written(batch):
    return batch.serialize().to_pybytes()


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(operations, max_size=4))
def test_decoding_gives_back_what_was_encoded(batch):
    payload = encode_operations(batch)
    decoded = decode_operations(payload)
    assert len(decoded) == len(batch)
    assert all(same(one, other) for one, other in zip(batch, decoded, strict=True))
    assert encode_operations(decoded) == payload


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(operations, min_size=1, max_size=3), st.data())
def test_bytes_that_no_encoder_made_are_damage_or_decode(batch, data):
    payload = bytearray(encode_operations(batch))
    at = data.draw(st.integers(0, len(payload) - 1))
    change = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    if change == "flip":
        payload[at] ^= 1 << data.draw(st.integers(0, 7))
    elif change == "cut":
        del payload[at:]
    else:
        payload[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    try:
        decoded = decode_operations(payload)
    except DamagedError:
        return
    for operation in decoded:
        if isinstance(operation, PutRows) and operation.metadata is not None:
            operation.metadata.to_pylist()  # reading it may not crash either


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_damage_or_decode(payload):
    try:
        decode_operations(payload)
    except DamagedError as error:
        assert "offset" in str(error)


def test_declared_sizes_allocate_nothing():
    huge = 2**32 - 1
    body = struct.pack("<I", 1) + b"c" + struct.pack("<I", huge)
    payload = struct.pack("<IBBHI", 1, 4, 0, 0, len(body)) + body
    with pytest.raises(DamagedError, match="bytes expected"):
        decode_operations(payload)
    rows = struct.pack("<I", 1) + b"c" + struct.pack("<II", 1, 0) + struct.pack("<I", huge)
    payload = struct.pack("<IBBHI", 1, 3, 1, 0, len(rows)) + rows
    with pytest.raises(DamagedError, match="bytes expected"):
        decode_operations(payload)
    with pytest.raises(DamagedError):
        decode_operations(struct.pack("<I", huge))


def test_bytes_too_many_are_damage():
    body = struct.pack("<I", 1) + b"c"
    good = struct.pack("<IBBHI", 1, 2, 0, 0, len(body)) + body
    assert decode_operations(good) == [DropCollection("c")]
    inside = struct.pack("<IBBHI", 1, 2, 0, 0, len(body) + 1) + body + b"!"
    for payload in (good + b"!", inside):
        with pytest.raises(DamagedError, match="too many"):
            decode_operations(payload)


def test_metadata_must_fit_the_ids():
    for table in (pa.table({"n": [1, 2]}), pa.table({"n": [1, 2]}).select([])):
        payload = encode_operations([PutRows("c", ["a"], None, metadata=table, mode="update")])
        with pytest.raises(DamagedError, match="2 rows stands beside 1 ids"):
            decode_operations(payload)
    table = pa.table([[1], [2]], names=["n", "n"])
    with pytest.raises(DamagedError, match="one name"):
        decode_operations(encode_operations([PutRows("c", ["a"], None, metadata=table, mode="update")]))


def test_unusual_floats_and_ids_keep_their_bits():
    patterns = np.array([0x80000000, 1, 0x7F800000, 0xFF800000, 0x7FC00001, 0x7F800001, 0x00800000], np.uint32)
    vectors = patterns.view(np.float32).reshape(1, 7)
    ids = ["a\0b\U0001f600\u200d"]
    decoded = decode_operations(encode_operations([PutRows("c", ids, vectors)]))[0]
    assert isinstance(decoded, PutRows)
    assert decoded.vectors is not None
    assert decoded.vectors.view(np.uint32).tolist() == [patterns.tolist()]
    assert decoded.vectors.flags.owndata or decoded.vectors.base is not None
    assert decoded.ids == ids


def test_vectors_in_another_memory_order_are_written_row_by_row():
    vectors = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    sliced = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2]
    for given_vectors in (vectors, sliced):
        decoded = decode_operations(encode_operations([PutRows("c", ["a", "b"], given_vectors)]))[0]
        assert isinstance(decoded, PutRows)
        np.testing.assert_array_equal(decoded.vectors, given_vectors)


def test_a_slice_of_a_table_is_written_alone():
    whole = pa.table({"n": list(range(100_000)), "s": ["x" * 10] * 100_000})
    payload = encode_operations([PutRows("c", ["a"], None, metadata=whole.slice(500, 1), mode="update")])
    assert len(payload) < 2_000
    decoded = decode_operations(payload)[0]
    assert isinstance(decoded, PutRows)
    assert decoded.metadata is not None
    assert decoded.metadata.to_pylist() == [{"n": 500, "s": "x" * 10}]


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        {1: "x"},
        (1, 2),
        {"x": {2}},
        b"x",
        "\ud800",
        {"\ud800": 1},
        np.int64(1),
        pytest.param(10**5000, id="digits"),
    ],
)
def test_what_json_would_bend_is_refused(value):
    with pytest.raises(InvalidArgumentError, match="record 'k' of table 't' cannot be stored"):
        encode_operations([PutRecord("t", "k", {"value": value})])


def test_deep_nesting_is_refused():
    value: dict[str, object] = {}
    for _ in range(5000):
        value = {"a": value}
    with pytest.raises(InvalidArgumentError, match="nested deeper"):
        encode_operations([PutRecord("t", "k", value)])
    body = b"".join(struct.pack("<I", 1) + name for name in (b"t", b"k")) + b'{"a":' * 100_000
    with pytest.raises(DamagedError):
        decode_operations(struct.pack("<IBBHI", 1, 5, 0, 0, len(body)) + body)
