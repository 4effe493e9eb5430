"""OpenQASM text as tokens that know where they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from qstore_db.errors import InvalidCircuitError


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the text.

    Args:
        kind: ``number``, ``name``, ``string``, ``mark`` or ``end``.
        text: As written; a string without its quotes; empty at the end.
        line: From 1.
        column: From 1.
    """

    kind: str
    text: str
    line: int
    column: int


_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|/\*.*?\*/)
  | (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?)
  | (?P<name>[A-Za-z_πτℇ][A-Za-z0-9_πτℇ]*)
  | "(?P<string>[^"\n]*)"
  | (?P<mark>\*\*|->|==|!=|[;,()\[\]{}+\-*/^=@:<>&|!%~])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


def refuse(token: Token, what: str, fix: str) -> NoReturn:
    """Raises the error of a token, with its line and column.

    Raises:
        InvalidCircuitError: Always.
    """
    raise InvalidCircuitError(f"line {token.line}, column {token.column}: {what}", fix=fix, value=token.text)


def tokens_of(text: str) -> list[Token]:
    """The words of the text, comments left out, and one token of kind ``end``.

    Raises:
        InvalidCircuitError: A character that OpenQASM does not have, or a string or comment without end.
    """
    found: list[Token] = []
    place, line, line_start = 0, 1, 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            here = Token("mark", text[place], line, place - line_start + 1)
            refuse(here, f"unexpected {text[place]!r}", "Remove it; strings and comments must be closed.")
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(Token(kind, match[kind], line, place - line_start + 1))
        line += match[0].count("\n")
        if "\n" in match[0]:
            line_start = place + match[0].rindex("\n") + 1
        place = match.end()
    found.append(Token("end", "", line, place - line_start + 1))
    return found


class TokenStream:
    """The tokens with a place in them.

    Args:
        tokens: As :func:`tokens_of` gives them.
    """

    __slots__ = ("_place", "_tokens")

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._place = 0

    @property
    def next(self) -> Token:
        """The token that comes next, not taken."""
        return self._tokens[self._place]

    def take(self) -> Token:
        """The next token, taken; the end is never passed."""
        token = self._tokens[self._place]
        if token.kind != "end":
            self._place += 1
        return token

    def at(self, text: str) -> bool:
        """Whether the next token is this mark or name."""
        return self.next.text == text and self.next.kind in ("mark", "name")

    def accept(self, text: str) -> bool:
        """Takes the next token if it is this mark or name, and says whether it did."""
        if not self.at(text):
            return False
        self.take()
        return True

    def expect(self, text: str) -> Token:
        """The next token, which must be this mark or name.

        Raises:
            InvalidCircuitError: It is another.
        """
        if not self.at(text):
            refuse(self.next, f"expected {text!r}, found {described(self.next)}", f"Write {text!r} there.")
        return self.take()

    def expect_kind(self, kind: str, what: str) -> Token:
        """The next token, which must be of this kind.

        Raises:
            InvalidCircuitError: It is of another.
        """
        if self.next.kind != kind:
            refuse(self.next, f"expected {what}, found {described(self.next)}", f"Write {what} there.")
        return self.take()


def described(token: Token) -> str:
    """The token in words, for messages."""
    return "the end of the text" if token.kind == "end" else repr(token.text)
