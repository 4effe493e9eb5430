"""The vectors of a segment with their norms and born LSNs, mapped.

A block file of kind ``VEC1`` with three sections: vectors (row-major, rows x dimension), norms (float32, one a row) and
born LSNs (u64, one a row); the numbers are (rows, dimension, type of the vectors, 0), the type as
:data:`storage_engine.vectors.types.CODE` numbers it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_engine.files import Disk
from storage_engine.schema import VectorType
from storage_engine.segment.block_file import BlockFile, BlockFileWriter
from storage_engine.staged_file import StoredFile
from storage_engine.vectors.types import CODE, StoredVectors, as_float32, number_bytes, numpy_type

_KIND = b"VEC1"
_VECTORS, _NORMS, _BORN = range(3)


class VectorsWriter:
    """Streams vectors to disk; norms and born LSNs (12 bytes a row) are kept until the end.

    Args:
        disk: Where.
        name: ``seg/<uuid>.vec``.
        uuid: The segment's.
        dimension: Length of each vector.
        dtype: Type of its numbers in the file.
    """

    def __init__(self, disk: Disk, name: str, uuid: str, dimension: int, dtype: VectorType) -> None:
        self._writer = BlockFileWriter(disk, name, _KIND, uuid)
        self._dimension = dimension
        self._dtype = dtype
        self._norms: list[NDArray[np.float32]] = []
        self._born: list[NDArray[np.uint64]] = []
        self.rows = 0
        try:
            self._writer.begin()
        except BaseException:
            self._writer.abandon()
            raise

    def add(self, vectors: StoredVectors, norms: NDArray[np.float32], born: NDArray[np.uint64]) -> None:
        """Append rows.

        Args:
            vectors: (m, dimension), in the file's type, or float32 numbers that it holds exactly; stored bit by bit.
            norms: float32 (m,).
            born: (m,), LSN of the commit that wrote each row.

        Raises:
            ValueError: The shapes do not fit.
            DiskError: The disk failed.
        """
        if vectors.shape != (len(born), self._dimension) or norms.shape != born.shape:
            raise ValueError(f"rows of shape {vectors.shape}, {norms.shape} and {born.shape} do not fit together")
        self._writer.write(np.ascontiguousarray(vectors, dtype=numpy_type(self._dtype)).reshape(-1))
        # Copies: the caller may reuse its buffers for the next rows.
        self._norms.append(np.array(norms, dtype="<f4"))
        self._born.append(np.array(born, dtype="<u8"))
        self.rows += len(born)

    def born_range(self) -> tuple[int, int]:
        """Smallest and largest born LSN so far."""
        parts = [part for part in self._born if len(part)]
        return min(int(part.min()) for part in parts), max(int(part.max()) for part in parts)

    def seal(self) -> StoredFile:
        """Finish the file; it keeps its temporary name.

        Raises:
            DiskError: The disk failed.
            DamagedError: What was read back differs from what was written.
        """
        for parts in (self._norms, self._born):
            self._writer.begin()
            for part in parts:
                self._writer.write(part)
        return self._writer.seal([self.rows, self._dimension, CODE[self._dtype]])

    def abandon(self) -> None:
        """Remove the temporary file."""
        self._writer.abandon()


class SegmentVectors:
    """The mapped file. Immutable and safe to use from several threads.

    Args:
        disk: Where.
        file: The reference that named it.
        uuid: The segment's.
        rows: How many rows it must have.
        dimension: How long each vector must be.
        dtype: Of which type its numbers must be.

    Raises:
        DamagedError: The file is missing or its footer is damaged.
    """

    def __init__(self, disk: Disk, file: StoredFile, uuid: str, rows: int, dimension: int, dtype: VectorType) -> None:
        self._file = BlockFile(disk, file, _KIND, uuid, sections=3)
        expected = (rows, dimension, CODE[dtype])
        if self._file.numbers[:3] != expected:
            raise self._file.damaged(_VECTORS, f"it holds {self._file.numbers[:3]}, expected {expected}")
        self._row_bytes = number_bytes(dtype) * dimension
        numbers = self._file.array(_VECTORS, numpy_type(dtype).str, rows * dimension)
        # "<f4" and float32 are one type on little-endian machines; elsewhere this line makes the difference visible.
        self._vectors: StoredVectors = numbers.astype(numbers.dtype.newbyteorder("="), copy=False).reshape(
            rows, dimension
        )
        self._norms = _floats(self._file.array(_NORMS, "<f4", rows))
        born = self._file.array(_BORN, "<u8", rows)
        self._born: NDArray[np.uint64] = born.astype(np.uint64, copy=False)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(rows, dimension), read-only; a copy only where the file's type is not float32. Checks all of its blocks.

        Raises:
            DamagedError: A block fails its checksum.
        """
        self.verify_all()
        return as_float32(self._vectors)

    @property
    def mapped_vectors(self) -> StoredVectors:
        """The rows in the file's type without any check, for searches that touch few rows of many.

        Whoever shows a row of it calls :meth:`verify_rows` first.
        """
        return self._vectors

    @property
    def norms(self) -> NDArray[np.float32]:
        """(rows,), read-only, without a copy; checked at first use.

        Raises:
            DamagedError: A block fails its checksum.
        """
        self._file.verify_section(_NORMS)
        return self._norms

    @property
    def born(self) -> NDArray[np.uint64]:
        """(rows,) LSN of the commit that wrote each row, read-only, without a copy; checked at first use.

        Raises:
            DamagedError: A block fails its checksum.
        """
        self._file.verify_section(_BORN)
        return self._born

    def verify_all(self) -> None:
        """Check the blocks that hold vectors, unless they were checked before.

        Raises:
            DamagedError: A block fails its checksum.
        """
        self._file.verify_section(_VECTORS)

    def verify_rows(self, rows: NDArray[np.int64]) -> None:
        """Check the blocks that hold the vectors of ``rows``, unless they were checked before.

        Raises:
            DamagedError: A block fails its checksum.
        """
        self._file.verify_rows(_VECTORS, rows, self._row_bytes)

    def verify(self) -> None:
        """Check every block of the file, and the file as a whole.

        Raises:
            DamagedError: Names file and offset.
        """
        self._file.verify()
        self._file.verify_digest()


def _floats(values: NDArray[np.generic]) -> NDArray[np.float32]:
    return values.astype(np.float32, copy=False)
