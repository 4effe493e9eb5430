"""Old versions in SQL: ``items AT (VERSION => 12)``, ``AT (TAG => 'v1')``, ``AT (TIMESTAMP => '…')``, ``AS OF 12``.

The clause is recognised by its words. It and the table's name become one quoted name, ``"items@version:12"``, with the
table's own name as its alias, so that the rest of the text means what it did. Names with ``@`` cannot be taken by
anything else.
"""

from __future__ import annotations

import datetime
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from query.dialect import Token, quote_identifier
from query.errors import InvalidParameterError
from query.source import Replacement
from storage_engine.engine import Engine
from storage_engine.errors import InvalidArgumentError
from storage_engine.history.naming import number_at, number_of
from storage_engine.snapshot import Snapshot

MARK = "@"
_KEPT_OPEN = 4
_KINDS = {"VERSION": "version", "TAG": "version", "TIMESTAMP": "time", "TIME": "time"}
# Words that may follow a table; every other word is its alias.
_NO_ALIAS = frozenset(
    (
        *(
            "WHERE",
            "GROUP",
            "HAVING",
            "WINDOW",
            "QUALIFY",
            "ORDER",
            "LIMIT",
            "OFFSET",
            "FETCH",
            "SAMPLE",
            "TABLESAMPLE",
        ),
        *("USING", "ON", "JOIN", "LEFT", "RIGHT", "FULL", "INNER", "OUTER", "CROSS", "NATURAL", "SEMI", "ANTI", "ASOF"),
        *("POSITIONAL", "UNION", "EXCEPT", "INTERSECT", "SELECT", "PIVOT", "UNPIVOT", "FOR", "AT", "ANTI"),
    )
)


@dataclass(frozen=True, slots=True)
class AtClause:
    """A table at a version.

    Args:
        replacement: What DuckDB reads instead.
        parameter: Name of the parameter that gives the version; ``None`` for one written out.
    """

    replacement: Replacement
    parameter: str | None


def at_clauses(tokens: Sequence[Token]) -> list[AtClause]:
    """Every table of a statement that is read at a version of its own, in order."""
    found = []
    for index, token in enumerate(tokens):
        if index == 0 or tokens[index - 1].kind not in {"word", "quoted"}:
            continue
        moment = _parenthesised(tokens, index) if token.is_word("AT") else _as_of(tokens, index)
        if moment is not None:
            kind, value, parameter, stop = moment
            table = tokens[index - 1]
            text = quote_identifier(f"{table.text}{MARK}{kind}:{value}")
            if not _has_alias(tokens, stop):
                text += f" AS {quote_identifier(table.text)}"
            found.append(AtClause(Replacement(table.start, tokens[stop - 1].stop, text), parameter))
    return found


def _parenthesised(tokens: Sequence[Token], index: int) -> tuple[str, str, str | None, int] | None:
    """``AT ( VERSION => value )``: kind, value, parameter, index behind."""
    rest = tokens[index + 1 :]
    if len(rest) < 5 or not rest[0].is_sign("(") or not rest[1].is_word(*_KINDS) or not rest[2].is_sign("=>"):
        return None
    value = _value(tokens, index + 4)
    if value is None or value[2] >= len(tokens) or not tokens[value[2]].is_sign(")"):
        return None
    return _KINDS[rest[1].text.upper()], value[0], value[1], value[2] + 1


def _as_of(tokens: Sequence[Token], index: int) -> tuple[str, str, str | None, int] | None:
    """``AS OF [VERSION | TAG | TIMESTAMP] value``."""
    if not tokens[index].is_word("AS") or index + 2 >= len(tokens) or not tokens[index + 1].is_word("OF"):
        return None
    start, kind = index + 2, "version"
    if tokens[start].is_word(*_KINDS):
        kind, start = _KINDS[tokens[start].text.upper()], start + 1
    value = _value(tokens, start)
    return None if value is None else (kind, *value)


def _value(tokens: Sequence[Token], index: int) -> tuple[str, str | None, int] | None:
    """A number, a text (behind the word TIMESTAMP, perhaps) or a parameter: text, parameter, index behind."""
    if index + 1 < len(tokens) and tokens[index].is_word("TIMESTAMP", "TIMESTAMPTZ"):
        index += 1
    if index >= len(tokens):
        return None
    token = tokens[index]
    if token.is_sign("$") and index + 1 < len(tokens) and tokens[index + 1].kind == "word":
        name = tokens[index + 1].text
        return f"${name}", name, index + 2
    if token.kind in {"number", "string"}:
        return ("'" if token.kind == "string" else "") + token.text, None, index + 1
    return None


def _has_alias(tokens: Sequence[Token], index: int) -> bool:
    if index >= len(tokens):
        return False
    token = tokens[index]
    return token.kind == "quoted" or (token.kind == "word" and token.text.upper() not in _NO_ALIAS)


def split_name(name: str) -> tuple[str, str] | None:
    """Table and moment of a name made by :func:`at_clauses`; ``None`` for other names."""
    table, mark, moment = name.partition(MARK)
    return (table, moment) if mark else None


class PastSnapshots:
    """Snapshots of old versions, the last few of them kept open. Safe to use from several threads.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._open: OrderedDict[int, Engine] = OrderedDict()
        engine.before_vacuum(self.close)

    def reader(self, parameters: Mapping[str, object]) -> Reader:
        """What turns the moments of a statement into snapshots.

        Args:
            parameters: Values that ``$names`` stand for.
        """

        def read(moment: str) -> Snapshot:
            kind, _, text = moment.partition(":")
            value: object
            if text.startswith("$"):
                value = parameters[text[1:]]
            elif text.startswith("'"):
                value = text[1:]
            else:
                value = int(text) if text.isdecimal() else text
            engine = self._engine
            return self._snapshot(number_of(engine, value) if kind == "version" else number_at(engine, _seconds(value)))

        return read

    def close(self) -> None:
        """Let go of all of them; the next statement opens what it needs."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def _snapshot(self, version: int) -> Snapshot:
        with self._lock:
            past = self._open.pop(version, None) or self._engine.at(version)
            self._open[version] = past
            while len(self._open) > _KEPT_OPEN:
                self._open.popitem(last=False)[1].close()
            return past.snapshot()


Reader = Callable[[str], Snapshot]
"""Gives the snapshot of a moment, as :func:`split_name` finds it in a table's name."""


def _seconds(value: object) -> float:
    """A time as seconds since the epoch; one without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError as error:
            raise InvalidArgumentError(
                f"{value!r} is no time", fix="Write it like '2026-11-20 08:30:00'.", value=value
            ) from error
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise InvalidParameterError(
        f"{value!r} is no time", fix="Give a datetime, a text like '2026-11-20 08:30:00', or seconds.", value=value
    )
