"""The face of exact noise: a circuit, its noise and its readouts, compiled once, run on whole batches.

The state of a sample is the real vector of r_P = Tr(P ρ) over all 4^n Pauli strings. Sixteen samples in float32, eight
in float64, share each register. Results equal those of :mod:`qstore_db.simulation.density_matrix` up to rounding.

All methods may be called from many threads at once. Equal inputs give equal bits on one machine type and dtype; a
sample's values depend on nothing but its own inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable, require_observables
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.simulation.density_matrix import misread
from qstore_db.simulation.inputs import check_start, checked_cotangent
from qstore_db.simulation.memory import require
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.noisy_inputs import Checked, checked
from qstore_db.simulation.noisy_run import ProgramNumbers, gradients_of, values_of
from qstore_db.simulation.pauli_program import PauliProgram, Read, pack
from qstore_db.simulation.pauli_transfer import LETTERS
from qstore_db.simulation.plan import Gradients, Precision

MAX_NOISY_QUBITS: Final = 12
"""A block of states takes 2 · 64 · 4^n bytes: 2 GiB for 12 qubits."""

NOISY_PLANS_KEPT: Final = 32


class NoisyPlan:
    """A compiled noisy circuit; made by :func:`compile_noisy`, immutable.

    Args:
        circuit: What it was compiled from.
        observables: The readouts, in order.
        noise: What follows the gates, and how outcomes are misread.
        amplitude_input: Whether each sample brings its start state.
    """

    __slots__ = ("_numbers", "_program", "amplitude_input", "circuit", "noise", "observables")

    def __init__(
        self, circuit: Circuit, observables: tuple[Observable, ...], noise: NoiseModel, amplitude_input: bool
    ) -> None:
        self.circuit = circuit
        self.observables = observables
        self.noise = noise
        self.amplitude_input = amplitude_input
        reads = [
            Read(_index(string.letters), coefficient, column)
            for column, observable in enumerate(observables)
            for coefficient, string in noise.reported(observable).terms
        ]
        self._program = pack(circuit, noise, reads, from_amplitudes=amplitude_input)
        self._numbers: dict[np.dtype[np.floating], ProgramNumbers] = {}

    def expectations(
        self,
        data: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        *,
        dtype: Precision = "float32",
    ) -> NDArray[np.float64]:
        """The values of all readouts: the mean of what a device with this noise reports.

        Readout errors are part of it: each string is measured in its own basis, and the error of a qubit turns its
        letter P into a·P + b with a and b of :class:`~qstore_db.simulation.noise_model.ReadoutError`.

        Args:
            data: Shape (samples, number of data columns), radians; None for a circuit without data.
            weights: Shape (number of weights,), radians; None for a circuit without weights.
            amplitudes: Pure start states, shape (samples, width ≤ 2^n), real or complex; padded with zeros and divided
                by their norm. None when the plan starts from |0…0⟩.
            dtype: Arithmetic of the state; float32 is good to about 1e-5.

        Returns:
            Shape (samples, number of readouts), float64 whatever ``dtype``. One sample when neither data nor amplitudes
            are given.

        Raises:
            InvalidArgumentError: A shape or dtype does not fit the plan, or a weight is not finite.
            InvalidVectorError: Data are not finite, or an amplitude vector is zero or not finite.
            NotEnoughMemoryError: The states do not fit.
        """
        real = _precision(dtype)
        inputs = self._checked(data, weights, amplitudes)
        return values_of(self._program, self._numbers_in(real), inputs, len(self.observables), real)

    def forward(
        self,
        data: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        *,
        dtype: Precision = "float32",
        input_gradients: bool = True,
    ) -> tuple[NDArray[np.float64], NoisyPullback]:
        """The values as in :meth:`expectations`, and the function that turns a cotangent into gradients.

        Args:
            data: As in :meth:`expectations`; copied.
            weights: As in :meth:`expectations`; copied.
            amplitudes: As in :meth:`expectations`; copied.
            dtype: As in :meth:`expectations`.
            input_gradients: Whether gradients of data and amplitudes are wanted besides those of the weights.

        Returns:
            The values, and the pullback.

        Raises:
            InvalidArgumentError: As in :meth:`expectations`.
            InvalidVectorError: As in :meth:`expectations`.
            NotEnoughMemoryError: The states do not fit.
        """
        values = self.expectations(data, weights, amplitudes, dtype=dtype)
        kept, columns, start = self._checked(data, weights, amplitudes)
        inputs = (kept, columns, None if start is None else start.copy())
        return values, NoisyPullback(self, inputs, values.shape, _precision(dtype), input_gradients)

    def gradients(
        self, inputs: Checked, cotangent: NDArray[np.float64], real: np.dtype[np.floating], *, of_inputs: bool
    ) -> Gradients:
        """The gradient of Σ cotangent · values; the pullback of :meth:`forward` calls it with checked inputs."""
        return gradients_of(self._program, self._numbers_in(real), inputs, cotangent, real, of_inputs=of_inputs)

    def probabilities(
        self,
        data: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        *,
        basis: str | None = None,
        dtype: Precision = "float64",
    ) -> NDArray[np.float64]:
        """Chance of every reported outcome, readout errors included.

        Args:
            basis: A letter X, Y or Z for each qubit: what is measured on it; None: Z everywhere. The rotation into the
                basis is taken to be perfect, as in :meth:`expectations`.
            data: As in :meth:`expectations`.
            weights: As in :meth:`expectations`.
            amplitudes: As in :meth:`expectations`.
            dtype: As in :meth:`expectations`; float32 may leave chances down to -1e-6.

        Returns:
            float64 (samples, 2^n), qubit 0 the highest bit of the index; rows sum to 1.

        Raises:
            InvalidArgumentError: As in :meth:`expectations`.
            InvalidVectorError: As in :meth:`expectations`.
            NotEnoughMemoryError: As in :meth:`expectations`.
        """
        real = _precision(dtype)
        inputs = self._checked(data, weights, amplitudes)
        n = self.circuit.n_qubits
        program = _basis_program(self.circuit, self.noise, self.amplitude_input, _basis(basis, n))
        moments = values_of(program, ProgramNumbers(program, real), inputs, 1 << n, real)
        for qubit in range(n):  # ⟨Z strings⟩ to chances: (1 + z)/2, (1 - z)/2 of every qubit
            spread = moments.reshape(len(moments), 1 << qubit, 2, -1)
            moments = np.stack([spread.sum(axis=2), spread[:, :, 0] - spread[:, :, 1]], axis=2) / 2
        return misread(moments.reshape(len(moments), -1), self.noise)

    def _numbers_in(self, real: np.dtype[np.floating]) -> ProgramNumbers:
        """The numbers of the program in a dtype, kept for the next run."""
        if real not in self._numbers:
            self._numbers[real] = ProgramNumbers(self._program, real)
        return self._numbers[real]

    def _checked(self, data: ArrayLike | None, weights: ArrayLike | None, amplitudes: ArrayLike | None) -> Checked:
        check_start(amplitudes, wanted=self.amplitude_input)
        return checked(self.circuit, weights, data, amplitudes)


class NoisyPullback:
    """Turns the cotangent of the values of one forward run into gradients; may be called several times.

    One sweep back by the transposed maps, whatever the number of readouts; the states before all passes are kept for
    sixteen samples (float32) or eight (float64) at a time.
    """

    __slots__ = ("_input_gradients", "_inputs", "_plan", "_real", "_shape")

    def __init__(
        self,
        plan: NoisyPlan,
        inputs: Checked,
        shape: tuple[int, ...],
        real: np.dtype[np.floating],
        input_gradients: bool,
    ) -> None:
        self._plan, self._inputs, self._shape = plan, inputs, shape
        self._real, self._input_gradients = real, input_gradients

    def __call__(self, cotangent: ArrayLike) -> Gradients:
        """The gradient of Σ cotangent · values, exact to rounding, readout errors included.

        Args:
            cotangent: Shape (samples, number of readouts), finite.

        Raises:
            InvalidArgumentError: Another shape, or not finite.
            NotEnoughMemoryError: The states do not fit.
        """
        given = checked_cotangent(cotangent, self._shape)
        return self._plan.gradients(self._inputs, given, self._real, of_inputs=self._input_gradients)


def compile_noisy(
    circuit: Circuit, observables: Sequence[Observable], noise: NoiseModel, *, amplitude_input: bool = False
) -> NoisyPlan:
    """Compiles a circuit with noise for its readouts; cached for the last 32.

    Takes 10 to 100 ms for eight qubits: tables over 4^n strings are built.

    Args:
        circuit: On at most 12 qubits; weights and data stay arguments.
        observables: At least one, each written for the circuit's qubits.
        noise: What follows the gates, and how outcomes are misread.
        amplitude_input: Whether each sample starts from its own amplitudes and not from |0…0⟩.

    Raises:
        InvalidCircuitError: No observables, one for another number of qubits, or more than 12 qubits.
        NotEnoughMemoryError: The tables do not fit.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> from qstore_db.circuits.observables import PauliString
        >>> from qstore_db.simulation.channels import depolarizing
        >>> from qstore_db.simulation.noise_model import NoiseRule
        >>> flip = Circuit(1, (Operation("X", (0,)),))
        >>> model = NoiseModel([NoiseRule(depolarizing(0.1))])
        >>> compile_noisy(flip, [PauliString("Z")], model).expectations().round(6).tolist()
        [[-0.9]]
    """
    require_observables(observables, circuit.n_qubits)
    if circuit.n_qubits > MAX_NOISY_QUBITS:
        raise InvalidCircuitError(
            f"exact noise on {circuit.n_qubits} qubits takes 4^{circuit.n_qubits} numbers a sample",
            fix=f"Use at most {MAX_NOISY_QUBITS} qubits, or trajectories.",
            value=circuit.n_qubits,
        )
    require(8 * 8 * 4**circuit.n_qubits)
    return _compiled(circuit, tuple(observables), noise, bool(amplitude_input))


@lru_cache(maxsize=NOISY_PLANS_KEPT)
def _compiled(
    circuit: Circuit, observables: tuple[Observable, ...], noise: NoiseModel, amplitude_input: bool
) -> NoisyPlan:
    return NoisyPlan(circuit, observables, noise, amplitude_input)


@lru_cache(maxsize=NOISY_PLANS_KEPT)
def _basis_program(circuit: Circuit, noise: NoiseModel, from_amplitudes: bool, basis: str) -> PauliProgram:
    """Reads all strings of I and the letter of the basis, in the order of the basis states."""
    strings = [0]
    for letter in basis:
        strings = [4 * string + digit for string in strings for digit in (0, LETTERS.index(letter))]
    reads = [Read(string, 1.0, column) for column, string in enumerate(strings)]
    return pack(circuit, noise, reads, from_amplitudes=from_amplitudes)


def _basis(letters: str | None, n_qubits: int) -> str:
    if letters is None:
        return "Z" * n_qubits
    if len(letters) != n_qubits or set(letters) - set("XYZ"):
        raise InvalidArgumentError(
            f"{letters!r} is not a basis of {n_qubits} qubit(s)", fix="Write X, Y or Z for every qubit.", value=letters
        )
    return letters


def _index(letters: str) -> int:
    """The string as a number in base 4."""
    out = 0
    for letter in letters:
        out = 4 * out + LETTERS.index(letter)
    return out


def _precision(dtype: str) -> np.dtype[np.floating]:
    if dtype not in get_args(Precision):
        raise InvalidArgumentError(f"unknown dtype {dtype!r}", fix="Use 'float32' or 'float64'.", value=dtype)
    return np.dtype(dtype)
