"""Noise channels: what happens to a density matrix besides the gates, as Kraus operators.

A channel takes ρ to Σ_k K_k ρ K_k† with Σ_k K_k† K_k = 1, so the trace stays 1 and ρ stays positive. The first qubit of
a two-qubit channel is the left-most factor, as in a gate's matrix.

    depolarizing(p)              (1-p) ρ + p·1/d, d = 2 or 4
    pauli_channel                Σ_P q_P P ρ P
    bit_flip phase_flip bit_phase_flip   the same with one letter, X, Z or Y
    amplitude_damping(γ)         |1⟩ falls to |0⟩ with probability γ
    generalized_amplitude_damping(γ, e)  towards the mixture with e of |1⟩ instead
    phase_damping(λ)             off-diagonal elements times √(1-λ)
    thermal_relaxation(T1, T2, t)        both, for a time t

Source: Nielsen and Chuang, Quantum Computation and Quantum Information, section 8.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.gates import pauli_matrix
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.pauli_transfer import LETTERS, transfer_matrix

TRACE_TOLERANCE: Final = 1e-10
"""Largest element of Σ K†K - 1 that rounding may leave in Kraus operators given by the caller."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One noise channel on one or two qubits; made by the functions of this module, compared by name and parameters.

    Args:
        name: The function that made it.
        n_qubits: 1 or 2.
        parameters: The function's arguments by name; mappings as tuples of pairs, lists as tuples.
        kraus: complex128 (operators, 2^n_qubits, 2^n_qubits), read-only, none of them zero.
    """

    name: str
    n_qubits: int
    parameters: tuple[tuple[str, object], ...]
    kraus: NDArray[np.complex128] = field(repr=False, compare=False)

    def transfer_matrix(self) -> NDArray[np.float64]:
        """The channel in the Pauli basis, R_ij = Tr(P_i E(P_j))/d: real, (4^n, 4^n), first row 1 0 … 0."""
        return transfer_matrix(self.kraus)

    def to_json(self) -> dict[str, object]:
        """Name and parameters as JSON values; :func:`channel_from_json` reads them."""
        return {"name": self.name, **{name: _json(value) for name, value in self.parameters}}


def kraus_channel(operators: ArrayLike) -> Channel:
    """The channel with the given Kraus operators.

    Args:
        operators: (operators, 2, 2) or (operators, 4, 4), real or complex.

    Raises:
        InvalidArgumentError: Another shape, not finite, or Σ K†K differs from 1 by more than 1e-10: not trace
            preserving.
    """
    given = np.array(operators, np.complex128)
    if given.ndim != 3 or given.shape[1:] not in ((2, 2), (4, 4)) or not len(given) or not np.isfinite(given).all():
        raise InvalidArgumentError(
            f"Kraus operators of shape {given.shape} are no channel on one or two qubits",
            fix="Give a stack of finite 2 × 2 or 4 × 4 matrices.",
            value=given.shape,
        )
    off = float(np.abs(np.einsum("kba,kbc->ac", given.conj(), given) - np.eye(given.shape[1])).max())
    if off > TRACE_TOLERANCE:
        raise InvalidArgumentError(
            f"the Kraus operators do not preserve the trace: Σ K†K is off by {off:.3g}",
            fix="Scale or complete them so that Σ K†K = 1.",
            value=off,
        )
    parts = [[[[float(x.real), float(x.imag)] for x in row] for row in matrix] for matrix in given]
    return _channel("kraus_channel", {"operators": parts}, list(given))


def pauli_channel(probabilities: Mapping[str, float]) -> Channel:
    """ρ → Σ_P q_P P ρ P.

    Args:
        probabilities: Pauli string of one or two letters to its probability. The identity takes what is left over and
            need not be named.

    Raises:
        InvalidArgumentError: A string of other letters or length, strings of different length, a probability outside
            [0, 1], or a sum that is not 1 with the identity named, or above 1 without.

    Example:
        >>> pauli_channel({"X": 0.1, "Z": 0.2}).transfer_matrix().diagonal().round(12).tolist()
        [1.0, 0.6, 0.4, 0.8]
    """
    lengths = {len(letters) for letters in probabilities}
    if lengths not in ({1}, {2}) or any(set(letters) - set(LETTERS) for letters in probabilities):
        raise InvalidArgumentError(
            f"{sorted(probabilities)} are not Pauli strings of one length, one or two letters",
            fix="Write for example {'X': 0.01} or {'XX': 0.01, 'ZI': 0.02}.",
            value=dict(probabilities),
        )
    chances = {letters: _probability(letters, chance) for letters, chance in probabilities.items()}
    identity = "I" * lengths.pop()
    rest = 1.0 - sum(chances.values())
    if rest < -1e-12 or (identity in chances and abs(rest) > 1e-12):
        raise InvalidArgumentError(
            f"the probabilities add up to {1.0 - rest}", fix="Make them add up to 1.", value=1.0 - rest
        )
    named = {letters: chance for letters, chance in sorted(chances.items()) if letters != identity}
    kept = {identity: max(0.0, 1.0 - sum(named.values())), **named}
    kraus = [math.sqrt(chance) * pauli_matrix(letters) for letters, chance in kept.items()]
    return _channel("pauli_channel", {"probabilities": named}, kraus)


def depolarizing(p: float, n_qubits: int = 1) -> Channel:
    """(1-p) ρ + p · 1/d: with chance p the state is replaced by the fully mixed one.

    Every Pauli string but the identity then has probability p/d². The other conventions, see the converters below, call
    the total chance of such a string, p·(1 - 1/d²), the error probability.

    Args:
        p: 0 … d²/(d²-1), which is 4/3 for one qubit and 16/15 for two; at 1 nothing of the state is left.
        n_qubits: 1 or 2; on two qubits they are hit together.

    Raises:
        InvalidArgumentError: p outside its range, or another number of qubits.

    Example:
        >>> depolarizing(0.1).transfer_matrix().diagonal().tolist()
        [1.0, 0.9, 0.9, 0.9]
    """
    _one_or_two(n_qubits)
    squared = 4**n_qubits
    p = _number("p", p, 0.0, squared / (squared - 1))
    strings = ["".join(letters) for letters in product(LETTERS, repeat=n_qubits)]
    chances = [max(0.0, 1.0 - p * (squared - 1) / squared)] + [p / squared] * (squared - 1)
    kraus = [math.sqrt(q) * pauli_matrix(letters) for letters, q in zip(strings, chances, strict=True)]
    return _channel("depolarizing", {"p": p, "n_qubits": n_qubits}, kraus)


def depolarizing_from_error_probability(probability: float, n_qubits: int = 1) -> Channel:
    """The depolarizing channel in which some Pauli string other than the identity acts with the given probability.

    This is how Cirq's ``depolarize`` and PennyLane's ``DepolarizingChannel`` count: p = probability · d²/(d²-1).
    Qiskit's ``depolarizing_error`` and IonQ's noise models count as :func:`depolarizing` does.

    Raises:
        InvalidArgumentError: The probability is outside [0, 1], or another number of qubits than 1 or 2.
    """
    _one_or_two(n_qubits)
    squared = 4**n_qubits
    return depolarizing(_number("probability", probability, 0.0, 1.0) * squared / (squared - 1), n_qubits)


def depolarizing_from_average_fidelity(fidelity: float, n_qubits: int = 1) -> Channel:
    """The depolarizing channel with the given average gate fidelity F, as randomized benchmarking reports it.

    F = 1 - p (d-1)/d, so p = (1-F)·d/(d-1).

    Raises:
        InvalidArgumentError: F outside what a depolarizing channel can have, 1/(d+1) … 1, or another number of qubits
            than 1 or 2.
    """
    _one_or_two(n_qubits)
    d = 2**n_qubits
    return depolarizing((1.0 - _number("fidelity", fidelity, 1.0 / (d + 1), 1.0)) * d / (d - 1), n_qubits)


def bit_flip(p: float) -> Channel:
    """X with probability p in [0, 1]."""
    return _flip("bit_flip", "X", p)


def phase_flip(p: float) -> Channel:
    """Z with probability p in [0, 1]."""
    return _flip("phase_flip", "Z", p)


def bit_phase_flip(p: float) -> Channel:
    """Y with probability p in [0, 1]."""
    return _flip("bit_phase_flip", "Y", p)


def amplitude_damping(gamma: float) -> Channel:
    """|1⟩ falls to |0⟩ with probability γ: ⟨Z⟩ → γ + (1-γ)⟨Z⟩, ⟨X⟩ and ⟨Y⟩ times √(1-γ).

    Raises:
        InvalidArgumentError: γ outside [0, 1].
    """
    gamma = _number("gamma", gamma, 0.0, 1.0)
    return _channel("amplitude_damping", {"gamma": gamma}, _damping(gamma))


def generalized_amplitude_damping(gamma: float, excited: float) -> Channel:
    """Exchange with a bath: ⟨Z⟩ → (1-γ)⟨Z⟩ + γ (1 - 2·excited).

    Args:
        gamma: 0 … 1.
        excited: Population of |1⟩ towards which the qubit goes, 0 … 1; at 0 this is :func:`amplitude_damping`.

    Raises:
        InvalidArgumentError: A number outside [0, 1].
    """
    gamma, excited = _number("gamma", gamma, 0.0, 1.0), _number("excited", excited, 0.0, 1.0)
    named = {"gamma": gamma, "excited": excited}
    return _channel("generalized_amplitude_damping", named, _exchange(gamma, excited))


def phase_damping(lam: float) -> Channel:
    """Off-diagonal elements of ρ times √(1-λ); populations stay.

    Raises:
        InvalidArgumentError: λ outside [0, 1].
    """
    lam = _number("lam", lam, 0.0, 1.0)
    return _channel("phase_damping", {"lam": lam}, _dephasing(lam))


def thermal_relaxation(t1: float, t2: float, gate_time: float, excited: float = 0.0) -> Channel:
    """Relaxation and dephasing for the time of a gate.

    Populations approach the bath with e^{-t/T1}, off-diagonal elements shrink by e^{-t/T2}. Of the latter, damping
    alone gives e^{-t/(2 T1)}; pure dephasing with 1/Tφ = 1/T2 - 1/(2 T1) gives the rest.

    Args:
        t1: Relaxation time, above 0, may be infinite; any unit, the same for all three.
        t2: Coherence time, above 0, at most 2·t1.
        gate_time: 0 or more, finite.
        excited: Population of |1⟩ in the bath, 0 … 1.

    Raises:
        InvalidArgumentError: A time out of its range, or T2 > 2 T1, which no physical process has.

    Example:
        >>> thermal_relaxation(50.0, 70.0, 1.0).transfer_matrix()[1, 1].round(6) == np.exp(-1 / 70).round(6)
        np.True_
    """
    for label, value in (("t1", t1), ("t2", t2)):
        if not value > 0:
            raise InvalidArgumentError(f"{label} = {value!r} is not above 0", fix="Give a positive time.", value=value)
    if not (math.isfinite(gate_time) and gate_time >= 0):
        raise InvalidArgumentError(
            f"a gate time of {gate_time!r} is not a time", fix="Give a finite time from 0 on.", value=gate_time
        )
    if t2 > 2 * t1:
        raise InvalidArgumentError(
            f"T2 = {t2} is above 2·T1 = {2 * t1}",
            fix="Coherence cannot outlive twice the relaxation time; lower T2 or raise T1.",
            value=t2,
        )
    excited = _number("excited", excited, 0.0, 1.0)
    dephasing_rate = max(0.0, 1.0 / t2 - 1.0 / (2.0 * t1))
    gamma, lam = -math.expm1(-gate_time / t1), -math.expm1(-2.0 * gate_time * dephasing_rate)
    kraus = [after @ before for after in _dephasing(lam) for before in _exchange(gamma, excited)]
    named = {"t1": float(t1), "t2": float(t2), "gate_time": float(gate_time), "excited": excited}
    return _channel("thermal_relaxation", named, kraus)


_MAKERS: Final[Mapping[str, Callable[..., Channel]]] = MappingProxyType(
    {
        maker.__name__: maker
        for maker in (
            pauli_channel,
            depolarizing,
            bit_flip,
            phase_flip,
            bit_phase_flip,
            amplitude_damping,
            generalized_amplitude_damping,
            phase_damping,
            thermal_relaxation,
        )
    }
)


def channel_from_json(record: Mapping[str, object]) -> Channel:
    """The channel that :meth:`Channel.to_json` wrote; equal to it.

    Raises:
        InvalidArgumentError: No channel of that name, missing or unknown parameters, or values out of their range.
    """
    arguments = dict(record)
    name = arguments.pop("name", None)
    if name == "kraus_channel" and set(arguments) == {"operators"}:
        parts = np.array(arguments["operators"], np.float64)
        if parts.ndim == 4 and parts.shape[-1] == 2:
            return kraus_channel(parts[..., 0] + 1j * parts[..., 1])
    maker = _MAKERS.get(str(name))
    if maker is None or set(arguments) - set(maker.__annotations__) or not _complete(maker, arguments):
        raise InvalidArgumentError(
            f"{dict(record)!r} is no channel",
            fix=f"Write a name of {', '.join((*_MAKERS, 'kraus_channel'))} and its parameters.",
            value=dict(record),
        )
    return maker(**arguments)


def _complete(maker: Callable[..., Channel], arguments: Mapping[str, object]) -> bool:
    required = set(maker.__annotations__) - {"return"} - {"n_qubits", "excited"}
    if maker is generalized_amplitude_damping:
        required.add("excited")
    return required <= set(arguments)


def _damping(gamma: float) -> list[NDArray[np.complex128]]:
    return [
        np.array([[1, 0], [0, math.sqrt(1 - gamma)]], np.complex128),
        np.array([[0, math.sqrt(gamma)], [0, 0]], np.complex128),
    ]


def _exchange(gamma: float, excited: float) -> list[NDArray[np.complex128]]:
    down = [math.sqrt(1 - excited) * matrix for matrix in _damping(gamma)]
    up = [math.sqrt(excited) * matrix[::-1, ::-1] for matrix in _damping(gamma)]
    return down + up


def _dephasing(lam: float) -> list[NDArray[np.complex128]]:
    return [np.diag([1, math.sqrt(1 - lam)]).astype(np.complex128), np.diag([0, math.sqrt(lam)]).astype(np.complex128)]


def _flip(name: str, letter: str, p: float) -> Channel:
    p = _number("p", p, 0.0, 1.0)
    return _channel(name, {"p": p}, [math.sqrt(1 - p) * pauli_matrix("I"), math.sqrt(p) * pauli_matrix(letter)])


def _channel(name: str, parameters: Mapping[str, object], kraus: Sequence[NDArray[np.complex128]]) -> Channel:
    operators = np.ascontiguousarray([matrix for matrix in kraus if matrix.any()])
    operators.setflags(write=False)
    return Channel(name, operators.shape[1].bit_length() - 1, _frozen(parameters), operators)


def _frozen(parameters: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    """Hashable, in the order given."""
    return tuple((name, _tuple_of(value)) for name, value in parameters.items())


def _tuple_of(value: object) -> object:
    if isinstance(value, Mapping):
        return tuple(value.items())
    if isinstance(value, list):
        return tuple(_tuple_of(part) for part in value)
    return value


def _json(value: object) -> object:
    if not isinstance(value, tuple):
        return value
    if all(isinstance(part, tuple) and isinstance(part[0], str) for part in value):
        return dict(value)
    return [_json(part) for part in value]


def _one_or_two(n_qubits: int) -> None:
    if n_qubits not in (1, 2):
        raise InvalidArgumentError(
            f"a channel on {n_qubits!r} qubits is not offered", fix="Use 1 or 2 qubits.", value=n_qubits
        )


def _probability(name: str, value: float) -> float:
    return _number(f"the probability of {name}", value, 0.0, 1.0)


def _number(name: str, value: float, low: float, high: float) -> float:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise InvalidArgumentError(
            f"{name} = {value!r} is outside [{low:g}, {high:g}]", fix="Give a number in that range.", value=value
        )
    return float(value)
