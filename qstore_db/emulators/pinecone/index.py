"""One emulated index: its namespaces, and what the data plane answers."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.emulators.pinecone.metadata import Refused, matches, taken
from qstore_db.emulators.pinecone.namespace import Namespace, StoredVector
from qstore_db.loopback_server import Answer, Request

MAX_VECTORS: Final = 1_000
MAX_REQUEST_BYTES: Final = 2 * 2**20
MAX_ID_CHARACTERS: Final = 512
MAX_TOP_K: Final = 10_000
DEFAULT_PAGE: Final = 100
DEFAULT_NAMESPACE: Final = "__default__"
METRICS: Final = ("cosine", "euclidean", "dotproduct")


class EmulatedIndex:
    """Answers requests to one index. Reads lag behind writes by a random time of at most ``delay_seconds``.

    Args:
        dimension: Of its vectors.
        metric: One of :data:`METRICS`.
        delay_seconds: How far reads may be behind.
        clock: Seconds, never falling.
        rng: Draws how far each read is behind.
    """

    def __init__(
        self, dimension: int, metric: str, delay_seconds: float, clock: Callable[[], float], rng: np.random.Generator
    ) -> None:
        self.dimension = dimension
        self.metric = metric
        self._delay_seconds = delay_seconds
        self._clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        self._namespaces: dict[str, Namespace] = {}
        self._writes = 0
        self._routes: Mapping[tuple[str, str], Callable[[Request], Answer | None]] = {
            ("POST", "/vectors/upsert"): self._upsert,
            ("POST", "/vectors/update"): self._update,
            ("POST", "/vectors/delete"): self._delete,
            ("GET", "/vectors/fetch"): self._fetch,
            ("GET", "/vectors/list"): self._list,
            ("POST", "/query"): self._query,
            ("POST", "/describe_index_stats"): self._stats,
            ("GET", "/namespaces"): self._list_namespaces,
        }

    def answer(self, request: Request) -> Answer | None:
        """The answer of the data plane; ``None`` where it has none.

        Raises:
            Refused: The request is malformed or beyond a limit.
        """
        route = self._routes.get((request.method, request.path))
        with self._lock:
            if route is not None:
                return route(request)
            if request.path.startswith("/namespaces/"):
                return self._one_namespace(request, request.path.removeprefix("/namespaces/"))
        return None

    def put(self, rows: Mapping[str, tuple[Sequence[float], Mapping[str, Any]]], namespace: str = "") -> None:
        """Write rows as another client would: id to values and metadata."""
        with self._lock:
            self._write(namespace, [self._stored({"id": i, "values": v, "metadata": m}) for i, (v, m) in rows.items()])

    def remove(self, ids: Sequence[str], namespace: str = "") -> None:
        """Delete rows as another client would."""
        with self._lock:
            self._namespaces[_name(namespace)].remove(ids, self._clock())

    def rows(self, namespace: str = "") -> dict[str, tuple[list[float], dict[str, Any]]]:
        """All rows as last written: id to values and metadata."""
        with self._lock:
            found = self._namespaces.get(_name(namespace))
            rows = {} if found is None else found.rows(self._clock())
        return {row_id: (row.values.tolist(), dict(row.metadata)) for row_id, row in rows.items()}

    # Writing

    def _upsert(self, request: Request) -> Answer:
        body = request.json()
        if len(body["vectors"]) > MAX_VECTORS:
            raise Refused(f"cannot upsert more than {MAX_VECTORS} vectors per request")
        self._write(body.get("namespace", ""), [self._stored(one) for one in body["vectors"]])
        return self._written({"upsertedCount": len(body["vectors"])})

    def _update(self, request: Request) -> Answer:
        body = request.json()
        namespace = body.get("namespace", "")
        if "id" in body:
            old = self._known(namespace).newest(body["id"])
            targets = [] if old is None else [old]
        else:
            targets = [row for row in self._newest(namespace).values() if matches(row.metadata, body.get("filter"))]
        changed = [
            {
                "id": row.id,
                "values": body.get("values", row.values),
                "metadata": {**row.metadata, **body.get("setMetadata", {})},
            }
            for row in targets
        ]
        if not body.get("dryRun"):
            self._write(namespace, [self._stored(one) for one in changed])
        return self._written({"matchedRecords": len(changed)})

    def _delete(self, request: Request) -> Answer | None:
        body = request.json()
        namespace = body.get("namespace", "")
        if _name(namespace) not in self._namespaces:
            return None
        if body.get("deleteAll"):
            ids = list(self._newest(namespace))
        elif "ids" in body:
            ids = body["ids"]
            if len(ids) > MAX_VECTORS:
                raise Refused(f"cannot delete more than {MAX_VECTORS} ids per request")
        else:
            ids = [row.id for row in self._newest(namespace).values() if matches(row.metadata, body["filter"])]
        self._known(namespace).remove(ids, self._clock())
        return self._written({})

    def _write(self, namespace: str, rows: Sequence[StoredVector]) -> None:
        space = self._namespaces.setdefault(_name(namespace), Namespace(self._delay_seconds))
        space.put(rows, self._clock())

    def _stored(self, given: Mapping[str, Any]) -> StoredVector:
        row_id = given["id"]
        if not isinstance(row_id, str) or not 0 < len(row_id) <= MAX_ID_CHARACTERS:
            raise Refused(f"vector ID must have 1 to {MAX_ID_CHARACTERS} characters")
        if not row_id.isascii():
            raise Refused(f"vector ID must be ASCII, but got '{row_id}'")
        values = np.asarray(given.get("values", []), np.float32)
        if len(values) != self.dimension:
            raise Refused(f"Vector dimension {len(values)} does not match the dimension of the index {self.dimension}")
        if not values.any():
            raise Refused("Dense vectors must contain at least one non-zero value")
        return StoredVector(row_id, values, taken(given.get("metadata")))

    def _written(self, body: Mapping[str, Any]) -> Answer:
        self._writes += 1
        return Answer(200, body, {"x-pinecone-lsn-committed": str(self._writes)})

    # Reading

    def _fetch(self, request: Request) -> Answer:
        rows = self._known(_asked(request)).some(request.query.get("ids", []), self._past())
        found = {row_id: _shown(row, values=True, metadata=True) for row_id, row in rows.items()}
        return Answer(200, {"vectors": found, "namespace": _asked(request), "usage": {"readUnits": 1}})

    def _list(self, request: Request) -> Answer:
        limit = int(_last(request, "limit") or DEFAULT_PAGE)
        if not 1 <= limit <= DEFAULT_PAGE:
            raise Refused(f"limit must be from 1 to {DEFAULT_PAGE}")
        after, prefix = _decoded(_last(request, "paginationToken")), _last(request, "prefix")
        page, more = self._known(_asked(request)).page(prefix, after, limit, self._past())
        answer: dict[str, Any] = {"vectors": [{"id": i} for i in page], "namespace": _asked(request)}
        if more:
            answer["pagination"] = {"next": _encoded(page[-1])}
        return Answer(200, {**answer, "usage": {"readUnits": 1}})

    def _query(self, request: Request) -> Answer:
        body = request.json()
        if not 1 <= body["topK"] <= MAX_TOP_K:
            raise Refused(f"topK must be from 1 to {MAX_TOP_K}")
        rows = self._lagging(body.get("namespace", ""))
        if "id" in body:
            if body["id"] not in rows:
                return Answer(200, {"matches": [], "namespace": body.get("namespace", ""), "usage": {"readUnits": 1}})
            query = rows[body["id"]].values
        else:
            query = np.asarray(body["vector"], np.float32)
        if len(query) != self.dimension:
            raise Refused(f"Vector dimension {len(query)} does not match the dimension of the index {self.dimension}")
        kept = [row for row in rows.values() if matches(row.metadata, body.get("filter"))]
        scores = self._scores(query, kept)
        order = np.argsort(scores if self.metric == "euclidean" else -scores, kind="stable")[: body["topK"]]
        wanted = {"values": bool(body.get("includeValues")), "metadata": bool(body.get("includeMetadata"))}
        found = [{**_shown(kept[at], **wanted), "score": float(scores[at])} for at in order.tolist()]
        return Answer(200, {"matches": found, "namespace": body.get("namespace", ""), "usage": {"readUnits": 1}})

    def _scores(self, query: NDArray[np.float32], rows: Sequence[StoredVector]) -> NDArray[np.float64]:
        """What Pinecone calls scores: cosine and inner product, larger is nearer; squared distance, smaller is."""
        given = np.array([row.values for row in rows], np.float64).reshape(len(rows), self.dimension)
        asked = query.astype(np.float64)
        if self.metric == "euclidean":
            return np.asarray(((given - asked) ** 2).sum(axis=1))
        products = given @ asked
        if self.metric == "cosine":
            products = products / (np.linalg.norm(given, axis=1) * np.linalg.norm(asked))
        return np.asarray(products)

    def _stats(self, request: Request) -> Answer:
        del request
        counts = {name: {"vectorCount": len(space.rows(self._past()))} for name, space in self._namespaces.items()}
        return Answer(
            200,
            {
                "namespaces": counts,
                "dimension": self.dimension,
                "metric": self.metric,
                "vectorType": "dense",
                "indexFullness": 0,
                "totalVectorCount": sum(count["vectorCount"] for count in counts.values()),
            },
        )

    def _list_namespaces(self, request: Request) -> Answer:
        del request
        names = sorted(self._namespaces)
        return Answer(200, {"namespaces": [self._described(name) for name in names], "total_count": len(names)})

    def _one_namespace(self, request: Request, name: str) -> Answer | None:
        if name not in self._namespaces:
            return None
        if request.method == "DELETE":
            del self._namespaces[name]
            return Answer(200, {})
        return Answer(200, self._described(name)) if request.method == "GET" else None

    def _described(self, name: str) -> dict[str, Any]:
        return {"name": name, "record_count": str(len(self._newest(name)))}

    def _known(self, namespace: str) -> Namespace:
        return self._namespaces.get(_name(namespace)) or Namespace(0.0)

    def _newest(self, namespace: str) -> dict[str, StoredVector]:
        return self._known(namespace).rows(self._clock())

    def _lagging(self, namespace: str) -> dict[str, StoredVector]:
        return self._known(namespace).rows(self._past())

    def _past(self) -> float:
        return self._clock() - float(self._rng.uniform(0.0, self._delay_seconds))


def _shown(row: StoredVector, *, values: bool, metadata: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": row.id}
    if values:
        shown["values"] = row.values.tolist()
    if metadata and row.metadata:
        shown["metadata"] = dict(row.metadata)
    return shown


def _last(request: Request, name: str) -> str:
    values = request.query.get(name)
    return values[-1] if values else ""


def _asked(request: Request) -> str:
    return _last(request, "namespace")


def _name(namespace: str) -> str:
    return namespace or DEFAULT_NAMESPACE


def _encoded(row_id: str) -> str:
    return base64.urlsafe_b64encode(row_id.encode()).decode()


def _decoded(token: str) -> str:
    return base64.urlsafe_b64decode(token).decode()
