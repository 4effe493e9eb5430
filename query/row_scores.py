"""Functions that score the rows of a table together, such as ``text_match(column, words)``.

What a row gets depends on all rows of its collection, so that DuckDB could not compute it from a row's values. A call
is worked out before the query runs, as a table of ids and scores, and looked up where it stands in the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from query.dialect import quote_identifier
from query.errors import UnsupportedStatementError
from query.parameters import bindable, vector
from query.planner import literal_number
from query.ports import Parameter, RowScores
from query.relations import CollectionRelation, Relation
from query.source import Replacement, Source
from query.statements import Query
from query.syntax_tree import Node, References, TableReference, walk
from storage_engine.errors import InvalidArgumentError

_ID, _SCORE = "$id", "$score"  # no column can have these names


@dataclass(frozen=True, slots=True)
class Named:
    """A parameter of the query that stands as an argument."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class ScoreCall:
    """One call in a text.

    Args:
        function: What is called.
        table: Whose rows get scores.
        column: Of that table, as written.
        arguments: By name: literals, and parameters of the query.
        written: The call as it stands in the text.
        name: Under what name DuckDB finds the scores.
    """

    function: RowScores
    table: TableReference
    column: str
    arguments: Mapping[str, object]
    written: str
    name: str

    def means(self, other: ScoreCall) -> bool:
        """Whether another call gives the same scores to the same rows."""
        return (
            self.function is other.function
            and self.table is other.table
            and self.column.lower() == other.column.lower()
            and self.arguments == other.arguments
        )

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the query's parameters among the arguments."""
        return frozenset(value.name for value in self.arguments.values() if isinstance(value, Named))


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A query in which calls have been replaced by what looks their scores up.

    Args:
        query: For DuckDB.
        calls: What must be worked out before it runs.
    """

    query: Query
    calls: tuple[ScoreCall, ...] = field(default=())


def with_looked_up_scores(
    query: Query, statement: Node, names: References, functions: Mapping[str, RowScores]
) -> Scored:
    """Replace the calls of these functions in a query.

    Args:
        query: As DuckDB read it.
        statement: Its syntax tree.
        names: Its names.
        functions: By name, lower case.

    Raises:
        UnsupportedStatementError: A call is not as docs/sql.md says.
    """
    if not names.functions & set(functions):
        return Scored(query)
    calls: list[ScoreCall] = []
    replaced: list[Replacement] = []
    selected = [id(item) for node in walk(statement["node"]) for item in node.get("select_list", ())]
    for node in _outermost(statement["node"], functions):
        function = functions[str(node["function_name"]).lower()]
        start = query.body.original(int(node["query_location"]))
        stop = query.body.original(int(node["query_location"]) + int(node["query_location_length"]))
        call = _call(node, function, names, query.body.whole[start:stop], f"$scores{len(calls)}")
        same = next((other for other in calls if other.means(call)), None)
        found = _look_up(same or call)
        if id(node) in selected and "alias" not in node:
            found += f" AS {quote_identifier(function.name)}"
        replaced.append(Replacement(start, stop, found))
        if same is None:
            calls.append(call)
    merged = tuple(sorted([*_outside(query.source, replaced), *replaced], key=lambda piece: piece.start))
    source, body = replace(query.source, replacements=merged), replace(query.body, replacements=merged)
    return Scored(replace(query, source=source, body=body), tuple(calls))


def score_tables(
    calls: Sequence[ScoreCall], relations: Mapping[str, Relation], given: Mapping[str, object]
) -> dict[str, pa.Table]:
    """The scores of some calls, by the names under which DuckDB finds them.

    Args:
        calls: What is to be worked out.
        relations: Of the query's tables, by name.
        given: Values of the query's parameters, as the caller bound them.

    Raises:
        UnsupportedStatementError: A table is no collection.
        InvalidArgumentError: A parameter holds something else than the argument takes.
        QStoreError: What a function raises.
    """
    tables = {}
    for call in calls:
        relation = relations.get(call.table.name.lower())
        if not isinstance(relation, CollectionRelation):
            raise UnsupportedStatementError(
                f"{call.function.name} scores the rows of a collection, and {call.table.name!r} is none",
                fix="Name a collection after FROM.",
                value=call.table.name,
            )
        arguments = {
            parameter.name: _value(call, parameter, call.arguments[parameter.name], given)
            for parameter in call.function.parameters
            if parameter.name in call.arguments
        }
        column = next((name for name in relation.schema.names if name.lower() == call.column.lower()), call.column)
        slots, scores = call.function.scores(relation.view, column, arguments)
        ids = pa.array(relation.view.ids_at(slots), pa.string())
        tables[call.name] = pa.table({_ID: ids, _SCORE: pa.array(scores.astype(np.float32), pa.float32())})
    return tables


def with_written_calls(name: str, calls: Sequence[ScoreCall]) -> str:
    """A result column's name as DuckDB makes it of its text, with the calls that were written there."""
    for call in calls:
        text = rf'COALESCE((SELECT "{_SCORE}" FROM "{call.name}" WHERE ("{_ID}" = '  # noqa: S608 - only looked for
        pattern = re.escape(text) + r"\S+\.id\)\), CAST\(0 AS FLOAT\)\)"
        name = re.sub(pattern, call.written.replace("\\", r"\\"), name)
    return name


