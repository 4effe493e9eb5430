"""States, probabilities and values of circuits: the vector of all amplitudes itself, sample after sample.

Gradients, and values of batches of small circuits, are the business of :mod:`qstore_db.simulation.plan`, which is
faster at them; this engine gives what that one never forms, checks it, and holds one state where that one holds a
register of them. Up to 24 qubits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.amplitude import amplitudes as normalised
from qstore_db.circuits.observables import Observable, PauliString, listed, require_observables, terms_of
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.availability import require_numba
from qstore_db.simulation.memory import require
from qstore_db.simulation.noisy_inputs import checked
from qstore_db.simulation.plan import Precision
from qstore_db.simulation.state_program import FIXED_MATRICES, state_program

_TYPES: Final[Mapping[str, np.dtype[np.floating]]] = {"float32": np.dtype("float32"), "float64": np.dtype("float64")}


def states(
    circuit: Circuit,
    weights: ArrayLike | None = None,
    data: ArrayLike | None = None,
    amplitudes: ArrayLike | None = None,
    *,
    dtype: Precision = "float64",
) -> NDArray[np.complexfloating]:
    """The states after the circuit, global phase included.

    A row depends on its own inputs only, to the last bit.

    Args:
        circuit: On n qubits.
        weights: Shape (number of weights,), radians; may be left out for a circuit without weights.
        data: Shape (samples, number of data columns), radians; left out, there is one sample.
        amplitudes: Start states, shape (samples, width ≤ 2^n), padded with zeros and divided by their norm; left out,
            |0…0⟩.
        dtype: Arithmetic: ``"float64"`` (errors of 1e-14) or ``"float32"`` (1e-6, half the memory).

    Returns:
        Shape (samples, 2^n), complex128 or complex64, qubit 0 the highest bit of the index.

    Raises:
        InvalidArgumentError: A shape does not fit, a weight is not finite, or the dtype is unknown.
        InvalidVectorError: Data or amplitudes are not finite, or an amplitude vector is zero.
        NotEnoughMemoryError: The states do not fit; nothing was allocated.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> bell = Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))
        >>> states(bell).round(3).tolist()
        [[(0.707+0j), 0j, 0j, (0.707+0j)]]
    """
    run = _prepared(circuit, weights, data, amplitudes, dtype, lambda kind: 2 * kind.itemsize << circuit.n_qubits)
    out = np.empty((run.samples, 1 << circuit.n_qubits, 2), run.kind)
    run.kernel.amplitudes(*run.arguments, out)
    return out.view(_complex(dtype))[..., 0]


def probabilities(
    circuit: Circuit,
    weights: ArrayLike | None = None,
    data: ArrayLike | None = None,
    amplitudes: ArrayLike | None = None,
    *,
    dtype: Precision = "float64",
) -> NDArray[np.float64]:
    """The chance of every outcome: |ψ_k|² of :func:`states`, whose arguments and errors it shares.

    One state at a time is held, besides the result.

    Returns:
        float64 (samples, 2^n); rows sum to 1 up to rounding.
    """
    run = _prepared(circuit, weights, data, amplitudes, dtype, lambda _: 8 << circuit.n_qubits)
    out = np.empty((run.samples, 1 << circuit.n_qubits))
    run.kernel.probabilities(*run.arguments, out)
    return out


def expectations(
    circuit: Circuit,
    observables: Sequence[Observable],
    weights: ArrayLike | None = None,
    data: ArrayLike | None = None,
    amplitudes: ArrayLike | None = None,
    *,
    dtype: Precision = "float64",
) -> NDArray[np.float64]:
    """⟨ψ|O|ψ⟩ of every observable in :func:`states`, whose other arguments and errors it shares.

    One state at a time is held. Cost: the gates, and 2^n steps for each different Pauli string.

    Args:
        circuit: On n qubits.
        observables: At least one, each written for the n qubits.
        weights: As for :func:`states`.
        data: As for :func:`states`.
        amplitudes: As for :func:`states`.
        dtype: As for :func:`states`; sums are float64.

    Returns:
        float64 (samples, observables).

    Raises:
        InvalidCircuitError: No observables, or one is written for another number of qubits.
    """
    observables = listed(observables)
    require_observables(observables, circuit.n_qubits)
    require_numba("values of states")
    from qstore_db.simulation import string_kernel

    run = _prepared(circuit, weights, data, amplitudes, dtype, lambda _: 0)
    places: dict[PauliString, int] = {}
    for one in observables:
        for _, string in terms_of(one):
            places.setdefault(string, len(places))
    strings = np.array([string.masks for string in places], np.int64)
    block = min(string_kernel.BLOCK, 1 << circuit.n_qubits)
    found = np.empty((run.samples, len(strings)))
    run.kernel.expectations(*run.arguments, strings, np.empty((len(strings), block)), np.empty(block), found)
    out = np.zeros((run.samples, len(observables)))
    for column, one in enumerate(observables):
        for coefficient, string in terms_of(one):
            out[:, column] += coefficient * found[:, places[string]]
    return out


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A checked run: the kernel and its arguments up to what it writes."""

    kernel: Any
    arguments: tuple[object, ...]
    kind: np.dtype[np.floating]
    samples: int


def _prepared(
    circuit: Circuit,
    weights: ArrayLike | None,
    data: ArrayLike | None,
    amplitudes: ArrayLike | None,
    dtype: Precision,
    bytes_each: Callable[[np.dtype[np.floating]], int],
) -> _Prepared:
    # Numba is imported at the first run, so that importing the package stays quick.
    require_numba("states and their probabilities")
    from qstore_db.simulation import state_kernel

    kind = _TYPES.get(dtype)
    if kind is None:
        raise InvalidArgumentError(f"unknown dtype {dtype!r}", fix="Use 'float32' or 'float64'.", value=dtype)
    values, columns, given = checked(circuit, weights, data, amplitudes)
    size, samples = 1 << circuit.n_qubits, len(columns)
    require(4 * size * kind.itemsize + samples * bytes_each(kind))
    program = state_program(circuit)
    start = np.empty((0, 0, 0), kind) if given is None else _parts(normalised(given, circuit.n_qubits), kind)
    state = np.empty((2, size), kind)
    spare = np.empty((2, size if len(program.tables) else program.inside.shape[1]), kind)
    arguments = (
        program.steps, program.groups, program.inside, program.bases, program.factors, FIXED_MATRICES, program.tables,
        program.angles.rows(values, columns), start, state, spare,
    )  # fmt: skip
    return _Prepared(state_kernel, arguments, kind, samples)


def _parts(rows: NDArray[np.generic], kind: np.dtype[np.floating]) -> NDArray[np.floating]:
    """(samples, width) as (samples, width, 1 or 2) real numbers."""
    if np.iscomplexobj(rows):
        wide = np.ascontiguousarray(rows, np.complex128)
        return wide.view(np.float64).reshape(*wide.shape, 2).astype(kind)
    return np.ascontiguousarray(rows, np.float64)[..., None].astype(kind)


def _complex(dtype: Precision) -> np.dtype[np.complexfloating]:
    return np.dtype(np.complex64 if dtype == "float32" else np.complex128)
