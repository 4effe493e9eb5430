"""The variational quantum eigensolver: the least expectation value of an observable over a circuit's weights.

Source: Peruzzo et al., Nature Communications 5, 4213 (2014). The value found is an upper bound of the least eigenvalue;
that it comes near depends on the circuit and on the start, and nothing is claimed about either. Runs on the exact
simulator with adjoint gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable, terms_of
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.optimizers.adam import Adam
from qstore_db.optimizers.optimizer import Optimizer
from qstore_db.simulation.plan import compile_circuit

_DENSE_QUBITS: Final = 12


@dataclass(frozen=True, slots=True, eq=False)
class Minimum:
    """Where a descent ended.

    Args:
        value: The least expectation value seen, in the unit of the observable.
        weights: Where, shape (weights,), radians.
        values: Before the first and after every step, shape (steps + 1,).
    """

    value: float
    weights: NDArray[np.float64]
    values: NDArray[np.float64]


def minimise_expectation(
    circuit: Circuit,
    observable: Observable,
    *,
    start: ArrayLike | None = None,
    steps: int = 200,
    optimizer: Optimizer | None = None,
    tolerance: float = 0.0,
) -> Minimum:
    """Descends from a start point; float64, the same bits for the same arguments.

    Args:
        circuit: With weights and without data.
        observable: On its qubits.
        start: Weights to begin with, radians; zeros if left out, which for coupled cluster is the reference state.
        steps: At most so many, 0 or more; each costs one value and one gradient.
        optimizer: Adam with a learning rate of 0.1 if left out.
        tolerance: Stop when the largest component of the gradient is not above it.

    Raises:
        InvalidCircuitError: The circuit has no weights, has data, or the observable is for other qubits.
        InvalidArgumentError: The start does not fit, or steps or tolerance are negative.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> from qstore_db.circuits.observables import PauliString
        >>> from qstore_db.circuits.parameters import Weight
        >>> turned = Circuit(1, (Operation("RY", (0,), (Weight(0),)),))
        >>> round(minimise_expectation(turned, PauliString("Z"), start=[0.3]).value, 6)
        -1.0
    """
    if not circuit.number_of_weights or circuit.number_of_data:
        raise InvalidCircuitError(
            f"a circuit of {circuit.number_of_weights} weight(s) and {circuit.number_of_data} data column(s) has no"
            " least expectation value to look for",
            fix="Give weights to descend by, and numbers in place of data.",
            value=circuit.digest,
        )
    if steps < 0 or tolerance < 0:
        raise InvalidArgumentError(
            f"steps {steps} and tolerance {tolerance} are not both 0 or more", fix="Use 0 or more.", value=steps
        )
    plan = compile_circuit(circuit, (observable,))
    chosen = Adam(0.1) if optimizer is None else optimizer
    point = {"weights": np.zeros(circuit.number_of_weights) if start is None else np.array(start, np.float64)}
    state = chosen.init(point)
    values: list[float] = []
    best, where = np.inf, point["weights"]
    for step in range(steps + 1):
        found, gradients = plan.gradients(None, point["weights"], cotangent=[[1.0]], dtype="float64")
        values.append(float(found[0, 0]))
        if values[-1] < best:
            best, where = values[-1], point["weights"]
        if step == steps or np.abs(gradients.weights).max() <= tolerance:
            break
        point, state = chosen.update({"weights": gradients.weights}, state, point)
    return Minimum(best, where, np.array(values))


def least_eigenvalue(observable: Observable, *, ones: int | None = None) -> float:
    """The classical answer: the least eigenvalue of the dense matrix; 4^n numbers, up to 12 qubits.

    Args:
        observable: On n qubits.
        ones: Only basis states with so many ones count, as for a fixed number of electrons; the observable must keep
            that number. All if left out.

    Raises:
        InvalidArgumentError: More than 12 qubits, ``ones`` is not in 0 … n, or the observable changes their number.
    """
    n = observable.n_qubits
    if n > _DENSE_QUBITS:
        raise InvalidArgumentError(
            f"a dense matrix of {n} qubits is too large", fix=f"Use at most {_DENSE_QUBITS} qubits.", value=n
        )
    if ones is not None and ones not in range(n + 1):
        raise InvalidArgumentError(f"{ones} ones on {n} qubits", fix=f"Use 0 to {n}.", value=ones)
    index = np.arange(1 << n)
    matrix = np.zeros((1 << n, 1 << n), np.complex128)
    for coefficient, string in terms_of(observable):
        x, z, y = string.masks
        signs = 1 - 2.0 * (np.bitwise_count(index & z) & 1)
        matrix[index ^ x, index] += coefficient * 1j**y * signs
    counts = np.bitwise_count(index)
    inside = np.full(len(index), True) if ones is None else counts == ones
    if ones is not None and np.abs(matrix[np.ix_(~inside, inside)]).max(initial=0.0) > 1e-9:
        raise InvalidArgumentError("the observable changes the number of ones", fix="Leave ones out.", value=ones)
    return float(np.linalg.eigvalsh(matrix[np.ix_(inside, inside)])[0])
