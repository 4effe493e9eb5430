"""Bloch vectors: what each qubit alone is like, as numbers, text and spheres.

The reduced state of a qubit is ρ = (1 + xX + yY + zZ)/2 with (x, y, z) = (⟨X⟩, ⟨Y⟩, ⟨Z⟩): on the sphere where the
qubit is pure, inside where it is entangled with the others or mixed. z = +1 is |0⟩.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.amplitude import qubits_for
from qstore_db.errors import InvalidArgumentError, InvalidVectorError
from qstore_db.pictures.figures import new_figure, save
from qstore_db.simulation.state_vector import states

_GAUGE: Final = 21
_PER_ROW: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class BlochVectors:
    """The Bloch vector of each qubit.

    Args:
        vectors: float64 (n, 3): x, y, z of each, of length at most 1 up to rounding.
        labels: One for each.
    """

    vectors: NDArray[np.float64]
    labels: tuple[str, ...]

    def text(self) -> str:
        """A line a coordinate, with its place between −1 and +1, and a line with the length; no final line break."""
        blocks = []
        for label, vector in zip(self.labels, self.vectors, strict=True):
            length = float(np.linalg.norm(vector))
            lines = [f"{label}: |r| = {length:.3f}" + ("" if length < 1 - 1e-6 else ", pure")]
            lines += [
                f"  {name} {value:+.3f}  {_gauge(value)}" for name, value in zip("xyz", vector.tolist(), strict=True)
            ]
            blocks.append("\n".join(lines))
        return "\n".join(blocks)

    def figure(self) -> Any:
        """A matplotlib figure with a sphere for each qubit, |0⟩ on top.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        count = len(self.labels)
        across = min(count, _PER_ROW)
        down = -(-count // across)
        figure = new_figure(3.2 * across, 3.4 * down)
        for place, (label, vector) in enumerate(zip(self.labels, self.vectors, strict=True), start=1):
            _draw_sphere(figure.add_subplot(down, across, place, projection="3d"), vector, label)
        return figure

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`figure` to a file; the suffix says which kind.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        return save(self.figure(), path)


def state_bloch(state: ArrayLike) -> BlochVectors:
    """Of a pure state or a density matrix.

    Args:
        state: Amplitudes (2^n,), or a density matrix (2^n, 2^n), qubit 0 the highest bit; norm or trace 1.

    Raises:
        InvalidVectorError: Another shape, not finite, or not normalised to 1e-4.
    """
    given = np.asarray(state, dtype=np.complex128)
    size = given.shape[0] if given.ndim else 0
    n = size.bit_length() - 1
    square = given.ndim == 2 and given.shape == (size, size)
    if not (given.ndim == 1 or square) or n < 1 or size != 1 << n or not np.isfinite(given).all():
        raise InvalidVectorError(
            f"an array of shape {given.shape} is no state of qubits", fix="Give (2^n,) or (2^n, 2^n) finite numbers."
        )
    total = float(np.real(np.trace(given))) if square else float(np.linalg.norm(given) ** 2)
    if abs(total - 1.0) > 1e-4:
        raise InvalidVectorError(
            f"a state of norm or trace {total:g} is not normalised", fix="Divide it by that.", value=total
        )
    rho = given / total if square else np.outer(given, given.conj()) / total
    vectors = [_bloch_of(_reduced(rho, qubit, n)) for qubit in range(n)]
    return BlochVectors(np.array(vectors), tuple(f"qubit {qubit}" for qubit in range(n)))


def circuit_bloch(circuit: Circuit, weights: ArrayLike | None = None, data: ArrayLike | None = None) -> BlochVectors:
    """Of the state that a circuit of up to 12 qubits makes, exactly.

    Args:
        circuit: On n qubits.
        weights: Shape (number of weights,), radians; may be left out for a circuit without weights.
        data: One sample, shape (number of data columns,); may be left out likewise.

    Raises:
        InvalidArgumentError: A shape does not fit, or there are more qubits.
    """
    if circuit.n_qubits > 12:
        raise InvalidArgumentError(
            f"spheres of {circuit.n_qubits} qubits make no picture", fix="Draw up to 12 qubits.", value=circuit.n_qubits
        )
    rows = None if data is None else np.asarray(data, dtype=np.float64)[None]
    return state_bloch(states(circuit, weights, rows)[0])


def context_bloch(
    probabilities: Mapping[str, float], vectors: Mapping[str, ArrayLike], *, coherent_weight: float = 1.0
) -> BlochVectors:
    """Of the context register of a record, its vectors traced out.

    With k contexts c = 0, 1, … in their order the register has ⌈log₂ k⌉ qubits and the state
    ρ_cc' = λ·√(p_c p_c')·⟨v_c'|v_c⟩ (λ = 1 for c = c'). For two contexts that is one sphere: z = p_0 − p_1, and
    x = 2λ√(p_0 p_1)⟨v_0|v_1⟩, which is what interference can be seen of.

    Args:
        probabilities: p_c by context, as ``db.get(id).probabilities``.
        vectors: v_c by context, as ``db.get(id).vectors``; their lengths do not matter.
        coherent_weight: λ, as the column ``coherent_weight`` of the table ``states``.

    Raises:
        InvalidArgumentError: There are no contexts, the names differ, or λ is not in [0, 1].
    """
    names = list(probabilities)
    if not names or set(names) != set(vectors) or not 0.0 <= coherent_weight <= 1.0:
        raise InvalidArgumentError(
            f"contexts {names}, vectors {list(vectors)} and λ = {coherent_weight!r} are no state",
            fix="Give probabilities and vectors of one record, and λ from 0 to 1.",
            value=coherent_weight,
        )
    rows = np.array([np.asarray(vectors[name], dtype=np.float64) for name in names])
    parts = np.sqrt([probabilities[name] for name in names])[:, None] * rows / np.linalg.norm(rows, axis=1)[:, None]
    n = qubits_for(len(names))
    rho = np.zeros((1 << n, 1 << n))
    rho[: len(names), : len(names)] = parts @ parts.T
    rho = np.where(np.eye(1 << n, dtype=bool), rho, coherent_weight * rho)
    found = state_bloch(rho)
    if n == 1:
        return BlochVectors(found.vectors, (f"{names[0]} ↑  {names[1] if len(names) > 1 else '–'} ↓",))
    return found


def _reduced(rho: NDArray[np.complex128], qubit: int, n: int) -> NDArray[np.complex128]:
    parts = rho.reshape(1 << qubit, 2, 1 << (n - qubit - 1), 1 << qubit, 2, 1 << (n - qubit - 1))
    return np.asarray(np.einsum("aibajb->ij", parts), dtype=np.complex128)


def _bloch_of(rho: NDArray[np.complex128]) -> tuple[float, float, float]:
    return (
        2.0 * float(rho[0, 1].real),
        2.0 * float(rho[1, 0].imag),
        float((rho[0, 0] - rho[1, 1]).real),
    )


def _gauge(value: float) -> str:
    place = round((min(1.0, max(-1.0, value)) + 1.0) / 2.0 * (_GAUGE - 1))
    line = ["─"] * _GAUGE
    line[_GAUGE // 2] = "┼"
    line[place] = "●"
    return f"−1 ├{''.join(line)}┤ +1"


def _draw_sphere(axes: Any, vector: NDArray[np.float64], label: str) -> None:
    turn = np.linspace(0.0, 2.0 * math.pi, 73)
    flat = np.zeros_like(turn)
    for ring in (
        (np.cos(turn), np.sin(turn), flat),
        (np.cos(turn), flat, np.sin(turn)),
        (flat, np.cos(turn), np.sin(turn)),
    ):
        axes.plot(*ring, color="grey", linewidth=0.6, alpha=0.6)
    for end in np.eye(3):
        axes.plot(*np.stack([-end, end], axis=1), color="grey", linewidth=0.6, alpha=0.6)
    axes.quiver(0, 0, 0, *vector, color="#c44e52", linewidth=2.0, arrow_length_ratio=0.15)
    axes.scatter(*vector, color="#c44e52", s=14)
    for place, name in (((0, 0, 1.15), "|0⟩"), ((0, 0, -1.25), "|1⟩"), ((1.2, 0, 0), "x"), ((0, 1.2, 0), "y")):
        axes.text(*place, name, ha="center", va="center")
    axes.set_box_aspect((1, 1, 1), zoom=1.25)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    axes.set_title(label, y=0.94)
    axes.set_axis_off()
