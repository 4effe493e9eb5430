"""The emulated Pinecone, asked by Pinecone's own SDK."""

import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("pinecone", reason="the extra pinecone is not installed")

from pinecone import ApiError, ConflictError, NotFoundError, Pinecone, ServerlessSpec
from pinecone import UnauthorizedError as Unauthorized

from qstore_db.emulators.pinecone.emulator import PineconeEmulator
from qstore_db.errors import AlreadyExistsError, InvalidArgumentError


@pytest.fixture
def emulator():
    with PineconeEmulator() as running:
        yield running


@pytest.fixture
def client(emulator):
    with Pinecone(api_key=emulator.key, host=emulator.url) as made:
        yield made


@pytest.fixture
def index(emulator, client):
    emulator.create_index("items", 2, "euclidean")
    with client.Index("items") as made:
        yield made


def test_indexes_are_made_listed_and_deleted(client):
    made = client.create_index(
        name="one", dimension=4, metric="cosine", spec=ServerlessSpec(cloud="aws", region="us-east-1")
    )
    assert (made.name, made.dimension, made.metric) == ("one", 4, "cosine")
    assert client.list_indexes().names() == ["one"]
    assert client.has_index("one")
    with pytest.raises(ConflictError):
        client.create_index(name="one", dimension=4, spec=ServerlessSpec(cloud="aws", region="us-east-1"))
    with client.Index("one") as index:
        assert index.describe_index_stats().dimension == 4
    client.delete_index("one")
    with pytest.raises(NotFoundError):
        client.describe_index("one")


def test_rows_are_written_read_changed_and_deleted(index):
    rows = [{"id": f"r{n}", "values": [n + 1, 0], "metadata": {"n": n, "gone": None, "l": ["a"]}} for n in range(5)]
    assert index.upsert(vectors=rows, namespace="ns").upserted_count == 5
    found = index.fetch(ids=["r1", "r4", "absent"], namespace="ns").vectors
    assert {row_id: (row.values, row.metadata) for row_id, row in found.items()} == {
        "r1": ([2, 0], {"n": 1, "l": ["a"]}),
        "r4": ([5, 0], {"n": 4, "l": ["a"]}),
    }
    index.update(id="r1", set_metadata={"n": 9}, namespace="ns")
    index.update(id="r4", values=[0, 7], namespace="ns")
    found = index.fetch(ids=["r1", "r4"], namespace="ns").vectors
    assert (found["r1"].metadata, found["r4"].values) == ({"n": 9, "l": ["a"]}, [0, 7])
    index.delete(filter={"n": {"$lt": 3}}, namespace="ns")
    index.delete(ids=["r4", "absent"], namespace="ns")
    assert [row.id for page in index.list(namespace="ns") for row in page.vectors] == ["r1", "r3"]
    assert index.describe_index_stats().namespaces["ns"].vector_count == 2
    index.delete(delete_all=True, namespace="ns")
    assert index.describe_index_stats().total_vector_count == 0
    assert index.fetch(ids=["r1"]).vectors == {}
    with pytest.raises(NotFoundError):
        index.delete(ids=["a"], namespace="never")


