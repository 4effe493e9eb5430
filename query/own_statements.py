"""Our own statements: ``CREATE`` and ``DROP`` of models and procedures, ``CALL``, ``VACUUM``; the rest is DuckDB's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from query.dialect import Token, as_query, cut, split
from query.errors import SqlSyntaxError
from query.ml_functions import ml_functions
from query.source import Source
from query.statements import (
    BodyStatement,
    Call,
    CreateModel,
    CreateProcedure,
    DeclaredArgument,
    DropModel,
    DropProcedure,
    Query,
    Statement,
)
from query.time_travel import at_clauses
from query.token_reader import TokenReader

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_QUERY_WORDS = ("SELECT", "WITH", "FROM", "VALUES", "TABLE")


def parse(text: str) -> list[Statement]:
    """All statements of a text, in order.

    Raises:
        SqlSyntaxError: An own statement is not as :mod:`query.statements` says; with line and column.
    """
    return [_statement(source, tokens) for source, tokens in split(text)]


def _statement(source: Source, tokens: list[Token]) -> Statement:
    words = _first_words(tokens)
    if words[:2] == ["CREATE", "PROCEDURE"] or words == ["CREATE", "OR", "REPLACE", "PROCEDURE"]:
        return _create_procedure(TokenReader(source, tokens))
    if words[:2] == ["DROP", "PROCEDURE"]:
        return _drop_procedure(TokenReader(source, tokens))
    return _body_statement(source, tokens, {})


def _body_statement(source: Source, tokens: Sequence[Token], arguments: Mapping[str, str]) -> BodyStatement:
    words = _first_words(tokens)
    reader = TokenReader(source, tokens, arguments)
    if "PROCEDURE" in words and words[:1] in (["CREATE"], ["DROP"]):
        raise reader.error(
            f"A procedure cannot {'define' if words[0] == 'CREATE' else 'drop'} another",
            "Write it as a statement of its own.",
        )
    if words[:2] == ["CREATE", "MODEL"] or words == ["CREATE", "OR", "REPLACE", "MODEL"]:
        return _create_model(reader)
    if words[:2] == ["DROP", "MODEL"]:
        return _drop_model(reader)
    if words[:1] == ["CALL"]:
        return _call(reader)
    if words[:1] == ["VACUUM"]:
        return _vacuum(reader)
    return _query(source, tokens)


def _first_words(tokens: Sequence[Token]) -> list[str]:
    return [token.text.upper() if token.kind == "word" else "" for token in tokens[:4]]


def _query(source: Source, tokens: Sequence[Token]) -> Query:
    clauses = at_clauses(tokens)
    parameters = frozenset(clause.parameter for clause in clauses if clause.parameter is not None)
    replaced = [*(clause.replacement for clause in clauses), *ml_functions(source.whole, tokens)]
    return as_query(source, tokens, replaced, parameters)


def _create_model(reader: TokenReader) -> CreateModel:
    reader.words("CREATE")
    or_replace = reader.take_words("OR", "REPLACE")
    reader.words("MODEL")
    if_not_exists = reader.take_words("IF", "NOT", "EXISTS")
    if or_replace and if_not_exists:
        raise reader.error("OR REPLACE and IF NOT EXISTS exclude each other", "Write one of them.", back=1)
    name = reader.name("the model's name")
    options = reader.group("OPTIONS", ("=", "=>", ":=")) if reader.take_words("OPTIONS") else ()
    query = None
    if reader.take_words("AS"):
        if not (reader.peek_word(*_QUERY_WORDS) or reader.peek_sign("(")):
            raise reader.error("AS must be followed by a query", "Write AS SELECT vector, label FROM …")
        rest = reader.rest()
        query = _query(Source(reader.source.whole, rest[0].start, reader.source.stop), rest)
    else:
        reader.end("OPTIONS (…) or AS SELECT …")
    return CreateModel(name, options, or_replace, if_not_exists, query)


def _drop_model(reader: TokenReader) -> DropModel:
    reader.words("DROP", "MODEL")
    if_exists = reader.take_words("IF", "EXISTS")
    name = reader.name("the model's name")
    reader.end("nothing")
    return DropModel(name, if_exists)


def _call(reader: TokenReader) -> Call:
    line, column = reader.here()
    reader.words("CALL")
    name = reader.name("the procedure's name").lower()
    arguments = reader.group(f"CALL {name}", ("=>", ":="))
    reader.end("nothing")
    return Call(name, arguments, line, column)


def _vacuum(reader: TokenReader) -> Call:
    """The statement VACUUM, which stands for a call without arguments."""
    line, column = reader.here()
    reader.words("VACUUM")
    reader.end("nothing (CALL vacuum(keep_seconds => 3600) keeps the versions of the last hour)")
    return Call("vacuum", (), line, column)


def _create_procedure(reader: TokenReader) -> CreateProcedure:
    reader.words("CREATE")
    or_replace = reader.take_words("OR", "REPLACE")
    reader.words("PROCEDURE")
    name = reader.name("the procedure's name").lower()
    arguments = _declared(reader)
    if reader.take_words("LANGUAGE"):
        return CreateProcedure(name, arguments, (), or_replace, reader.source, _python_target(reader))
    reader.words("AS", "BEGIN")
    body = reader.rest()
    if not body or not body[-1].is_word("END"):
        raise reader.error("The body has no END", "Write CREATE PROCEDURE name(…) AS BEGIN statement; … END.")
    names = {argument.name.lower(): argument.name for argument in arguments}
    statements = tuple(
        _body_statement(source, tokens, names) for source, tokens in cut(reader.source.whole, body[:-1]) if tokens
    )
    if not statements:
        raise reader.error("The body is empty", "Write a statement between BEGIN and END.", back=1)
    return CreateProcedure(name, arguments, statements, or_replace, reader.source)


def _python_target(reader: TokenReader) -> str:
    """``python AS 'package.module:function'``, behind LANGUAGE."""
    if not reader.take_words("PYTHON"):
        raise reader.error("Procedures are written in SQL or in python", "Write AS BEGIN … END, or LANGUAGE python.")
    reader.words("AS")
    target = reader.value()
    if not isinstance(target, str) or not _TARGET.fullmatch(target):
        raise reader.error(f"{target!r} names no function", "Write AS 'package.module:function'.", back=1)
    reader.end("nothing")
    return target


def _declared(reader: TokenReader) -> tuple[DeclaredArgument, ...]:
    """``( name TYPE [DEFAULT value], … )``."""
    reader.sign("(", "( after the procedure's name")
    declared: list[DeclaredArgument] = []
    while not reader.take_sign(")"):
        if declared:
            reader.sign(",", "a comma or )")
        line, column = reader.here()
        name = reader.name("an argument's name")
        kind = reader.name(f"the type of {name}").upper()
        if reader.take_sign("["):
            reader.sign("]", "]")
            kind += "[]"
        if name.lower() in {argument.name.lower() for argument in declared}:
            raise SqlSyntaxError(
                f"The argument {name} is declared twice", line=line, column=column, fix="Once is enough."
            )
        required = not reader.take_words("DEFAULT")
        if required and any(not argument.required for argument in declared):
            raise SqlSyntaxError(
                f"The argument {name} has no default but follows one that has",
                line=line,
                column=column,
                fix="Put arguments without a default first.",
            )
        declared.append(DeclaredArgument(name, kind, required, None if required else reader.value()))
    return tuple(declared)


def _drop_procedure(reader: TokenReader) -> DropProcedure:
    reader.words("DROP", "PROCEDURE")
    if_exists = reader.take_words("IF", "EXISTS")
    name = reader.name("the procedure's name").lower()
    reader.end("nothing")
    return DropProcedure(name, if_exists)
