"""From a syntax tree to the storage floor's predicate tree, where both certainly mean the same.

Only comparisons of a column with a constant of its own kind, ``IN``, ``BETWEEN``, ``IS NULL`` and their combinations
are translated. Wherever DuckDB would convert one side, the answer is ``None`` and DuckDB itself decides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa

from query.syntax_tree import Node
from storage_engine.filters.expression import (
    And,
    Between,
    Comparison,
    Constant,
    InSet,
    IsNull,
    Not,
    Operator,
    Or,
    Predicate,
)

_COMPARISONS: dict[str, Operator] = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "!=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_MIRRORED: dict[Operator, Operator] = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_EXACT_DIGITS = 15
_INT64 = 2**63
_EXACT_IN_DOUBLE = 2**53

_Value = bool | int | float | str


def to_predicate(
    node: Node, schema: pa.Schema, qualifiers: Collection[str], parameters: Mapping[str, object]
) -> Predicate | None:
    """The predicate of a condition, or ``None`` where only DuckDB can tell.

    Args:
        node: The condition's syntax tree.
        schema: Columns of its only table.
        qualifiers: What may stand in front of a column, lower case: the table's name or alias.
        parameters: Bound values.
    """
    return _Translation(schema, qualifiers, parameters).predicate(node)


class _Translation:
    def __init__(self, schema: pa.Schema, qualifiers: Collection[str], parameters: Mapping[str, object]) -> None:
        self._qualifiers = qualifiers
        self._parameters = parameters
        self._columns: dict[str, list[pa.Field]] = {}
        for field in schema:
            self._columns.setdefault(field.name.lower(), []).append(field)

    def predicate(self, node: Node) -> Predicate | None:
        kind = node.get("type")
        if kind in _COMPARISONS:
            return self._comparison(_COMPARISONS[str(kind)], node)
        if kind in {"CONJUNCTION_AND", "CONJUNCTION_OR"}:
            parts = [self.predicate(child) for child in node["children"]]
            known = tuple(part for part in parts if part is not None)
            if len(known) != len(parts):
                return None
            return And(known) if kind == "CONJUNCTION_AND" else Or(known)
        if kind == "OPERATOR_NOT":
            inner = self.predicate(node["children"][0])
            return None if inner is None else Not(inner)
        if kind in {"OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"}:
            field = self._field(node["children"][0])
            if field is None:
                return None
            return IsNull(field.name) if kind == "OPERATOR_IS_NULL" else Not(IsNull(field.name))
        if kind in {"COMPARE_IN", "COMPARE_NOT_IN"}:
            return self._in_set(node)
        if kind == "COMPARE_BETWEEN":
            return self._between(node)
        literal = node.get("literal", {})
        if node.get("class") == "CONSTANT" and literal.get("kind") == "BOOLEAN":
            return Constant(str(literal.get("text")).lower() == "true")
        return None

    def _comparison(self, operator: Operator, node: Node) -> Predicate | None:
        left, right = node["left"], node["right"]
        field = self._field(left)
        if field is None:
            field, right, operator = self._field(right), left, _MIRRORED[operator]
        value = None if field is None else self._value(right, field)
        if field is None or value is None:
            return None
        if isinstance(value, bool) and operator not in {"=", "!="}:
            return None
        return Comparison(field.name, operator, value)

    def _in_set(self, node: Node) -> Predicate | None:
        field = self._field(node["children"][0])
        if field is None:
            return None
        values = [self._value(child, field) for child in node["children"][1:]]
        known = tuple(value for value in values if value is not None)
        if len(known) != len(values):
            return None
        found = InSet(field.name, known)
        return found if node["type"] == "COMPARE_IN" else Not(found)

    def _between(self, node: Node) -> Predicate | None:
        field = self._field(node.get("input", {}))
        if field is None:
            return None
        low, high = self._value(node["lower"], field), self._value(node["upper"], field)
        if low is None or high is None or isinstance(low, bool):
            return None
        return Between(field.name, low, high)

    def _field(self, node: Node) -> pa.Field | None:
        """The column that a node names, if exactly one can be meant."""
        if node.get("class") != "COLUMN_REF":
            return None
        parts = [str(part).lower() for part in node["column_names"]]
        if len(parts) == 2 and (parts[0] not in self._qualifiers or parts[0] in self._columns):
            return None
        if len(parts) > 2:
            return None
        fields = self._columns.get(parts[-1], [])
        return fields[0] if len(fields) == 1 else None

    def _value(self, node: Node, field: pa.Field) -> _Value | None:
        """The constant that a node is, if it is of the column's own kind and compares without any conversion."""
        if node.get("class") == "PARAMETER":
            value = self._parameters.get(str(node["identifier"]))
        elif node.get("class") == "CONSTANT":
            value = _constant(node.get("literal", {}))
        else:
            return None
        kind = field.type
        if isinstance(value, bool):
            return value if pa.types.is_boolean(kind) else None
        if isinstance(value, str):
            return value if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None
        if isinstance(value, int):
            if pa.types.is_integer(kind):
                return value if -_INT64 <= value < _INT64 else None
            return value if pa.types.is_float64(kind) and abs(value) <= _EXACT_IN_DOUBLE else None
        if isinstance(value, float):
            return value if pa.types.is_float64(kind) and value == value else None  # noqa: PLR0124 - NaN
        return None


def _constant(literal: Mapping[str, object]) -> _Value | None:
    text = str(literal.get("text", ""))
    match literal.get("kind"):
        case "STRING":
            return text
        case "BOOLEAN":
            return text.lower() == "true"
        case "INTEGER":
            return int(text) if text.lstrip("-").isdecimal() else None
        case "NUMERIC":
            # DuckDB reads a decimal; with so few digits it becomes the same double as here.
            digits = text.lstrip("-").replace(".", "", 1)
            return float(text) if digits.isdecimal() and len(digits) <= _EXACT_DIGITS else None
        case _:
            return None
