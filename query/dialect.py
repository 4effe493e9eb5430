"""Words of the text: where statements begin and end, which are our own, and what DuckDB could not read as written.

Only sqlglot's tokenizer is used; nothing here parses or regenerates SQL, because regenerating changes answers. A query
reaches DuckDB as the user wrote it, except for the token ``<#>``, which DuckDB's grammar does not know: it becomes the
operator :data:`NEGATIVE_INNER_PRODUCT` of the same length, so that no position moves.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from query.errors import SqlSyntaxError
from query.source import Replacement, Source, line_and_column
from query.statements import Query

MAX_TEXT_BYTES = 100_000
MAX_NESTING = 50
NEGATIVE_INNER_PRODUCT = "<~>"

_WORD = re.compile(r"\S+")
_OPENING = {"(": ")", "[": "]", "{": "}"}
_CLOSING = frozenset(_OPENING.values())


@dataclass(frozen=True, slots=True)
class Token:
    """One word or sign.

    Args:
        kind: ``word``, ``quoted`` (an identifier in double quotes), ``string``, ``number`` or ``sign``.
        text: Its content, without quotes.
        start: Its first character in the text.
        stop: The character after its last.
    """

    kind: str
    text: str
    start: int
    stop: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these words (upper case), unquoted."""
        return self.kind == "word" and self.text.upper() in words

    def is_sign(self, *signs: str) -> bool:
        """Whether it is one of these signs."""
        return self.kind == "sign" and self.text in signs


_LOADING = threading.Lock()  # sqlglot loads its dialects lazily and is half there while another thread loads it


@functools.cache
def _tokenizer() -> Any:
    from sqlglot.dialects.duckdb import DuckDB
    from sqlglot.tokens import TokenType  # type: ignore[attr-defined]

    class QStore(DuckDB):
        """DuckDB's words, without sqlglot's habit of swallowing a whole statement after ``CALL`` or ``SHOW``."""

        class Tokenizer(DuckDB.Tokenizer):
            """The only class of sqlglot that may be subclassed when it is installed compiled."""

            KEYWORDS: ClassVar[dict[str, TokenType]] = {**DuckDB.Tokenizer.KEYWORDS, "<#>": TokenType.LR_ARROW}
            COMMANDS: ClassVar[set[TokenType]] = set()

    return QStore()


def tokenize(text: str) -> list[Token]:
    """The tokens of a text; comments and blanks are left out.

    Raises:
        SqlSyntaxError: The text is longer than 100 kB, nested deeper than 50 brackets, holds a NUL or half a surrogate
            pair, or a quotation or comment is not closed.
    """
    _check_text(text)
    with _LOADING:
        tokenizer = _tokenizer()
    from sqlglot.errors import TokenError
    from sqlglot.tokens import TokenType  # type: ignore[attr-defined]

    kinds = {
        TokenType.IDENTIFIER: "quoted",
        TokenType.STRING: "string",
        TokenType.HEREDOC_STRING: "string",
        TokenType.BYTE_STRING: "string",
        TokenType.NATIONAL_STRING: "string",
        TokenType.NUMBER: "number",
    }
    try:
        raw = tokenizer.tokenize(text)
    except TokenError as error:
        line, column = line_and_column(text, len(text))
        raise SqlSyntaxError(
            "The text ends inside a quotation or a comment", line=line, column=column, fix="Close it."
        ) from error
    tokens = []
    for item in raw:
        kind = kinds.get(item.token_type)
        written = text[item.start : item.end + 1]
        if kind is None:
            kind = "word" if written[:1].isalpha() or written[:1] == "_" else "sign"
        if kind == "word":
            # Words that sqlglot takes as one, such as EXPLAIN ANALYZE, are two here.
            tokens += [
                Token(kind, word.group(), item.start + word.start(), item.start + word.end())
                for word in _WORD.finditer(written)
            ]
        else:
            content = item.text if kind in {"quoted", "string"} else written
            tokens.append(Token(kind, content, item.start, item.end + 1))
    _check_nesting(text, tokens)
    return tokens


def split(text: str) -> list[tuple[Source, list[Token]]]:
    """The statements of a text, cut at top-level semicolons; empty ones are left out.

    Raises:
        SqlSyntaxError: As :func:`tokenize`; also where there is no statement at all.
    """
    statements = [(source, tokens) for source, tokens in cut(text, tokenize(text)) if tokens]
    if not statements:
        raise SqlSyntaxError("The text holds no statement", fix="Write one, such as SELECT * FROM collections.")
    return statements


def cut(text: str, tokens: Sequence[Token]) -> list[tuple[Source, list[Token]]]:
    """Tokens by statement; semicolons between ``BEGIN`` and ``END`` of a ``CREATE PROCEDURE`` do not count.

    Args:
        text: The whole text.
        tokens: Those to cut, all of the text or a part of it.
    """
    statements: list[tuple[Source, list[Token]]] = []
    current: list[Token] = []
    inside = 0
    for token in [*tokens, None]:
        if token is not None and not (token.is_sign(";") and inside <= 0):
            current.append(token)
            if _defines_procedure(current):
                # CASE … END stands inside queries.
                inside += token.is_word("BEGIN", "CASE") - token.is_word("END")
        elif current:
            statements.append((Source(text, current[0].start, current[-1].stop), current))
            current, inside = [], 0
    return statements


