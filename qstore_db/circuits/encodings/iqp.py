"""IQP encoding: inputs as the angles of a circuit that is diagonal between layers of Hadamards.

Source: Shepherd and Bremner, Proceedings of the Royal Society A 465, 1413 (2009), for the family; Havlíček et al.,
Nature 567, 209 (2019), for its use as an encoding. The state is taken before the closing Hadamards of the family, so
that repetitions and trainable layers may follow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.pair_products import append_products, append_products_vjp
from qstore_db.circuits.encodings.repetitions import checked_repetitions
from qstore_db.circuits.entanglement import Entanglement, HardwareMap, entangled_pairs
from qstore_db.circuits.parameters import Data


def iqp_encoding(
    n_qubits: int,
    repetitions: int = 1,
    *,
    entanglement: Entanglement | HardwareMap = "full",
    first_column: int = 0,
) -> Circuit:
    """Each repetition: H on every qubit, RZ(x_i) on qubit i, RZZ(x_i x_j) on every pair.

    That is e^{-i/2 (Σ x_i Z_i + Σ x_i x_j Z_i Z_j)} after the Hadamards. The circuit reads n + m data columns for m
    pairs: first the inputs, then one product a pair; :func:`iqp_columns` computes them.

    Args:
        n_qubits: Qubits, and inputs used.
        repetitions: 1 or more; all read the same columns.
        entanglement: Which pairs are joined.
        first_column: Data column of x_0.

    Raises:
        InvalidCircuitError: Unknown entanglement, or repetitions below 1.

    Example:
        >>> iqp_encoding(4, entanglement="linear").number_of_data
        7
    """
    pairs = entangled_pairs(n_qubits, entanglement)
    once: list[Operation] = [Operation("H", (qubit,)) for qubit in range(n_qubits)]
    once += [Operation("RZ", (qubit,), (Data(first_column + qubit),)) for qubit in range(n_qubits)]
    once += [Operation("RZZ", pair, (Data(first_column + n_qubits + place),)) for place, pair in enumerate(pairs)]
    return Circuit(n_qubits, once * checked_repetitions(repetitions))


def iqp_columns(inputs: ArrayLike, entanglement: Entanglement | HardwareMap = "full") -> NDArray[np.float64]:
    """The data columns of :func:`iqp_encoding`: x_0 … x_{n-1}, then x_i x_j of every pair.

    Args:
        inputs: Shape (samples, n), one column a qubit.
        entanglement: As given to the encoding.

    Returns:
        Shape (samples, n + number of pairs), float64.

    Raises:
        InvalidVectorError: The inputs have no two axes.
        InvalidCircuitError: Unknown entanglement.

    Example:
        >>> iqp_columns([[2.0, 3.0]]).tolist()
        [[2.0, 3.0, 6.0]]
    """
    return append_products(inputs, entanglement)


def iqp_columns_vjp(
    inputs: ArrayLike, cotangent: ArrayLike, entanglement: Entanglement | HardwareMap = "full"
) -> NDArray[np.float64]:
    """The gradient by the inputs of Σ cotangent · iqp_columns(inputs).

    Args:
        inputs: Shape (samples, n).
        cotangent: Shape (samples, n + number of pairs).
        entanglement: As given to the encoding.

    Returns:
        Shape (samples, n), float64.

    Raises:
        InvalidVectorError: The shapes do not fit each other.
        InvalidCircuitError: Unknown entanglement.
    """
    return append_products_vjp(inputs, entanglement, cotangent)
