"""Embedded vector stores as their documentation suggests to use them, each behind the same four calls.

Every hit carries its id, label and price: raw libraries read them from Python lists, stores from their own rows. A
peer that cannot be imported is named and left out; ``benchmarks/peers.txt`` lists what ``make bench-peers`` installs.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

Hits = list[tuple[str, int, float]]  # id, label, price


@dataclass(frozen=True, slots=True)
class Rows:
    """What is stored."""

    vectors: NDArray[np.float32]
    ids: list[str]
    labels: NDArray[np.int64]
    prices: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition in the words of everybody: ``label IN labels`` or ``price < below``."""

    name: str
    labels: tuple[int, ...] = ()
    below: float = 0.0

    def mask(self, rows: Rows) -> NDArray[np.bool_]:
        return np.isin(rows.labels, self.labels) if self.labels else rows.prices < self.below

    @property
    def sql(self) -> str:
        if not self.labels:
            return f"price < {self.below}"
        if len(self.labels) == 1:
            return f"label = {self.labels[0]}"
        return f"label in ({','.join(map(str, self.labels))})"


class Peer(ABC):
    """One store in a directory of its own; ``efs`` are the breadths at which it is measured."""

    name = ""
    module = ""
    efs: tuple[int, ...] = (20, 40, 80, 160)
    filter_efs: tuple[int, ...] = (40, 80, 160, 320)

    def __init__(self, rows: Rows, top_k: int, directory: Path) -> None:
        self.rows, self.top_k, self.directory = rows, top_k, directory
        self.build()

    @abstractmethod
    def build(self) -> None: ...

    @abstractmethod
    def query(self, query: NDArray[np.float32], ef: int) -> Hits: ...

    @abstractmethod
    def filtered(self, query: NDArray[np.float32], ef: int, condition: Filter) -> Hits: ...


class InLists(Peer):
    """A bare index with ids and metadata in Python lists."""

    def build(self) -> None:
        self.labels, self.prices = self.rows.labels.tolist(), self.rows.prices.tolist()

    def hits(self, keys: Sequence[int]) -> Hits:
        ids, labels, prices = self.rows.ids, self.labels, self.prices
        return [(ids[key], labels[key], prices[key]) for key in keys]


class Hnswlib(InLists):
    name = "hnswlib"
    module = "hnswlib"

    def build(self) -> None:
        super().build()
        self.index = hnswlib.Index(space="l2", dim=self.rows.vectors.shape[1])
        self.index.init_index(len(self.rows.ids), M=16, ef_construction=200, random_seed=100)
        self.index.add_items(self.rows.vectors)
        self.index.set_num_threads(1)

    def query(self, query: NDArray[np.float32], ef: int) -> Hits:
        self.index.set_ef(ef)
        return self.hits(self.index.knn_query(query, self.top_k)[0][0].tolist())

    def batch(self, queries: NDArray[np.float32], ef: int, threads: int) -> list[Hits]:
        self.index.set_ef(ef)
        return [self.hits(one) for one in self.index.knn_query(queries, self.top_k, num_threads=threads)[0].tolist()]

    def filtered(self, query: NDArray[np.float32], ef: int, condition: Filter) -> Hits:
        allowed = condition.mask(self.rows).tobytes()
        self.index.set_ef(ef)
        try:
            return self.hits(self.index.knn_query(query, self.top_k, filter=lambda row: allowed[row] != 0)[0][0])
        except RuntimeError:  # it found fewer than were asked for
            return []


class Faiss(InLists):
    name = "faiss"
    module = "faiss"

    def build(self) -> None:
        super().build()
        self.faiss: Any = importlib.import_module("faiss")
        self.index = self.faiss.IndexHNSWFlat(self.rows.vectors.shape[1], 16)
        self.index.hnsw.efConstruction = 200
        self.index.add(self.rows.vectors)
        self.faiss.omp_set_num_threads(1)

    def query(self, query: NDArray[np.float32], ef: int) -> Hits:
        options = self.faiss.SearchParametersHNSW(efSearch=ef)
        return self.hits(self.index.search(query[None], self.top_k, params=options)[1][0].tolist())

    def filtered(self, query: NDArray[np.float32], ef: int, condition: Filter) -> Hits:
        chosen = self.faiss.IDSelectorBitmap(np.packbits(condition.mask(self.rows), bitorder="little"))
        options = self.faiss.SearchParametersHNSW(efSearch=ef, sel=chosen)
        found = self.index.search(query[None], self.top_k, params=options)[1][0]
        return self.hits(found[found >= 0].tolist())


