"""A position in the tokens of one statement: what our own statements are read with, by recursive descent."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from query.dialect import Token
from query.errors import SqlSyntaxError
from query.source import Source, line_and_column
from query.statements import Argument, Literal, ParameterReference


class TokenReader:
    """Takes tokens from left to right.

    Args:
        source: The statement.
        tokens: Its tokens.
        arguments: Names of a procedure's arguments by their lower-case form; where a value is expected, such a bare
            word stands for the argument.
    """

    def __init__(self, source: Source, tokens: Sequence[Token], arguments: Mapping[str, str] | None = None) -> None:
        self._source = source
        self._tokens = tokens
        self._arguments = arguments or {}
        self._next = 0

    @property
    def source(self) -> Source:
        """The statement."""
        return self._source

    def rest(self) -> list[Token]:
        """The tokens that were not taken yet, and take them."""
        rest = list(self._tokens[self._next :])
        self._next = len(self._tokens)
        return rest

    def group(self, what: str, assignments: tuple[str, ...]) -> tuple[Argument, ...]:
        """``( name => value, … )``; positional values only where ``=`` is no assignment, that is in CALL."""
        self.sign("(", f"( after {what}")
        arguments: list[Argument] = []
        if self.take_sign(")"):
            return ()
        while True:
            arguments.append(self.argument(assignments))
            if self.take_sign(")"):
                break
            self.sign(",", "a comma or )")
        self._check_group(arguments, what)
        return tuple(arguments)

    def argument(self, assignments: tuple[str, ...]) -> Argument:
        """One value, or ``name => value``, at the place where it stands."""
        line, column = self.here()
        name = None
        token = self.peek()
        after = self.peek(1)
        if token and after and token.kind in {"word", "quoted"} and after.is_sign("=", "=>", ":="):
            if after.text not in assignments:
                self._next += 1
                raise self.error("Arguments of CALL are given with =>", f"Write {token.text} => value.")
            name = token.text.lower()
            self._next += 2
        elif "=" in assignments:
            raise self.error("Each option is written name = value", "Write OPTIONS (qubits = 6, layers = 4).")
        return Argument(name, self.value(), line, column)

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

    def value(self) -> Literal:
        """A number, a quoted text, true, false, null, a list, ``$name``, or the name of a procedure's argument.

        Raises:
            SqlSyntaxError: It is something else.
        """
        token = self.peek()
        if token is None:
            raise self.error("The statement ends where a value is expected", "Write a number or a quoted text.")
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
            return ParameterReference(self.name("the parameter's name after $"))
        if token.kind == "word" and token.text.lower() in self._arguments:
            self._next += 1
            return ParameterReference(self._arguments[token.text.lower()])
        fix = f"Put a text in single quotes: '{token.text}'." if token.kind in {"word", "quoted"} else ""
        raise self.error(
            f"{token.text!r} is no value",
            fix or "Write a number, a quoted text, true, false, null, a list [1, 2] or a parameter $name.",
        )

    def _list(self) -> Literal:
        self._next += 1
        values: list[Literal] = []
        if self.take_sign("]"):
            return values
        while True:
            values.append(self.value())
            if self.take_sign("]"):
                return values
            self.sign(",", "a comma or ]")

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

    def name(self, what: str) -> str:
        """A name, as written; ``what`` says in the error which one was expected."""
        token = self.peek()
        if token is None or token.kind not in {"word", "quoted", "number"} or not token.text:
            raise self.error(f"Expected {what}", "Write a name; one with odd characters goes in double quotes.")
        self._next += 1
        return token.text

    def words(self, *words: str) -> None:
        """Take these words, which must be there."""
        if not self.take_words(*words):
            raise self.error(f"Expected {' '.join(words)}", "")

    def take_words(self, *words: str) -> bool:
        """Take these words if they are there; whether they were."""
        ahead = self._tokens[self._next : self._next + len(words)]
        found = len(ahead) == len(words) and all(token.is_word(word) for token, word in zip(ahead, words, strict=True))
        self._next += len(words) if found else 0
        return found

    def sign(self, sign: str, what: str) -> None:
        """Take a sign, which must be there."""
        if not self.take_sign(sign):
            raise self.error(f"Expected {what}", "")

    def take_sign(self, sign: str) -> bool:
        """Take a sign if it is there; whether it was."""
        found = self.peek_sign(sign)
        self._next += found
        return found

    def peek(self, ahead: int = 0) -> Token | None:
        """A token further on, not taken; ``None`` behind the end."""
        index = self._next + ahead
        return self._tokens[index] if index < len(self._tokens) else None

    def peek_sign(self, sign: str) -> bool:
        """Whether this sign is next."""
        token = self.peek()
        return token is not None and token.is_sign(sign)

    def peek_word(self, *words: str) -> bool:
        """Whether one of these words is next."""
        token = self.peek()
        return token is not None and token.is_word(*words)

    def end(self, expected: str) -> None:
        """Nothing may follow here.

        Args:
            expected: What might have, for the error.
        """
        token = self.peek()
        if token is not None:
            raise self.error(f"Unexpected {token.text!r}; {expected} may follow here", "")

    def here(self, back: int = 0) -> tuple[int, int]:
        """Line and column of the next token, or of one before it."""
        token = self.peek(-back)
        return line_and_column(self._source.whole, token.start if token else self._source.stop)

    def error(self, what: str, fix: str, back: int = 0) -> SqlSyntaxError:
        """The error for a text that is wrong here."""
        line, column = self.here(back)
        return SqlSyntaxError(what, line=line, column=column, fix=fix)
