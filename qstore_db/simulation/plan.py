"""The face of the simulator: a circuit and its readouts, compiled once, run on whole batches.

``values, pullback = plan.forward(data, weights)`` and later ``pullback(cotangent)``: the values of all readouts of
all samples, and the gradient of Σ cotangent · values, by the adjoint method in one backward sweep whatever the number
of readouts. Where the cotangent is known before, :meth:`Plan.gradients` does both in one sweep, block by block, and
:meth:`Plan.head_step` computes it between the two from a linear head and labels.

All methods may be called from many threads at once. Equal inputs give equal bits on one machine type, engine and dtype;
a sample's values depend on nothing but its own inputs, and the gradient of a weight is summed over blocks of 16 samples
(float32) or 8 (float64) in order.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable, listed, require_observables
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.compile import rotation_sets
from qstore_db.simulation.lanes_engine import LanesEngine
from qstore_db.simulation.lanes_stage import LANES
from qstore_db.simulation.numpy_engine import NumpyEngine
from qstore_db.simulation.results import Engine, Floats, Gradients, HeadStep, Precision, Pullback

__all__ = ["LANES", "Gradients", "HeadStep", "Plan", "Precision", "Pullback", "compile_circuit", "engine_name"]

PLANS_KEPT: Final = 256

_PRECISIONS: Final = get_args(Precision)


@cache
def engine_name() -> Literal["lanes", "numpy"]:
    """The engine of all plans: ``"lanes"``, compiled by Numba, or ``"numpy"`` where Numba is not installed.

    The second gives the same values and gradients to rounding, fifty to a hundred times slower.
    """
    found = all(importlib.util.find_spec(name) is not None for name in ("numba", "llvmlite"))
    return "lanes" if found else "numpy"


class Plan:
    """A compiled circuit; made by :func:`compile_circuit`, immutable.

    Args:
        circuit: What it was compiled from.
        observables: The readouts, in order.
        amplitude_input: Whether each sample brings its start state.
        engine: What computes; see :func:`engine_name`.
    """

    __slots__ = (
        "_engine",
        "amplitude_input",
        "circuit",
        "number_of_data",
        "number_of_readouts",
        "number_of_weights",
        "observables",
    )

    def __init__(
        self,
        circuit: Circuit,
        observables: tuple[Observable, ...],
        amplitude_input: bool,
        engine: Literal["lanes", "numpy"],
    ) -> None:
        self.circuit = circuit
        self.observables = observables
        self.amplitude_input = amplitude_input
        self.number_of_weights = circuit.number_of_weights
        self.number_of_data = circuit.number_of_data
        self.number_of_readouts = len(observables)
        made = LanesEngine if engine == "lanes" else NumpyEngine
        self._engine: Engine = made(self, rotation_sets(circuit, observables))

    @property
    def engine(self) -> str:
        """``"lanes"`` or ``"numpy"``; see :func:`engine_name`."""
        return self._engine.name

    def expectations(
        self,
        data: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        *,
        dtype: Precision = "float32",
    ) -> Floats:
        """The values of all readouts.

        Args:
            data: Shape (samples, number of data columns), radians; None for a circuit without data.
            weights: Shape (number of weights,), radians; None for a circuit without weights.
            amplitudes: Start states, shape (samples, width ≤ 2^n), real or complex; padded with zeros and divided by
                their norm. None when the plan starts from |0…0⟩.
            dtype: Arithmetic of the state.

        Returns:
            Shape (samples, number of readouts), float64 whatever ``dtype``. One sample when neither data nor
            amplitudes are given.

        Raises:
            InvalidArgumentError: A shape or dtype does not fit the plan, or a weight is not finite.
            InvalidVectorError: Data are not finite, or an amplitude vector is zero or not finite.
            NotEnoughMemoryError: The states do not fit.
        """
        return self._engine.expectations(data, weights, amplitudes, _precision(dtype))

    def forward(
        self,
        data: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        *,
        dtype: Precision = "float32",
        input_gradients: bool = True,
    ) -> tuple[Floats, Pullback]:
        """The values as in :meth:`expectations`, and the function that turns a cotangent into gradients.

        Args:
            data: As in :meth:`expectations`; copied.
            weights: As in :meth:`expectations`; copied.
            amplitudes: As in :meth:`expectations`; copied.
            dtype: Arithmetic of the state.
            input_gradients: Whether gradients of data and amplitudes are wanted besides those of the weights.

        Returns:
            The values, and the pullback, which holds working memory as long as it lives.

        Raises:
            InvalidArgumentError: As in :meth:`expectations`.
            InvalidVectorError: As in :meth:`expectations`.
            NotEnoughMemoryError: The states do not fit.
        """
        return self._engine.forward(data, weights, amplitudes, _precision(dtype), input_gradients)

    def gradients(
        self,
        data: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        *,
        cotangent: ArrayLike,
        dtype: Precision = "float32",
        input_gradients: bool = True,
    ) -> tuple[Floats, Gradients]:
        """Values and gradients for a cotangent that is known before: the same bits as by :meth:`forward`, quicker.

        Args:
            data: As in :meth:`expectations`.
            weights: As in :meth:`expectations`.
            amplitudes: As in :meth:`expectations`.
            cotangent: Shape (samples, number of readouts), finite.
            dtype: Arithmetic of the state.
            input_gradients: Whether gradients of data and amplitudes are wanted besides those of the weights.

        Raises:
            InvalidArgumentError: As in :meth:`expectations`, or the cotangent does not fit.
            InvalidVectorError: As in :meth:`expectations`.
            NotEnoughMemoryError: The states do not fit.
        """
        return self._engine.gradients(data, weights, amplitudes, cotangent, _precision(dtype), input_gradients)

    def head_step(
        self,
        data: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        *,
        matrix: Floats,
        bias: Floats,
        labels: NDArray[np.int64],
        dtype: Precision = "float32",
    ) -> HeadStep:
        """Loss and all derivatives of a linear head on the values: scores matrix · v + bias, softmax cross-entropy.

        Args:
            data: As in :meth:`expectations`; at least one sample.
            weights: As in :meth:`expectations`.
            amplitudes: As in :meth:`expectations`.
            matrix: Shape (classes, number of readouts).
            bias: Shape (classes,), at least one class.
            labels: Shape (samples,), each in 0 … classes - 1.
            dtype: Arithmetic of the state; the head computes in float64.

        Raises:
            InvalidArgumentError: As in :meth:`expectations`, or matrix, bias and labels do not fit each other.
            InvalidVectorError: As in :meth:`expectations`.
            NotEnoughMemoryError: The states do not fit.
        """
        shapes = (matrix.shape, bias.shape)
        if not len(bias) or shapes != ((len(bias), self.number_of_readouts), (len(bias),)):
            raise InvalidArgumentError(
                f"a head of {matrix.shape} and {bias.shape} does not fit {self.number_of_readouts} readouts",
                fix="Give a matrix (classes, readouts) and a bias (classes,).",
                value=shapes,
            )
        if not labels.size or labels.ndim != 1:
            raise InvalidArgumentError(
                f"labels of shape {labels.shape} are not one for each of at least one sample",
                fix="Give one label from 0 to classes - 1 for each sample.",
                value=labels.shape,
            )
        return self._engine.head_step(data, weights, amplitudes, (matrix, bias), labels, _precision(dtype))


def compile_circuit(circuit: Circuit, observables: Sequence[Observable], *, amplitude_input: bool = False) -> Plan:
    """Compiles a circuit for its readouts; pure Python, about a millisecond, cached for the last 256 circuits.

    Args:
        circuit: Any circuit; weights and data stay arguments.
        observables: At least one, each written for the circuit's qubits.
        amplitude_input: Whether each sample starts from its own amplitudes and not from |0…0⟩.

    Raises:
        InvalidCircuitError: No observables, no list of them, something else among them, or one for another number of
            qubits.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> from qstore_db.circuits.observables import PauliString
        >>> bell = Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))
        >>> compile_circuit(bell, [PauliString("XX"), PauliString("ZI")]).expectations().round(6).tolist()
        [[1.0, 0.0]]
    """
    return _compiled(circuit, listed(observables), bool(amplitude_input), engine_name())


@lru_cache(maxsize=PLANS_KEPT)
def _compiled(
    circuit: Circuit, observables: tuple[Observable, ...], amplitude_input: bool, engine: Literal["lanes", "numpy"]
) -> Plan:
    require_observables(observables, circuit.n_qubits)
    return Plan(circuit, observables, amplitude_input, engine)


def _precision(dtype: Precision) -> Precision:
    if dtype not in _PRECISIONS:
        raise InvalidArgumentError(f"unknown dtype {dtype!r}", fix="Use 'float32' or 'float64'.", value=dtype)
    return dtype
