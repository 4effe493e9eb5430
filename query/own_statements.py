"""Our own statements, read from tokens by recursive descent: ``CREATE MODEL``, ``DROP MODEL``, ``CALL``, ``VACUUM``."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from query.dialect import Token, as_query, split
from query.errors import SqlSyntaxError
from query.source import Source, line_and_column
from query.statements import Argument, Call, CreateModel, DropModel, Literal, ParameterReference, Query, Statement
from query.time_travel import at_clauses

_QUERY_WORDS = ("SELECT", "WITH", "FROM", "VALUES", "TABLE")


def parse(text: str) -> list[Statement]:
    """All statements of a text, in order.

    Raises:
        SqlSyntaxError: An own statement is not as :mod:`query.statements` says; with line and column.
    """
    return [_statement(source, tokens) for source, tokens in split(text)]


def _statement(source: Source, tokens: list[Token]) -> Statement:
    words = [token.text.upper() if token.kind == "word" else "" for token in tokens[:4]]
    if words[:2] == ["CREATE", "MODEL"] or words == ["CREATE", "OR", "REPLACE", "MODEL"]:
        return _Reader(source, tokens).create_model()
    if words[:2] == ["DROP", "MODEL"]:
        return _Reader(source, tokens).drop_model()
    if words[:1] == ["CALL"]:
        return _Reader(source, tokens).call()
    if words[:1] == ["VACUUM"]:
        return _Reader(source, tokens).vacuum()
    return _query(source, tokens)


def _query(source: Source, tokens: Sequence[Token]) -> Query:
    clauses = at_clauses(tokens)
    parameters = frozenset(clause.parameter for clause in clauses if clause.parameter is not None)
    return as_query(source, tokens, [clause.replacement for clause in clauses], parameters)


class _Reader:
    """A position in the tokens of one statement."""

    def __init__(self, source: Source, tokens: Sequence[Token]) -> None:
        self._source = source
        self._tokens = tokens
        self._next = 0

    def create_model(self) -> CreateModel:
        self._words("CREATE")
        or_replace = self._take_words("OR", "REPLACE")
        self._words("MODEL")
        if_not_exists = self._take_words("IF", "NOT", "EXISTS")
        if or_replace and if_not_exists:
            raise self._error("OR REPLACE and IF NOT EXISTS exclude each other", "Write one of them.", back=1)
        name = self._name("the model's name")
        options = self._group("OPTIONS", ("=", "=>", ":=")) if self._take_words("OPTIONS") else ()
        query = None
        if self._take_words("AS"):
            if not (self._peek_word(*_QUERY_WORDS) or self._peek_sign("(")):
                raise self._error("AS must be followed by a query", "Write AS SELECT vector, label FROM …")
            rest = list(self._tokens[self._next :])
            query = _query(Source(self._source.whole, rest[0].start, self._source.stop), rest)
        else:
            self._end("OPTIONS (…) or AS SELECT …")
        return CreateModel(name, options, or_replace, if_not_exists, query)

    def drop_model(self) -> DropModel:
        self._words("DROP", "MODEL")
        if_exists = self._take_words("IF", "EXISTS")
        name = self._name("the model's name")
        self._end("nothing")
        return DropModel(name, if_exists)

    def call(self) -> Call:
        self._words("CALL")
        line, column = self._here()
        name = self._name("the procedure's name").lower()
        arguments = self._group(f"CALL {name}", ("=>", ":="))
        self._end("nothing")
        return Call(name, arguments, line, column)

    def vacuum(self) -> Call:
        """The statement VACUUM, which stands for a call without arguments."""
        line, column = self._here()
        self._words("VACUUM")
        self._end("nothing (CALL vacuum(keep_seconds => 3600) keeps the versions of the last hour)")
        return Call("vacuum", (), line, column)

    def _group(self, what: str, assignments: tuple[str, ...]) -> tuple[Argument, ...]:
        """``( name => value, … )``; positional values only where ``=`` is no assignment, that is in CALL."""
        self._sign("(", f"( after {what}")
        arguments: list[Argument] = []
        if self._take_sign(")"):
            return ()
        while True:
            arguments.append(self._argument(assignments))
            if self._take_sign(")"):
                break
            self._sign(",", "a comma or )")
        self._check_group(arguments, what)
        return tuple(arguments)

    def _argument(self, assignments: tuple[str, ...]) -> Argument:
        line, column = self._here()
        name = None
        token = self._peek()
        after = self._peek(1)
        if token and after and token.kind in {"word", "quoted"} and after.is_sign("=", "=>", ":="):
            if after.text not in assignments:
                self._next += 1
                raise self._error("Arguments of CALL are given with =>", f"Write {token.text} => value.")
            name = token.text.lower()
            self._next += 2
        elif "=" in assignments:
            raise self._error("Each option is written name = value", "Write OPTIONS (qubits = 6, layers = 4).")
        return Argument(name, self._value(), line, column)

    def _check_group(self, arguments: Sequence[Argument], what: str) -> None:
        seen: set[str] = set()
        named = False
        for argument in arguments:
            place = {"line": argument.line, "column": argument.column}
            if argument.name is None:
                if named:
                    raise SqlSyntaxError(
                        f"In {what} a positional argument follows a named one",
                        fix="Put positional arguments first, or name all of them.",
                        **place,
                    )
                continue
            named = True
            if argument.name in seen:
                raise SqlSyntaxError(f"In {what} {argument.name} is given twice", fix="Give it once.", **place)
            seen.add(argument.name)

    def _value(self) -> Literal:
        token = self._peek()
        if token is None:
            raise self._error("The statement ends where a value is expected", "Write a number or a quoted text.")
        if token.kind == "number" or token.is_sign(".", "+", "-"):
            return self._number()
        if token.kind == "string":
            self._next += 1
            return token.text
        if token.is_word("TRUE", "FALSE", "NULL"):
            self._next += 1
            return {"TRUE": True, "FALSE": False, "NULL": None}[token.text.upper()]
        if token.is_sign("["):
            return self._list()
        if token.is_sign("$"):
            self._next += 1
            return ParameterReference(self._name("the parameter's name after $"))
        fix = f"Put a text in single quotes: '{token.text}'." if token.kind in {"word", "quoted"} else ""
        raise self._error(
            f"{token.text!r} is no value",
            fix or "Write a number, a quoted text, true, false, null, a list [1, 2] or a parameter $name.",
        )

    def _list(self) -> Literal:
        self._next += 1
        values: list[Literal] = []
        if self._take_sign("]"):
            return values
        while True:
            values.append(self._value())
            if self._take_sign("]"):
                return values
            self._sign(",", "a comma or ]")

    def _number(self) -> int | float:
        """Signs and digits that stand without a gap, as ``-0.5e-3``."""
        first = self._tokens[self._next]
        stop = first.start
        while self._next < len(self._tokens):
            token = self._tokens[self._next]
            glued = token.start in {stop, first.start}
            part = token.kind == "number" or (token.kind == "word" and stop > first.start)
            if not glued or not (part or token.is_sign(".", "+", "-")):
                break
            stop = token.stop
            self._next += 1
        written = self._source.whole[first.start : stop]
        try:
            value = ast.literal_eval(written)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
        if isinstance(value, bool) or not isinstance(value, int | float):
            line, column = line_and_column(self._source.whole, first.start)
            raise SqlSyntaxError(f"{written!r} is no number", line=line, column=column, fix="Write 5, -5, 0.5 or 1e-3.")
        return value

    def _name(self, what: str) -> str:
        token = self._peek()
        if token is None or token.kind not in {"word", "quoted", "number"} or not token.text:
            raise self._error(f"Expected {what}", "Write a name; one with odd characters goes in double quotes.")
        self._next += 1
        return token.text

    def _words(self, *words: str) -> None:
        if not self._take_words(*words):
            raise self._error(f"Expected {' '.join(words)}", "")

    def _take_words(self, *words: str) -> bool:
        ahead = self._tokens[self._next : self._next + len(words)]
        found = len(ahead) == len(words) and all(token.is_word(word) for token, word in zip(ahead, words, strict=True))
        self._next += len(words) if found else 0
        return found

    def _sign(self, sign: str, what: str) -> None:
        if not self._take_sign(sign):
            raise self._error(f"Expected {what}", "")

    def _take_sign(self, sign: str) -> bool:
        found = self._peek_sign(sign)
        self._next += found
        return found

    def _peek(self, ahead: int = 0) -> Token | None:
        index = self._next + ahead
        return self._tokens[index] if index < len(self._tokens) else None

    def _peek_sign(self, sign: str) -> bool:
        token = self._peek()
        return token is not None and token.is_sign(sign)

    def _peek_word(self, *words: str) -> bool:
        token = self._peek()
        return token is not None and token.is_word(*words)

    def _end(self, expected: str) -> None:
        token = self._peek()
        if token is not None:
            raise self._error(f"Unexpected {token.text!r}; {expected} may follow here", "")

    def _here(self, back: int = 0) -> tuple[int, int]:
        token = self._peek(-back)
        return line_and_column(self._source.whole, token.start if token else self._source.stop)

    def _error(self, what: str, fix: str, back: int = 0) -> SqlSyntaxError:
        line, column = self._here(back)
        return SqlSyntaxError(what, line=line, column=column, fix=fix)
