"""Kernel matrices of feature maps, for support vector machines and other kernel methods.

- Fidelity kernel (Havlíček et al. 2019, doi 10.1038/s41586-019-0980-2): k(x, y) = |⟨φ(x)|φ(y)⟩|².
- Projected kernel (Huang et al. 2021, doi 10.1038/s41467-021-22539-9): k(x, y) = exp(−γ Σ_q ‖ρ_q(x) − ρ_q(y)‖²_F) with
  the reduced states of single qubits; ‖ρ − σ‖²_F = ½ Σ_P (⟨P⟩_ρ − ⟨P⟩_σ)² over P in X, Y, Z.

Feature maps: ``angle``: one RY(x_q) a qubit; ``zz``: the ZZ feature map; ``amplitude``: x / |x| as amplitudes.
No advantage over classical kernels is claimed: with exact states these matrices are computed classically, and on few
qubits quickly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.amplitude import amplitudes, qubits_for, state_preparation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.encodings.zz_feature_map import zz_columns, zz_feature_map
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.placement import bind
from qstore_db.errors import InvalidArgumentError, InvalidVectorError
from qstore_db.executor.executor import Executor
from qstore_db.kernels.overlap import OverlapMethod, estimate_overlaps
from qstore_db.simulation.plan import compile_circuit
from qstore_db.simulation.state_vector import states

FeatureMap = Literal["angle", "zz", "amplitude"]

_MAX_FEATURES = 24


@dataclass(frozen=True, slots=True, eq=False)
class EstimatedGram:
    """A kernel matrix of one set of rows, estimated from shots and made usable.

    Args:
        matrix: float64 (n, n): symmetric, diagonal 1 before the projection, no eigenvalue below 0.
        raw: As it was estimated: one number per pair, symmetric, diagonal 1.
        smallest_eigenvalue: Of ``raw``; below 0 it was no kernel matrix.
        moved: ‖matrix − raw‖_F: what the projection changed.
        circuits: How many were measured.
    """

    matrix: NDArray[np.float64]
    raw: NDArray[np.float64]
    smallest_eigenvalue: float
    moved: float
    circuits: int


def fidelity_gram(
    rows: ArrayLike, columns: ArrayLike | None = None, *, feature_map: FeatureMap = "zz", repetitions: int = 2
) -> NDArray[np.float64]:
    """The fidelity kernel, exactly: k(x_i, y_j).

    Args:
        rows: x, (n, features), finite; ``angle`` and ``zz`` take one qubit a feature, up to 24.
        columns: y, (m, features); ``None`` is ``rows``.
        feature_map: See the module.
        repetitions: Of the ZZ feature map.

    Returns:
        float64 (n, m), in [0, 1]. Usable as ``SVC(kernel="precomputed")``. Cost: n + m states, one matrix product.

    Raises:
        InvalidVectorError: Rows that are not finite, of another width, or zero for ``amplitude``.
        InvalidArgumentError: The feature map is unknown.
    """
    left = _states(_matrix(rows), feature_map, repetitions)
    right = left if columns is None else _states(_matrix(columns), feature_map, repetitions)
    if left.shape[1] != right.shape[1]:
        raise InvalidVectorError("Rows and columns differ in features", fix="Give the same features.")
    overlaps = np.abs(left.conj() @ right.T) ** 2
    return np.asarray(np.minimum(overlaps, 1.0), dtype=np.float64)


def projected_gram(
    rows: ArrayLike,
    columns: ArrayLike | None = None,
    *,
    gamma: float = 1.0,
    feature_map: FeatureMap = "zz",
    repetitions: int = 2,
) -> NDArray[np.float64]:
    """The projected kernel, exactly, from single-qubit expectation values; arguments as :func:`fidelity_gram`.

    Args:
        rows: x.
        columns: y; ``None`` is ``rows``.
        gamma: γ > 0.
        feature_map: See the module.
        repetitions: Of the ZZ feature map.

    Returns:
        float64 (n, m), in (0, 1].

    Raises:
        InvalidArgumentError: γ is not above 0, or the feature map is unknown.
        InvalidVectorError: As :func:`fidelity_gram`.
    """
    if not np.isfinite(gamma) or gamma <= 0:
        raise InvalidArgumentError(f"gamma is {gamma!r}", fix="Give a number above 0.", value=gamma)
    left = _single_qubits(_matrix(rows), feature_map, repetitions)
    right = left if columns is None else _single_qubits(_matrix(columns), feature_map, repetitions)
    if left.shape[1] != right.shape[1]:
        raise InvalidVectorError("Rows and columns differ in features", fix="Give the same features.")
    distances = np.square(left[:, None, :] - right[None, :, :]).sum(axis=2) / 2.0
    return np.asarray(np.exp(-gamma * distances))


def estimated_gram(
    executor: Executor,
    rows: ArrayLike,
    *,
    shots: int,
    feature_map: FeatureMap = "zz",
    repetitions: int = 2,
    method: OverlapMethod = "compute_uncompute",
    backend: str | None = None,
    seed: int | None = None,
) -> EstimatedGram:
    """The fidelity kernel of one set of rows, from measurements of n(n − 1)/2 circuits.

    An estimated matrix is in general not positive semidefinite: its negative eigenvalues are set to 0, the nearest such
    matrix in Frobenius norm (Higham 1988, doi 10.1016/0024-3795(88)90223-6), and the result says how far it moved.

    Args:
        executor: What runs the circuits.
        rows: (n, features), n ≥ 2.
        shots: Of each circuit.
        feature_map: See the module.
        repetitions: Of the ZZ feature map.
        method: As in :func:`~qstore_db.kernels.overlap.overlap_circuit`.
        backend: One of the executor's; ``None`` is its first.
        seed: As in :func:`~qstore_db.kernels.overlap.estimate_overlaps`.

    Raises:
        InvalidVectorError: As :func:`fidelity_gram`.
        InvalidArgumentError: Fewer than two rows, or an argument is out of its range.
    """
    values = _matrix(rows)
    if len(values) < 2:
        raise InvalidArgumentError(f"{len(values)} row has no pairs", fix="Give at least two rows.", value=len(values))
    circuits = [_preparation(row, feature_map, repetitions) for row in values]
    above = np.triu_indices(len(values), 1)
    pairs = [(circuits[i], circuits[j]) for i, j in zip(*above, strict=True)]
    found = estimate_overlaps(executor, pairs, backend=backend, method=method, shots=shots, seed=seed)
    raw = np.eye(len(values))
    raw[above] = found.values
    raw = raw + raw.T - np.eye(len(values))
    eigenvalues, vectors = np.linalg.eigh(raw)
    matrix = raw if eigenvalues[0] >= 0 else (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T
    return EstimatedGram(matrix, raw, float(eigenvalues[0]), float(np.linalg.norm(matrix - raw)), found.circuits)


def _matrix(rows: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(rows, dtype=np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise InvalidVectorError(
            f"rows of shape {values.shape} are no finite matrix", fix="Give finite numbers of shape (rows, features)."
        )
    return values


def _circuit(features: int, feature_map: FeatureMap, repetitions: int) -> Circuit:
    if feature_map not in get_args(FeatureMap):
        known = ", ".join(get_args(FeatureMap))
        raise InvalidArgumentError(f"There is no feature map {feature_map!r}", fix=f"There are {known}.")
    if features > _MAX_FEATURES:
        raise InvalidVectorError(
            f"{features} features need as many qubits", fix=f"Reduce them to {_MAX_FEATURES}, or use amplitude."
        )
    return angle_encoding(features) if feature_map == "angle" else zz_feature_map(features, repetitions)


def _columns(values: NDArray[np.float64], feature_map: FeatureMap) -> NDArray[np.float64]:
    return zz_columns(values) if feature_map == "zz" else values


def _preparation(row: NDArray[np.float64], feature_map: FeatureMap, repetitions: int) -> Circuit:
    if feature_map == "amplitude":
        return state_preparation(row)
    circuit = _circuit(len(row), feature_map, repetitions)
    return bind(circuit, data=_columns(row[None], feature_map)[0])


def _states(values: NDArray[np.float64], feature_map: FeatureMap, repetitions: int) -> NDArray[np.complexfloating]:
    if feature_map == "amplitude":
        return np.asarray(amplitudes(values, qubits_for(values.shape[1])), dtype=np.complex128)
    return states(_circuit(values.shape[1], feature_map, repetitions), data=_columns(values, feature_map))


def _single_qubits(values: NDArray[np.float64], feature_map: FeatureMap, repetitions: int) -> NDArray[np.float64]:
    """⟨X⟩, ⟨Y⟩ and ⟨Z⟩ of each qubit, (rows, 3n)."""
    amplitude = feature_map == "amplitude"
    n = qubits_for(values.shape[1]) if amplitude else values.shape[1]
    circuit = Circuit(n) if amplitude else _circuit(n, feature_map, repetitions)
    strings = tuple(PauliString("I" * q + letter + "I" * (n - q - 1)) for q in range(n) for letter in "XYZ")
    plan = compile_circuit(circuit, strings, amplitude_input=amplitude)
    data, start = (None, values) if amplitude else (_columns(values, feature_map), None)
    return np.asarray(plan.expectations(data, None, start, dtype="float64"), dtype=np.float64)
