"""Monte-Carlo wave functions: noise as chance, one pure state a trajectory.

At every channel one Kraus operator K_k is drawn with probability ‖K_k ψ‖² and ψ becomes K_k ψ/‖K_k ψ‖. The mean of
⟨ψ|O|ψ⟩ over trajectories tends to Tr(O ρ), with an error of the order 1/√trajectories: Dalibard, Castin and Mølmer,
Physical Review Letters 68, 580 (1992). A trajectory takes 2^n numbers where the density matrix takes 4^n.

Two roads give the same estimate from the same random numbers: ``states`` follows every state with its Kraus operators,
``frames`` (:mod:`qstore_db.simulation.pauli_frames`) runs the clean circuit with some angles negated and takes Pauli
noise only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.amplitude import amplitudes as normalised
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.observables import Observable, PauliString, require_observables
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.channels import Channel
from qstore_db.simulation.memory import require
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.noisy_inputs import checked
from qstore_db.simulation.pauli_frames import Stream, chances_of, frame_program, only_pauli_noise, running_sums
from qstore_db.simulation.plan import Precision
from qstore_db.simulation.reference import expectations

Road: TypeAlias = Literal["auto", "frames", "states"]

BLOCK: Final = 256
"""Trajectories that share a stream of random numbers; part of what a seed means."""


TOGETHER: Final = 4
"""Blocks that run as one batch; changes nothing but speed."""


@dataclass(frozen=True, slots=True)
class TrajectoryEstimate:
    """Means over trajectories.

    Args:
        mean: float64 (samples, readouts).
        standard_error: float64 (samples, readouts): sample standard deviation over √trajectories. 0 where all
            trajectories agree, which with few of them does not prove that there is no noise.
        trajectories: Number of trajectories of every sample.
    """

    mean: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    trajectories: int


def estimate_by_trajectories(
    circuit: Circuit,
    observables: Sequence[Observable],
    noise: NoiseModel,
    *,
    seed: int,
    trajectories: int = 1024,
    weights: ArrayLike | None = None,
    data: ArrayLike | None = None,
    amplitudes: ArrayLike | None = None,
    sample_numbers: Sequence[int] | None = None,
    road: Road = "auto",
    dtype: Precision = "float32",
) -> TrajectoryEstimate:
    """Estimates the values that :meth:`~qstore_db.simulation.noisy_plan.NoisyPlan.expectations` gives exactly.

    Readout errors are worked out, not drawn. Equal seed and sample number give equal random numbers, whatever else is
    in the batch and on whatever thread; the first 256 trajectories do not depend on how many follow.

    Args:
        circuit: On up to 24 qubits.
        observables: At least one, each written for the circuit's qubits.
        noise: What follows the gates, and how outcomes are misread.
        seed: 0 or more.
        trajectories: At least 2.
        weights: Shape (number of weights,), radians.
        data: Shape (samples, number of data columns), radians.
        amplitudes: Start states, shape (samples, width ≤ 2^n).
        sample_numbers: One number, 0 or more, for each sample, which chooses its random numbers; None: 0, 1, 2 …
        road: ``frames`` for Pauli noise only, ``states`` for any, ``auto`` the first where possible.
        dtype: Arithmetic of ``frames``; ``states`` always takes complex128.

    Raises:
        InvalidArgumentError: Fewer than 2 trajectories, a negative seed or sample number, not one number a sample, an
            unknown road, or ``frames`` with noise that is not Pauli noise; or weights or data that do not fit.
        InvalidCircuitError: No observables, or one for another number of qubits.
        InvalidVectorError: Data or amplitudes are not finite.
        NotEnoughMemoryError: A block of states does not fit.
    """
    require_observables(observables, circuit.n_qubits)
    if trajectories < 2 or seed < 0:
        raise InvalidArgumentError(
            f"{trajectories} trajectories with seed {seed} give no estimate",
            fix="Use at least 2 trajectories and a seed from 0 on.",
            value=(trajectories, seed),
        )
    values, columns, start = checked(circuit, weights, data, amplitudes)
    states = None if start is None else normalised(start, circuit.n_qubits)
    numbers = range(len(columns)) if sample_numbers is None else list(sample_numbers)
    if len(numbers) != len(columns) or min(numbers, default=0) < 0:
        raise InvalidArgumentError(
            f"{len(numbers)} sample numbers do not fit {len(columns)} sample(s)",
            fix="Give one number from 0 on for each sample.",
            value=len(numbers),
        )
    reported = [noise.reported(observable).terms for observable in observables]
    strings = list(dict.fromkeys(string for terms in reported for _, string in terms))
    combine = np.zeros((len(strings), len(observables)))
    for column, terms in enumerate(reported):
        for coefficient, string in terms:
            combine[strings.index(string), column] += coefficient
    run = _runner(circuit, noise, strings, states is not None, road, dtype)
    means, errors = np.empty((2, len(columns), len(observables)))
    for place, number in enumerate(numbers):
        streams = [
            (_generator(seed, number, block), min(BLOCK, trajectories - first))
            for block, first in enumerate(range(0, trajectories, BLOCK))
        ]
        start_state = None if states is None else states[place]
        parts = [
            run(streams[first : first + TOGETHER], values, columns[place], start_state)
            for first in range(0, len(streams), TOGETHER)
        ]
        each = np.concatenate(parts) @ combine
        means[place] = each.mean(axis=0)
        errors[place] = each.std(axis=0, ddof=1) / np.sqrt(trajectories)
    return TrajectoryEstimate(means, errors, trajectories)


def _generator(seed: int, sample: int, block: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, sample, block])))


class _Runner(Protocol):
    def __call__(
        self,
        streams: Sequence[Stream],
        weights: NDArray[np.float64],
        row: NDArray[np.float64],
        amplitudes: NDArray[np.generic] | None,
    ) -> NDArray[np.float64]: ...


def _runner(
    circuit: Circuit, noise: NoiseModel, strings: list[PauliString], from_amplitudes: bool, road: Road, dtype: Precision
) -> _Runner:
    if road not in get_args(Road):
        raise InvalidArgumentError(f"unknown road {road!r}", fix=f"Use one of {', '.join(get_args(Road))}.", value=road)
    pauli = road != "states" and only_pauli_noise(circuit, noise)
    if road == "frames" and not pauli:
        raise InvalidArgumentError(
            "the noise is not Pauli noise, which the road 'frames' needs", fix="Use 'states' or 'auto'.", value=road
        )
    if pauli:
        program = frame_program(circuit, noise, tuple(strings), amplitude_input=from_amplitudes)
        return partial(program.run, dtype=dtype)
    return partial(_follow_states, circuit, noise, strings)


def _follow_states(
    circuit: Circuit,
    noise: NoiseModel,
    strings: list[PauliString],
    streams: Sequence[Stream],
    weights: NDArray[np.float64],
    row: NDArray[np.float64],
    amplitudes: NDArray[np.generic] | None,
) -> NDArray[np.float64]:
    """Values of all strings, float64 (trajectories, strings)."""
    follow = partial(_follow_stream, circuit, noise, strings, weights, row, amplitudes)
    return np.concatenate([follow(*stream) for stream in streams])


def _follow_stream(
    circuit: Circuit,
    noise: NoiseModel,
    strings: list[PauliString],
    weights: NDArray[np.float64],
    row: NDArray[np.float64],
    amplitudes: NDArray[np.generic] | None,
    generator: np.random.Generator,
    trajectories: int,
) -> NDArray[np.float64]:
    n = circuit.n_qubits
    require(3 * 16 * trajectories << n)
    psi = np.zeros((trajectories, 1 << n), np.complex128)
    psi[:] = np.eye(1, 1 << n) if amplitudes is None else amplitudes
    for operation in circuit.operations:
        matrices = GATES[operation.gate].matrices(*(angle.value(weights, row[None]) for angle in operation.angles))
        psi = _apply(psi, n, operation.qubits, matrices[0])
        for channel, qubits in noise.after(operation):
            _jump(psi, n, channel, qubits, generator.random(trajectories))
    return expectations(psi, strings)


def _jump(
    psi: NDArray[np.complex128],
    n: int,
    channel: Channel,
    qubits: tuple[int, ...],
    uniform: NDArray[np.float64],
) -> None:
    """Applies to every state the Kraus operator that its uniform number chooses, in place."""
    products = np.einsum("kba,kbc->kac", channel.kraus.conj(), channel.kraus)
    unitary = np.abs(products - chances_of(channel)[:, None, None] * np.eye(products.shape[1])).max() < 1e-14
    if unitary:
        chances = np.broadcast_to(chances_of(channel), (len(psi), len(products)))
    else:
        front = _front(psi, n, qubits)
        reduced = front @ front.conj().swapaxes(1, 2)
        chances = np.maximum(np.einsum("kac,tca->tk", products, reduced).real, 0.0)
    ends = running_sums(chances)
    chosen = (ends <= uniform[:, None]).sum(axis=1)
    for number, operator in enumerate(channel.kraus):
        rows = np.flatnonzero(chosen == number)
        if not rows.size or (unitary and np.allclose(operator, operator[0, 0] * np.eye(len(operator)), 0, 1e-15)):
            continue
        psi[rows] = _apply(psi[rows], n, qubits, operator) / np.sqrt(chances[rows, number])[:, None]


def _front(psi: NDArray[np.complex128], n: int, qubits: tuple[int, ...]) -> NDArray[np.complex128]:
    """The states as (states, 2^k, rest), the letters of the named qubits first."""
    axes, front = tuple(1 + qubit for qubit in qubits), tuple(range(1, 1 + len(qubits)))
    moved = np.moveaxis(psi.reshape((len(psi),) + (2,) * n), axes, front)
    return moved.reshape(len(psi), 1 << len(qubits), -1)


def _apply(
    psi: NDArray[np.complex128], n: int, qubits: tuple[int, ...], matrix: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    axes, front = tuple(1 + qubit for qubit in qubits), tuple(range(1, 1 + len(qubits)))
    turned = (matrix @ _front(psi, n, qubits)).reshape((len(psi),) + (2,) * n)
    return np.moveaxis(turned, front, axes).reshape(len(psi), -1)
