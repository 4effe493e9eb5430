"""The SQL procedures of care: graphs of collections, tags and pins of versions, aliases of models.

How long versions are kept is a setting, and SQL changes no settings: that is for ``db.set_retention`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from qstore_db import versioning
from qstore_db.errors import UnknownCollectionError
from qstore_db.training.promotion import demote
from query.ports import Parameter, Procedure
from storage_engine.engine import Engine
from storage_engine.schema import Role

_COLLECTION = Parameter("collection", "text", required=True)
_COLUMN = Parameter("column", "text", required=True)
_NAME = Parameter("name", "text", required=True)


@dataclass(frozen=True, slots=True)
class CareProcedure:
    """A verb of the database as a procedure: one row that says what was done.

    Args:
        name: In SQL.
        parameters: As ``CALL`` takes them.
        schema: Of its row.
        run: Does it, with the arguments that were given, and returns its row.
    """

    name: str
    parameters: Sequence[Parameter]
    schema: pa.Schema
    run: Callable[[Mapping[str, Any]], Mapping[str, object]]

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Do it."""
        return pa.Table.from_pylist([dict(self.run(arguments))], schema=self.schema)


def care_procedures(engine: Engine) -> tuple[Procedure, ...]:
    """The procedures of care over a database."""
    return (*_graph_procedures(engine), *_version_procedures(engine), _demote(engine))


def _graph_procedures(engine: Engine) -> tuple[Procedure, ...]:
    def build_graph(given: Mapping[str, Any]) -> Mapping[str, object]:
        name = _visible(engine, given["collection"])
        engine.build_graphs(name)
        return {"collection": name, "rows": len(engine.snapshot().collection(name))}

    def build_filter_graph(given: Mapping[str, Any]) -> Mapping[str, object]:
        name = _visible(engine, given["collection"])
        engine.build_filter_graph(name, given["column"])
        return {"collection": name, "column": given["column"], "status": "built"}

    def drop_filter_graph(given: Mapping[str, Any]) -> Mapping[str, object]:
        name = _visible(engine, given["collection"])
        there = engine.drop_filter_graph(name, given["column"])
        return {"collection": name, "column": given["column"], "status": "dropped" if there else "absent"}

    built = pa.schema([("collection", pa.string()), ("rows", pa.int64())])
    filters = pa.schema([("collection", pa.string()), ("column", pa.string()), ("status", pa.string())])
    return (
        CareProcedure("build_graph", (_COLLECTION,), built, build_graph),
        CareProcedure("build_filter_graph", (_COLLECTION, _COLUMN), filters, build_filter_graph),
        CareProcedure("drop_filter_graph", (_COLLECTION, _COLUMN), filters, drop_filter_graph),
    )


def _version_procedures(engine: Engine) -> tuple[Procedure, ...]:
    def tag(given: Mapping[str, Any]) -> Mapping[str, object]:
        return {"name": given["name"], "version": versioning.tag_version(engine, **given)}

    def untag(given: Mapping[str, Any]) -> Mapping[str, object]:
        return {"name": given["name"], "version": versioning.untag_version(engine, given["name"])}

    def unpin(given: Mapping[str, Any]) -> Mapping[str, object]:
        return {"owner": given["owner"], "version": versioning.unpin_version(engine, given["owner"])}

    tags = pa.schema([("name", pa.string()), ("version", pa.int64())])
    pins = pa.schema([("owner", pa.string()), ("version", pa.int64())])
    return (
        CareProcedure("create_version_tag", (_NAME, Parameter("version", "integer")), tags, tag),
        CareProcedure("drop_version_tag", (_NAME,), tags, untag),
        CareProcedure("unpin_version", (Parameter("owner", "text", required=True),), pins, unpin),
    )


def _demote(engine: Engine) -> Procedure:
    def run(given: Mapping[str, Any]) -> Mapping[str, object]:
        alias = demote(engine, **given)
        return {"model": alias.model, "alias": alias.alias, "version": alias.version}

    schema = pa.schema([("model", pa.string()), ("alias", pa.string()), ("version", pa.int64())])
    parameters = (Parameter("model", "text", required=True), Parameter("alias", "text"))
    return CareProcedure("demote", parameters, schema, run)


def _visible(engine: Engine, name: str) -> str:
    if engine.snapshot().collection(name).schema.role is Role.HIDDEN:
        raise UnknownCollectionError(
            f"no collection {name!r}", fix="SELECT name FROM collections lists them", value=name
        )
    return name
