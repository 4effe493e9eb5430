"""System tables that are made from records of a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from storage_engine.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class RegistryTable:
    """A table whose rows are made from the records of a snapshot alone.

    Args:
        name: In SQL.
        schema: Its columns.
        records: Its rows in order, as mappings from every column.
    """

    name: str
    schema: pa.Schema
    records: Callable[[Snapshot], Iterable[Mapping[str, Any]]]

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """All rows at the snapshot."""
        return pa.Table.from_pylist(list(self.records(snapshot)), schema=self.schema)
