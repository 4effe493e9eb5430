"""Read one sealed segment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.errors import DamagedError
from storage_engine.files import Disk
from storage_engine.segment.ids import SegmentIds
from storage_engine.segment.metadata import SegmentMetadata
from storage_engine.segment.reference import SegmentReference, unpack_columns
from storage_engine.segment.vectors import SegmentVectors
from storage_engine.vectors.types import StoredVectors


class Segment:
    """Immutable rows of one collection, mapped. Safe to use from several threads.

    What a property or method returns has passed its checksum, :attr:`mapped_vectors` excepted. The files stay readable
    through this object after they have been unlinked.

    Attributes:
        reference: What named it.
        ids: The ids and their index (:class:`storage_engine.segment.ids.SegmentIds`): ``lookup(ids)``, ``at(rows)``.
    """

    __slots__ = ("_metadata", "_vectors", "ids", "reference")

    def __init__(
        self,
        reference: SegmentReference,
        vectors: SegmentVectors,
        ids: SegmentIds,
        metadata: SegmentMetadata | None,
    ) -> None:
        self.reference = reference
        self.ids = ids
        self._vectors = vectors
        self._metadata = metadata

    @classmethod
    def open(cls, disk: Disk, reference: SegmentReference) -> Segment:
        """Map the files. Checks presence, lengths and footers, not contents: well under a millisecond.

        Raises:
            DamagedError: A file is missing, has another length, or its footer is damaged.
            FormatTooNewError: A file was written by a newer version.
        """
        vectors = SegmentVectors(
            disk, reference.vectors, reference.uuid, reference.rows, reference.dimension, reference.dtype
        )
        ids = SegmentIds(disk, reference.ids, reference.uuid, reference.rows)
        file = reference.metadata
        metadata = None if file is None else SegmentMetadata(disk, file, reference.rows)
        return cls(reference, vectors, ids, metadata)

    def __len__(self) -> int:
        return self.reference.rows

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(rows, dimension), read-only, mapped unless the type is not float32; the first use checks all of its blocks.

        Raises:
            DamagedError: A block fails its checksum.
        """
        return self._vectors.vectors

    @property
    def mapped_vectors(self) -> StoredVectors:
        """The rows in the file's type, mapped, without any check, for searches that touch few rows of many.

        Whoever shows a row of it calls :meth:`verify_rows` first.
        """
        return self._vectors.mapped_vectors

    @property
    def norms(self) -> NDArray[np.float32]:
        """(rows,), read-only, mapped.

        Raises:
            DamagedError: A block fails its checksum.
        """
        return self._vectors.norms

    @property
    def born(self) -> NDArray[np.uint64]:
        """(rows,) LSN of the commit that wrote each row.

        Raises:
            DamagedError: A block fails its checksum.
        """
        reference = self.reference
        if reference.first_lsn == reference.last_lsn:  # a batch may have been written before its number was known
            return np.full(reference.rows, reference.first_lsn, np.uint64)
        return self._vectors.born

    def metadata_schema(self) -> pa.Schema:
        """The metadata columns; empty if there are none. Known without reading the file.

        Raises:
            DamagedError: The reference does not say, and the file fails its digest.
        """
        if self._metadata is None:
            return pa.schema([])
        columns = self.reference.columns
        return unpack_columns(columns) if columns else self._metadata.schema()

    def metadata(self, columns: Sequence[str] | None = None) -> pa.Table | None:
        """All rows of the metadata columns asked for, in that order (``None``: all); ``None`` if there are none at all.

        Reads and decodes the columns each time: the caller keeps what it needs again.

        Raises:
            DamagedError: The file fails its digest or a page its checksum.
            KeyError: No such column in this segment.
        """
        if self._metadata is None:
            for name in columns or ():
                raise KeyError(name)
            return None
        return self._metadata.read(columns)

    def verify_vectors(self) -> None:
        """Check the blocks of all vectors, unless they were checked before.

        Raises:
            DamagedError: A block fails its checksum.
        """
        self._vectors.verify_all()

    def verify_rows(self, rows: NDArray[np.int64]) -> None:
        """Check the blocks that hold the vectors of ``rows``, unless they were checked before.

        Raises:
            DamagedError: A block fails its checksum.
        """
        self._vectors.verify_rows(rows)

    def verify(self) -> None:
        """Check every byte of every file, and that each id is found.

        Raises:
            DamagedError: Names file and offset.
        """
        self._vectors.verify()
        self.ids.verify()
        if self._metadata is not None:
            self._metadata.verify()
            if not self.metadata_schema().equals(self._metadata.schema()):
                name = self._metadata.name
                raise DamagedError(
                    f"{name} has other columns than the manifest says (from offset 0)",
                    fix="Restore the file from a backup of the directory.",
                    value=name,
                )
