"""Which rows of a collection conditions select: plain ones at once, all others by a session that is opened for them.

Nothing here loads DuckDB: a process that asks for rows with ``label = 3`` never does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from query.errors import InvalidFilterError
from query.filter_mapping import parse_filter
from query.predicates import to_predicate
from query.relations import CollectionRelation, ColumnCache
from query.simple_condition import simple_condition
from query.where_text import selection_of
from storage_engine.errors import InvalidArgumentError
from storage_engine.filters.selection import Selection

if TYPE_CHECKING:
    from storage_engine.snapshot import CollectionView, Snapshot

Other = Callable[["CollectionView", str, Mapping[str, object]], Selection]
"""Evaluates a text of any kind, with values for its parameters."""


class Selecting(Protocol):
    """What searches need of SQL: a session, or conditions that open one where they must."""

    def selection(
        self,
        view: CollectionView,
        *,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word of the public interface
        parameters: Mapping[str, object] | None = None,
    ) -> Selection | None:
        """The rows for which conditions hold: see :meth:`query.session.Session.selection`."""
        ...

    def snapshot_at(self, version: int) -> Snapshot:
        """The database at a version: see :meth:`query.session.Session.snapshot_at`."""
        ...


class Conditions:
    """Evaluates conditions over an engine. Safe to use from several threads.

    Args:
        session: Gives the session for what is not plain, opened at the first use.
    """

    def __init__(self, session: Callable[[], Selecting]) -> None:
        self._session = session
        self._cache = ColumnCache()

    def selection(
        self,
        view: CollectionView,
        *,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word of the public interface
        parameters: Mapping[str, object] | None = None,
    ) -> Selection | None:
        """See :meth:`query.session.Session.selection`."""
        if parameters and where is None:
            return self._session().selection(view, where=where, filter=filter, parameters=parameters)
        return selected(view, self._cache, where, filter, parameters or {}, self._by_session)

    def snapshot_at(self, version: int) -> Snapshot:
        """See :meth:`query.session.Session.snapshot_at`."""
        return self._session().snapshot_at(version)

    def _by_session(self, view: CollectionView, text: str, parameters: Mapping[str, object]) -> Selection:
        found = self._session().selection(view, where=text, parameters=parameters)
        if found is None:
            raise TypeError("a condition selects rows")
        return found


def selected(
    view: CollectionView,
    cache: ColumnCache,
    where: str | None,
    mapping: Mapping[str, object] | None,
    parameters: Mapping[str, object],
    other: Other,
) -> Selection | None:
    """The rows for which a text and a mapping hold; ``None`` where neither is given.

    Args:
        view: The collection at a version.
        cache: Where read columns are kept.
        where: What would stand after WHERE.
        mapping: See :func:`query.filter_mapping.parse_filter`.
        parameters: Values of the ``$names`` in ``where``.
        other: Evaluates texts that are not plain.
    """
    found = []
    if where is not None:
        plain = None if parameters else _plain(view, cache, where)
        found.append(other(view, where, parameters) if plain is None else plain)
    if mapping is not None:
        found.append(_filtered(view, cache, mapping))
    if len(found) == 2:
        return Selection(found[0].mask & found[1].mask)
    return found[0] if found else None


def _plain(view: CollectionView, cache: ColumnCache, text: str) -> Selection | None:
    """What a plain condition selects, or what was remembered of any; ``None`` for others."""
    known = view.known_selection(f"text {text}")
    if known is not None:
        return known
    node = simple_condition(text)
    relation = CollectionRelation(view, cache)
    predicate = None if node is None else to_predicate(node, relation.schema, (), {})
    if predicate is None:
        return None
    found = selection_of(relation, predicate)
    view.keep_selection(f"text {text}", found)
    return found


def _filtered(view: CollectionView, cache: ColumnCache, mapping: Mapping[str, object]) -> Selection:
    predicate = parse_filter(mapping)
    try:
        return selection_of(CollectionRelation(view, cache), predicate)
    except InvalidArgumentError as error:
        raise InvalidFilterError(error.what, fix=error.fix, value=error.value) from error
