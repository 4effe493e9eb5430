"""What a query asks of the index, as values: the shape of its text, and the rows that answer it."""

from __future__ import annotations

from dataclasses import dataclass

from query.syntax_tree import Node, TableReference
from storage_engine.schema import Metric


@dataclass(frozen=True, slots=True)
class Condition:
    """What stands after WHERE.

    Args:
        node: Its syntax tree.
        text: The text that DuckDB reads for it.
    """

    node: Node
    text: str


@dataclass(frozen=True, slots=True)
class NearestShape:
    """``SELECT … FROM table [WHERE …] ORDER BY vector <-> query [, …] LIMIT k [OFFSET o]`` over one table.

    Args:
        table: The only table.
        operator: As written, for messages.
        metric: What the operator means.
        query: A parameter's name, or the numbers of a literal.
        condition: What rows must satisfy; ``None`` means all.
        limit: k, or the name of the parameter that holds it.
        offset: o, or the name of the parameter that holds it.
    """

    table: TableReference
    operator: str
    metric: Metric
    query: str | tuple[float, ...]
    condition: Condition | None
    limit: int | str
    offset: int | str


@dataclass(frozen=True, slots=True)
class WithinShape:
    """``SELECT … FROM table WHERE vector <-> query < bound [AND …] …`` over one table that is named once.

    Args:
        table: The only table.
        operator: As written, for messages.
        metric: What the operator means.
        query: A parameter's name, or the numbers of a literal.
        bound: What the operator's value has to stay below, or at; or the name of the parameter that holds it.
    """

    table: TableReference
    operator: str
    metric: Metric
    query: str | tuple[float, ...]
    bound: float | str


@dataclass(frozen=True, slots=True)
class NotNearest:
    """Why a query is answered by comparing all rows.

    Args:
        reason: One phrase, such as ``joins several tables``; empty where no vectors are compared at all.
    """

    reason: str
