"""Trajectories of Pauli noise without a state of their own: errors are pushed to the end of the circuit.

A Pauli string that acts in the middle of a circuit passes Clifford gates as another string, and a rotation exp(-i θ/2
P) with the sign of θ flipped where the two anticommute; at the end it flips the signs of readouts. So a trajectory is a
run of the clean circuit with some angles negated, and the fast engine runs all trajectories as one batch. Those without
a negated angle are one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.angle_rows import AngleRows
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import pauli_matrix
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Angle, Data
from qstore_db.simulation.availability import require_numba
from qstore_db.simulation.channels import Channel
from qstore_db.simulation.elementary import elementary
from qstore_db.simulation.frame import CliffordFrame
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.plan import Plan, Precision, compile_circuit

Stream: TypeAlias = tuple[np.random.Generator, int]
"""Random numbers and the number of trajectories that draw from them."""


class FrameProgram:
    """A circuit with Pauli noise, ready to run trajectories.

    Args:
        circuit: The gates.
        noise: Only Pauli channels follow its gates; see :func:`only_pauli_noise`.
        strings: What is read.
        amplitude_input: Whether samples bring start states.
    """

    __slots__ = ("_angles", "_channels", "_ends", "_outcomes", "_plan", "_readouts", "_steps", "strings")

    def __init__(
        self, circuit: Circuit, noise: NoiseModel, strings: Sequence[PauliString], *, amplitude_input: bool
    ) -> None:
        self.strings = tuple(strings)
        frame = CliffordFrame(circuit.n_qubits)
        steps: list[tuple[int, int, int]] = []
        ends: list[float] = []
        outcomes: list[tuple[int, int]] = []
        angles: list[Angle] = []
        clean: list[Operation] = []
        self._channels = 0
        for operation in circuit.operations:
            for step in elementary(operation):
                # Every rotation reads a column of its own, so that its sign is free in every trajectory.
                clean.append(Operation(step.gate, step.qubits, [Data(len(angles)) for _ in step.angles]))
                if step.angles:
                    string = frame.image(dict(zip(step.qubits, step.gate[1:], strict=True)))
                    steps.append((len(angles), string.x, string.z))
                    angles += step.angles
                else:
                    frame.apply(step.gate, step.qubits)
            for channel, qubits in noise.after(operation):
                letters = strings_of(channel)
                steps.append((-1, len(ends), len(letters)))
                ends += running_sums(chances_of(channel)).tolist()
                outcomes += [_masks(frame, qubits, text) for text in letters]
                self._channels += 1
        everywhere = range(circuit.n_qubits)
        self._readouts = _table([_masks(frame, everywhere, string.letters) for string in self.strings], 2)
        self._steps, self._outcomes = _table(steps, 3), _table(outcomes, 2)
        self._ends = np.array(ends)
        self._angles = AngleRows.of(Circuit(circuit.n_qubits, [Operation("RZ", (0,), (one,)) for one in angles]))
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
        # Numba is imported at the first run, so that importing the package stays quick.
        require_numba("trajectories")
        from qstore_db.simulation.frame_kernel import push

        uniforms = np.concatenate([generator.random((self._channels, count)) for generator, count in streams], axis=1)
        trajectories = uniforms.shape[1]
        clean = self._angles.rows(weights, row[None])
        angles = np.repeat(clean, trajectories, axis=0)
        changed, signs = np.empty(trajectories, np.bool_), np.empty((trajectories, len(self.strings)))
        push(self._steps, self._ends, self._outcomes, self._readouts, uniforms, angles, changed, signs)
        # The first run is the clean circuit, for all trajectories whose angles are its own.
        runs = np.concatenate((clean, angles[changed]))
        states = None if amplitudes is None else np.repeat(amplitudes[None], len(runs), axis=0)
        without = not angles.shape[1] and states is None
        values = self._plan.expectations(None if without else runs, None, states, dtype=dtype)
        which = np.zeros(trajectories, np.int64)
        which[changed] = np.arange(1, len(runs))
        out: NDArray[np.float64] = values[which] * signs
        return out


def _masks(frame: CliffordFrame, qubits: Sequence[int], letters: str) -> tuple[int, int]:
    string = frame.image({qubit: letter for qubit, letter in zip(qubits, letters, strict=True) if letter != "I"})
    return string.x, string.z


def _table(rows: Sequence[tuple[int, ...]], width: int) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, width)


@lru_cache(maxsize=32)
def frame_program(
    circuit: Circuit, noise: NoiseModel, strings: tuple[PauliString, ...], *, amplitude_input: bool
) -> FrameProgram:
    """A :class:`FrameProgram`, kept for the last 32."""
    return FrameProgram(circuit, noise, strings, amplitude_input=amplitude_input)


@lru_cache(maxsize=32)
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


def strings_of(channel: Channel) -> tuple[str, ...]:
    """The Pauli strings that the channel mixes, one a Kraus operator.

    Raises:
        ValueError: It is no such mixture.
    """
    letters = _strings(channel)
    if letters is None:
        raise ValueError(f"{channel.name} is not a mixture of Pauli strings")
    return letters


def chances_of(channel: Channel) -> NDArray[np.float64]:
    """Tr(K†K)/d of every Kraus operator: its probability where it is a multiple of a unitary."""
    weights = np.einsum("kab,kab->k", channel.kraus.conj(), channel.kraus).real
    return np.asarray(weights / channel.kraus.shape[1], np.float64)


def running_sums(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis, scaled so that the last one is exactly 1."""
    ends = np.cumsum(chances, axis=-1)
    return np.asarray(ends / ends[..., -1:], np.float64)
