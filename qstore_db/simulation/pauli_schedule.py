"""A noisy circuit as layers of real maps on the coefficients r_P = Tr(P ρ) of all 4^n Pauli strings.

In this basis a gate on one qubit is a rotation of the coefficients of X, Y and Z, a channel on one qubit is affine, and
a Clifford gate or a channel that is diagonal here (depolarizing, dephasing, any Pauli channel) sends strings to strings
with a factor. Three kinds of work remain, in layers, each layer in this order:

    maps     per qubit one affine map of (X, Y, Z), the product of everything met on that qubit
    pairs    a general channel on two qubits, 16 × 16
    strings  r'_k = factor_k · r_source(k), all Clifford gates and diagonal channels of the layer in one table

A rotation about Z⊗Z is a rotation of one qubit between two CX; other gates see :mod:`qstore_db.simulation.elementary`.
The letters of a string are the digits of its index in base 4, I X Y Z = 0 1 2 3, qubit 0 the highest digit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.parameters import Angle
from qstore_db.simulation.elementary import elementary
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.pauli_transfer import LETTERS, transfer_matrix

Transfer: TypeAlias = NDArray[np.float64]

MONOMIAL_TOLERANCE: Final = 1e-15
"""Entries of a transfer matrix below this are rounding."""

MAPS, PAIRS, STRINGS = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Turn:
    """exp(-i θ/2 P) for the letter P: a rotation of the Bloch vector about that axis by θ."""

    axis: int
    theta: Angle


@dataclass(frozen=True, slots=True)
class Fixed:
    """A transfer matrix that is the same for all samples, (4, 4)."""

    transfer: Transfer


Element: TypeAlias = Turn | Fixed


@dataclass(frozen=True, slots=True)
class Relabelling:
    """r'_i = factor_i · r_source(i) on the strings of some qubits."""

    qubits: tuple[int, ...]
    source: tuple[int, ...]
    factor: tuple[float, ...]


@dataclass(slots=True)
class Layer:
    """Work in the order maps, pairs, strings.

    Args:
        maps: Qubit to its elements in time order.
        pairs: Qubits and transfer matrix, in time order.
        strings: In time order.
    """

    maps: dict[int, list[Element]] = field(default_factory=dict)
    pairs: list[tuple[tuple[int, ...], Transfer]] = field(default_factory=list)
    strings: list[Relabelling] = field(default_factory=list)


class Schedule:
    """Layers of a circuit under construction; every piece of work goes into the earliest layer that it can reach.

    Args:
        n_qubits: Number of qubits.
    """

    def __init__(self, n_qubits: int) -> None:
        self.n_qubits = n_qubits
        self.layers = [Layer()]
        self._reached = [(0, MAPS)] * n_qubits

    def turn(self, qubit: int, axis: str, theta: Angle) -> None:
        """Appends a rotation of one qubit."""
        self._map(qubit, Turn(LETTERS.index(axis), theta))

    def fixed(self, qubits: tuple[int, ...], transfer: Transfer) -> None:
        """Appends a gate without angles or a channel on one or two qubits."""
        alone = len(qubits) == 1 and self._reached[qubits[0]][1] == MAPS
        relabelling = None if alone else _monomial(qubits, transfer)
        if relabelling is not None:
            place = max(self._reached[qubit][0] for qubit in qubits)
            self._layer(place).strings.append(relabelling)
            self._reach(qubits, place, STRINGS)
        elif len(qubits) == 1:
            self._map(qubits[0], Fixed(transfer))
        else:
            place = max(layer + (stage > PAIRS) for layer, stage in (self._reached[qubit] for qubit in qubits))
            self._layer(place).pairs.append((qubits, transfer))
            self._reach(qubits, place, PAIRS)

    def gate(self, name: str, *qubits: int) -> None:
        """Appends a gate without angles."""
        self.fixed(qubits, _gate_transfer(name))

    def _map(self, qubit: int, element: Element) -> None:
        layer, stage = self._reached[qubit]
        layer += stage > MAPS
        self._layer(layer).maps.setdefault(qubit, []).append(element)
        self._reach((qubit,), layer, MAPS)

    def _layer(self, place: int) -> Layer:
        while place >= len(self.layers):
            self.layers.append(Layer())
        return self.layers[place]

    def _reach(self, qubits: tuple[int, ...], layer: int, stage: int) -> None:
        for qubit in qubits:
            self._reached[qubit] = (layer, stage)


def schedule(circuit: Circuit, noise: NoiseModel) -> list[Layer]:
    """The layers of a circuit with the channels of the model after its gates; readout errors are not part of them."""
    out = Schedule(circuit.n_qubits)
    for operation in circuit.operations:
        _append(out, operation)
        for channel, qubits in noise.after(operation):
            out.fixed(qubits, channel.transfer_matrix())
    return out.layers


def _append(out: Schedule, operation: Operation) -> None:
    for step in elementary(operation):
        if GATES[step.gate].clifford:
            out.gate(step.gate, *step.qubits)
        elif step.gate == "RZZ":  # the parity onto the second qubit, its rotation, and back
            out.gate("CX", *step.qubits)
            out.turn(step.qubits[1], "Z", step.angles[0])
            out.gate("CX", *step.qubits)
        else:
            out.turn(step.qubits[0], step.gate[1], step.angles[0])


@cache
def _gate_transfer(name: str) -> Transfer:
    return np.rint(transfer_matrix(GATES[name].matrices()))  # of a Clifford gate: 0 and ±1


def _monomial(qubits: tuple[int, ...], transfer: Transfer) -> Relabelling | None:
    """The matrix as a table, if no row has more than one entry."""
    large = np.abs(transfer) > MONOMIAL_TOLERANCE
    if (large.sum(axis=1) > 1).any():
        return None
    source = np.abs(transfer).argmax(axis=1)
    factor = np.where(large.any(axis=1), transfer[np.arange(len(transfer)), source], 0.0)
    return Relabelling(qubits, tuple(source.tolist()), tuple(factor.tolist()))


def trace_back(
    n_qubits: int, steps: tuple[Relabelling, ...], strings: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which strings are read to find the given ones after the steps.

    Args:
        n_qubits: Number of qubits.
        steps: In time order.
        strings: int64, any shape.

    Returns:
        source int64 and factor float64, both of the shape of ``strings``: r'_k = factor · r_source.
    """
    source, factor = strings.copy(), np.ones(strings.shape)
    for step in reversed(steps):
        shifts = [2 * (n_qubits - 1 - qubit) for qubit in step.qubits]
        code = np.zeros_like(source)
        for shift in shifts:
            code = 4 * code + ((source >> shift) & 3)
        factor *= np.array(step.factor)[code]
        code = np.array(step.source)[code]
        for shift in reversed(shifts):
            source += ((code & 3) - ((source >> shift) & 3)) << shift
            code >>= 2
    return source, factor
