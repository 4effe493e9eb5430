"""The names of weights and data columns outside: w0, w1 … and x0, x1 …, in other libraries and in OpenQASM 3."""

from __future__ import annotations

import re

from qstore_db.circuits.parameters import Data, Symbol, Weight
from qstore_db.errors import InvalidCircuitError

_NAME = re.compile(r"([wx])(?:(\d{1,9})|\[(\d{1,9})\])", re.ASCII)


def symbol_name(symbol: Symbol) -> str:
    """``w3`` for weight 3, ``x0`` for data column 0; the scale is not part of the name.

    Example:
        >>> symbol_name(Weight(3, 2.0))
        'w3'
    """
    return f"{'w' if isinstance(symbol, Weight) else 'x'}{symbol.index}"


def symbol_named(name: str) -> Symbol:
    """The weight or data column of a name as :func:`symbol_name` writes it; ``w[3]`` is understood too.

    Raises:
        InvalidCircuitError: Another name.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise InvalidCircuitError(
            f"the parameter {name!r} is neither a weight nor a data column",
            fix="Name weights w0, w1 … and data columns x0, x1 …, or give the parameter a number first.",
            value=name,
        )
    kind = Weight if found[1] == "w" else Data
    return kind(int(found[2] or found[3]))
