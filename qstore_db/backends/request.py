"""What is sent to a backend: a circuit with every number bound, and what is to be read from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable, listed, require_qubits, terms_of
from qstore_db.errors import InvalidArgumentError, InvalidVectorError

MAX_SHOTS: Final = 100_000_000
"""Shots of one sample, at most."""

_LARGEST_SEED: Final = 2**63 - 1

States: TypeAlias = NDArray[np.float64] | NDArray[np.complex128]
"""Amplitudes of several samples, shape (samples, width)."""


class Reading(StrEnum):
    """What a request reads."""

    EXPECTATIONS = "expectations"
    PROBABILITIES = "probabilities"
    COUNTS = "counts"


@dataclass(frozen=True, slots=True, eq=False, init=False)
class ExecutionRequest:
    """One circuit, run for one or more samples, with everything that decides its result.

    What is read follows from the arguments: ``observables`` give their exact expectation values, ``shots`` give
    counts of measured bitstrings, neither gives the exact probabilities of all bitstrings.

    Args:
        circuit: With its weights and data as symbols, or with numbers only.
        observables: Written for the circuit's qubits.
        shots: Measurements of all qubits for every sample, 1 … 100,000,000; or ``None``. To estimate an observable
            from shots, turn its basis into the Z basis by gates at the end of the circuit.
        weights: Shape (number of weights,), radians.
        data: Shape (samples, number of data columns), radians.
        amplitudes: Start states, shape (samples, width ≤ 2^n), real or complex; zeros are appended and each row is
            divided by its Euclidean norm. ``None`` starts in |0…0⟩.
        seed: Of the shots, 0 … 2^63 - 1. Equal requests with equal seeds give equal counts on a backend that can be
            seeded. ``None`` asks for fresh, independent samples each time: such a result is never reused.
        tags: Labels for whoever reads the result; they do not change it.

    Arrays are copied and cannot be written to. Two requests are equal when their fingerprints are.

    Raises:
        InvalidCircuitError: An observable is written for another number of qubits.
        InvalidArgumentError: Shots, seed, weights, tags or the shape of the data are out of their range, or shots and
            observables are both given.
        InvalidVectorError: Data or amplitudes are not finite, or an amplitude vector is zero or of the wrong shape.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> bell = Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))
        >>> ExecutionRequest(bell, shots=100, seed=1).reading.value
        'counts'
    """

    circuit: Circuit
    observables: tuple[Observable, ...]
    shots: int | None
    weights: NDArray[np.float64]
    data: NDArray[np.float64]
    amplitudes: States | None
    seed: int | None
    tags: Mapping[str, str]
    fingerprint: str
    """SHA-256 of everything but the tags, angles included; stable between processes."""

    def __init__(
        self,
        circuit: Circuit,
        observables: Iterable[Observable] = (),
        *,
        shots: int | None = None,
        weights: ArrayLike | None = None,
        data: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        seed: int | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        chosen = _observables(circuit, observables)
        _check_shots(shots, seed, chosen)
        start = None if amplitudes is None else _amplitudes(circuit, amplitudes)
        fields = {
            "circuit": circuit,
            "observables": chosen,
            "shots": None if shots is None else int(shots),
            "weights": _weights(circuit, weights),
            "data": _data(circuit, data, None if start is None else len(start)),
            "amplitudes": start,
            "seed": None if seed is None else int(seed),
            "tags": _tags(tags),
        }
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "fingerprint", _fingerprint(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExecutionRequest) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def samples(self) -> int:
        """Rows of the data or amplitudes; 1 when there are neither."""
        return len(self.data)

    @property
    def reading(self) -> Reading:
        """What is read."""
        if self.shots is not None:
            return Reading.COUNTS
        return Reading.EXPECTATIONS if self.observables else Reading.PROBABILITIES

    @property
    def work(self) -> float:
        """Size of the job for a simulator: samples · (gates + observables + 1) · 2^n."""
        return float(self.samples * (len(self.circuit.operations) + len(self.observables) + 1) << self.circuit.n_qubits)


def spelled(observables: Iterable[Observable]) -> str:
    """The observables as text that is equal exactly for equal ones, coefficients to the last bit."""
    return "|".join(
        "+".join(f"{float(coefficient).hex()}*{string.letters}" for coefficient, string in terms_of(observable))
        for observable in observables
    )


def _observables(circuit: Circuit, observables: Iterable[Observable]) -> tuple[Observable, ...]:
    chosen = listed(observables)
    require_qubits(chosen, circuit.n_qubits)
    return chosen


def _check_shots(shots: int | None, seed: int | None, observables: tuple[Observable, ...]) -> None:
    if shots is None:
        if seed is not None:
            raise InvalidArgumentError(
                f"the seed {seed!r} is given without shots", fix="Give shots too, or no seed.", value=seed
            )
        return
    _check_integer("shots", shots, 1, MAX_SHOTS)
    if seed is not None:
        _check_integer("seed", seed, 0, _LARGEST_SEED)
    if observables:
        raise InvalidArgumentError(
            f"{shots} shots and {len(observables)} observable(s) are given together",
            fix="Leave out shots for exact values, or leave out the observables and count bitstrings.",
            value=shots,
        )


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise InvalidArgumentError(
            f"{name} is {value!r}", fix=f"Give {name} as an integer from {low} to {high}.", value=value
        )


def _weights(circuit: Circuit, weights: ArrayLike | None) -> NDArray[np.float64]:
    given = np.zeros(0) if weights is None else np.array(weights, np.float64, order="C")
    wanted = circuit.number_of_weights
    if given.shape != (wanted,):
        raise InvalidArgumentError(
            f"weights of shape {given.shape} do not fit a circuit of {wanted} weight(s)",
            fix=f"Give an array of shape ({wanted},).",
            value=given.shape,
        )
    wrong = np.flatnonzero(~np.isfinite(given))
    if wrong.size:
        place = int(wrong[0])
        raise InvalidArgumentError(
            f"weight {place} is {given[place]}", fix="Give finite weights.", value=float(given[place])
        )
    return given


def _data(circuit: Circuit, data: ArrayLike | None, samples: int | None) -> NDArray[np.float64]:
    wanted = circuit.number_of_data
    if data is None and not wanted:
        return np.zeros((1 if samples is None else samples, 0))
    given = np.zeros(0) if data is None else np.array(data, np.float64, order="C")
    fits = given.ndim == 2 and given.shape[1] == wanted and len(given) >= 1
    if not fits or (samples is not None and len(given) != samples):
        raise InvalidArgumentError(
            f"data of shape {None if data is None else given.shape} do not fit a circuit of {wanted} data column(s)"
            + ("" if samples is None else f" and {samples} start state(s)"),
            fix=f"Give an array of shape ({'samples' if samples is None else samples}, {wanted}).",
            value=given.shape,
        )
    _check_rows("data row", given)
    return given


def _amplitudes(circuit: Circuit, amplitudes: ArrayLike) -> States:
    given = np.asarray(amplitudes)
    size = 1 << circuit.n_qubits
    if given.dtype.kind not in "fciub" or given.ndim != 2 or not 1 <= given.shape[1] <= size or not len(given):
        raise InvalidVectorError(
            f"amplitudes of shape {given.shape} and type {given.dtype} do not fit {circuit.n_qubits} qubit(s)",
            fix=f"Give an array of numbers of shape (samples, width) with width from 1 to {size}.",
            value=given.shape,
        )
    rows: States
    if np.iscomplexobj(given):
        rows = np.array(given, np.complex128, order="C")
    else:
        rows = np.array(given, np.float64, order="C")
    _check_rows("amplitude vector", rows)
    largest = np.abs(rows).max(axis=1)
    zero = np.flatnonzero(largest == 0)
    if zero.size:
        raise InvalidVectorError(
            f"amplitude vector {zero[0]} is zero and so is no state",
            fix="Remove it, or give a vector with a value that is not zero.",
            value=int(zero[0]),
        )
    # Divided by the largest value first: the squares neither overflow nor vanish.
    rows /= largest[:, None]
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    return rows


def _check_rows(what: str, rows: States) -> None:
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if wrong.size:
        raise InvalidVectorError(f"{what} {wrong[0]} is not finite", fix="Give finite numbers.", value=int(wrong[0]))


def _tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in tags.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidArgumentError(
                f"the tag {name!r} = {value!r} is not text", fix="Give tags as text with text values.", value=value
            )
    return MappingProxyType(dict(tags))


def _fingerprint(request: ExecutionRequest) -> str:
    digest = hashlib.sha256(request.circuit.digest.encode())
    digest.update(spelled(request.observables).encode())
    digest.update(f"\n{request.shots} {request.seed}".encode())
    for array in (request.weights, request.data, request.amplitudes):
        digest.update(b"\n-" if array is None else f"\n{array.shape}{array.dtype.str}".encode())
        if array is not None:
            digest.update(array.tobytes())
    return digest.hexdigest()
