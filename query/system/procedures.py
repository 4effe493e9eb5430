"""``procedures``: what ``CALL`` can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from query.ports import Parameter, Procedure
from query.procedures.stored import TABLE, declared, definitions
from query.system.moments import TIME, moment
from storage_engine.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Procedures:
    """``procedures``: built-in ones by name, then stored ones in order of creation.

    ``arguments`` shows what ``CALL`` takes, ``definition`` the text of a stored one.

    Args:
        built_in: By name.
    """

    built_in: Mapping[str, Procedure]

    name: ClassVar[str] = TABLE
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("name", pa.string()),
            ("arguments", pa.list_(pa.string())),
            ("definition", pa.string()),
            ("created_at", TIME),
        ]
    )

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """All of them at the snapshot."""
        rows: list[dict[str, object]] = [
            {"name": name, "arguments": _shown(self.built_in[name].parameters)} for name in sorted(self.built_in)
        ]
        records = snapshot.table(TABLE)
        for name, definition in definitions(snapshot).items():
            created = moment(float(str(records[name]["created_at"])))
            rows.append(
                {
                    "name": name,
                    "arguments": _shown(declared(definition)),
                    "definition": definition.source.written,
                    "created_at": created,
                }
            )
        return pa.Table.from_pylist(rows, schema=self.schema)


def _shown(parameters: Sequence[Parameter]) -> list[str]:
    return [f"{item.name} {item.type}{'' if item.required else '?'}" for item in parameters]
