"""The words of a text column, indexed in memory by tantivy: which rows hold them, and how well they match (BM25).

An index is derived from the rows of a collection and lives with them in this process: made by the first question,
extended by the rows that came since at the next one, dropped with the last handle. The only file that imports tantivy.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError, MissingDependencyError

if TYPE_CHECKING:
    from storage_engine.snapshot import CollectionView

LANGUAGES = (
    *("arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian"),
    *("norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish"),
)
TOLERANCE = 0.1
"""Up to this share of a version's rows the rows whose words were counted may differ from it, unless asked otherwise."""

_LONGEST_WORD = 255  # bytes; what is longer is no word
_HEAP_BYTES = 50_000_000  # of a writer, which writes once it is full
_KEPT_INDEXES = 4  # of a collection: columns and languages
_KEPT_SEARCHERS = 4  # of an index: versions
_FIRST_LIMIT = 64


class TextIndex:
    """The words of some columns of a collection. Safe to use from several threads.

    Args:
        columns: Text columns; their texts are read one after the other.
        language: Whose endings are cut off, or ``None``.
    """

    def __init__(self, columns: Sequence[str], language: str | None) -> None:
        self._columns, self._language = tuple(columns), language
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        tantivy = _tantivy()
        fields = tantivy.SchemaBuilder()
        fields.add_text_field("text", tokenizer_name="words", index_option="freq")
        fields.add_unsigned_field("slot", fast=True)
        self._schema = fields.build()
        self._index = tantivy.Index(self._schema)
        self._analyzer = _analyzer(tantivy, self._language)
        self._index.register_tokenizer("words", self._analyzer)
        self._counted = np.zeros(0, np.bool_)  # by slot: rows whose words are in the index
        self._searchers: OrderedDict[int, Any] = OrderedDict()  # those that count exactly a version's rows

    def search(
        self, view: CollectionView, words: str, top_k: int, allowed: NDArray[np.bool_], exact: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best rows of a version that hold at least one of the words; see :meth:`Search.text`.

        Args:
            view: The version.
            words: What is searched.
            top_k: At most how many rows.
            allowed: bool of shape (slot_count,): live rows that may be returned.
            exact: Whether the statistics must be those of exactly the version's rows.

        Returns:
            Slots and scores, descending; equal scores by slot.

        Raises:
            InvalidArgumentError: There is no word, or a column holds no text.
        """
        terms = list(dict.fromkeys(self._analyzer.analyze(words)))
        if not terms:
            raise InvalidArgumentError(f"there is no word in {words!r}", fix="give at least one word", value=words)
        tantivy = _tantivy()
        one_each = [(tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "text", term)) for term in terms]
        searcher = self._searcher(view, exact)
        return _best(searcher, tantivy.Query.boolean_query(one_each), top_k, allowed)

    def _searcher(self, view: CollectionView, exact: bool) -> Any:
        """What answers for a version: an index that counts its rows, or nearly those unless ``exact``."""
        live = view.live()
        with self._lock:
            if view.version in self._searchers:
                return self._searchers[view.version]
            known = self._counted.shape[0]
            both = min(known, len(live))
            if (live[:both] & ~self._counted[:both]).any():  # an older version, with rows that were dead already
                return _alone(self._columns, self._language, view)
            gone = int(np.count_nonzero(self._counted[:both] & ~live[:both]))
            later = int(np.count_nonzero(self._counted[both:]))
            allowed = 0 if exact else TOLERANCE * len(view)
            if gone + later > allowed:
                if later:
                    return _alone(self._columns, self._language, view)
                self._begin()
                known = 0
            if known < len(live):
                self._add(view, known + np.flatnonzero(live[known:]))
                self._counted = np.concatenate([self._counted, live[known:]])
            searcher = self._index.searcher()
            if np.array_equal(self._counted, live):
                self._searchers[view.version] = searcher
                while len(self._searchers) > _KEPT_SEARCHERS:
                    self._searchers.popitem(last=False)
            return searcher

    def _add(self, view: CollectionView, slots: NDArray[np.int64]) -> None:
        tantivy = _tantivy()
        texts = _texts(view, slots, self._columns)
        writer = self._index.writer(_HEAP_BYTES, num_threads=1)
        for slot, text in zip(slots.tolist(), texts, strict=True):
            if text is not None:
                document = tantivy.Document()
                document.add_text("text", text)
                document.add_unsigned("slot", slot)
                writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()


def index_of(view: CollectionView, columns: str | Sequence[str], language: str | None) -> TextIndex:
    """The index of some columns of a collection, shared by all versions in which slots mean the same rows.

    Raises:
        UnknownColumnError: A column does not exist.
        InvalidArgumentError: A column holds something else than text, or the language is not known.
        MissingDependencyError: tantivy is not installed.
    """
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if not names or len(set(names)) != len(names):
        raise InvalidArgumentError(f"columns are {columns!r}", fix="name at least one, each once", value=columns)
    if language is not None and language not in LANGUAGES:
        raise InvalidArgumentError(
            f"there is no language {language!r}", fix=f"use one of {', '.join(LANGUAGES)}, or None", value=language
        )
    for name in names:
        if name not in view.columns:
            view.metadata_at([], [name])  # raises the error that names the column
        kind = view.columns[name]
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise InvalidArgumentError(
                f"column {name!r} holds {kind}, which is no text", fix="name a column of text", value=name
            )
    with _INDEXES_LOCK:
        kept = _INDEXES.setdefault(view.numbering, OrderedDict())
        index = kept.pop((names, language), None) or TextIndex(names, language)
        kept[names, language] = index
        while len(kept) > _KEPT_INDEXES:
            kept.popitem(last=False)
        return index


_INDEXES: WeakKeyDictionary[object, OrderedDict[tuple[tuple[str, ...], str | None], TextIndex]] = WeakKeyDictionary()
_INDEXES_LOCK = threading.Lock()


def _alone(columns: Sequence[str], language: str | None, view: CollectionView) -> Any:
    """A searcher of one version's rows that nothing else uses."""
    index = TextIndex(columns, language)
    return index._searcher(view, exact=True)


def _best(
    searcher: Any, query: Any, top_k: int, allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best rows among those allowed: as many of all as it takes to know them, ties included."""
    limit = max(_FIRST_LIMIT, 2 * top_k)
    while True:
        found = searcher.search(query, limit=limit)
        slots = np.array(searcher.fast_field_values("slot", [address for _, address in found.hits]), np.int64)
        scores = np.array([score for score, _ in found.hits], np.float32)
        inside = slots < len(allowed)
        inside[inside] = allowed[slots[inside]]
        everything = len(found.hits) >= found.count
        slots, last, scores = slots[inside], scores[-1:], scores[inside]
        if everything or (len(slots) >= top_k and scores[top_k - 1] > last[0]):
            order = np.lexsort((slots, -scores))[:top_k]
            return slots[order], scores[order]
        limit = min(8 * limit, found.count)


def _texts(view: CollectionView, slots: NDArray[np.int64], columns: Sequence[str]) -> list[str | None]:
    table = view.metadata_at(slots, columns)
    parts = [table.column(name).to_pylist() for name in columns]
    if len(parts) == 1:
        return parts[0]  # type: ignore[no-any-return]
    rows = ([text for text in row if text is not None] for row in zip(*parts, strict=True))
    return [" ".join(row) if row else None for row in rows]


def _analyzer(tantivy: Any, language: str | None) -> Any:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.remove_long(_LONGEST_WORD)).filter(tantivy.Filter.lowercase())
    return (builder if language is None else builder.filter(tantivy.Filter.stemmer(language))).build()


def _tantivy() -> Any:
    try:
        import tantivy
    except ImportError as error:
        raise MissingDependencyError("tantivy is not installed", fix="pip install 'qstore-db[text]'") from error
    return tantivy
