"""The ZZ feature map, an encoding whose overlaps are believed to be hard to compute classically at large width.

Source: Havlíček et al., Nature 567, 209 (2019), with the angles of Qiskit's ``ZZFeatureMap``: φ_i = x_i and
φ_ij = (π - x_i)(π - x_j). No advantage is claimed at the widths this simulator reaches.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.pair_products import append_products, append_products_vjp
from qstore_db.circuits.encodings.repetitions import checked_repetitions
from qstore_db.circuits.entanglement import Entanglement, HardwareMap, entangled_pairs
from qstore_db.circuits.parameters import Data


def zz_feature_map(
    n_qubits: int,
    repetitions: int = 2,
    *,
    entanglement: Entanglement | HardwareMap = "full",
    first_column: int = 0,
) -> Circuit:
    """Each repetition: H on every qubit, P(2 x_i) on qubit i, then a phase by the parity of each pair.

    For a pair that is CX(i,j), P(2 (π-x_i)(π-x_j)) on j, CX(i,j). The P between two CX turns by the parity of the pair;
    it is not a controlled P. The circuit reads n + m data columns for m pairs: first x_0 … x_{n-1}, then one product a
    pair in the order of ``entangled_pairs``. :func:`zz_columns` computes them.

    Args:
        n_qubits: Qubits, and inputs used.
        repetitions: 1 or more; all read the same columns.
        entanglement: Which pairs are joined.
        first_column: Data column of x_0.

    Raises:
        InvalidCircuitError: Unknown entanglement, or repetitions below 1.

    Example:
        >>> zz_feature_map(3).number_of_data
        6
    """
    pairs = entangled_pairs(n_qubits, entanglement)
    once: list[Operation] = [Operation("H", (qubit,)) for qubit in range(n_qubits)]
    once += [Operation("P", (qubit,), (Data(first_column + qubit, 2.0),)) for qubit in range(n_qubits)]
    for column, (first, second) in enumerate(pairs, start=first_column + n_qubits):
        parity = Operation("CX", (first, second))
        once += [parity, Operation("P", (second,), (Data(column, 2.0),)), parity]
    return Circuit(n_qubits, once * checked_repetitions(repetitions))


def zz_columns(inputs: ArrayLike, entanglement: Entanglement | HardwareMap = "full") -> NDArray[np.float64]:
    """The data columns of :func:`zz_feature_map`: x_0 … x_{n-1}, then (π-x_i)(π-x_j) of every pair.

    Args:
        inputs: Shape (samples, n), one column a qubit.
        entanglement: As given to the feature map.

    Returns:
        Shape (samples, n + number of pairs), float64.

    Raises:
        InvalidVectorError: The inputs have no two axes.
        InvalidCircuitError: Unknown entanglement.

    Example:
        >>> zz_columns([[0.0, 1.0]]).round(4).tolist()
        [[0.0, 1.0, 6.728]]
    """
    return append_products(inputs, entanglement, math.pi)


def zz_columns_vjp(
    inputs: ArrayLike, cotangent: ArrayLike, entanglement: Entanglement | HardwareMap = "full"
) -> NDArray[np.float64]:
    """The gradient by the inputs of Σ cotangent · zz_columns(inputs): the step from ``Gradients.data`` to the inputs.

    ∂/∂x_i of (π-x_i)(π-x_j) is -(π-x_j).

    Args:
        inputs: Shape (samples, n).
        cotangent: Shape (samples, n + number of pairs).
        entanglement: As given to the feature map.

    Returns:
        Shape (samples, n), float64.

    Raises:
        InvalidVectorError: The shapes do not fit each other.
        InvalidCircuitError: Unknown entanglement.
    """
    return append_products_vjp(inputs, entanglement, cotangent, math.pi)
