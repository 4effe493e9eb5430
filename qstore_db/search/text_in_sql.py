"""Words in SQL: ``text_match(column, words)`` and ``hybrid_score(column, words, vector)``.

Both are what :class:`qstore_db.search.text_verbs.TextVerbs` ranks by. They need the extra ``text`` (tantivy).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from qstore_db.promise import promised_recall
from qstore_db.search.fusion import reciprocal_rank_fusion
from qstore_db.search.target import check_count
from qstore_db.search.text_index import index_of
from query.ports import Parameter
from storage_engine.schema import MAX_TOP_K

if TYPE_CHECKING:
    from storage_engine.snapshot import CollectionView

FETCH_K = 100


class TextMatch:
    """``text_match(column, words [, language])``: how well a row's text matches words, by BM25; 0 without any of them.

    Scores are those of :meth:`qstore_db.search.verbs.Search.text`; statistics are those of all rows of the table,
    whatever WHERE says.
    """

    name = "text_match"
    parameters = (Parameter("words", "text", required=True), Parameter("language", "text"))

    def scores(
        self, view: CollectionView, column: str, arguments: Mapping[str, object]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See :class:`query.ports.RowScores`.

        Raises:
            MissingDependencyError: tantivy is not installed.
            InvalidArgumentError: There is no word, the column holds no text, or the language is not known.
            UnknownColumnError: There is no such column.
        """
        return _matching(view, column, arguments, max(1, len(view)))


class HybridScore:
    """``hybrid_score(column, words, vector [, fetch_k] [, language])``: reciprocal ranks by words and vector, summed.

    The score of a row is Σ 1 / (60 + rank) over the ``fetch_k`` best rows by words and the ``fetch_k`` nearest by the
    collection's metric, each among all rows of the table, as :meth:`qstore_db.search.verbs.Search.hybrid` without a
    filter; 0 for a row that is in neither.
    """

    name = "hybrid_score"
    parameters = (
        Parameter("words", "text", required=True),
        Parameter("vector", "list", required=True),
        Parameter("fetch_k", "integer"),
        Parameter("language", "text"),
    )

    def scores(
        self, view: CollectionView, column: str, arguments: Mapping[str, object]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See :class:`query.ports.RowScores`.

        Raises:
            MissingDependencyError: tantivy is not installed.
            InvalidArgumentError: As for :class:`TextMatch`, or ``fetch_k`` is out of range.
            UnknownColumnError: There is no such column.
            DimensionMismatchError, InvalidVectorError: The vector does not fit the collection.
        """
        fetch_k = cast(int, arguments.get("fetch_k", FETCH_K))
        check_count("fetch_k", fetch_k, 1, MAX_TOP_K)
        by_words, _ = _matching(view, column, arguments, fetch_k)
        near = view.search(
            cast("NDArray[np.float32]", arguments["vector"]), fetch_k, recall=promised_recall(view.schema)
        )
        slots, fused = reciprocal_rank_fusion([by_words, near.slots])
        return slots, fused.astype(np.float32)


def _matching(
    view: CollectionView, column: str, arguments: Mapping[str, object], top_k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    language = cast("str | None", arguments.get("language"))
    words = cast(str, arguments["words"])
    return index_of(view, column, language).search(view, words, top_k, view.live(), exact=False)
