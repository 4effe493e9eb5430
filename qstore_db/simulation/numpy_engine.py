"""The engine without compiled code: the same commuting sets of Pauli rotations, as matrix products on whole batches.

For installations without Numba. The adjoint gradient takes the rotations back from ψ and λ together, so that two states
of a part of the batch are all it keeps. Values and gradients are those of the compiled engine to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.parameters import Weight
from qstore_db.simulation.compile import RotationSets
from qstore_db.simulation.inputs import (
    Shape,
    check_labels,
    checked_amplitudes,
    checked_cotangent,
    checked_data,
    checked_weights,
    largest_parts,
)
from qstore_db.simulation.memory import require
from qstore_db.simulation.numpy_packs import CosetPack, DiagonalPack, Floats, States, packs_of, readout_groups
from qstore_db.simulation.results import Gradients, HeadStep, Precision

PART_AMPLITUDES: Final = 1 << 18
"""Amplitudes of the samples that are computed at once: 2 or 4 MiB, which stay in the cache."""


class NumpyEngine:
    """A circuit as packs of rotations; immutable.

    Args:
        shape: What inputs must fit.
        sets: The circuit.
    """

    name: Final = "numpy"

    def __init__(self, shape: Shape, sets: RotationSets) -> None:
        self._shape, n = shape, shape.circuit.n_qubits
        rotations = [rotation for members in sets.sets for rotation in members]
        self._constant = np.array([rotation.constant for rotation in rotations])
        self._by_weights = np.zeros((len(rotations), shape.number_of_weights))
        self._by_data = np.zeros((len(rotations), shape.number_of_data))
        for place, rotation in enumerate(rotations):
            for term in rotation.terms:
                table = self._by_weights if isinstance(term, Weight) else self._by_data
                table[place, term.index] += term.scale
        self._packs: list[DiagonalPack | CosetPack] = []
        first = 0
        for members in sets.sets:
            self._packs += packs_of(n, [(first + k, rotation.string) for k, rotation in enumerate(members)])
            first += len(members)
        self._reads = readout_groups(n, sets.readouts)

    def expectations(
        self, data: ArrayLike | None, weights: ArrayLike | None, amplitudes: ArrayLike | None, dtype: Precision
    ) -> Floats:
        """See :class:`~qstore_db.simulation.results.Engine`."""
        return _Run(self, data, weights, amplitudes, dtype).values()

    def forward(
        self,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        dtype: Precision,
        input_gradients: bool,
    ) -> tuple[Floats, NumpyPullback]:
        """See :class:`~qstore_db.simulation.results.Engine`."""
        run = _Run(self, data, weights, amplitudes, dtype, copy=True)
        return run.values(), NumpyPullback(run, input_gradients)

    def gradients(
        self,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        cotangent: ArrayLike,
        dtype: Precision,
        input_gradients: bool,
    ) -> tuple[Floats, Gradients]:
        """See :class:`~qstore_db.simulation.results.Engine`."""
        values, pullback = self.forward(data, weights, amplitudes, dtype, input_gradients)
        return values, pullback(cotangent)

    def head_step(
        self,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        head: tuple[Floats, Floats],
        labels: NDArray[np.int64],
        dtype: Precision,
    ) -> HeadStep:
        """See :class:`~qstore_db.simulation.results.Engine`."""
        matrix, bias = head
        values, pullback = self.forward(data, weights, amplitudes, dtype, False)
        check_labels(labels, len(values), len(bias))
        rows = np.arange(len(values))
        scores = values @ matrix.T + bias
        correct = int(np.count_nonzero(scores.argmax(axis=1) == labels))
        scores -= scores.max(axis=1, keepdims=True)
        powers = np.exp(scores)
        whole = powers.sum(axis=1)
        loss = float((np.log(whole) - scores[rows, labels]).mean())
        outer = powers / whole[:, None]
        outer[rows, labels] -= 1.0
        outer /= len(values)
        return HeadStep(loss, correct, pullback(outer @ matrix).weights, outer.T @ values, outer.sum(axis=0))

    @property
    def shape(self) -> Shape:
        """What inputs must fit."""
        return self._shape

    def angles(self, data: Floats, weights: Floats) -> Floats:
        """θ of every sample and rotation, (samples, rotations)."""
        return self._constant + self._by_weights @ weights + data @ self._by_data.T

    def run(self, states: States, angles: Floats) -> States:
        """ψ at the end."""
        for pack in self._packs:
            states = pack.rotate(states, self._of_pack(pack, angles))
        return states

    def read(self, states: States) -> Floats:
        """Values of the readouts, (samples, readouts)."""
        values = np.zeros((len(states), self._shape.number_of_readouts))
        for group in self._reads:
            group.add_values(states, values)
        return values

    def run_back(self, ket: States, angles: Floats, cotangent: Floats) -> tuple[States, States, Floats]:
        """λ and ψ at the start, and dL/dθ, (samples, rotations)."""
        bra = np.zeros_like(ket)
        for group in self._reads:
            group.add_seed(ket, cotangent, bra)
        slopes = np.zeros(angles.shape)
        # Strings of a set commute, so a moment does not change while both states step back past the others.
        for pack in reversed(self._packs):
            own = self._of_pack(pack, angles)
            bra, ket, found = pack.step_back(bra, ket, own)
            slopes[: len(own), pack.places] = found  # those of all samples in row 0 where angles are shared
        return bra, ket, slopes

    def _of_pack(self, pack: DiagonalPack | CosetPack, angles: Floats) -> Floats:
        found = angles[:, pack.places]
        return found if self._by_data[pack.places].any() else found[:1]

    def to_symbols(self, slopes: Floats) -> tuple[Floats, Floats]:
        """Gradients by weights and by data."""
        return slopes.sum(axis=0) @ self._by_weights, slopes @ self._by_data


class _Run:
    """One batch: checked inputs, computed part by part."""

    def __init__(
        self,
        engine: NumpyEngine,
        data: ArrayLike | None,
        weights: ArrayLike | None,
        amplitudes: ArrayLike | None,
        dtype: Precision,
        *,
        copy: bool = False,
    ) -> None:
        shape = engine.shape
        self.engine, self._complex = engine, np.dtype(np.complex64 if dtype == "float32" else np.complex128)
        start = checked_amplitudes(shape, amplitudes)
        self._data = checked_data(shape, data, None if start is None else len(start), copy=copy)
        self._weights = checked_weights(shape, weights, copy=copy)
        self._size = 1 << shape.circuit.n_qubits
        self._start: NDArray[np.floating] | NDArray[np.complexfloating] | None = None
        self._largest: Floats | None = None
        if start is not None:
            self._largest = largest_parts(start)
            scale = self._largest[:, None]
            self._start = np.divide(start.astype(np.complex128) if np.iscomplexobj(start) else start, scale)
        self._samples = len(self._data)
        at_once = max(1, min(PART_AMPLITUDES // self._size, self._samples))
        require(6 * at_once * self._size * self._complex.itemsize)

    def parts(self) -> Iterator[slice]:
        """Ranges of samples."""
        step = max(1, PART_AMPLITUDES // self._size)
        return (slice(first, first + step) for first in range(0, self._samples, step))

    def values(self) -> Floats:
        """Of all samples."""
        out = np.zeros((self._samples, self.engine.shape.number_of_readouts))
        for part in self.parts():
            out[part] = self.engine.read(self.engine.run(self._states(part), self._angles(part)))
        return out

    def gradients(self, cotangent: Floats, input_gradients: bool) -> Gradients:
        """Of Σ cotangent · values."""
        weights, data = np.zeros_like(self._weights), np.zeros_like(self._data)
        start = self._start if input_gradients else None
        amplitudes: States | None = None if start is None else np.zeros(start.shape, np.complex128)
        for part in self.parts():
            angles = self._angles(part)
            end = self.engine.run(self._states(part), angles)
            bra, ket, slopes = self.engine.run_back(end, angles, cotangent[part])
            by_weights, data[part] = self.engine.to_symbols(slopes)
            weights += by_weights
            if amplitudes is not None and start is not None:
                amplitudes[part] = self._through_the_norm(start[part], bra, ket)
        return Gradients(weights, data if input_gradients else None, self._like_given(amplitudes))

    def _angles(self, part: slice) -> Floats:
        return self.engine.angles(self._data[part], self._weights)

    def _states(self, part: slice) -> States:
        count = len(self._data[part])
        states: States = np.zeros((count, self._size), self._complex)
        if self._start is None:
            states[:, 0] = 1
        else:
            start = self._start[part]
            states[:, : start.shape[1]] = start / np.linalg.norm(start, axis=1, keepdims=True)
        return states

    def _through_the_norm(self, start: NDArray[np.generic], bra: States, ket: States) -> States:
        """(2λ - 2⟨ψ|λ⟩ψ)/‖a‖: what only changes the length of a is taken out."""
        along = np.einsum("bk,bk->b", ket.conj(), bra).real[:, None]
        slope: States = (2 * bra - 2 * along * ket)[:, : start.shape[1]]
        slope /= np.linalg.norm(start, axis=1, keepdims=True)
        return slope

    def _like_given(self, slope: States | None) -> NDArray[np.floating] | NDArray[np.complexfloating] | None:
        if slope is None or self._start is None or self._largest is None:
            return None
        slope = slope / self._largest[:, None]
        if np.iscomplexobj(self._start):
            return slope.astype(self._complex)
        return slope.real.astype(np.empty(0, self._complex).real.dtype)


class NumpyPullback:
    """See :class:`~qstore_db.simulation.results.Pullback`."""

    __slots__ = ("_input_gradients", "_run")

    def __init__(self, run: _Run, input_gradients: bool) -> None:
        self._run, self._input_gradients = run, input_gradients

    def __call__(self, cotangent: ArrayLike) -> Gradients:
        """See :class:`~qstore_db.simulation.results.Pullback`."""
        shape = (len(self._run._data), self._run.engine.shape.number_of_readouts)
        return self._run.gradients(checked_cotangent(cotangent, shape), self._input_gradients)
