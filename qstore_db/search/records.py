"""Records of several vectors: all rows that share a value of the column ``record`` are one record.

A title and a body, the passages of a document, the tokens of a text: each vector is an ordinary row with the columns
``record`` and ``part``, so filters, versions, SQL and every other search work on it as on any row. What is added here
is only that the rows of a record are written and deleted together, in one commit, and are scored together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import (
    DuplicateIdError,
    InvalidArgumentError,
    InvalidMetadataError,
    InvalidVectorError,
    UnknownIdError,
)
from qstore_db.functions import state_writing
from qstore_db.hits import Hits
from qstore_db.row_input import MetadataInput, parse_ids, parse_metadata, to_float32
from qstore_db.search.target import Target, check_columns, check_count, one_vector
from storage_engine.grouping import encoded
from storage_engine.record_search import Asked, best_records
from storage_engine.schema import MAX_TOP_K

if TYPE_CHECKING:
    from storage_engine.filters.selection import Selection
    from storage_engine.schema import CollectionSchema
    from storage_engine.snapshot import CollectionView, Snapshot

RECORD, PART = "record", "part"
_PART_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

PartsInput = Mapping[str, ArrayLike] | ArrayLike
"""The vectors of one record: by name, or shape (parts, dimension), then called ``0``, ``1``, …"""


@dataclass(frozen=True, slots=True)
class VectorRecord:
    """A record of several vectors.

    Args:
        id: Its id.
        vectors: Its vectors by the name of their part, in the order of writing, as they were written.
        metadata: Column name to value, without ``record`` and ``part``.
    """

    id: str
    vectors: Mapping[str, NDArray[np.float32]]
    metadata: Mapping[str, Any]


class Records:
    """Records of several vectors in a collection; made by :attr:`qstore_db.Collection.records`.

    The vector ``part`` of record ``id`` is the row ``id/part``, with ``record`` = id and ``part`` in its metadata
    beside the record's own, which stands in each of its rows. All vectors have the collection's dimension and metric.
    Safe to use from many threads.
    """

    def __init__(self, target: Target, new: Callable[[int], CollectionSchema] | None = None) -> None:
        self._target = target
        self._new = new  # makes the schema, from a dimension, of a collection that the first write creates

    def insert(
        self, ids: str | Sequence[str], vectors: PartsInput | Sequence[PartsInput], metadata: MetadataInput = None
    ) -> int:
        """Add records with new ids, each with all its vectors, in one commit.

        Args:
            ids: One id, or one per record.
            vectors: For one id a mapping from part to vector, or shape (parts, dimension), whose parts are called
                ``0``, ``1``, …; for several ids a list of those. A part's name is 1 to 64 letters, digits, ``_``,
                ``.`` or ``-``.
            metadata: As for :meth:`Collection.insert`, one row a record; not ``record`` or ``part``.

        Returns:
            The version that holds them.

        Raises:
            DuplicateIdError: A record of that id is stored, or an id occurs twice.
            InvalidVectorError, DimensionMismatchError: A record without vectors, or with unusable ones.
            InvalidArgumentError: A part's name is none.
            InvalidMetadataError: Metadata names ``record`` or ``part``, or does not fit.
        """
        names, rows = _parse(ids, vectors, metadata)
        with state_writing.writing(self._target.engine) as snapshot:
            for name, slots in zip(names, self._slots_of(snapshot, names), strict=True):
                if len(slots):
                    raise DuplicateIdError(
                        f"record {name!r} is stored in {self._target.name!r} already", fix="use upsert", value=name
                    )
            new = self._schema(rows[1])
            return state_writing.write_rows(self._target.engine, self._target.name, *rows, "insert", new=new)

    def upsert(
        self, ids: str | Sequence[str], vectors: PartsInput | Sequence[PartsInput], metadata: MetadataInput = None
    ) -> int:
        """Add records, or replace whole those whose ids are stored, vectors they no longer have included.

        Otherwise as :meth:`insert`.
        """
        names, rows = _parse(ids, vectors, metadata)
        engine, name = self._target.engine, self._target.name
        with state_writing.writing(engine) as snapshot:
            slots = np.concatenate(self._slots_of(snapshot, names))
            stored = snapshot.collection(name).ids_at(slots) if len(slots) else []
            gone = sorted(set(stored) - set(rows[0]))
            if not gone:
                return state_writing.write_rows(engine, name, *rows, "upsert", new=self._schema(rows[1]))
            if engine.in_transaction:
                state_writing.delete_rows(engine, name, gone)
                return state_writing.write_rows(engine, name, *rows, "upsert")
            with engine.transaction():
                state_writing.delete_rows(engine, name, gone)
                state_writing.write_rows(engine, name, *rows, "upsert")
            return engine.snapshot().version

    def _slots_of(self, snapshot: Snapshot, names: Sequence[str]) -> list[NDArray[np.int64]]:
        """The live rows of each record; none of any where the collection is still to be created.

        Raises:
            UnknownCollectionError: There is no collection.
        """
        if self._new is not None and not snapshot.has_collection(self._target.name):
            return [np.empty(0, np.int64) for _ in names]
        return _rows_of(snapshot.collection(self._target.name), names)

    def _schema(self, vectors: NDArray[np.float32]) -> CollectionSchema | None:
        return None if self._new is None else self._new(vectors.shape[1])

    def delete(self, ids: str | Sequence[str], *, missing_ok: bool = False) -> int:
        """Remove records with all their vectors, in one commit.

        Raises:
            UnknownIdError: A record is not stored and ``missing_ok`` is not set.
        """
        names, _ = parse_ids(ids)
        with state_writing.writing(self._target.engine) as snapshot:
            view = snapshot.collection(self._target.name)
            slots = _rows_of(view, names)
            if not missing_ok:
                _check_stored(self._target.name, names, slots)
            rows = view.ids_at(np.unique(np.concatenate(slots))) if slots else []
            return state_writing.delete_rows(self._target.engine, self._target.name, rows)

    @overload
    def get(self, ids: str) -> VectorRecord: ...  # type: ignore[overload-overlap]  # one id is one record
    @overload
    def get(self, ids: Sequence[str]) -> list[VectorRecord]: ...
    def get(self, ids: str | Sequence[str]) -> VectorRecord | list[VectorRecord]:
        """Records by id, in the order asked for; vectors as they were written.

        Raises:
            UnknownIdError: A record is not stored.
        """
        names, single = parse_ids(ids)
        view = self._target.view()
        found = _rows_of(view, names)
        _check_stored(self._target.name, names, found)
        records = []
        for name, slots in zip(names, found, strict=True):
            columns = view.values_at(slots)
            parts = columns.pop(PART)
            del columns[RECORD]
            vectors = dict(zip(parts, view.vectors_at(slots), strict=True))
            records.append(VectorRecord(name, vectors, {column: values[0] for column, values in columns.items()}))
        return records[0] if single else records

    def query(
        self,
        vectors: ArrayLike | Mapping[str, ArrayLike],
        top_k: int = 10,
        *,
        weights: Mapping[str, float] | None = None,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        include: Sequence[str] | None = None,
    ) -> Hits:
        """The best records, exactly.

        With s(q, v) the score of a row as the collection's metric defines it, the score of a record is for

        - one vector q, shape (d,): **best** of the record's vectors, max over v of s(q, v);
        - several, shape (m, d): **late interaction**, Σ_i max over v of s(q_i, v) (Khattab and Zaharia, "ColBERT",
          SIGIR 2020);
        - a mapping from part to vector, or one vector with ``weights``: the **weighted sum** over the named parts,
          Σ_c w_c s(q_c, v_c). Only records that have all of these parts appear.

        Under ``l2`` scores are distances: max becomes min, and less is better. Row scores are added in float64 as they
        are reported (float32).

        Args:
            vectors: What is searched.
            top_k: How many records, 1 to 10,000; never fewer than that, or than match.
            weights: w by part, at least 0; 1 for parts of a mapping that are not named.
            where: See :class:`qstore_db.search.verbs.Search`; rows that do not match count as not there.
            filter: The same.
            include: The same.

        Returns:
            Hits whose ids are those of records; equal scores in the order of the records' first matching rows. Slots,
            and with them ``metadata`` and ``vectors``, are of the row that is best for the first vector asked.

        Raises:
            InvalidArgumentError: ``top_k`` or a weight is out of its range, a part is stored nowhere, or weights are
                given for a matrix.
            InvalidVectorError, DimensionMismatchError: A vector is unusable.
            UnknownColumnError: A condition or ``include`` names a column that no row has.
        """
        check_count("top_k", top_k, 1, MAX_TOP_K)
        view = self._target.view()
        if not _holds_records(view):
            nothing = np.empty(0, np.int64)
            return Hits([], np.empty(0, np.float32), "records", view, nothing, include, "there are no records")
        selection = self._target.selection(view, where, filter)
        check_columns(view, include)
        asked = _asked(view, vectors, weights, selection)
        names, record_of = encoded(view, RECORD)
        nobody = np.flatnonzero(np.asarray(names.is_null()))
        if len(nobody):
            record_of = np.where(record_of == nobody[0], np.int32(-1), record_of)
        found = best_records(view, record_of, len(names), asked, top_k)
        ids = [names[number].as_py() for number in found.records.tolist()]
        scores = found.scores.astype(np.float32)
        return Hits(ids, scores, "records", view, found.slots, include, f"records by {len(asked)} vector(s), exactly")


def _asked(
    view: CollectionView,
    vectors: ArrayLike | Mapping[str, ArrayLike],
    weights: Mapping[str, float] | None,
    selection: Selection | None,
) -> list[Asked]:
    """What a question asks of the rows: one entry a vector."""
    rows = view.live() if selection is None else selection.mask
    if not isinstance(vectors, Mapping) and weights is None:
        array = to_float32(vectors)
        queries = [array] if array.ndim == 1 else list(array) if array.ndim == 2 else []
        if not queries:
            raise InvalidVectorError(
                f"vectors of shape {array.shape} ask nothing", fix="give shape (dimension,) or (vectors, dimension)"
            )
        return [Asked(query, 1.0, rows) for query in queries]
    if isinstance(vectors, Mapping):
        by_part = {part: one_vector(vector) for part, vector in vectors.items()}
    else:
        by_part = dict.fromkeys(weights or {}, one_vector(vectors))
    weighed = {**dict.fromkeys(by_part, 1.0), **(weights or {})}
    if not by_part or weighed.keys() != by_part.keys():
        raise InvalidArgumentError(
            f"vectors are given for {list(by_part)} and weights for {list(weights or {})}",
            fix="give weights of parts that a vector is given for",
            value=weights,
        )
    known, part_of = encoded(view, PART)
    numbers = {name: number for number, name in enumerate(known.to_pylist())}
    for part, weight in weighed.items():
        if part not in numbers:
            raise InvalidArgumentError(
                f"no record has a vector {part!r}",
                fix=f"use parts such as {sorted(filter(None, numbers))[:5]}",
                value=part,
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise InvalidArgumentError(f"the weight of {part!r} is {weight!r}", fix="give at least 0", value=weight)
    return [Asked(query, float(weighed[part]), rows & (part_of == numbers[part])) for part, query in by_part.items()]


def _rows_of(view: CollectionView, names: Sequence[str]) -> list[NDArray[np.int64]]:
    """The live slots of each record, in the order of writing. Cost: O(rows)."""
    if not _holds_records(view):
        return [np.empty(0, np.int64) for _ in names]
    known, record_of = encoded(view, RECORD)
    numbers = {name: number for number, name in enumerate(known.to_pylist())}
    wanted = np.array([numbers.get(name, -1) for name in names], np.int64)
    chosen = np.zeros(len(known) + 1, np.bool_)
    chosen[wanted[wanted >= 0]] = True
    slots = np.flatnonzero(view.live() & chosen[record_of])
    return [slots[record_of[slots] == number] for number in wanted.tolist()]


def _holds_records(view: CollectionView) -> bool:
    """Whether a collection has the columns of records.

    Raises:
        InvalidArgumentError: It has columns of these names that hold something else.
    """
    for column in (RECORD, PART):
        kind = view.columns.get(column, pa.null())
        if not (pa.types.is_string(kind) or pa.types.is_null(kind)):
            raise InvalidArgumentError(
                f"column {column!r} of {view.schema.name!r} holds {kind}: there are no records of several vectors",
                fix="keep records in a collection of their own",
                value=column,
            )
    return {RECORD, PART} <= view.columns.keys()


def _check_stored(collection: str, names: Sequence[str], slots: Sequence[NDArray[np.int64]]) -> None:
    for name, rows in zip(names, slots, strict=True):
        if not len(rows):
            raise UnknownIdError(f"no record {name!r} in {collection!r}", fix="check the id", value=name)


def _parse(
    ids: str | Sequence[str], vectors: PartsInput | Sequence[PartsInput], metadata: MetadataInput
) -> tuple[list[str], tuple[list[str], NDArray[np.float32], pa.Table]]:
    """Ids of records, and the rows that they are: row ids, vectors, metadata."""
    names, single = parse_ids(ids)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateIdError(f"record {twice!r} is given twice", fix="give each id once", value=twice)
    given = cast("list[PartsInput]", [vectors] if single else list(cast("Sequence[PartsInput]", vectors)))
    if len(given) != len(names) or not names:
        raise InvalidVectorError(
            f"vectors of {len(given)} record(s) are given for {len(names)} id(s)", fix="give those of each record"
        )
    table = parse_metadata(metadata, single=single, rows=len(names))
    if table is not None and {RECORD, PART} & set(table.column_names):
        raise InvalidMetadataError(
            f"metadata of a record cannot have the columns {RECORD!r} and {PART!r}", fix="rename them"
        )
    parts = [_parts(name, one) for name, one in zip(names, given, strict=True)]
    sizes = [len(one) for one in parts]
    flat = [(name, part, vector) for name, one in zip(names, parts, strict=True) for part, vector in one.items()]
    owner = pa.array([name for name, _, _ in flat], pa.string())
    part_names = pa.array([part for _, part, _ in flat], pa.string())
    rows = pa.table({RECORD: owner, PART: part_names})
    if table is not None:
        repeated = table.take(pa.array(np.repeat(np.arange(len(names)), sizes)))
        for column in table.column_names:
            rows = rows.append_column(column, repeated.column(column))
    lengths = {len(vector) for _, _, vector in flat}
    if len(lengths) > 1:
        raise InvalidVectorError(f"vectors have the lengths {sorted(lengths)}", fix="give vectors of one length")
    return names, ([f"{name}/{part}" for name, part, _ in flat], np.stack([vector for _, _, vector in flat]), rows)


def _parts(name: str, given: PartsInput) -> dict[str, NDArray[np.float32]]:
    if isinstance(given, Mapping):
        parts = {part: one_vector(vector) for part, vector in given.items()}
    else:
        array = to_float32(given)
        if array.ndim != 2:
            raise InvalidVectorError(
                f"record {name!r} is given vectors of shape {array.shape}",
                fix="give a mapping from part to vector, or shape (parts, dimension)",
                value=array.shape,
            )
        parts = {str(number): vector for number, vector in enumerate(array)}
    if not parts:
        raise InvalidVectorError(f"record {name!r} is given no vector", fix="give at least one", value=name)
    for part in parts:
        if not isinstance(part, str) or not _PART_NAME.fullmatch(part):
            raise InvalidArgumentError(
                f"{part!r} cannot name a vector of {name!r}", fix="use 1 to 64 letters, digits, _, . or -", value=part
            )
    return parts