class Usearch(InLists):
    name = "usearch"
    module = "usearch.index"

    def build(self) -> None:
        super().build()
        index: Any = importlib.import_module("usearch.index")
        width = self.rows.vectors.shape[1]
        self.index = index.Index(ndim=width, metric="l2sq", dtype="f32", connectivity=16, expansion_add=200)
        self.index.add(np.arange(len(self.rows.ids)), self.rows.vectors)

    def query(self, query: NDArray[np.float32], ef: int) -> Hits:
        self.index.expansion_search = ef
        return self.hits(self.index.search(query, self.top_k).keys.tolist())

    def filtered(self, query: NDArray[np.float32], ef: int, condition: Filter) -> Hits:
        mask = condition.mask(self.rows)  # its Python interface knows no condition: ask for more and drop
        self.index.expansion_search = max(ef, 10 * self.top_k)
        found = self.index.search(query, 10 * self.top_k).keys
        return self.hits(found[mask[found]][: self.top_k].tolist())


class Zvec(Peer):
    name = "zvec"
    module = "zvec"
    efs = (16, 32, 64, 128)
    filter_efs = (32, 64, 128, 256)

    def build(self) -> None:
        z = self.zvec = importlib.import_module("zvec")
        inverted = z.InvertIndexParam(enable_range_optimization=True)
        graph = z.HnswIndexParam(metric_type=z.MetricType.L2, m=16, ef_construction=200)
        schema = z.CollectionSchema(
            "items",
            fields=[
                z.FieldSchema("label", z.DataType.INT64, index_param=inverted),
                z.FieldSchema("price", z.DataType.DOUBLE, index_param=inverted),
            ],
            vectors=z.VectorSchema("v", z.DataType.VECTOR_FP32, self.rows.vectors.shape[1], index_param=graph),
        )
        self.store = z.create_and_open(str(self.directory / "zvec"), schema)
        rows = self.rows
        for start in range(0, len(rows.ids), 1000):
            part = range(start, min(start + 1000, len(rows.ids)))
            documents = [
                z.Doc(
                    rows.ids[row],
                    vectors={"v": rows.vectors[row]},
                    fields={"label": int(rows.labels[row]), "price": float(rows.prices[row])},
                )
                for row in part
            ]
            if not all(status.ok() for status in self.store.insert(documents)):
                raise RuntimeError("zvec refused rows")
        self.store.flush()
        self.store.optimize()

    def query(self, query: NDArray[np.float32], ef: int, condition: str | None = None) -> Hits:
        asked = self.zvec.Query("v", vector=query, param=self.zvec.HnswQueryParam(ef=ef))
        found = self.store.query(asked, topk=self.top_k, filter=condition)
        return [(hit.id, hit.fields["label"], hit.fields["price"]) for hit in found]

    def filtered(self, query: NDArray[np.float32], ef: int, condition: Filter) -> Hits:
        return self.query(query, ef, condition.sql)


class QdrantEdge(Peer):
    name = "qdrant edge"
    module = "qdrant_edge"
    efs = (16, 32, 64, 128)
    filter_efs = (32, 64, 128, 256)

    def build(self) -> None:
        q = self.qdrant = importlib.import_module("qdrant_edge")
        rows = self.rows
        (self.directory / "qdrant").mkdir()
        config = q.EdgeConfig(
            vectors={"v": q.EdgeVectorParams(size=rows.vectors.shape[1], distance=q.Distance.Euclid)},
            hnsw_config=q.HnswIndexConfig(m=16, ef_construct=200, full_scan_threshold=10000),
        )
        self.store = q.EdgeShard.create(str(self.directory / "qdrant"), config)
        self.store.update(q.UpdateOperation.create_field_index("label", q.PayloadSchemaType.Integer))
        self.store.update(q.UpdateOperation.create_field_index("price", q.PayloadSchemaType.Float))
        for start in range(0, len(rows.ids), 1000):
            part = range(start, min(start + 1000, len(rows.ids)))
            points = [
                q.Point(
                    row,
                    {"v": rows.vectors[row].tolist()},
                    {"id": rows.ids[row], "label": int(rows.labels[row]), "price": float(rows.prices[row])},
                )
                for row in part
            ]
            self.store.update(q.UpdateOperation.upsert_points(points))
        self.store.optimize()
        self.store.flush()

    def query(self, query: NDArray[np.float32], ef: int, condition: Any = None) -> Hits:
        q = self.qdrant
        found = self.store.search(
            q.SearchRequest(
                query=q.Query.Nearest(query, using="v"),
                limit=self.top_k,
                with_payload=True,
                filter=condition,
                params=q.SearchParams(hnsw_ef=ef),
            )
        )
        return [(hit.payload["id"], hit.payload["label"], hit.payload["price"]) for hit in found]

    def filtered(self, query: NDArray[np.float32], ef: int, condition: Filter) -> Hits:
        q = self.qdrant
        if not condition.labels:
            one = q.FieldCondition("price", range=q.RangeFloat(lt=condition.below))
        elif len(condition.labels) == 1:
            one = q.FieldCondition("label", match=q.MatchValue(condition.labels[0]))
        else:
            one = q.FieldCondition("label", match=q.MatchAny(list(condition.labels)))
        return self.query(query, ef, q.Filter(must=[one]))


