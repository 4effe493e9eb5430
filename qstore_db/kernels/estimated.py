"""Kernel matrices by circuits that an executor runs, with what their errors do to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.executor.executor import Executor
from qstore_db.executor.expectations import BackendExpectations
from qstore_db.kernels.feature_maps import Encoder, FeatureMap, feature_rows, pauli_letters
from qstore_db.kernels.gram import KernelSettings, bloch_distances
from qstore_db.kernels.overlap import OverlapMethod, estimate_overlaps


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


@dataclass(frozen=True, slots=True, eq=False)
class EstimatedCrossGram:
    """Kernel values between two sets of rows, as they were estimated.

    Args:
        matrix: float64 (n, m); from a swap test with shots numbers may be negative.
        standard_errors: float64 (n, m); 0 where probabilities are exact.
        circuits: How many were measured.
    """

    matrix: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    circuits: int


def estimated_gram(
    executor: Executor,
    rows: ArrayLike,
    *,
    shots: int | None = None,
    feature_map: FeatureMap = "zz",
    repetitions: int = 2,
    method: OverlapMethod = "compute_uncompute",
    backend: str | None = None,
    seed: int | None = None,
) -> EstimatedGram:
    """The fidelity kernel of one set of rows, from n(n − 1)/2 circuits.

    An estimated matrix is in general not positive semidefinite: its negative eigenvalues are set to 0, the nearest such
    matrix in Frobenius norm (Higham 1988, doi 10.1016/0024-3795(88)90223-6), and the result says how far it moved.

    Args:
        executor: What runs the circuits.
        rows: (n, features), n ≥ 2.
        shots: Of each circuit; ``None`` reads exact probabilities, where the backend has them.
        feature_map: See :mod:`qstore_db.kernels.feature_maps`.
        repetitions: Of the ZZ feature map.
        method: As in :func:`~qstore_db.kernels.overlap.overlap_circuit`.
        backend: One of the executor's; ``None`` is its first.
        seed: As in :func:`~qstore_db.kernels.overlap.estimate_overlaps`.

    Raises:
        InvalidVectorError: As :func:`~qstore_db.kernels.gram.fidelity_gram`.
        InvalidArgumentError: Fewer than two rows, or an argument is out of its range.
        ExecutionError: A circuit has no result.
    """
    values = feature_rows(rows)
    if len(values) < 2:
        raise InvalidArgumentError(f"{len(values)} row has no pairs", fix="Give at least two rows.", value=len(values))
    encoder = Encoder(feature_map, values.shape[1], repetitions)
    circuits = [encoder.preparation(row) for row in values]
    above = np.triu_indices(len(values), 1)
    pairs = [(circuits[i], circuits[j]) for i, j in zip(*above, strict=True)]
    found = estimate_overlaps(executor, pairs, backend=backend, method=method, shots=shots, seed=seed)
    raw = np.eye(len(values))
    raw[above] = found.values
    raw = raw + raw.T - np.eye(len(values))
    eigenvalues, vectors = np.linalg.eigh(raw)
    matrix = raw if eigenvalues[0] >= 0 else (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T
    # A product of rounded factors is symmetric to rounding only.
    matrix = (matrix + matrix.T) / 2.0
    return EstimatedGram(matrix, raw, float(eigenvalues[0]), float(np.linalg.norm(matrix - raw)), found.circuits)


def estimated_cross_gram(
    executor: Executor,
    rows: ArrayLike,
    columns: ArrayLike,
    *,
    shots: int | None = None,
    feature_map: FeatureMap = "zz",
    repetitions: int = 2,
    method: OverlapMethod = "compute_uncompute",
    backend: str | None = None,
    seed: int | None = None,
) -> EstimatedCrossGram:
    """The fidelity kernel between two sets of rows, from n·m circuits: what a fitted machine needs to predict.

    Arguments and errors as :func:`estimated_gram`. Such a matrix need not be symmetric or positive semidefinite, so it
    stays as it was estimated.

    Args:
        executor: What runs the circuits.
        rows: (n, features).
        columns: (m, features).
        shots: Of each circuit.
        feature_map: As there.
        repetitions: As there.
        method: As there.
        backend: As there.
        seed: As there.
    """
    left = feature_rows(rows)
    right = feature_rows(columns, left)
    encoder = Encoder(feature_map, left.shape[1], repetitions)
    across = [encoder.preparation(row) for row in right]
    pairs = [(other, circuit) for circuit in map(encoder.preparation, left) for other in across]
    found = estimate_overlaps(executor, pairs, backend=backend, method=method, shots=shots, seed=seed)
    shape = (len(left), len(right))
    return EstimatedCrossGram(found.values.reshape(shape), found.standard_errors.reshape(shape), found.circuits)


def estimated_projected_gram(
    executor: Executor,
    rows: ArrayLike,
    columns: ArrayLike | None = None,
    *,
    gamma: float = 1.0,
    shots: int | None = None,
    feature_map: FeatureMap = "zz",
    repetitions: int = 2,
    backend: str | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """The projected kernel from ⟨X⟩, ⟨Y⟩ and ⟨Z⟩ of each qubit as a backend estimates them.

    With shots every row is measured in three bases. A Gaussian kernel of whatever numbers is positive semidefinite, so
    no projection is needed; but noise adds Σ_P (1 − ⟨P⟩²)/shots, at most 3n/shots for n qubits, to the mean
    distance of two different rows, so that estimated values are too small rather than too large.

    Args:
        executor: What runs the circuits.
        rows: (n, features).
        columns: (m, features); ``None`` is ``rows``, whose estimates are then used on both sides.
        gamma: γ > 0.
        shots: Of each circuit; ``None`` reads exact expectation values, where the backend has them.
        feature_map: See :mod:`qstore_db.kernels.feature_maps`.
        repetitions: Of the ZZ feature map.
        backend: One of the executor's; ``None`` is its first.
        seed: Of the shots.

    Returns:
        float64 (n, m), in (0, 1].

    Raises:
        InvalidVectorError: As :func:`~qstore_db.kernels.gram.fidelity_gram`.
        InvalidArgumentError: γ is not above 0, or the feature map is unknown.
        ExecutionError: The backend gives no such values.
    """
    settings = KernelSettings("projected", feature_map, repetitions, gamma)
    left = feature_rows(rows)
    encoder = Encoder(feature_map, left.shape[1], repetitions)
    name = next(iter(executor.backends)) if backend is None else backend
    source = BackendExpectations(executor, name, shots=shots, seed=(seed,))
    near = _single_qubits(source, encoder, left)
    far = near if columns is None else _single_qubits(source, encoder, feature_rows(columns, left))
    return np.asarray(np.exp(-settings.gamma * bloch_distances(near, far)))


def _single_qubits(source: BackendExpectations, encoder: Encoder, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """As :meth:`Encoder.single_qubits`, by circuits: row by row, so that each has shots of its own."""
    letters = pauli_letters(encoder.n_qubits)
    nothing = np.zeros((1, 0))
    return np.concatenate(
        [source.expectations(encoder.preparation(row), letters, nothing, None, None)[0] for row in rows]
    )