def _defines_procedure(tokens: Sequence[Token]) -> bool:
    start = 3 if len(tokens) > 3 and tokens[1].is_word("OR") and tokens[2].is_word("REPLACE") else 1
    return len(tokens) > start and tokens[0].is_word("CREATE") and tokens[start].is_word("PROCEDURE")


def as_query(
    source: Source,
    tokens: Sequence[Token],
    replaced: Sequence[Replacement] = (),
    parameters: frozenset[str] = frozenset(),
) -> Query:
    """A statement for DuckDB, with ``<#>`` made readable and ``EXPLAIN`` set apart.

    Args:
        source: The statement.
        tokens: Its tokens.
        replaced: Further pieces that DuckDB cannot read as written; none holds a ``<#>``.
        parameters: Names of parameters that stand in those pieces.
    """
    signs = [Replacement(token.start, token.stop, NEGATIVE_INNER_PRODUCT) for token in tokens if token.is_sign("<#>")]
    whole = replace(source, replacements=tuple(sorted([*signs, *replaced], key=lambda item: item.start)))
    start = _after_explain(tokens)
    body = replace(whole, start=tokens[start].start) if start < len(tokens) else whole
    return Query(whole, body, parameters)


def quote_reserved(query: Query, names: Collection[str], reserved: Collection[str]) -> Query | None:
    """The query with reserved words quoted where they stand as a table's name, such as ``FROM default``.

    To be tried only after DuckDB refused the text as written. ``None`` where there is nothing to quote.

    Args:
        query: As written.
        names: Existing tables.
        reserved: DuckDB's reserved words, lower case.
    """
    tokens = tokenize(query.source.whole)
    known = {name.lower() for name in names} & set(reserved)
    added = []
    for index, token in enumerate(tokens):
        if not (query.source.start <= token.start < query.source.stop and token.kind == "word"):
            continue
        if any(piece.start <= token.start < piece.stop for piece in query.source.replacements):
            continue
        if token.text.lower() not in known:
            continue
        after_table_word = index > 0 and tokens[index - 1].is_word("FROM", "JOIN")
        qualifies = index + 1 < len(tokens) and tokens[index + 1].is_sign(".")
        if after_table_word or qualifies:
            added.append(Replacement(token.start, token.stop, f'"{token.text}"'))
    if not added:
        return None
    merged = tuple(sorted([*query.source.replacements, *added], key=lambda item: item.start))
    return replace(
        query, source=replace(query.source, replacements=merged), body=replace(query.body, replacements=merged)
    )


def quote_identifier(name: str) -> str:
    """A name as SQL reads it whatever it holds: in double quotes, inner ones doubled."""
    return '"' + name.replace('"', '""') + '"'


def _after_explain(tokens: Sequence[Token]) -> int:
    """Index of the first token after ``EXPLAIN [ANALYZE] [(…)]``; 0 where the statement is no ``EXPLAIN``."""
    if not tokens or not tokens[0].is_word("EXPLAIN"):
        return 0
    index = 1
    if index < len(tokens) and tokens[index].is_word("ANALYZE"):
        index += 1
    # EXPLAIN (FORMAT json) SELECT …, but not EXPLAIN (SELECT …).
    if index + 1 < len(tokens) and tokens[index].is_sign("(") and tokens[index + 1].is_word("FORMAT", "ANALYZE"):
        while index < len(tokens) and not tokens[index].is_sign(")"):
            index += 1
        index += 1
    return index


def _check_text(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        line, column = line_and_column(text, error.start)
        raise SqlSyntaxError(
            "The text holds half a surrogate pair, which is no character",
            line=line,
            column=column,
            fix="Take it out, or bind the value as a parameter.",
        ) from error
    if size > MAX_TEXT_BYTES:
        raise SqlSyntaxError(
            f"The text has {size} bytes; {MAX_TEXT_BYTES} are allowed",
            fix="Bind long values as parameters: ORDER BY vector <-> $q.",
        )
    if "\0" in text:
        line, column = line_and_column(text, text.index("\0"))
        raise SqlSyntaxError("The text holds a NUL character", line=line, column=column, fix="Take it out.")


def _check_nesting(text: str, tokens: Sequence[Token]) -> None:
    depth = 0
    for token in tokens:
        if token.is_sign(*_OPENING):
            depth += 1
        elif token.is_sign(*_CLOSING):
            depth = max(depth - 1, 0)
        if depth > MAX_NESTING:
            line, column = line_and_column(text, token.start)
            raise SqlSyntaxError(
                f"Brackets are nested deeper than {MAX_NESTING}",
                line=line,
                column=column,
                fix="Split the statement.",
            )
