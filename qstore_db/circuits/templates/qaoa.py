"""The quantum approximate optimisation algorithm for the maximum cut of a graph.

Source: Farhi, Goldstone and Gutmann (2014), arXiv:1411.4028. No approximation ratio is claimed beyond what is proven
there (0.6924 for one layer on 3-regular graphs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString, PauliSum
from qstore_db.circuits.parameters import Weight
from qstore_db.errors import InvalidCircuitError

Edges: TypeAlias = Sequence[tuple[int, int] | tuple[int, int, float]]
"""Pairs of vertices, or triples with a weight; without one the weight is 1."""


def max_cut_cost(n_qubits: int, edges: Edges) -> PauliSum:
    """The expected weight of the cut, C = Σ w (1 - Z_i Z_j) / 2, to be maximised.

    On a basis state it is the weight of the edges whose ends have different bits.

    Args:
        n_qubits: Vertices of the graph.
        edges: At least one.

    Raises:
        InvalidCircuitError: No edge, a vertex that is not there, a loop, or a weight that is not finite.
    """
    weighted = _weighted(n_qubits, edges)
    total = sum(weight for _, _, weight in weighted)
    return PauliSum(
        (
            (total / 2, PauliString.on(n_qubits, {})),
            *((-weight / 2, PauliString.on(n_qubits, {i: "Z", j: "Z"})) for i, j, weight in weighted),
        )
    )


def qaoa_max_cut(n_qubits: int, edges: Edges, layers: int, *, first_weight: int = 0) -> Circuit:
    """H on every qubit, then ``layers`` times e^{-iγC} and e^{-iβΣX}.

    With C of :func:`max_cut_cost`, e^{-iγC} is RZZ(-γw) on every edge up to a global phase, and e^{-iβX} is RX(2β).
    Weights are γ_0 β_0 γ_1 β_1 …, each shared by all the gates of its half-layer.

    Args:
        n_qubits: Vertices of the graph.
        edges: At least one.
        layers: 0 or more.
        first_weight: Index of γ_0.

    Raises:
        InvalidCircuitError: As in :func:`max_cut_cost`, or a negative number of layers.

    Example:
        >>> qaoa_max_cut(3, [(0, 1), (1, 2), (0, 2)], 2).number_of_weights
        4
    """
    if isinstance(layers, bool) or not isinstance(layers, int) or layers < 0:
        raise InvalidCircuitError(
            f"{layers!r} layers are not a number from 0 on", fix="Give 0 or more layers.", value=layers
        )
    weighted = _weighted(n_qubits, edges)
    operations = [Operation("H", (qubit,)) for qubit in range(n_qubits)]
    for layer in range(layers):
        gamma, beta = Weight(first_weight + 2 * layer), Weight(first_weight + 2 * layer + 1)
        operations += [Operation("RZZ", (i, j), (gamma * -weight,)) for i, j, weight in weighted]
        operations += [Operation("RX", (qubit,), (beta * 2.0,)) for qubit in range(n_qubits)]
    return Circuit(n_qubits, operations)


def _weighted(n_qubits: int, edges: Edges) -> tuple[tuple[int, int, float], ...]:
    if not edges:
        raise InvalidCircuitError("a graph without edges has no cut", fix="Give at least one edge.", value=edges)
    out = []
    for edge in edges:
        i, j = edge[0], edge[1]
        weight = float(edge[2]) if len(edge) > 2 else 1.0
        if i == j or i not in range(n_qubits) or j not in range(n_qubits) or not math.isfinite(weight):
            raise InvalidCircuitError(
                f"{edge!r} is not an edge of a graph with vertices 0 … {n_qubits - 1}",
                fix="Give two different vertices and, if wanted, a finite weight.",
                value=edge,
            )
        out.append((i, j, weight))
    return tuple(out)
