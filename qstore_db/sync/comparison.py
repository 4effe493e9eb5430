"""A batch of rows compared on three sides: here, there, and as they were when both last agreed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qstore_db.sync.content import ABSENT, Row, local_rows
from qstore_db.sync.merging import UNKNOWN_ROW, Agreed, Decision, decide
from qstore_db.sync.options import SyncOptions
from qstore_db.sync.pairing import agreed_rows
from storage_engine.snapshot import CollectionView


@dataclass(frozen=True, slots=True)
class Compared:
    """One row on all sides.

    Args:
        id: Its id.
        agreed: What was agreed of it.
        local: Digest of the content here.
        remote: Digest of the content there.
        here: The content here, where it was read.
        there: The content there, if there is any.
        born: The version that wrote the content here; 0 if there is none.
        decision: What becomes of it.
    """

    id: str
    agreed: Agreed
    local: str
    remote: str
    here: Row | None
    there: Row | None
    born: int
    decision: Decision


def compare(
    view: CollectionView,
    known: CollectionView | None,
    ids: Sequence[str],
    there: Mapping[str, Row],
    options: SyncOptions,
    *,
    version: int,
    now: float,
) -> list[Compared]:
    """Read what is here and what was agreed, and decide, row by row in the order given.

    Local content is read only where it may differ from what was agreed: where it was written after ``version``.

    Args:
        view: The collection.
        known: What was agreed; ``None`` before the first sync.
        ids: Which rows.
        there: What the index holds of them.
        options: Direction and preference.
        version: All local changes up to it have been carried over or overruled.
        now: Seconds since the epoch.

    Raises:
        InvalidIdError, InvalidVectorError, InvalidMetadataError: Pinecone cannot hold a local row.
    """
    agreed = {} if known is None else agreed_rows(known, ids)
    slots = view.slots_of(ids)
    here = np.flatnonzero(slots >= 0)
    born = dict(zip((ids[int(at)] for at in here), view.born_at(slots[here]).tolist(), strict=True))
    read = [at for at in here.tolist() if _may_differ(agreed.get(ids[at], UNKNOWN_ROW), born[ids[at]], version)]
    contents = {row.id: row for row in local_rows(view, slots[read])}
    rows = []
    for row_id in ids:
        before = agreed.get(row_id, UNKNOWN_ROW)
        row, other = contents.get(row_id), there.get(row_id)
        local = before.local if row is None else row.digest()
        local = local if row_id in born else ABSENT
        remote = ABSENT if other is None else other.digest()
        decision = decide(before, local, remote, options.direction, options.prefer, now)
        rows.append(Compared(row_id, before, local, remote, row, other, born.get(row_id, 0), decision))
    return rows


def _may_differ(agreed: Agreed, born: int, version: int) -> bool:
    return born > version or agreed.local == ABSENT or bool(agreed.sent)
