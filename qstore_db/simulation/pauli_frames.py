"""Trajectories of Pauli noise without a state of their own: errors are pushed to the end of the circuit.

A Pauli string that acts in the middle of a circuit passes Clifford gates as another string, and a rotation exp(-i θ/2
P) with the sign of θ flipped where the two anticommute; at the end it flips the signs of readouts. So a trajectory is a
run of the clean circuit with some angles negated, and the fast engine runs all trajectories as one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import pauli_matrix
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Angle, Data
from qstore_db.simulation.channels import Channel
from qstore_db.simulation.elementary import elementary
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.plan import Plan, Precision, compile_circuit

Stream: TypeAlias = tuple[np.random.Generator, int]
"""Random numbers and the number of trajectories that draw from them."""


@dataclass(frozen=True, slots=True)
class Strike:
    """A Pauli channel on some qubits.

    Args:
        qubits: Where.
        letters: Strings on these qubits.
        ends: float64, running sums of their probabilities; the last is 1.
    """

    qubits: tuple[int, ...]
    letters: tuple[str, ...]
    ends: NDArray[np.float64]


class FrameProgram:
    """A circuit with Pauli noise, ready to run trajectories.

    Args:
        circuit: The gates.
        noise: Only Pauli channels follow its gates; see :func:`only_pauli_noise`.
        strings: What is read.
        amplitude_input: Whether samples bring start states.
    """

    __slots__ = ("_angles", "_plan", "_steps", "n_qubits", "strings")

    def __init__(
        self, circuit: Circuit, noise: NoiseModel, strings: Sequence[PauliString], *, amplitude_input: bool
    ) -> None:
        self.n_qubits, self.strings = circuit.n_qubits, tuple(strings)
        self._steps: list[Operation | Strike] = []
        self._angles: list[Angle] = []
        clean: list[Operation] = []
        for operation in circuit.operations:
            for step in elementary(operation):
                # Every rotation reads a column of its own, so that its sign is free in every trajectory.
                clean.append(Operation(step.gate, step.qubits, [Data(len(self._angles)) for _ in step.angles]))
                self._angles += step.angles
                self._steps.append(clean[-1])
            self._steps += [_strike(channel, qubits) for channel, qubits in noise.after(operation)]
        self._plan: Plan = compile_circuit(
            Circuit(circuit.n_qubits, clean), self.strings, amplitude_input=amplitude_input
        )

    def run(
        self,
        streams: Sequence[Stream],
        weights: NDArray[np.float64],
        row: NDArray[np.float64],
        amplitudes: NDArray[np.generic] | None,
        dtype: Precision,
    ) -> NDArray[np.float64]:
        """Values of all strings, float64 (trajectories, strings); one uniform number a trajectory and channel is drawn.

        Args:
            streams: Chance, and how many trajectories draw from each.
            weights: float64 (weights,).
            row: The sample's data, float64 (columns,).
            amplitudes: The sample's start state, (width,), or None.
            dtype: Arithmetic of the states.
        """
        trajectories = sum(count for _, count in streams)
        angles = np.array([angle.value(weights, row[None])[0] for angle in self._angles])
        data = np.repeat(angles[None], trajectories, axis=0)
        x = np.zeros((self.n_qubits, trajectories), np.bool_)
        z = np.zeros_like(x)
        for step in self._steps:
            if isinstance(step, Strike):
                _hit(step, np.concatenate([generator.random(count) for generator, count in streams]), x, z)
            elif step.angles:
                column = step.angles[0].terms[0].index
                letters = step.gate[1:]
                flipped = _anticommutes(dict(zip(step.qubits, letters, strict=True)), x, z)
                data[flipped, column] *= -1.0
            else:
                _pass_clifford(step, x, z)
        states = None if amplitudes is None else np.repeat(amplitudes[None], trajectories, axis=0)
        values = self._plan.expectations(data if self._angles or states is None else None, None, states, dtype=dtype)
        out = np.repeat(values, trajectories, axis=0) if len(values) != trajectories else values
        signs = [_anticommutes(string.on_qubits, x, z) for string in self.strings]
        return np.where(np.stack(signs, axis=1), -out, out)


@lru_cache(maxsize=32)
def frame_program(
    circuit: Circuit, noise: NoiseModel, strings: tuple[PauliString, ...], *, amplitude_input: bool
) -> FrameProgram:
    """A :class:`FrameProgram`, kept for the last 32."""
    return FrameProgram(circuit, noise, strings, amplitude_input=amplitude_input)


def only_pauli_noise(circuit: Circuit, noise: NoiseModel) -> bool:
    """Whether every channel that the model puts into the circuit is a mixture of Pauli strings."""
    channels = {channel for operation in circuit.operations for channel, _ in noise.after(operation)}
    return all(_strings(channel) is not None for channel in channels)


@lru_cache(maxsize=256)
def _strings(channel: Channel) -> tuple[str, ...] | None:
    """The string that each Kraus operator is a multiple of; None if one is of no string."""
    letters = ["".join(pair) for pair in _pairs(channel.n_qubits)]
    found = []
    for operator in channel.kraus:
        size = np.sqrt(np.vdot(operator, operator).real / len(operator))
        match = [
            text
            for text in letters
            if abs(abs(np.vdot(pauli_matrix(text), operator)) - size * len(operator)) < 1e-14 * len(operator)
        ]
        if len(match) != 1:
            return None
        found.append(match[0])
    return tuple(found)


def _pairs(n_qubits: int) -> list[str]:
    return list("IXYZ") if n_qubits == 1 else [first + second for first in "IXYZ" for second in "IXYZ"]


def chances_of(channel: Channel) -> NDArray[np.float64]:
    """Tr(K†K)/d of every Kraus operator: its probability where it is a multiple of a unitary."""
    weights = np.einsum("kab,kab->k", channel.kraus.conj(), channel.kraus).real
    return np.asarray(weights / channel.kraus.shape[1], np.float64)


def _strike(channel: Channel, qubits: tuple[int, ...]) -> Strike:
    letters = _strings(channel)
    if letters is None:
        raise ValueError(f"{channel.name} is not a mixture of Pauli strings")
    return Strike(qubits, letters, running_sums(chances_of(channel)))


def running_sums(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis, scaled so that the last one is exactly 1."""
    ends = np.cumsum(chances, axis=-1)
    return np.asarray(ends / ends[..., -1:], np.float64)


