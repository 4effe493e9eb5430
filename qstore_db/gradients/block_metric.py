"""The block-diagonal metric: expectation values of parts of the circuit, so that a device can measure it.

Gates with weights are sorted into levels: a gate stands one level above the last gate with a weight that acts before
it on one of its qubits. Gates of a level act on different qubits, so their generators commute, and

    g_ij ≈ Σ over levels, Σ k in level, k of i, Σ l in level, l of j, of  s_k s_l (⟨K_k K_l⟩ − ⟨K_k⟩⟨K_l⟩)

with the expectation in the state before the level and s the scales of the weights. Products of gates in different
levels are left out: the exact metric is :mod:`qstore_db.gradients.metric_tensor`. One circuit a level and sample.
Source: Stokes, Izaac, Killoran and Carleo, Quantum 4, 269 (2020), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import Observable
from qstore_db.circuits.parameters import Weight
from qstore_db.errors import InvalidArgumentError
from qstore_db.gradients.generators import generator, product, with_single_angles
from qstore_db.gradients.value_source import ValueSource
from qstore_db.simulation.plan import Precision, compile_circuit


@dataclass(frozen=True, slots=True)
class Block:
    """One level.

    Args:
        circuit: What acts before it.
        observables: K_k for each of its gates, then K_k K_l for each pair k ≤ l, row by row.
        weights: For each of its gates the weights in its angle, as (index, scale).
    """

    circuit: Circuit
    observables: tuple[Observable, ...]
    weights: tuple[tuple[tuple[int, float], ...], ...]


@dataclass(frozen=True, slots=True)
class BlockMetric:
    """Circuits and observables, and how their values combine to the block-diagonal metric.

    Args:
        blocks: The levels, each with at least one gate that has a weight.
        number_of_weights: Of the whole circuit.
    """

    blocks: tuple[Block, ...]
    number_of_weights: int

    def combine(self, values: Sequence[ArrayLike]) -> NDArray[np.float64]:
        """The metric of every sample.

        Args:
            values: For each block in order, shape (samples, observables of the block).

        Returns:
            Shape (samples, weights, weights), per radian².

        Raises:
            InvalidArgumentError: Not one array a block, or no blocks.
        """
        if len(values) != len(self.blocks) or not values:
            raise InvalidArgumentError(
                f"{len(values)} results do not fit {len(self.blocks)} block(s)",
                fix="Give the values of every block, in order, of a circuit with weights.",
                value=len(values),
            )
        arrays = [np.asarray(one, np.float64) for one in values]
        metric = np.zeros((len(arrays[0]), self.number_of_weights, self.number_of_weights))
        for block, found in zip(self.blocks, arrays, strict=True):
            metric += self._of_block(block, found)
        return metric

    def _of_block(self, block: Block, values: NDArray[np.float64]) -> NDArray[np.float64]:
        gates = len(block.weights)
        means = values[:, :gates]
        covariances = np.zeros((len(values), gates, gates))
        upper = np.triu_indices(gates)
        covariances[:, upper[0], upper[1]] = values[:, gates:]
        covariances[:, upper[1], upper[0]] = values[:, gates:]
        covariances -= means[:, :, None] * means[:, None, :]
        scales = np.zeros((gates, self.number_of_weights))
        for gate, terms in enumerate(block.weights):
            for index, scale in terms:
                scales[gate, index] += scale
        metric: NDArray[np.float64] = scales.T @ covariances @ scales
        return metric


@lru_cache(maxsize=16)
def block_diagonal_metric(circuit: Circuit) -> BlockMetric:
    """The circuits and observables of a circuit's block-diagonal metric.

    Args:
        circuit: Any circuit whose generators are known.

    Raises:
        InvalidCircuitError: The generator of a gate with a weight is not known.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> [len(block.weights) for block in block_diagonal_metric(hardware_efficient(3, 2)).blocks]
        [3, 3, 3, 3]
    """
    single = with_single_angles(circuit)
    levels = _levels(single)
    blocks = []
    for level in range(1, max((number for number, trained in levels if trained), default=0) + 1):
        before = [
            operation for operation, (number, trained) in zip(single.operations, levels, strict=True) if number < level
        ]
        members = [
            operation
            for operation, (number, trained) in zip(single.operations, levels, strict=True)
            if trained and number == level
        ]
        blocks.append(_block(Circuit(circuit.n_qubits, before), members))
    return BlockMetric(tuple(blocks), circuit.number_of_weights)


def measured_block_metric(
    circuit: Circuit,
    weights: NDArray[np.float64],
    data: NDArray[np.float64] | None = None,
    amplitudes: NDArray[np.float64] | None = None,
    *,
    dtype: Precision = "float32",
    source: ValueSource | None = None,
) -> tuple[NDArray[np.float64], int]:
    """The block-diagonal metric of every sample, and how many circuits were evaluated for it.

    Args:
        circuit: With at least one weight.
        weights: Shape (weights,), radians.
        data: Shape (samples, data columns), radians; None for a circuit without data.
        amplitudes: Start states, shape (samples, width ≤ 2^n); None to start from |0…0⟩.
        dtype: Arithmetic of the states of the exact simulator.
        source: Where expectation values come from; the exact simulator if ``None``. From shots the metric is an
            estimate and may have negative eigenvalues.

    Returns:
        Shape (samples, weights, weights), and the number of levels times that of samples, with shots times the bases.

    Raises:
        InvalidArgumentError: The circuit has no weights, or a shape does not fit.
        InvalidVectorError: As :meth:`qstore_db.simulation.plan.Plan.expectations`.
        InvalidCircuitError: The generator of a gate is not known.
        NotEnoughMemoryError: The states do not fit.
    """
    metric = block_diagonal_metric(circuit)
    samples = 1 if data is None and amplitudes is None else len(amplitudes if data is None else data)  # type: ignore[arg-type]
    found = []
    before = 0 if source is None else source.circuits
    for block in metric.blocks:
        used, needed = weights[: block.circuit.number_of_weights], block.circuit.number_of_data
        columns = None if data is None or not needed else data[:, :needed]
        if source is None:
            plan = compile_circuit(block.circuit, block.observables, amplitude_input=amplitudes is not None)
            values = plan.expectations(columns, used, amplitudes, dtype=dtype)
        else:
            values = source.expectations(block.circuit, block.observables, used[None], columns, amplitudes)[0]
        found.append(np.broadcast_to(values, (samples, values.shape[1])))
    circuits = len(metric.blocks) * samples if source is None else source.circuits - before
    return metric.combine(found), circuits


def _levels(circuit: Circuit) -> list[tuple[int, bool]]:
    # For each operation its level, and whether it has a weight. Gates without weights belong to the level below them.
    reached = [0] * circuit.n_qubits
    levels = []
    for operation in circuit.operations:
        trained = any(isinstance(term, Weight) for angle in operation.angles for term in angle.terms)
        level = max(reached[qubit] for qubit in operation.qubits) + int(trained)
        for qubit in operation.qubits:
            reached[qubit] = level
        levels.append((level, trained))
    return levels


def _block(before: Circuit, members: Sequence[Operation]) -> Block:
    generators = [generator(operation, before.n_qubits) for operation in members]
    pairs = [
        product(generators[one], generators[other]) for one in range(len(members)) for other in range(one, len(members))
    ]
    weights = tuple(
        tuple((term.index, term.scale) for term in operation.angles[0].terms if isinstance(term, Weight))
        for operation in members
    )
    return Block(before, (*generators, *pairs), weights)
