"""Pages of one long answer: disjoint, together the whole of it, and the same whatever is written meanwhile.

All rows have one exact order at a version: by score, equal scores by slot. A page is a stretch of that order, so pages
are cut from it by number alone. A :class:`Cursor` names the version, the place and, by a digest, the question.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.hits import Hits
from qstore_db.search.target import part_of
from storage_engine.schema import Metric

if TYPE_CHECKING:
    from storage_engine.filters.selection import Selection
    from storage_engine.snapshot import Candidates, CollectionView

_AHEAD = 8  # pages that are ranked at once while walking through them


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of an answer.

    Args:
        hits: Its rows, in order.
        offset: How many rows stand before it.
        version: The version that it was cut from.
        cursor: Names the next page; ``None`` where this is the last one.
    """

    hits: Hits
    offset: int
    version: int
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where an answer goes on.

    Args:
        version: Of the database.
        offset: Rows before.
        question: :func:`digest` of what is asked.
    """

    version: int
    offset: int
    question: str

    def to_text(self) -> str:
        """As callers keep it: letters, digits, ``-`` and ``_``."""
        return base64.urlsafe_b64encode(json.dumps([self.version, self.offset, self.question]).encode()).decode()

    @classmethod
    def from_text(cls, text: object) -> Cursor:
        """Read back what :meth:`to_text` wrote.

        Raises:
            InvalidArgumentError: It is no cursor.
        """
        try:
            version, offset, question = json.loads(base64.urlsafe_b64decode(str(text).encode("ascii")))
            if isinstance(version, int) and isinstance(offset, int) and isinstance(question, str) and offset >= 0:
                return cls(version, offset, question)
        except (binascii.Error, ValueError, TypeError):  # ValueError: also JSON, UTF-8 and ASCII
            pass
        raise InvalidArgumentError(f"{text!r} is no cursor", fix="give the cursor of a page", value=text)


def digest(
    view: CollectionView,
    query: NDArray[np.float32],
    where: str | None,
    filter: Mapping[str, object] | None,  # noqa: A002
) -> str:
    """What tells questions apart: the collection, the query's numbers and the condition."""
    asked = json.dumps([view.schema.uuid, where, filter], default=repr, sort_keys=True)
    return hashlib.blake2b(asked.encode() + query.tobytes(), digest_size=9).hexdigest()


def stretch(
    view: CollectionView, query: NDArray[np.float32], start: int, stop: int, selection: Selection | None
) -> Candidates:
    """Rows ``start`` to ``stop`` of the exact order at a view's version; fewer where it ends.

    Cost: one exact search for ``stop`` rows; beyond ``MAX_TOP_K`` of them all matching rows are scored.
    """
    anything = np.inf if view.schema.metric is Metric.L2 else -np.inf
    return part_of(view.search_within(query, anything, mask=selection, limit=stop), slice(start, None))


def pages(
    view: CollectionView, query: NDArray[np.float32], size: int, selection: Selection | None
) -> Iterator[Candidates]:
    """All rows in order, ``size`` at a time; a few pages are ranked at once, then more and more."""
    start, ranked = 0, _AHEAD * size
    known = stretch(view, query, 0, ranked, selection)
    while True:
        if start == ranked and len(known.slots) == ranked:
            ranked *= _AHEAD
            known = stretch(view, query, 0, ranked, selection)
        if start >= len(known.slots):
            return
        yield part_of(known, slice(start, start + size))
        start += size
