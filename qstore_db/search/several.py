"""One search over several collections: merged by score where scores mean the same, by rank otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.hits import Hits, hits_of, own_name
from qstore_db.promise import promised_recall
from qstore_db.search.fusion import RANK_CONSTANT, reciprocal_rank_fusion
from qstore_db.search.target import Target, check_columns, one_vector
from query.frames import to_pandas, to_polars
from storage_engine.schema import Metric

if TYPE_CHECKING:
    import pandas
    import polars

    from query.conditions import Selecting
    from storage_engine.engine import Engine
    from storage_engine.schema import CollectionSchema

Merge = Literal["score", "rank"]


@dataclass(frozen=True, slots=True)
class MixedHit:
    """One row of an answer from several collections.

    Args:
        id: The row's id.
        score: As the collections' metric defines it, or the fused score.
        collection: Where it is stored.
        metadata: The columns that were asked for, by name.
    """

    id: str
    score: float
    collection: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class MixedHits:
    """The answer of several collections to one query, best first.

    Args:
        ids: Row ids; two collections may each have a row of one id.
        scores: Shape (rows,): float32 as the metric defines them where merged by score, float64 fused scores where
            merged by rank.
        collections: Where each row is stored.
        parts: The rows of each collection that stand in the answer, in the order of the answer.
        places: int64 of shape (rows,): which row of the parts, one after the other, each is.
    """

    ids: list[str]
    scores: NDArray[np.float32] | NDArray[np.float64]
    collections: list[str]
    parts: tuple[Hits, ...] = field(repr=False)
    places: NDArray[np.int64] = field(repr=False)

    @property
    def metadata(self) -> pa.Table:
        """Metadata of the rows, in order: the columns of all collections, null where a collection lacks one.

        Raises:
            InvalidArgumentError: Collections hold different types in a column.
        """
        tables = [part.metadata for part in self.parts]
        if not any(table.num_columns for table in tables):
            return pa.table({"_": pa.nulls(len(self.ids))}).select([])
        try:
            # a table without columns has no rows either once it is joined: its rows are nulls of some other's column
            named = [table if table.num_columns else _nulls_like(tables, table.num_rows) for table in tables]
            return pa.concat_tables(named, promote_options="permissive").take(pa.array(self.places))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InvalidArgumentError(
                f"the collections' columns do not fit together: {error}", fix="name columns that do, by include=[…]"
            ) from error

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[MixedHit]:
        rows = self.metadata.to_pylist() if self.metadata.num_columns else [{}] * len(self.ids)
        for identifier, score, collection, row in zip(
            self.ids, self.scores.tolist(), self.collections, rows, strict=True
        ):
            yield MixedHit(identifier, score, collection, row)

    def __getitem__(self, index: int) -> MixedHit:
        return list(self)[index]

    def arrow(self) -> pa.Table:
        """Columns ``id``, ``score``, ``collection`` (with ``_`` before where the metadata has such), then metadata."""
        metadata = self.metadata
        names = metadata.column_names
        return pa.table(
            [
                pa.array(self.ids, pa.string()),
                pa.array(self.scores),
                pa.array(self.collections, pa.string()),
                *metadata.columns,
            ],
            names=["id", own_name("score", names), own_name("collection", names), *names],
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """What :meth:`arrow` gives, for whatever reads Arrow."""
        return self.arrow().__arrow_c_stream__(requested_schema)

    def df(self) -> pandas.DataFrame:
        """The same as a pandas frame; MissingDependencyError without pandas."""
        return to_pandas(self.arrow())

    def pl(self) -> polars.DataFrame:
        """The same as a polars frame; MissingDependencyError without polars."""
        return to_polars(self.arrow())


def search_collections(
    engine: Engine,
    session: Callable[[], Selecting],
    collections: Sequence[str],
    vector: ArrayLike | Mapping[str, ArrayLike],
    top_k: int,
    *,
    merge: Merge = "score",
    rank_constant: float = RANK_CONSTANT,
    where: str | None = None,
    filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
    exact: bool = False,
    recall: float | None = None,
    include: Sequence[str] | None = None,
) -> MixedHits:
    """See :meth:`qstore_db.QuantumDatabase.search_collections`; all collections are searched at one version."""
    names = [collections] if isinstance(collections, str) else list(collections)
    if not names or len(set(names)) != len(names):
        raise InvalidArgumentError(f"collections are {names!r}", fix="name at least one, each once", value=names)
    if merge not in ("score", "rank"):
        raise InvalidArgumentError(f"merge is {merge!r}", fix='use "score" or "rank"', value=merge)
    snapshot = engine.snapshot()
    views = [snapshot.collection(name) for name in names]
    schemas = [view.schema for view in views]
    if merge == "score":
        check_comparable(schemas)
    queries = query_vectors(schemas, vector)
    known = [name for name in include or () if any(name in view.columns for view in views)]
    if include and len(known) < len(include):
        check_columns(views[0], [name for name in include if name not in known])
    parts = []
    for view, query in zip(views, queries, strict=True):
        selection = Target(engine, session, view.schema.name).selection(view, where, filter)
        wish = promised_recall(view.schema) if recall is None and not exact else recall
        found = view.search(query, top_k, mask=selection, exact=exact, recall=wish)
        columns = None if include is None else [name for name in known if name in view.columns]
        parts.append((view.schema.name, hits_of(view, [found], columns)[0]))
    return merged(parts, top_k, merge, rank_constant)


def query_vectors(
    schemas: Sequence[CollectionSchema], given: ArrayLike | Mapping[str, ArrayLike]
) -> list[NDArray[np.float32]]:
    """The query vector of each collection: one for all, or one each by name.

    Raises:
        InvalidArgumentError: A mapping does not name exactly the collections.
        InvalidVectorError: Not one vector of numbers.
    """
    if not isinstance(given, Mapping):
        return [one_vector(given)] * len(schemas)
    names = [schema.name for schema in schemas]
    if set(given) != set(names):
        raise InvalidArgumentError(
            f"vectors were given for {sorted(map(str, given))}", fix=f"give one for each of {names}", value=list(given)
        )
    return [one_vector(given[name]) for name in names]


def check_comparable(schemas: Sequence[CollectionSchema]) -> None:
    """Refuse to merge scores of collections that compare differently.

    Raises:
        InvalidArgumentError: Metrics or dimensions differ; the message names two collections.
    """
    first = schemas[0]
    for other in schemas[1:]:
        for what, one, two in (
            ("metric", first.metric, other.metric),
            ("dimension", first.dimension, other.dimension),
        ):
            if one != two:
                raise InvalidArgumentError(
                    f"{first.name!r} has {what} {one} and {other.name!r} {two}, so their scores cannot be compared",
                    fix='merge them by rank: merge="rank"',
                    value=str(two),
                )


def merged(parts: Sequence[tuple[str, Hits]], top_k: int, merge: Merge, rank_constant: float) -> MixedHits:
    """One answer from those of several collections, best first.

    By score: ordered by reported scores, equal ones in the order of the collections and then of their answers; the same
    as one search over all rows. By rank: ordered by 1 / (k + rank) of each row in its own collection's answer
    (:mod:`qstore_db.search.fusion`), so that the first of each collection come first, then the second, and so on.
    """
    sizes = [len(hits) for _, hits in parts]
    starts = np.cumsum([0, *sizes[:-1]])
    scores: NDArray[np.float32] | NDArray[np.float64]
    if merge == "score":
        reported = np.concatenate([hits.scores for _, hits in parts])
        ascending = parts[0][1].view.schema.metric is Metric.L2
        order = np.argsort(reported if ascending else -reported, kind="stable")[:top_k]
        scores = reported[order]
    else:
        rankings = [start + np.arange(size) for start, size in zip(starts, sizes, strict=True)]
        order, fused = reciprocal_rank_fusion(rankings, rank_constant=rank_constant)
        order, scores = order[:top_k], fused[:top_k]
    owner = np.searchsorted(np.cumsum(sizes), order, side="right")
    kept, places = [], np.empty(len(order), np.int64)
    count = 0
    for number, (_, hits) in enumerate(parts):
        where = np.flatnonzero(owner == number)
        rows = order[where] - starts[number]
        ids = [hits.ids[row] for row in rows.tolist()]
        kept.append(Hits(ids, hits.scores[rows], hits.strategy, hits.view, hits.slots[rows], hits.columns, hits.reason))
        places[where] = count + np.arange(len(where))
        count += len(where)
    flat = [name for hits in kept for name in hits.ids]
    names = [parts[number][0] for number in owner.tolist()]
    return MixedHits([flat[place] for place in places.tolist()], scores, names, tuple(kept), places)


def _nulls_like(tables: Sequence[pa.Table], rows: int) -> pa.Table:
    known = next(table for table in tables if table.num_columns).schema.field(0)
    return pa.table([pa.nulls(rows, known.type)], names=[known.name])
