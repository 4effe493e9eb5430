"""The face of the simulator: a circuit and its readouts, compiled once, run on whole batches.

``values, pullback = plan.forward(data, weights)`` and later ``pullback(cotangent)``: the values of all readouts of
all samples, and the gradient of Σ cotangent · values, by the adjoint method in one backward sweep whatever the number
of readouts.

All methods may be called from many threads at once. Equal inputs give equal bits on one machine type and dtype; a
sample's values depend on nothing but its own inputs, and the gradient of a weight is summed over blocks of 16 samples
(float32) or 8 (float64) in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.simulation.compile import rotation_sets
from qstore_db.simulation.inputs import Inputs, checked_inputs
from qstore_db.simulation.memory import Workspace
from qstore_db.simulation.packing import Program, kept_states, pack, scratch_rows

Precision: TypeAlias = Literal["float32", "float64"]

LANES: Final = {"float32": 16, "float64": 8}

KEEP_BYTES: Final = 256 << 20
"""States up to this size are kept from forward to backward; larger ones are computed again, block by block."""

PLANS_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Gradients:
    """The gradient of Σ cotangent · values.

    Args:
        weights: Shape (number of weights,), float64.
        data: Shape (samples, number of data columns), float64; None when not asked for.
        amplitudes: Like the amplitudes given, in the dtype of the run, through the division by their norm; for
            complex ones dL/dRe + i·dL/dIm. None when not asked for or when the plan starts from |0…0⟩.
    """

    weights: NDArray[np.float64]
    data: NDArray[np.float64] | None
    amplitudes: NDArray[np.floating] | NDArray[np.complexfloating] | None


class Plan:
    """A compiled circuit; made by :func:`compile_circuit`, immutable.

    Args:
        circuit: What it was compiled from.
        observables: The readouts, in order.
        amplitude_input: Whether each sample brings its start state.
    """

    __slots__ = (
        "_program",
        "amplitude_input",
        "circuit",
        "number_of_data",
        "number_of_readouts",
        "number_of_weights",
        "observables",
    )

    def __init__(self, circuit: Circuit, observables: tuple[Observable, ...], amplitude_input: bool) -> None:
        self.circuit = circuit
        self.observables = observables
        self.amplitude_input = amplitude_input
        self.number_of_weights = circuit.number_of_weights
        self.number_of_data = circuit.number_of_data
        self.number_of_readouts = len(observables)
        self._program = pack(circuit.n_qubits, rotation_sets(circuit, observables), amplitude_input=amplitude_input)

    def expectations(
        self,
        data: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        *,
        dtype: Precision = "float32",
    ) -> NDArray[np.float64]:
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
        inputs = checked_inputs(self, data, weights, amplitudes, _precision(dtype))
        return _Run(self._program, inputs, keep=False).values

    def forward(
        self,
        data: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        *,
        dtype: Precision = "float32",
        input_gradients: bool = True,
    ) -> tuple[NDArray[np.float64], Pullback]:
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
        inputs = checked_inputs(self, data, weights, amplitudes, _precision(dtype), copy=True)
        run = _Run(self._program, inputs, keep=True)
        return run.values.copy(), Pullback(run, input_gradients)


class Pullback:
    """Turns the cotangent of the values of one forward run into gradients; may be called several times."""

    __slots__ = ("_input_gradients", "_run")

    def __init__(self, run: _Run, input_gradients: bool) -> None:
        self._run = run
        self._input_gradients = input_gradients

    def __call__(self, cotangent: ArrayLike) -> Gradients:
        """The gradient of Σ cotangent · values.

        Args:
            cotangent: Shape (samples, number of readouts), finite.

        Raises:
            InvalidArgumentError: Another shape, or not finite.
        """
        given = np.ascontiguousarray(cotangent, np.float64)
        if given.shape != self._run.values.shape or not np.isfinite(given).all():
            raise InvalidArgumentError(
                f"a cotangent of shape {given.shape} does not fit values of shape {self._run.values.shape}"
                if given.shape != self._run.values.shape
                else "the cotangent is not finite",
                fix="Give the finite derivative of the loss by every value.",
                value=given.shape,
            )
        return self._run.gradients(given, self._input_gradients)


class _Run:
    """One batch with its working memory."""

    __slots__ = ("_blocks", "_dtype", "_inputs", "_kept", "_kernel", "_program", "_state_bytes", "_table", "values")

    def __init__(self, program: Program, inputs: Inputs, *, keep: bool) -> None:
        # Numba is imported at the first run, so that importing the package stays quick.
        from qstore_db.simulation import lanes

        self._kernel, self._program, self._inputs = lanes, program, inputs
        self._dtype = dtype = inputs.amplitudes.dtype
        width = LANES[dtype.name]
        self._blocks = -(-inputs.samples // width)
        self._state_bytes = (2 << program.n) * width * dtype.itemsize
        self._table = np.empty((program.tabled, 2), dtype)
        self.values = np.empty((inputs.samples, inputs.readouts))
        size = self._state_bytes * kept_states(program) * self._blocks
        self._kept = Workspace(size) if keep and size <= KEEP_BYTES else None
        states = self._kept or Workspace(self._state_bytes)
        self._execute(lanes.VALUES, states, _NOTHING, _NOTHING, _NOTHING, inputs.amplitudes)
        if inputs.check_norms():
            self._execute(lanes.VALUES, states, _NOTHING, _NOTHING, _NOTHING, inputs.amplitudes)

    def gradients(self, cotangent: NDArray[np.float64], of_inputs: bool) -> Gradients:
        inputs, program, kernel = self._inputs, self._program, self._kernel
        rows = np.empty((self._blocks, inputs.weights.size))
        data = np.empty(inputs.data.shape) if of_inputs else _NOTHING
        of_amplitudes = of_inputs and program.from_amplitudes
        amplitudes = np.empty_like(inputs.amplitudes) if of_amplitudes else inputs.amplitudes[:0]
        mode = kernel.GRADIENTS
        if of_amplitudes:
            mode |= kernel.AMPLITUDE_GRADIENT
        if self._kept:
            mode |= kernel.STATES_KEPT
        states = self._kept or Workspace(self._state_bytes * kept_states(program))
        self._execute(mode, states, cotangent, rows, data, amplitudes)
        return Gradients(
            weights=rows.sum(axis=0),
            data=data if of_inputs else None,
            amplitudes=inputs.like_given(amplitudes) if of_amplitudes else None,
        )

    def _execute(
        self,
        mode: int,
        states: Workspace,
        cotangent: NDArray[np.float64],
        weight_rows: NDArray[np.float64],
        data: NDArray[np.float64],
        amplitudes: NDArray[np.floating],
    ) -> None:
        program, inputs, dtype = self._program, self._inputs, self._dtype
        rows = scratch_rows(program) * LANES[dtype.name]
        scratch = Workspace(rows * dtype.itemsize)
        one_state = 2 << program.n
        # Without gradients nothing but the last state is needed, and it is overwritten in place.
        several = self._kept is not None or mode & self._kernel.GRADIENTS
        self._kernel.run(
            program, inputs.weights, inputs.data, inputs.amplitudes, inputs.norms, self.values, cotangent, weight_rows,
            data, amplitudes, states.array(dtype), self._table, scratch.array(dtype), 0, self._blocks, mode,
            one_state * kept_states(program) if self._kept else 0, one_state if several else 0,
        )  # fmt: skip


_NOTHING: Final[NDArray[np.float64]] = np.empty((0, 0))
"""Stands where a mode neither reads nor writes."""


def compile_circuit(circuit: Circuit, observables: Sequence[Observable], *, amplitude_input: bool = False) -> Plan:
    """Compiles a circuit for its readouts; pure Python, about a millisecond, cached for the last 256 circuits.

    Args:
        circuit: Any circuit; weights and data stay arguments.
        observables: At least one, each written for the circuit's qubits.
        amplitude_input: Whether each sample starts from its own amplitudes and not from |0…0⟩.

    Raises:
        InvalidCircuitError: No observables, or one for another number of qubits.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> from qstore_db.circuits.observables import PauliString
        >>> bell = Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))
        >>> compile_circuit(bell, [PauliString("XX"), PauliString("ZI")]).expectations().round(6).tolist()
        [[1.0, 0.0]]
    """
    chosen = tuple(observables)
    if not chosen:
        raise InvalidCircuitError("a plan without observables reads nothing", fix="Give at least one.", value=0)
    for observable in chosen:
        if observable.n_qubits != circuit.n_qubits:
            raise InvalidCircuitError(
                f"observable {observable} is for {observable.n_qubits} qubit(s), the circuit has {circuit.n_qubits}",
                fix="Write one letter for every qubit of the circuit.",
                value=str(observable),
            )
    return _compiled(circuit, chosen, bool(amplitude_input))


@lru_cache(maxsize=PLANS_KEPT)
def _compiled(circuit: Circuit, observables: tuple[Observable, ...], amplitude_input: bool) -> Plan:
    return Plan(circuit, observables, amplitude_input)


def _precision(dtype: str) -> np.dtype[np.floating]:
    if dtype not in get_args(Precision):
        raise InvalidArgumentError(f"unknown dtype {dtype!r}", fix="Use 'float32' or 'float64'.", value=dtype)
    return np.dtype(dtype)
