"""The verbs of ``collection.search``: what can be asked beyond the nearest k rows. Exact unless they say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.errors import InvalidArgumentError
from qstore_db.hits import Hits
from qstore_db.promise import promised_recall
from qstore_db.search import paging
from qstore_db.search.diversity import mmr
from qstore_db.search.kernel_verbs import KernelVerbs
from qstore_db.search.paging import Cursor, Page
from qstore_db.search.quantum_verbs import QuantumVerbs
from qstore_db.search.target import Target, check_columns, check_count, hits, one_vector, part_of
from qstore_db.search.text_verbs import TextVerbs
from storage_engine.grouping import best_groups
from storage_engine.schema import MAX_TOP_K, Metric

if TYPE_CHECKING:
    from query.conditions import Selecting
    from storage_engine.engine import Engine
    from storage_engine.snapshot import CollectionView, Snapshot


@dataclass(frozen=True, slots=True)
class Group:
    """Hits that share a value of a column.

    Args:
        value: What they share; ``None`` is the group of rows without a value.
        hits: The best of them, in order.
    """

    value: object
    hits: Hits


class Search(TextVerbs, QuantumVerbs, KernelVerbs):
    """Searches of one collection; made by :attr:`qstore_db.Collection.search`. Safe to use from many threads.

    Everywhere: ``where`` is a condition in SQL and ``filter`` one as a mapping (both must hold), ``include`` names the
    metadata columns of the answer (``None`` means all), fresh rows are found, deleted rows are not, and equal scores
    stand in the order of writing.
    """

    def __init__(self, engine: Engine, session: Callable[[], Selecting], name: str) -> None:
        self._target = Target(engine, session, name)

    def within(
        self,
        vector: ArrayLike,
        distance: float,
        *,
        limit: int | None = None,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        include: Sequence[str] | None = None,
    ) -> Hits:
        """All rows at most so far away, nearest first; for collections that compare by ``l2``. No row is missed.

        Args:
            vector: Shape (dimension,).
            distance: At least 0. It and the rows' distances are compared as float32, as scores are reported: the score
                of a hit, given as ``distance``, finds that hit.
            limit: Only the nearest so many of them.
            where: See the class.
            filter: See the class.
            include: See the class.

        Raises:
            InvalidArgumentError: The collection compares otherwise (use :meth:`at_least`), ``distance`` is negative or
                no number, or ``limit`` is below 1.
            InvalidVectorError, DimensionMismatchError: The vector is unusable.
            UnknownColumnError: A condition or ``include`` names a column that no row has.
        """
        view = self._target.view()
        if view.schema.metric is not Metric.L2:
            raise InvalidArgumentError(
                f"{view.schema.name!r} compares by {view.schema.metric}, where larger scores are nearer",
                fix="use at_least(vector, score)",
                value=str(view.schema.metric),
            )
        if isinstance(distance, int | float | np.number) and distance < 0:
            raise InvalidArgumentError(f"the distance is {distance!r}", fix="give at least 0", value=distance)
        return self._range(view, vector, distance, limit, where, filter, include)

    def at_least(
        self,
        vector: ArrayLike,
        score: float,
        *,
        limit: int | None = None,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        include: Sequence[str] | None = None,
    ) -> Hits:
        """All rows at least so similar, best first; for collections that compare by ``cosine`` or ``ip``.

        Args:
            vector: Shape (dimension,).
            score: A cosine, or an inner product; compared as float32 like the distance of :meth:`within`.
            limit: Only the best so many of them.
            where: See the class.
            filter: See the class.
            include: See the class.

        Raises:
            InvalidArgumentError: The collection compares by ``l2`` (use :meth:`within`), ``score`` is no number, or
                ``limit`` is below 1.
            InvalidVectorError, DimensionMismatchError: The vector is unusable.
            UnknownColumnError: A condition or ``include`` names a column that no row has.
        """
        view = self._target.view()
        if view.schema.metric is Metric.L2:
            raise InvalidArgumentError(
                f"{view.schema.name!r} compares by l2, where smaller scores are nearer",
                fix="use within(vector, distance)",
                value="l2",
            )
        return self._range(view, vector, score, limit, where, filter, include)

    def groups(
        self,
        vector: ArrayLike,
        by: str,
        top_k: int = 10,
        *,
        per_group: int = 1,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        include: Sequence[str] | None = None,
    ) -> list[Group]:
        """The best rows of each of the best groups: of each author the best book, of each document three passages.

        Rows whose values of ``by`` are equal make a group; rows without a value make one together (as GROUP BY does),
        with the value ``None``: leave them out by ``where="author IS NOT NULL"``. Groups are ranked by their best row.

        Args:
            vector: Shape (dimension,).
            by: A metadata column of single values.
            top_k: How many groups, 1 to 10,000; never fewer than that, or than there are.
            per_group: How many rows of each, 1 to 10,000; never fewer than that, or than it has.
            where: See the class.
            filter: See the class.
            include: See the class.

        Raises:
            UnknownColumnError: ``by``, a condition or ``include`` names a column that no row has.
            InvalidArgumentError: ``top_k`` or ``per_group`` is out of range, or ``by`` holds lists.
            InvalidVectorError, DimensionMismatchError: The vector is unusable.
        """
        view = self._target.view()
        selection = self._target.selection(view, where, filter)
        check_columns(view, include)
        found = best_groups(view, one_vector(vector), by, top_k, per_group, selection)
        sizes = np.cumsum([len(group.slots) for group in found])
        ids = view.ids_at(np.concatenate([group.slots for group in found]) if found else [])
        road, reason = "exact" if selection is None else "exact_rows", f"the best rows by {by} are wanted"
        return [
            Group(
                group.value,
                Hits(ids[stop - len(group.slots) : stop], group.scores, road, view, group.slots, include, reason),
            )
            for group, stop in zip(found, sizes.tolist(), strict=True)
        ]

    def page(
        self,
        vector: ArrayLike,
        size: int = 10,
        *,
        cursor: str | None = None,
        offset: int | None = None,
        version: int | None = None,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        include: Sequence[str] | None = None,
    ) -> Page:
        """A stretch of all rows in order. Pages are disjoint, and together one large answer, whatever is written.

        Ask for the first page without a cursor and for each further one with the cursor of the page before. A page
        comes from the version of the first one, as long as that is kept (docs/python.md, "Versions and transactions").

        Args:
            vector: Shape (dimension,).
            size: Rows of the page, at least 1.
            cursor: Of the page before. Vector and condition must be the same as there; ``size`` may change.
            offset: Instead of a cursor: how many rows to pass over.
            version: Instead of a cursor: the version to read; ``None`` is the newest.
            where: See the class.
            filter: See the class.
            include: See the class.

        Raises:
            UnknownVersionError: The version is not kept any more; begin anew.
            InvalidArgumentError: The cursor is none, belongs to another question, or is given beside ``offset`` or
                ``version``; ``size`` is below 1 or ``offset`` below 0.
            TransactionError: This thread is inside a transaction, whose versions nobody else can read; use
                :meth:`pages`.
            InvalidVectorError, DimensionMismatchError: The vector is unusable.
            UnknownColumnError: A condition or ``include`` names a column that no row has.
        """
        self._target.engine.refuse_transaction("a page")
        check_count("size", size, 1)
        place = None
        if cursor is not None:
            if offset is not None or version is not None:
                raise InvalidArgumentError(
                    "a cursor was given beside an offset or a version", fix="give the cursor alone", value=cursor
                )
            place = Cursor.from_text(cursor)
            offset, version = place.offset, place.version
        start = 0 if offset is None else offset
        check_count("offset", start, 0)
        snapshot = self._snapshot(version)
        view = snapshot.collection(self._target.name)
        query = one_vector(vector)
        question = paging.digest(view, query, where, filter)
        if place is not None and place.question != question:
            raise InvalidArgumentError(
                "the cursor belongs to another question",
                fix="give the vector, where and filter of the page before",
                value=cursor,
            )
        selection = self._target.selection(view, where, filter)
        found = paging.stretch(view, query, start, start + size + 1, selection)
        more = len(found.slots) > size
        shown = hits(view, part_of(found, slice(size)), include)
        following = Cursor(snapshot.version, start + size, question).to_text() if more else None
        return Page(shown, start, snapshot.version, following)

    def pages(
        self,
        vector: ArrayLike,
        size: int = 100,
        *,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        include: Sequence[str] | None = None,
    ) -> Iterator[Hits]:
        """All rows in order, ``size`` at a time, as they are now: ``for hits in items.search.pages(vector)``.

        The rows of one version are held while the iterator lives, so nothing that is written changes it.

        Args:
            vector: Shape (dimension,).
            size: Rows of each page, at least 1; the last one may be shorter.
            where: See the class.
            filter: See the class.
            include: See the class.

        Raises:
            InvalidArgumentError: ``size`` is below 1.
            InvalidVectorError, DimensionMismatchError: The vector is unusable; raised by the first page.
            UnknownColumnError: A condition or ``include`` names a column that no row has.
        """
        check_count("size", size, 1)
        view = self._target.view()
        check_columns(view, include)
        selection = self._target.selection(view, where, filter)
        ranked = paging.pages(view, one_vector(vector), size, selection)
        return (hits(view, found, include) for found in ranked)

    def diverse(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        *,
        fetch_k: int = 50,
        relevance: float = 0.5,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        exact: bool = False,
        ef: int | None = None,
        recall: float | None = None,
        include: Sequence[str] | None = None,
    ) -> Hits:
        """Rows that are near and unlike each other, chosen by maximal marginal relevance among the nearest ones.

        One by one, the candidate d is chosen that maximises λ·sim(d, q) − (1 − λ)·max over chosen s of sim(d, s)
        (Carbonell and Goldstein 1998); sim is the collection's own measure: cosine, inner product, or minus the
        distance under ``l2``. The nearest row comes first. Scores are those of the search and need not be in order.

        Args:
            vector: Shape (dimension,).
            top_k: How many to choose, 1 to 10,000.
            fetch_k: Among how many nearest rows, at least ``top_k``; found like those of :meth:`Collection.query`.
            relevance: λ, 0 to 1: 1 keeps the nearest, 0 only keeps apart.
            where: See the class.
            filter: See the class.
            exact: As in :meth:`Collection.query`, for the candidates.
            ef: As in :meth:`Collection.query`, for the candidates.
            recall: As in :meth:`Collection.query`, for the candidates.
            include: See the class.

        Raises:
            InvalidArgumentError: ``relevance`` is outside 0 to 1, or ``fetch_k`` below ``top_k``.
            InvalidVectorError, DimensionMismatchError: The vector is unusable.
            UnknownColumnError: A condition or ``include`` names a column that no row has.
        """
        if isinstance(relevance, bool) or not isinstance(relevance, int | float) or not 0 <= relevance <= 1:
            raise InvalidArgumentError(f"relevance is {relevance!r}", fix="give a number from 0 to 1", value=relevance)
        check_count("top_k", top_k, 1, MAX_TOP_K)
        check_count("fetch_k", fetch_k, top_k, MAX_TOP_K)
        view = self._target.view()
        selection = self._target.selection(view, where, filter)
        if recall is None and ef is None and not exact:
            recall = promised_recall(view.schema)
        query = one_vector(vector)
        found = view.search(query, fetch_k, mask=selection, exact=exact, ef=ef, recall=recall)
        vectors, norms = view.vectors_at(found.slots), view.norms_at(found.slots)
        chosen = mmr(query, vectors, norms, view.schema.metric, top_k, float(relevance))
        return hits(view, part_of(found, chosen), include)

    def _range(
        self,
        view: CollectionView,
        vector: ArrayLike,
        bound: float,
        limit: int | None,
        where: str | None,
        filter: Mapping[str, object] | None,  # noqa: A002 - as above
        include: Sequence[str] | None,
    ) -> Hits:
        selection = self._target.selection(view, where, filter)
        return hits(view, view.search_within(one_vector(vector), bound, mask=selection, limit=limit), include)

    def _snapshot(self, version: int | None) -> Snapshot:
        newest = self._target.engine.snapshot()
        if version is None or version == newest.version:
            return newest
        return self._target.session().snapshot_at(version)