def _hit(strike: Strike, uniform: NDArray[np.float64], x: NDArray[np.bool_], z: NDArray[np.bool_]) -> None:
    struck = np.flatnonzero(uniform >= strike.ends[0])  # the first string is mostly the identity, and mostly chosen
    if set(strike.letters[0]) - {"I"}:
        struck = np.arange(uniform.size)
    chosen = np.searchsorted(strike.ends, uniform[struck], side="right")
    for number, letters in enumerate(strike.letters):
        rows = struck[chosen == number] if set(letters) - {"I"} else struck[:0]
        for qubit, letter in zip(strike.qubits, letters, strict=True) if rows.size else ():
            if letter in "XY":
                x[qubit, rows] ^= True
            if letter in "YZ":
                z[qubit, rows] ^= True


def _anticommutes(letters: dict[int, str], x: NDArray[np.bool_], z: NDArray[np.bool_]) -> NDArray[np.bool_]:
    odd = np.zeros(x.shape[1], np.bool_)
    for qubit, letter in letters.items():
        if letter in "XY":
            odd ^= z[qubit]
        if letter in "YZ":
            odd ^= x[qubit]
    return odd


def _pass_clifford(step: Operation, x: NDArray[np.bool_], z: NDArray[np.bool_]) -> None:
    """The string after the gate, up to its sign, which no expectation value sees."""
    a, b = step.qubits[0], step.qubits[-1]
    match step.gate:
        case "H":
            x[a], z[a] = z[a].copy(), x[a].copy()
        case "S" | "SDG":
            z[a] ^= x[a]
        case "CX":
            x[b] ^= x[a]
            z[a] ^= z[b]
        case "CZ":
            z[a] ^= x[b]
            z[b] ^= x[a]
        case "SWAP":
            x[[a, b]], z[[a, b]] = x[[b, a]], z[[b, a]]
        case "X" | "Y" | "Z":  # only the sign changes
            pass
        case _:
            raise ValueError(f"{step.gate} is not a Clifford gate")
