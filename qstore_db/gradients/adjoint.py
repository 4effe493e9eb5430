"""The Jacobian of expectation values by the simulator's adjoint sweeps: exact, and one sweep a readout."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable
from qstore_db.circuits.weights_as_data import weights_as_data
from qstore_db.gradients.gradient import Jacobian
from qstore_db.simulation.inputs import checked_inputs
from qstore_db.simulation.plan import Precision, compile_circuit


def adjoint_jacobian(
    circuit: Circuit,
    observables: tuple[Observable, ...],
    weights: ArrayLike,
    data: ArrayLike | None = None,
    amplitudes: ArrayLike | None = None,
    *,
    dtype: Precision = "float64",
) -> tuple[NDArray[np.float64], Jacobian]:
    """Values and derivatives of every readout of every sample.

    Training needs less: one sweep gives the gradient of a loss, see :meth:`qstore_db.simulation.plan.Plan.forward`.

    Args:
        circuit: Any circuit.
        observables: The readouts.
        weights: Shape (weights,), radians.
        data: Shape (samples, data columns), radians; None for a circuit without data.
        amplitudes: Start states, shape (samples, width ≤ 2^n); None to start from |0…0⟩.
        dtype: Arithmetic of the state.

    Returns:
        Values, shape (samples, readouts), and the Jacobian that ``CircuitGradient.combine`` would give.

    Raises:
        InvalidArgumentError: As :meth:`qstore_db.simulation.plan.Plan.forward`.
        InvalidVectorError: As :meth:`qstore_db.simulation.plan.Plan.forward`.
        NotEnoughMemoryError: As :meth:`qstore_db.simulation.plan.Plan.forward`.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> from qstore_db.circuits.observables import PauliString
        >>> from qstore_db.circuits.parameters import Weight
        >>> turn = Circuit(1, [Operation("RX", (0,), (Weight(0),))])
        >>> values, jacobian = adjoint_jacobian(turn, (PauliString("Z"),), [np.pi / 2])
        >>> jacobian.weights.round(12).tolist()
        [[[-1.0]]]
    """
    # Weights become data columns, whose derivatives the sweep gives for each sample by itself.
    columns, size = circuit.number_of_data, circuit.number_of_weights
    plan = compile_circuit(weights_as_data(circuit), observables, amplitude_input=amplitudes is not None)
    original = compile_circuit(circuit, observables, amplitude_input=amplitudes is not None)
    inputs = checked_inputs(original, data, weights, amplitudes, np.dtype(np.float64))
    rows = np.broadcast_to(inputs.weights, (inputs.samples, size))
    everything = np.concatenate((inputs.data, rows), axis=1)
    values, pullback = plan.forward(everything if size + columns else None, None, amplitudes, dtype=dtype)
    by_column = np.zeros((*values.shape, size + columns))
    for readout in range(values.shape[1]):
        cotangent = np.zeros(values.shape)
        cotangent[:, readout] = 1.0
        by_column[:, readout] = pullback(cotangent).data
    return values, Jacobian(by_column[:, :, columns:], by_column[:, :, :columns])
