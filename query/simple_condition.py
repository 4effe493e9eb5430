"""Conditions of the plainest kind, read without DuckDB's parser, which takes a hundred times as long.

``column = 3``, ``column <> 'text'``, ``column < 0.5``, ``column IN (1, 2)``, several of them joined by ``AND``: what is
certainly of this form becomes the syntax tree that DuckDB's parser gives for it. Everything else is left to that
parser: nothing is refused here.
"""

from __future__ import annotations

import re

from query.syntax_tree import Node

_SPACE = r"[ \t\n]*"
_COLUMN = re.compile(rf"{_SPACE}([A-Za-z_][A-Za-z0-9_]*){_SPACE}")
_OPERATOR = re.compile(r"(<=|>=|<>|!=|=|<|>)(?![<=>!~@#&|*/+%^-])")
_IN = re.compile(rf"[Ii][Nn]{_SPACE}\(")
_VALUE = re.compile(rf"{_SPACE}(?:(-?[0-9]+)|(-?[0-9]+\.[0-9]+)|'([^'\\]*)')(?=[ \t\n,)]|$){_SPACE}")
_AND = re.compile(r"[Aa][Nn][Dd](?=[ \t\n])")
_KINDS = {
    "=": "COMPARE_EQUAL",
    "<>": "COMPARE_NOTEQUAL",
    "!=": "COMPARE_NOTEQUAL",
    "<": "COMPARE_LESSTHAN",
    "<=": "COMPARE_LESSTHANOREQUALTO",
    ">": "COMPARE_GREATERTHAN",
    ">=": "COMPARE_GREATERTHANOREQUALTO",
}
RESERVED = frozenset(
    (
        *("all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both", "case", "cast"),
        *("check", "collate", "column", "constraint", "create", "default", "deferrable", "desc"),
        *("describe", "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "from"),
        *("group", "having", "in", "initially", "intersect", "into", "lambda", "lateral", "leading"),
        *("limit", "not", "null", "offset", "on", "only", "or", "order", "pivot", "pivot_longer"),
        *("pivot_wider", "placing", "primary", "qualify", "references", "returning", "select"),
        *("show", "some", "summarize", "symmetric", "table", "then", "to", "trailing", "true", "union"),
        *("unique", "unpivot", "using", "variadic", "when", "where", "window", "with"),
    )
)
"""Words that are no column unless they stand in quotes: those of DuckDB, which are read from it only by a test."""

_MAX_LENGTH = 2_000
_LITERALS = ("INTEGER", "NUMERIC", "STRING")


def simple_condition(text: str) -> Node | None:
    """The syntax tree of a plain condition, or ``None`` where the text is anything else.

    Args:
        text: What would stand after WHERE.
    """
    if len(text) > _MAX_LENGTH:
        return None
    leaves: list[Node] = []
    at = 0
    while True:
        found = _leaf(text, at)
        if found is None:
            return None
        leaf, at = found
        leaves.append(leaf)
        if at == len(text):
            break
        joined = _AND.match(text, at)
        if joined is None:
            return None
        at = joined.end()
    return leaves[0] if len(leaves) == 1 else {"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "children": leaves}


def _leaf(text: str, at: int) -> tuple[Node, int] | None:
    column = _COLUMN.match(text, at)
    if column is None or column.group(1).lower() in RESERVED:
        return None
    left: Node = {"class": "COLUMN_REF", "type": "COLUMN_REF", "column_names": [column.group(1)]}
    operator = _OPERATOR.match(text, column.end())
    if operator is not None:
        value = _value(text, operator.end())
        if value is None:
            return None
        return {"class": "COMPARISON", "type": _KINDS[operator.group(1)], "left": left, "right": value[0]}, value[1]
    opened = _IN.match(text, column.end())
    if opened is None or text[column.end() - 1] not in " \t\n":
        return None
    values: list[Node] = []
    at = opened.end()
    while True:
        value = _value(text, at)
        if value is None:
            return None
        values.append(value[0])
        at = value[1]
        sign = text[at : at + 1]
        at += 1
        if sign == ")":
            break
        if sign != ",":
            return None
    while text[at : at + 1] in {" ", "\t", "\n"}:
        at += 1
    return {"class": "OPERATOR", "type": "COMPARE_IN", "children": [left, *values]}, at


def _value(text: str, at: int) -> tuple[Node, int] | None:
    found = _VALUE.match(text, at)
    if found is None:
        return None
    kind = found.lastindex or 1
    literal = {"kind": _LITERALS[kind - 1], "text": found.group(kind)}
    return {"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": literal}, found.end()