def _outermost(node: Node, functions: Collection[str]) -> Iterator[Node]:
    """Calls in the order of the text."""
    found = [item for item in walk(node) if str(item.get("function_name", "")).lower() in functions]
    return iter(sorted(found, key=lambda item: int(item.get("query_location", 0))))


def _look_up(call: ScoreCall) -> str:
    row = f"{quote_identifier(call.table.alias)}.id"
    scores = f'SELECT "{_SCORE}" FROM {quote_identifier(call.name)} WHERE "{_ID}" = {row}'  # noqa: S608 - quoted
    return f"coalesce(({scores}), 0::FLOAT)"


def _outside(source: Source, replaced: Sequence[Replacement]) -> list[Replacement]:
    """The replacements that stand already, without those inside of a call: that piece is not read any more."""
    return [
        piece
        for piece in source.replacements
        if not any(call.start <= piece.start and piece.stop <= call.stop for call in replaced)
    ]


def _call(node: Node, function: RowScores, names: References, written: str, name: str) -> ScoreCall:
    usage = f"Write {function.name}(column, {', '.join(item.name for item in function.parameters)})."
    places = [item["expression"] for item in node.get("arguments", ()) if "name" not in item]
    named = {str(item["name"]): item["expression"] for item in node.get("arguments", ()) if "name" in item}
    if not places or places[0].get("class") != "COLUMN_REF" or node.get("class") != "FUNCTION":
        raise UnsupportedStatementError(f"{function.name} needs a column first", fix=usage, value=function.name)
    if len(places) - 1 > len(function.parameters):
        raise UnsupportedStatementError(
            f"{function.name} takes a column and {len(function.parameters)} arguments, not {len(places)}", fix=usage
        )
    given = dict(zip((item.name for item in function.parameters), places[1:], strict=False))
    both = sorted(set(given) & set(named))
    unknown = sorted(set(named) - {item.name for item in function.parameters})
    missing = [item.name for item in function.parameters if item.required and item.name not in {*given, *named}]
    for wrong, what in ((both, "twice"), (unknown, "which it does not know"), (missing, "not at all")):
        if wrong:
            raise UnsupportedStatementError(f"{function.name} is given {wrong[0]!r} {what}", fix=usage, value=wrong[0])
    *qualifier, column = (str(part) for part in places[0]["column_names"])
    arguments = {key: _argument(function, key, value) for key, value in {**given, **named}.items()}
    return ScoreCall(function, _table_of(function, qualifier, column, names), column, arguments, written, name)


def _table_of(function: RowScores, qualifier: Sequence[str], column: str, names: References) -> TableReference:
    stored = [table for table in names.tables if table.name.lower() not in names.local_tables]
    wanted = [
        table
        for table in stored
        if not qualifier or (len(qualifier) == 1 and table.alias.lower() == qualifier[0].lower())
    ]
    if len(wanted) != 1 or wanted[0].foreign:
        written = ".".join([*qualifier, column])
        raise UnsupportedStatementError(
            f"It is not certain which collection's rows {function.name}({written}, …) scores",
            fix="Give each collection an alias of its own and write alias.column, where the collection is named.",
            value=written,
        )
    return wanted[0]


def _argument(function: RowScores, name: str, node: Node) -> object:
    """A literal's value, or the parameter that stands there."""
    if node.get("class") == "PARAMETER":
        return Named(str(node["identifier"]))
    literal = node.get("literal", {})
    if node.get("class") == "CONSTANT" and literal.get("kind") == "STRING":
        return str(literal["text"])
    number = literal_number(node)
    if number is not None:
        return int(number) if literal["kind"] == "INTEGER" else number
    if node.get("class") == "FUNCTION" and node.get("function_name") in {"list_value", "array_value"}:
        numbers = [literal_number(item["expression"]) for item in node.get("arguments", ())]
        if numbers and all(one is not None for one in numbers):
            return numbers
    raise UnsupportedStatementError(
        f"The argument {name!r} of {function.name} is no literal", fix="Write a literal or a parameter.", value=name
    )


def _value(call: ScoreCall, parameter: Parameter, value: object, given: Mapping[str, object]) -> object:
    said = value.name if isinstance(value, Named) else parameter.name
    raw = given[value.name] if isinstance(value, Named) else value
    if parameter.type == "list":
        return vector(said, raw)
    found = bindable(said, raw)
    kinds = {"text": str, "integer": int}
    if not isinstance(found, kinds[parameter.type]) or isinstance(found, bool):
        raise InvalidArgumentError(
            f"{parameter.name!r} of {call.function.name} is {found!r}", fix=f"Give it as {parameter.type}.", value=found
        )
    return found