class Lance(Peer):
    name = "lancedb"
    module = "lancedb"
    efs = (20, 40, 80, 160)
    filter_efs = (40, 80, 160, 320)

    def build(self) -> None:
        import pyarrow as pa

        lancedb = importlib.import_module("lancedb")
        kinds = importlib.import_module("lancedb.index")
        rows = self.rows
        flat = pa.array(rows.vectors.reshape(-1))
        table = pa.table(
            {
                "id": rows.ids,
                "vector": pa.FixedSizeListArray.from_arrays(flat, rows.vectors.shape[1]),
                "label": rows.labels,
                "price": rows.prices,
            }
        )
        self.table = lancedb.connect(str(self.directory / "lance")).create_table("items", table)
        graph = kinds.HnswSq(distance_type="l2", num_partitions=1, m=16, ef_construction=200)
        self.table.create_index("vector", config=graph)
        self.table.create_index("label", config=kinds.Bitmap())
        self.table.create_index("price", config=kinds.BTree())
        self.table.optimize()

    def query(self, query: NDArray[np.float32], ef: int, condition: str | None = None) -> Hits:
        asked = self.table.search(query).limit(self.top_k).select(["id", "label", "price", "_distance"])
        asked = asked.ef(ef).refine_factor(2)
        if condition is not None:
            asked = asked.where(condition, prefilter=True)
        return [(hit["id"], hit["label"], hit["price"]) for hit in asked.to_list()]

    def filtered(self, query: NDArray[np.float32], ef: int, condition: Filter) -> Hits:
        return self.query(query, ef, condition.sql)


class Chroma(Peer):
    name = "chroma"
    module = "chromadb"
    efs = (20, 40, 80, 160)  # a stored property of its collection, changed when another one is asked for
    filter_efs = (40, 80, 160, 320)
    ef = 80

    def build(self) -> None:
        chroma = importlib.import_module("chromadb")
        rows = self.rows
        settings = chroma.Settings(anonymized_telemetry=False)
        self.store = chroma.PersistentClient(str(self.directory / "chroma"), settings=settings).create_collection(
            "items",
            embedding_function=None,
            configuration={"hnsw": {"space": "l2", "ef_construction": 200, "max_neighbors": 16, "ef_search": 80}},
        )
        for start in range(0, len(rows.ids), 5000):
            part = slice(start, start + 5000)
            pairs = zip(rows.labels[part].tolist(), rows.prices[part].tolist(), strict=True)
            self.store.add(
                ids=rows.ids[part],
                embeddings=rows.vectors[part],
                metadatas=[{"label": label, "price": price} for label, price in pairs],
            )

    def query(self, query: NDArray[np.float32], ef: int, condition: dict[str, Any] | None = None) -> Hits:
        if ef != self.ef:
            self.store.modify(configuration={"hnsw": {"ef_search": ef}})
            self.ef = ef
        found = self.store.query(
            query_embeddings=[query], n_results=self.top_k, where=condition, include=["metadatas", "distances"]
        )
        pairs = zip(found["ids"][0], found["metadatas"][0], strict=True)
        return [(identifier, one["label"], one["price"]) for identifier, one in pairs]

    def filtered(self, query: NDArray[np.float32], ef: int, condition: Filter) -> Hits:
        where = {"label": {"$in": list(condition.labels)}} if condition.labels else {"price": {"$lt": condition.below}}
        return self.query(query, ef, where)


PEERS: tuple[type[Peer], ...] = (Hnswlib, Faiss, Usearch, Zvec, QdrantEdge, Lance, Chroma)


def available(names: Sequence[str] | None) -> tuple[list[type[Peer]], dict[str, str]]:
    """Peers that can be imported, and of the others why not; ``names`` chooses some, raw hnswlib is always one."""
    found: list[type[Peer]] = []
    missing: dict[str, str] = {}
    for peer in PEERS:
        if names and peer.name not in names and peer is not Hnswlib:
            continue
        try:
            importlib.import_module(peer.module)
        except ImportError as error:
            missing[peer.name] = str(error).splitlines()[0]
        else:
            found.append(peer)
    return found, missing


class Workplace:
    """A directory for the stores of one run, removed afterwards."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp(prefix="qstore-peers-"))
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
