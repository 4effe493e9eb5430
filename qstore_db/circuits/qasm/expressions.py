"""Parameter expressions of OpenQASM, by recursive descent.

    sum      = product (("+" | "-") product)*
    product  = signed (("*" | "/") signed)*
    signed   = ("-" | "+") signed | power
    power    = atom [("^" in version 2 | "**" in version 3) signed]
    atom     = number | constant | name | function "(" sum ")" | "(" sum ")"

The value is an angle: a number, or in version 3 a sum that is linear in the program's inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeAlias

from qstore_db.circuits.parameters import Angle
from qstore_db.circuits.qasm.tokens import Token, TokenStream, described, refuse
from qstore_db.errors import InvalidCircuitError

Expression: TypeAlias = Callable[[Mapping[str, Angle]], Angle]
"""Names known where it is evaluated, to its value."""

MAX_NESTING: Final = 100
"""Brackets and signs inside each other, so that a text cannot exhaust the stack."""

CONSTANTS: Final = {
    2: {"pi": math.pi},
    3: {"pi": math.pi, "π": math.pi, "tau": math.tau, "τ": math.tau, "euler": math.e, "ℇ": math.e},
}

FUNCTIONS: Final[dict[str, Callable[[float], float]]] = {
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "exp": math.exp,
    "ln": math.log,
    "sqrt": math.sqrt,
}
_ONLY_IN_3: Final[dict[str, Callable[[float], float]]] = {
    "log": math.log,
    "arcsin": math.asin,
    "arccos": math.acos,
    "arctan": math.atan,
}


class ExpressionParser:
    """Reads expressions from a stream.

    Args:
        stream: Where to read.
        version: 2 or 3.
        known: Names that may stand in the expression besides the constants.
    """

    __slots__ = ("_constants", "_depth", "_functions", "_known", "_power", "_stream")

    def __init__(self, stream: TokenStream, version: int, known: Collection[str]) -> None:
        self._stream, self._known = stream, known
        self._constants = CONSTANTS[2 if version == 2 else 3]
        self._power = "^" if version == 2 else "**"
        self._functions = FUNCTIONS if version == 2 else FUNCTIONS | _ONLY_IN_3
        self._depth = 0

    def parse(self) -> Expression:
        """The expression that comes next.

        Raises:
            InvalidCircuitError: It is no expression; evaluating it raises the same for a division by zero, a number out
                of a function's domain, or a product of two inputs.
        """
        # Chains are lists and not nested calls: a long sum must not exhaust the stack.
        first, rest = self._product(), []
        while self._stream.at("+") or self._stream.at("-"):
            rest.append((self._stream.take(), self._product()))
        return _chain(first, rest) if rest else first

    def _product(self) -> Expression:
        first, rest = self._signed(), []
        while self._stream.at("*") or self._stream.at("/"):
            rest.append((self._stream.take(), self._signed()))
        return _chain(first, rest) if rest else first

    def _signed(self) -> Expression:
        self._enter()
        try:
            if self._stream.accept("-"):
                inner = self._signed()
                return lambda names: -inner(names)
            if self._stream.accept("+"):
                return self._signed()
            return self._to_the_power()
        finally:
            self._depth -= 1

    def _to_the_power(self) -> Expression:
        base = self._atom()
        if not self._stream.at(self._power):
            return base
        token = self._stream.take()
        exponent = self._signed()
        return lambda names: Angle(
            (), _real(token, math.pow, _plain(base(names), token), _plain(exponent(names), token))
        )

    def _atom(self) -> Expression:
        token = self._stream.take()
        if token.kind == "number":
            value = Angle((), _real(token, float, token.text))
            return lambda names: value
        if token.kind == "mark" and token.text == "(":
            inner = self.parse()
            self._stream.expect(")")
            return inner
        if token.kind == "name" and token.text in self._known:
            return lambda names: names[token.text]
        if token.kind == "name" and token.text in self._constants:
            constant = Angle((), self._constants[token.text])
            return lambda names: constant
        if token.kind == "name" and token.text in self._functions:
            function = self._functions[token.text]
            self._stream.expect("(")
            argument = self.parse()
            self._stream.expect(")")
            return lambda names: Angle((), _real(token, function, _plain(argument(names), token)))
        return refuse(
            token,
            f"{described(token)} is no number, parameter or function",
            f"Use numbers, pi, the parameters {sorted(self._known)} and {', '.join(self._functions)}.",
        )

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            refuse(
                self._stream.next, f"more than {MAX_NESTING} brackets or signs inside each other", "Write it flatter."
            )


def _chain(first: Expression, rest: list[tuple[Token, Expression]]) -> Expression:
    def value(names: Mapping[str, Angle]) -> Angle:
        total = first(names)
        for token, expression in rest:
            try:
                total = _combined(token, total, expression(names))
            except InvalidCircuitError as error:
                # Angles refuse infinity without knowing where it was written.
                if error.what.startswith("line "):
                    raise
                refuse(token, error.what, error.fix)
        return total

    return value


def _combined(token: Token, left: Angle, right: Angle) -> Angle:
    match token.text:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*" if right.terms:
            return right * _plain(left, token)
        case "*":
            return left * right.constant
        case _ if left.terms:
            return left * _real(token, _quotient, 1.0, _plain(right, token))
        case _:
            return Angle((), _real(token, _quotient, left.constant, _plain(right, token)))


def _plain(value: Angle, token: Token) -> float:
    if value.terms:
        refuse(token, f"{value} is an input where a number must stand", "Use inputs in sums and times numbers only.")
    return value.constant


def _real(token: Token, function: Callable[..., float], *arguments: float | str) -> float:
    """The function's value, if it is a finite real number."""
    try:
        value = function(*arguments)
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        refuse(token, f"{token.text} has no value here ({error})", "Stay inside the function's domain.")
    if not math.isfinite(value):
        refuse(token, f"{token.text} gives {value}", "Use finite numbers.")
    return value


def _quotient(dividend: float, divisor: float) -> float:
    return dividend / divisor
