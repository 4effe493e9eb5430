"""Which pairs of qubits a layer joins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, TypeAlias, get_args

from qstore_db.errors import InvalidCircuitError

Entanglement: TypeAlias = Literal["linear", "circular", "full", "pairwise"]

HardwareMap: TypeAlias = Sequence[tuple[int, int]]
"""The pairs a device can join, written out: control, then target."""


def entangled_pairs(n_qubits: int, entanglement: Entanglement | HardwareMap) -> tuple[tuple[int, int], ...]:
    """Control and target of each two-qubit gate of a layer, in order.

    ``linear``: (0,1) (1,2) … (n-2,n-1). ``circular``: the same and (n-1,0); two qubits have their one pair once.
    ``full``: every (i,j) with i < j, ordered by i, then j. ``pairwise``: (0,1) (2,3) … and then (1,2) (3,4) …, which
    is ``linear`` in two time steps. One qubit: none. A hardware map is taken as it is, pair by pair.

    Args:
        n_qubits: 1 or more.
        entanglement: One of the words, or the pairs themselves.

    Raises:
        InvalidCircuitError: Unknown word, or a pair that does not name two different qubits of 0 … n-1.

    Example:
        >>> entangled_pairs(4, "pairwise")
        ((0, 1), (2, 3), (1, 2))
        >>> entangled_pairs(3, [(2, 0)])
        ((2, 0),)
    """
    if not isinstance(entanglement, str):
        return tuple(_pair(n_qubits, pair) for pair in entanglement)
    chain = tuple((qubit, qubit + 1) for qubit in range(n_qubits - 1))
    match entanglement:
        case "linear":
            return chain
        case "circular":
            return (*chain, (n_qubits - 1, 0)) if n_qubits > 2 else chain
        case "full":
            return tuple(combinations(range(n_qubits), 2))
        case "pairwise":
            return chain[::2] + chain[1::2]
        case _:
            raise InvalidCircuitError(
                f"unknown entanglement {entanglement!r}",
                fix=f"Use one of {', '.join(get_args(Entanglement))}, or give the pairs.",
                value=entanglement,
            )


def _pair(n_qubits: int, pair: tuple[int, int]) -> tuple[int, int]:
    qubits = tuple(pair)
    if len(set(qubits)) != 2 or len(qubits) != 2 or any(qubit not in range(n_qubits) for qubit in qubits):
        raise InvalidCircuitError(
            f"the pair {pair!r} does not name two different qubits of 0 … {n_qubits - 1}",
            fix="Give pairs of control and target.",
            value=pair,
        )
    return int(qubits[0]), int(qubits[1])
