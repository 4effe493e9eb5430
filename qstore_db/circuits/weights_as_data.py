"""A circuit whose weights differ from sample to sample, so that many weight vectors run as one batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Angle, Data, Symbol, Weight


def weights_as_data(circuit: Circuit) -> Circuit:
    """The same circuit with weight i as data column ``number_of_data + i``.

    Example:
        >>> turn = Operation("RX", (0,), (Weight(1) + Data(0),))
        >>> str(weights_as_data(Circuit(1, (turn,))).operations[0].angles[0])
        'x2 + x0'
    """
    first = circuit.number_of_data

    def column(term: Symbol) -> Symbol:
        return Data(first + term.index, term.scale) if isinstance(term, Weight) else term

    return Circuit(
        circuit.n_qubits,
        (
            Operation(
                operation.gate,
                operation.qubits,
                tuple(Angle(tuple(column(term) for term in value.terms), value.constant) for value in operation.angles),
            )
            for operation in circuit.operations
        ),
    )


def rows(data: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The data of :func:`weights_as_data`: one sample's columns repeated, then the weights of each row.

    Args:
        data: Shape (number of data columns,).
        weights: Shape (samples, number of weights).

    Returns:
        Shape (samples, number of data columns + number of weights).
    """
    return np.hstack([np.broadcast_to(data, (len(weights), data.size)), weights])
