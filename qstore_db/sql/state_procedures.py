"""The SQL procedures about states: ``CALL query(…)``, ``CALL measure(…)``, ``CALL measure_entangled_group(…)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from qstore_db.collection import Collection
from qstore_db.errors import InvalidArgumentError, UnknownCollectionError
from qstore_db.functions.group_writing import measure_entangled_group
from qstore_db.functions.state_measurement import measure
from qstore_db.hits import Hits, own_name
from qstore_db.sql.arguments import given_arguments
from query.ports import Parameter, Procedure
from query.session import Session
from query.system.moments import TIME, moment
from storage_engine.engine import Engine
from storage_engine.schema import Role

DEFAULT: Final = "default"
"""The collection that is meant where none is named."""

MEASUREMENT_SCHEMA: Final = pa.schema(
    [
        ("number", pa.int64()),
        ("collection", pa.string()),
        ("id", pa.string()),
        ("outcome", pa.string()),
        ("probability", pa.float64()),
        ("vector", pa.list_(pa.float32())),  # null where several branches are left
        ("collapsed", pa.bool_()),
        ("measured_at", TIME),
        ("seed", pa.int64()),
    ]
)
GROUP_SCHEMA: Final = pa.schema(
    [
        ("group", pa.string()),
        ("number", pa.int64()),
        ("id", pa.string()),
        ("outcome", pa.string()),
        ("probability", pa.float64()),  # of the joint outcome, the same in each row
        ("collapsed", pa.bool_()),
        ("seed", pa.int64()),
    ]
)

_QUERY_PARAMETERS: Final = (
    Parameter("vector", "list", required=True),
    Parameter("top_k", "integer"),
    Parameter("collection", "text"),
    Parameter("context", "any"),
    Parameter("phases", "any"),
    Parameter("where", "text"),
    Parameter("filter", "any"),
    Parameter("coherent_only", "boolean"),
    Parameter("exact", "boolean"),
    Parameter("ef", "integer"),
    Parameter("recall", "number"),
    Parameter("include", "list"),
    Parameter("tunneling_strength", "number"),
    Parameter("rerank", "text"),
    Parameter("backend", "text"),
    Parameter("shots", "integer"),
    Parameter("seed", "integer"),
)


@dataclass(frozen=True, slots=True)
class ContextQuery:
    """``CALL query(vector => $q, context => 'technical', top_k => 5)``: one row per hit, best first.

    Columns: ``id``, ``score``, ``standard_error`` with ``rerank``, ``energy`` with ``tunneling_strength``, then the
    metadata. A superposed context is a mapping given as ``$name``, or a list of pairs ``[['technical', 0.7], …]``.

    Args:
        engine: The database.
        session: Evaluates conditions.
    """

    engine: Engine
    session: Callable[[], Session]

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "query"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """As :meth:`qstore_db.Collection.query` takes them, and the collection."""
        return _QUERY_PARAMETERS

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Search; see :meth:`qstore_db.Collection.query` for the errors."""
        given = given_arguments(arguments)
        name = given.pop("collection", DEFAULT)
        if self.engine.snapshot().collection(name).schema.role is Role.HIDDEN:
            raise UnknownCollectionError(f"no collection {name!r}", fix="SELECT name FROM collections", value=name)
        hits = Collection(self.engine, self.session, name).query(given.pop("vector"), **given)
        if not isinstance(hits, Hits):
            raise InvalidArgumentError("several vectors were given", fix="call query for each of them")
        rows = hits.arrow()
        if given.get("tunneling_strength") is None:
            return rows
        energies = pa.array([hits.energy] * len(hits), pa.float64())
        return rows.add_column(2, own_name("energy", rows.column_names), energies)


@dataclass(frozen=True, slots=True)
class Measure:
    """``CALL measure(id => 'doc_1', context => 'technical', seed => 7)``: one row with the outcome.

    Args:
        engine: The database.
    """

    engine: Engine

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "measure"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """As :meth:`qstore_db.Collection.measure` takes them, and the collection."""
        return (
            Parameter("id", "text", required=True),
            Parameter("context", "any"),
            Parameter("collection", "text"),
            Parameter("seed", "integer"),
            Parameter("postselect", "boolean"),
            Parameter("collapse", "boolean"),
        )

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Measure and record; see :func:`qstore_db.functions.state_measurement.measure` for the errors."""
        given = given_arguments(arguments)
        found = measure(self.engine, given.pop("collection", DEFAULT), given.pop("id"), **given)
        row = {name: getattr(found, name) for name in MEASUREMENT_SCHEMA.names}
        row["measured_at"] = moment(found.measured_at)
        return pa.Table.from_pylist([row], schema=MEASUREMENT_SCHEMA)


@dataclass(frozen=True, slots=True)
class MeasureGroup:
    """``CALL measure_entangled_group(id => 'pair', seed => 7)``: one row per member, in order.

    Args:
        engine: The database.
    """

    engine: Engine

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "measure_entangled_group"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """As :meth:`qstore_db.QuantumDatabase.measure_entangled_group` takes them."""
        return (Parameter("id", "text", required=True), Parameter("seed", "integer"), Parameter("collapse", "boolean"))

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Measure and record; see :func:`qstore_db.functions.group_writing.measure_entangled_group` for the errors."""
        given = given_arguments(arguments)
        found = measure_entangled_group(self.engine, given.pop("id"), **given)
        rows = [
            {
                "group": found.group,
                "number": one.number,
                "id": one.id,
                "outcome": one.outcome,
                "probability": found.probability,
                "collapsed": one.collapsed,
                "seed": one.seed,
            }
            for one in found.measurements
        ]
        return pa.Table.from_pylist(rows, schema=GROUP_SCHEMA)


def state_procedures(engine: Engine, session: Callable[[], Session]) -> tuple[Procedure, ...]:
    """The procedures about states.

    Args:
        engine: The database.
        session: Evaluates conditions of queries.
    """
    return (ContextQuery(engine, session), Measure(engine), MeasureGroup(engine))
