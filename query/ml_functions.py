"""``ML.PREDICT``, ``ML.EVALUATE``, ``ML.TRAINING_INFO`` after FROM: models as tables, in the spelling of BigQuery ML.

Each is read as a subquery over the functions ``predict``, ``probabilities`` and ``predict_value`` and the tables
``training_runs`` and ``metrics``, which the floor above plugs in. The text around the rows is replaced; the rows
themselves, a table or a query in parentheses, stay as they were written. A column has one type, and a text is read
before its statements run, so that no model can be asked for its kind: ``ML.PREDICT`` and ``ML.EVALUATE`` are for
classes, ``ML.PREDICT_VALUE`` and ``ML.EVALUATE_VALUE`` for numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from query.dialect import Token
from query.errors import SqlSyntaxError
from query.source import Replacement, line_and_column


@dataclass(frozen=True, slots=True)
class _Function:
    """A table function over a model.

    Args:
        head: What stands before the rows; ``{model}`` is the model's name as a quoted text.
        tail: What stands behind them.
        rows: Whether it takes rows.
    """

    head: str
    tail: str
    rows: bool = True


_FUNCTIONS = {
    "PREDICT": _Function("(SELECT *, predict({model}, vector) AS predicted FROM ", ")"),
    "EVALUATE": _Function(
        "(SELECT count(*) AS rows, avg((predict({model}, vector) = label)::INT) AS accuracy,"
        " avg(-ln(probabilities({model}, vector)[label + 1])) AS loss FROM ",
        " WHERE label IS NOT NULL)",
    ),
    "PREDICT_VALUE": _Function("(SELECT *, predict_value({model}, vector) AS predicted FROM ", ")"),
    "EVALUATE_VALUE": _Function(
        "(SELECT count(*) AS rows, sqrt(avg(away * away)) AS rmse, avg(abs(away)) AS mae,"
        " 1 - sum(away * away) / nullif(count(*) * var_pop(target), 0) AS r2"
        " FROM (SELECT predict_value({model}, vector) - target AS away, target FROM ",
        " WHERE target IS NOT NULL))",
    ),
    "TRAINING_INFO": _Function(
        "(SELECT * FROM metrics WHERE step = -1 AND run_id = (SELECT max(run_id) FROM training_runs"
        " WHERE model = {model} AND status = 'finished') ORDER BY epoch",
        ")",
        rows=False,
    ),
}


def ml_functions(text: str, tokens: Sequence[Token]) -> list[Replacement]:
    """What DuckDB reads instead of the calls in a statement, in order of their places.

    Args:
        text: The whole text, for the places of errors.
        tokens: Of the statement.

    Raises:
        SqlSyntaxError: A call is not as docs/sql.md says.
    """
    found: list[Replacement] = []
    for index, token in enumerate(tokens):
        ahead = tokens[index : index + 4]
        if not (len(ahead) == 4 and token.is_word("ML") and ahead[1].is_sign(".") and ahead[3].is_sign("(")):
            continue
        function = _FUNCTIONS.get(ahead[2].text.upper())
        if function is None:
            raise _error(text, ahead[2], f"There is no ML.{ahead[2].text}", f"There are {', '.join(_FUNCTIONS)}.")
        found += _replaced(text, tokens, index, function)
    return sorted(found, key=lambda piece: piece.start)


def _replaced(text: str, tokens: Sequence[Token], start: int, function: _Function) -> list[Replacement]:
    called = f"ML.{tokens[start + 2].text.upper()}"
    usage = f"Write {called}(MODEL name{', TABLE name' if function.rows else ''})."
    position = start + 4
    if not (position + 1 < len(tokens) and tokens[position].is_word("MODEL")):
        raise _error(text, tokens[start], f"{called} needs a model", usage)
    model = tokens[position + 1]
    if model.kind not in {"word", "quoted", "string"}:
        raise _error(text, model, f"{model.text!r} is no model's name", usage)
    position += 2
    close = _closing(tokens, start + 3)
    if close is None:
        raise _error(text, tokens[start + 3], f"The parenthesis of {called} is not closed", usage)
    if function.rows:
        if not (position < close and tokens[position].is_sign(",")):
            raise _error(text, tokens[min(position, close)], f"{called} needs rows", usage)
        position += 1
        if tokens[position].is_word("TABLE"):
            position += 1
        elif not tokens[position].is_sign("("):
            raise _error(text, tokens[position], f"{called} needs TABLE name or (SELECT …)", usage)
    elif position != close:
        raise _error(text, tokens[position], f"{called} takes a model only", usage)
    if function.rows and position == close:
        raise _error(text, tokens[close], f"{called} needs rows", usage)
    quoted = "'" + model.text.replace("'", "''") + "'"
    begin = tokens[start].start
    rows_begin = tokens[position].start if function.rows else tokens[close].start
    return [
        Replacement(begin, rows_begin, function.head.replace("{model}", quoted)),
        Replacement(tokens[close].start, tokens[close].stop, function.tail),
    ]


def _closing(tokens: Sequence[Token], opening: int) -> int | None:
    depth = 0
    for index in range(opening, len(tokens)):
        depth += tokens[index].is_sign("(") - tokens[index].is_sign(")")
        if depth == 0:
            return index
    return None


def _error(text: str, token: Token, what: str, fix: str) -> SqlSyntaxError:
    line, column = line_and_column(text, token.start)
    return SqlSyntaxError(what, line=line, column=column, fix=fix)
