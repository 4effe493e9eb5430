"""The metadata of a segment: one Parquet file with page checksums, read when a column is first asked for."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pyarrow as pa

from storage_engine.errors import DamagedError, InvalidMetadataError
from storage_engine.files import Disk, DiskError
from storage_engine.segment.block_file import BlockSums
from storage_engine.staged_file import StagedFile, StoredFile, check_digest, check_present


class _SummedFile(StagedFile):
    """A staged file that also knows the checksum of each of its blocks."""

    def __init__(self, disk: Disk, name: str) -> None:
        super().__init__(disk, name)
        self.sums = BlockSums()

    def write(self, data: Any) -> int:
        """Append all of ``data`` and return its length in bytes."""
        self.sums.add(memoryview(data).cast("B"))
        return super().write(data)


class MetadataWriter:
    """Streams metadata to a Parquet file.

    Args:
        disk: Where.
        name: ``seg/<uuid>.meta``.
        schema: Columns of all rows; tables given to :meth:`add` are cast to it, missing columns become null.
    """

    def __init__(self, disk: Disk, name: str, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._schema = schema
        self._staged = _SummedFile(disk, name)
        try:
            self._writer = pq.ParquetWriter(
                self._staged, schema, write_page_checksum=True, compression="zstd", compression_level=1
            )
        except pa.ArrowException as error:
            self._staged.abandon()
            raise _not_storable(schema, error) from error
        except BaseException:
            self._staged.abandon()
            raise

    def add(self, table: pa.Table | None, rows: int) -> None:
        """Append ``rows`` rows; ``None`` means that they have no metadata.

        Raises:
            InvalidMetadataError: A column is not in the schema, cannot be cast to it, or cannot be stored.
            ValueError: The table has another number of rows.
            DiskError: The disk failed.
        """
        if rows == 0:
            return
        if table is not None and table.num_columns and table.num_rows != rows:
            raise ValueError(f"metadata of {table.num_rows} rows given for {rows} rows")
        given = {} if table is None else dict(zip(table.column_names, table.columns, strict=True))
        unknown = sorted(given.keys() - set(self._schema.names))
        if unknown:
            raise InvalidMetadataError(
                f"metadata column {unknown[0]!r} is not among the segment's", fix="Unify the columns.", value=unknown[0]
            )
        try:
            columns = [
                given[field.name].cast(field.type) if field.name in given else pa.nulls(rows, field.type)
                for field in self._schema
            ]
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        except pa.ArrowException as error:
            raise _not_storable(self._schema, error) from error

    def seal(self) -> StoredFile:
        """Finish the file; it keeps its temporary name.

        Raises:
            DiskError: The disk failed.
            DamagedError: What was read back differs from what was written.
        """
        self._writer.close()
        return self._staged.seal()

    def sums(self) -> str:
        """After :meth:`seal`: checksums of the file's blocks, as a segment reference names them."""
        return base64.b64encode(self._staged.sums.table()).decode()

    def abandon(self) -> None:
        """Remove the temporary file."""
        self._staged.abandon()
        # Parquet's writer would otherwise try again when it is collected.
        with contextlib.suppress(pa.ArrowException, OSError, DiskError):
            self._writer.close()
        self._writer.is_open = False


class SegmentMetadata:
    """The metadata of one segment. Opening looks at presence and length only.

    The first read compares the whole file with its digest, since page checksums do not cover Parquet's own headers.
    """

    def __init__(self, disk: Disk, file: StoredFile, rows: int) -> None:
        check_present(disk, file)
        self._disk = disk
        self._file = file
        self._rows = rows
        self._map = disk.map(file.name)
        self._checked = False

    @property
    def name(self) -> str:
        """The file."""
        return self._file.name

    def schema(self) -> pa.Schema:
        """The columns.

        Raises:
            DamagedError: The file fails its digest.
        """
        return self._open().schema_arrow

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of the columns asked for, in that order (``None``: all of them).

        Raises:
            DamagedError: The file fails its digest or a page its checksum.
            KeyError: No such column in this segment.
        """
        parquet = self._open()
        names = parquet.schema_arrow.names
        wanted = list(names if columns is None else columns)
        for name in wanted:
            if name not in names:
                raise KeyError(name)
        try:
            return parquet.read(columns=wanted, use_threads=False).select(wanted)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(str(error)) from error

    def verify(self) -> None:
        """Read everything.

        Raises:
            DamagedError: Names the file.
        """
        check_digest(self._disk, self._file)
        self._checked = False
        self.read()

    def _open(self) -> Any:
        import pyarrow.parquet as pq

        if not self._checked:
            if sha256(self._map).hexdigest() != self._file.sha256:
                raise self._damaged("it fails its digest")
            self._checked = True
        try:
            parquet = pq.ParquetFile(pa.BufferReader(pa.py_buffer(self._map)), page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(str(error)) from error
        if parquet.metadata.num_rows != self._rows:
            raise self._damaged(f"it holds {parquet.metadata.num_rows} rows, expected {self._rows}")
        return parquet

    def _damaged(self, why: str) -> DamagedError:
        return DamagedError(
            f"{self._file.name} is damaged (bytes 0 to the end): {why}",
            fix="Restore the file from a backup of the directory.",
            value=self._file.name,
        )


def _not_storable(schema: pa.Schema, error: Exception) -> InvalidMetadataError:
    return InvalidMetadataError(
        f"metadata of the columns {schema.names} cannot be stored: {error}",
        fix="Use numbers, text, booleans, dates, timestamps, or lists and structs of them.",
        value=schema.names,
    )