def test_pages_are_in_order_and_complete(index):
    ids = [f"{n:03d}" for n in range(250)]
    index.upsert(vectors=[(row_id, [1, 1]) for row_id in reversed(ids)])
    pages = list(index.list(limit=99))
    assert [len(page.vectors) for page in pages] == [99, 99, 52]
    assert [row.id for page in pages for row in page.vectors] == ids
    assert [row.id for page in index.list(prefix="24") for row in page.vectors] == ids[240:]


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dotproduct"])
def test_search_is_exact(emulator, client, metric):
    emulator.create_index("m", 5, metric)
    rng = np.random.default_rng(0)
    vectors, query = rng.normal(size=(60, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    scores = {
        "cosine": vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query),
        "euclidean": -((vectors - query) ** 2).sum(axis=1),
        "dotproduct": vectors @ query,
    }[metric]
    with client.Index("m") as index:
        index.upsert(vectors=[(str(n), row.tolist(), {"even": n % 2 == 0}) for n, row in enumerate(vectors)])
        found = index.query(vector=query.tolist(), top_k=7, filter={"even": True}, include_values=True).matches
        best = [n for n in np.argsort(-scores) if n % 2 == 0][:7]
        assert [match.id for match in found] == [str(n) for n in best]
        np.testing.assert_allclose([abs(match.score) for match in found], np.abs(scores[best]), rtol=1e-5)
        np.testing.assert_array_equal(np.float32(found[0].values), vectors[best[0]])
        assert index.query(id="3", top_k=1).matches[0].id == ("3" if metric != "dotproduct" else found_first(vectors))


def found_first(vectors):
    return str(int(np.argmax(vectors @ vectors[3])))


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ({"n": 2}, "b"),
        ({"n": {"$ne": 2}}, "acd"),
        ({"n": {"$gt": 1, "$lte": 3}}, "bc"),
        ({"n": {"$in": [1, 3]}}, "ac"),
        ({"n": {"$nin": [1, 3]}}, "bd"),
        ({"l": "x"}, "ab"),
        ({"l": {"$exists": False}}, "cd"),
        ({"ok": True}, "c"),
        ({"n": True}, ""),
        ({"$or": [{"n": 1}, {"$and": [{"n": {"$gte": 3}}, {"t": "é"}]}]}, "ad"),
    ],
)
def test_filters(index, condition, wanted):
    metadata = {
        "a": {"n": 1, "l": ["x", "y"]},
        "b": {"n": 2, "l": ["x"]},
        "c": {"n": 3, "ok": True},
        "d": {"n": 4, "t": "é"},
    }
    index.upsert(vectors=[(row_id, [1, 1], one) for row_id, one in metadata.items()])
    found = index.query(vector=[0, 1], top_k=10, filter=condition).matches
    assert "".join(sorted(match.id for match in found)) == wanted


@pytest.mark.parametrize(
    ("vectors", "text"),
    [
        ([(str(n), [1, 1]) for n in range(1001)], "more than 1000"),
        ([(str(n), [1, 1], {"p": "x" * 3000}) for n in range(900)], "2097152"),
        ([("m", [1, 1], {"p": "x" * 41_000})], "40960"),
        ([("m", [1])], "does not match the dimension"),
        ([("m", [0, 0])], "non-zero"),
    ],
)
def test_what_is_too_much_is_refused(index, vectors, text):
    with pytest.raises(ApiError, match=text):
        index.upsert(vectors=vectors)
    assert index.describe_index_stats().total_vector_count == 0


def test_another_key_is_refused(emulator):
    with Pinecone(api_key="another", host=emulator.url) as client, pytest.raises(Unauthorized):
        client.list_indexes()


def test_reads_lag_behind_writes_and_catch_up():
    now = [0.0]
    with PineconeEmulator(delay_seconds=10.0, clock=lambda: now[0]) as emulator:
        made = emulator.create_index("items", 1, "cosine")
        with Pinecone(api_key=emulator.key, host=emulator.url) as client, client.Index("items") as index:
            index.upsert(vectors=[("a", [1])])
            now[0] = 100.0
            index.upsert(vectors=[("a", [2])])
            index.delete(ids=["b"])
            now[0] = 105.0
            seen = {tuple(index.fetch(ids=["a"]).vectors["a"].values) for _ in range(30)}
            assert seen == {(1,), (2,)}
            now[0] = 110.0
            assert {tuple(index.fetch(ids=["a"]).vectors["a"].values) for _ in range(30)} == {(2,)}
        assert made.rows() == {"a": ([2], {})}


def test_it_listens_on_the_loopback_interface_only(emulator):
    assert emulator.url.startswith("http://127.0.0.1:")
    port = int(emulator.url.rsplit(":", 1)[1])
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", port))


def test_arguments_are_checked(emulator):
    emulator.create_index("a", 2)
    with pytest.raises(AlreadyExistsError, match="'a'"):
        emulator.create_index("a", 2)
    with pytest.raises(InvalidArgumentError, match="metric 'l2'"):
        emulator.create_index("b", 2, "l2")
    with pytest.raises(InvalidArgumentError, match="delay_seconds"):
        PineconeEmulator(delay_seconds=-1)


def test_the_command_prints_what_leads_the_sdk_to_it(monkeypatch):
    command = [sys.executable, "-m", "qstore_db.cli", "emulator", "pinecone", "--index", "items:3:dotproduct"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines = [running.stdout.readline().removeprefix("export ").strip() for _ in range(2)]
        for name, value in (line.split("=", 1) for line in lines):
            monkeypatch.setenv(name, value)
        with Pinecone() as client:
            assert client.describe_index("items").dimension == 3
            assert client.describe_index("items").metric == "dotproduct"
    finally:
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    assert "Traceback" not in errors
    assert running.returncode in (0, 130)
    refused = subprocess.run([*command[:-1], "items"], capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "--index is 'items'" in refused.stderr
