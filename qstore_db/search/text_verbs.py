"""Search by words, alone or together with a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.hits import Hits
from qstore_db.promise import promised_recall
from qstore_db.search.fusion import RANK_CONSTANT, reciprocal_rank_fusion
from qstore_db.search.target import Target, check_columns, check_count, one_vector
from qstore_db.search.text_index import index_of
from storage_engine.schema import MAX_TOP_K

if TYPE_CHECKING:
    from storage_engine.filters.selection import Selection
    from storage_engine.snapshot import CollectionView


class TextVerbs:
    """Two of the verbs of :class:`qstore_db.search.verbs.Search`; they need the extra ``text`` (tantivy)."""

    _target: Target

    def text(
        self,
        words: str,
        top_k: int = 10,
        *,
        column: str | Sequence[str],
        language: str | None = None,
        exact: bool = False,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        include: Sequence[str] | None = None,
    ) -> Hits:
        """The rows whose text matches words best, by BM25. Rows without any of the words do not appear.

        The score of a row is the sum, over the distinct words t of the question that it holds f times, of

            ln(1 + (N − n + ½) / (n + ½)) · f · (k + 1) / (f + k · (1 − b + b · L / L̄)),    k = 1.2, b = 0.75

        with N rows that have a text, n of them holding t, L words in the row and L̄ on average (Robertson and Zaragoza,
        "The probabilistic relevance framework: BM25 and beyond", 2009); beyond 40 words L is rounded down to one of 256
        lengths, as tantivy and Lucene keep it. Words are runs of letters and digits in lower case. The index is built
        in memory by the first question, and extended by the rows that came since at the next one.

        Args:
            words: What is searched, as people write it; there is no syntax.
            top_k: At most how many rows, 1 to 10,000.
            column: A metadata column of text, or several, read one after the other.
            language: Cut off the endings of words, such as ``english`` (tantivy's Snowball stemmers).
            exact: Count exactly the rows of this version in N, n and L̄. Otherwise up to a tenth as many rows as there
                are may differ: rows that died since the index was built are still counted (never returned).
            where: See :class:`qstore_db.search.verbs.Search`; statistics are those of all rows.
            filter: The same.
            include: The same.

        Returns:
            Hits with BM25 scores, larger is better; equal scores in the order of writing.

        Raises:
            MissingDependencyError: tantivy is not installed: ``pip install 'qstore-db[text]'``.
            InvalidArgumentError: There is no word, the column holds no text, or an argument is out of its range.
            UnknownColumnError: A name is no column.
        """
        view = self._target.view()
        selection = self._target.selection(view, where, filter)
        check_columns(view, include)
        slots, scores = _by_words(view, words, top_k, column, language, exact, selection)
        return Hits(view.ids_at(slots), scores, "text", view, slots, include, "ranked by BM25")

    def hybrid(
        self,
        words: str,
        vector: ArrayLike,
        top_k: int = 10,
        *,
        column: str | Sequence[str],
        language: str | None = None,
        fetch_k: int = 100,
        rank_constant: float = RANK_CONSTANT,
        weights: tuple[float, float] = (1.0, 1.0),
        exact: bool = False,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        include: Sequence[str] | None = None,
    ) -> Hits:
        """The best rows by words and vector together, by reciprocal rank fusion of the two rankings.

        The score of a row is Σ w / (k + rank) over the rankings that hold it, ranks from 1, with k = 60 by default
        (Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
        methods", SIGIR 2009). The rankings are the ``fetch_k`` best of :meth:`text` and of :meth:`Collection.query`.

        Args:
            words: As for :meth:`text`.
            vector: Shape (dimension,).
            top_k: At most how many rows, 1 to 10,000.
            column: As for :meth:`text`.
            language: As for :meth:`text`.
            fetch_k: How long each ranking is, at least ``top_k``.
            rank_constant: k, at least 0.
            weights: w of the words and of the vector, at least 0.
            exact: Both rankings are exact.
            where: See :class:`qstore_db.search.verbs.Search`; both rankings keep it.
            filter: The same.
            include: The same.

        Returns:
            Hits with fused scores, larger is better; equal scores in the order of the words' ranking, then of the
            vector's.

        Raises:
            As :meth:`text`, and InvalidVectorError, DimensionMismatchError: The vector is unusable.
        """
        check_count("top_k", top_k, 1, MAX_TOP_K)
        check_count("fetch_k", fetch_k, top_k, MAX_TOP_K)
        if len(weights) != 2:
            raise InvalidArgumentError(f"weights are {weights!r}", fix="give two: of words and vector", value=weights)
        view = self._target.view()
        selection = self._target.selection(view, where, filter)
        check_columns(view, include)
        recall = None if exact else promised_recall(view.schema)
        near = view.search(one_vector(vector), fetch_k, mask=selection, exact=exact, recall=recall)
        by_words, _ = _by_words(view, words, fetch_k, column, language, exact, selection)
        slots, fused = reciprocal_rank_fusion([by_words, near.slots], rank_constant=rank_constant, weights=weights)
        slots = slots[:top_k]
        scores = fused[:top_k].astype(np.float32)
        return Hits(
            view.ids_at(slots), scores, "hybrid", view, slots, include, f"words, and vectors by {near.strategy}"
        )


def _by_words(
    view: CollectionView,
    words: str,
    top_k: int,
    column: str | Sequence[str],
    language: str | None,
    exact: bool,
    selection: Selection | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    check_count("top_k", top_k, 1, MAX_TOP_K)
    if not isinstance(words, str):
        raise InvalidArgumentError(f"the words are {words!r}", fix="give a text", value=words)
    allowed = view.live() if selection is None else view.live() & selection.mask
    return index_of(view, column, language).search(view, words, top_k, allowed, exact)
