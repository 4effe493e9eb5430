"""Kernel matrices of feature maps, for support vector machines and other kernel methods, exactly.

- Fidelity kernel (Havlíček et al. 2019, doi 10.1038/s41586-019-0980-2): k(x, y) = |⟨φ(x)|φ(y)⟩|².
- Projected kernel (Huang et al. 2021, doi 10.1038/s41467-021-22539-9): k(x, y) = exp(−γ Σ_q ‖ρ_q(x) − ρ_q(y)‖²_F) with
  the reduced states of single qubits; ‖ρ − σ‖²_F = ½ Σ_P (⟨P⟩_ρ − ⟨P⟩_σ)² over P in X, Y, Z.

Feature maps: :mod:`qstore_db.kernels.feature_maps`. No advantage over classical kernels is claimed: with exact states
these matrices are computed classically, and on few qubits quickly. From circuits: :mod:`qstore_db.kernels.estimated`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.kernels.feature_maps import Amplitudes, Encoder, FeatureMap, feature_rows
from qstore_db.simulation.memory import require

Kernel = Literal["fidelity", "projected"]

BLOCK_BYTES = 64 << 20
"""States and products that a kernel matrix holds at a time, besides the matrix itself."""

Rows = Callable[[int, int], NDArray[np.float64]]
"""Rows start … stop - 1 of something larger, float64 (stop - start, features)."""


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """Which kernel.

    Args:
        kernel: ``fidelity`` or ``projected``.
        feature_map: See :mod:`qstore_db.kernels.feature_maps`.
        repetitions: Of the ZZ feature map.
        gamma: γ > 0 of the projected kernel, which is what it means.

    Raises:
        InvalidArgumentError: There is no such kernel, or γ is not above 0.
    """

    kernel: Kernel = "fidelity"
    feature_map: FeatureMap = "zz"
    repetitions: int = 2
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if self.kernel not in get_args(Kernel):
            known = ", ".join(get_args(Kernel))
            raise InvalidArgumentError(
                f"There is no kernel {self.kernel!r}", fix=f"There are {known}.", value=self.kernel
            )
        if not np.isfinite(self.gamma) or self.gamma <= 0:
            raise InvalidArgumentError(f"gamma is {self.gamma!r}", fix="Give a number above 0.", value=self.gamma)


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
        float64 (n, m), in [0, 1]. Usable as ``SVC(kernel="precomputed")``. Beside it at most ``BLOCK_BYTES`` are held
        at a time. Cost: the states and one matrix product; where the states of all columns take more than half of
        those bytes, the columns' states are computed once for each block of rows.

    Raises:
        InvalidVectorError: Rows that are not finite, of another width, or zero for ``amplitude``.
        InvalidArgumentError: The feature map is unknown.
        NotEnoughMemoryError: The matrix does not fit.
    """
    return _gram(rows, columns, KernelSettings("fidelity", feature_map, repetitions))


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
        NotEnoughMemoryError: The matrix does not fit.
    """
    return _gram(rows, columns, KernelSettings("projected", feature_map, repetitions, gamma))


def gram_blocks(
    rows: Rows,
    count: int,
    columns: Rows,
    width: int,
    features: int,
    settings: KernelSettings,
    *,
    block_bytes: int = BLOCK_BYTES,
    into: NDArray[np.float64] | None = None,
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """A kernel matrix by blocks of rows, for what does not fit the memory.

    Args:
        rows: Gives x.
        count: How many rows, n.
        columns: Gives y.
        width: How many columns, m.
        features: Of both.
        settings: Which kernel.
        block_bytes: States and products held at a time, beside the block itself.
        into: A matrix (n, m) whose rows the blocks are; ``None`` makes an array for each.

    Yields:
        Which rows, and float64 (rows of the block, m) of them; how rows are cut moves entries by rounding only.

    Raises:
        InvalidVectorError: A row is zero for ``amplitude``, or has too many features for the feature map.
    """
    encoder = Encoder(settings.feature_map, features, settings.repetitions)
    fidelity = settings.kernel == "fidelity"
    row_bytes = (16 << encoder.n_qubits) if fidelity else 24 * encoder.n_qubits
    # A quarter each for the states of rows and of columns, half for their products or differences.
    pair_bytes = 32 if fidelity else 2 * row_bytes
    step = max(1, min(block_bytes // (4 * row_bytes), int((block_bytes // pair_bytes) ** 0.5)))
    kept: list[tuple[int, Amplitudes]] | None = [] if width * row_bytes <= block_bytes // 2 else None
    for start in range(0, count, step):
        stop = min(start + step, count)
        left = _encoded(encoder, rows(start, stop), fidelity)
        block = np.empty((stop - start, width)) if into is None else into[start:stop]
        for at, right in _column_states(encoder, columns, width, step, fidelity, kept):
            block[:, at : at + len(right)] = _products(left, right, settings)
        yield slice(start, stop), block


def _column_states(
    encoder: Encoder, columns: Rows, width: int, step: int, fidelity: bool, kept: list[tuple[int, Amplitudes]] | None
) -> Iterator[tuple[int, Amplitudes]]:
    """Where each block of columns begins, and its states; remembered in ``kept`` where that is a list."""
    if kept:
        yield from kept
        return
    for at in range(0, width, step):
        found = (at, _encoded(encoder, columns(at, min(at + step, width)), fidelity))
        if kept is not None:
            kept.append(found)
        yield found


def _encoded(encoder: Encoder, values: NDArray[np.float64], fidelity: bool) -> Amplitudes:
    return encoder.states(values) if fidelity else encoder.single_qubits(values)


def _products(left: Amplitudes, right: Amplitudes, settings: KernelSettings) -> NDArray[np.float64]:
    if settings.kernel == "fidelity":
        overlaps = np.abs(left.conj() @ right.T) ** 2
        return np.asarray(np.minimum(overlaps, 1.0), dtype=np.float64)
    return np.exp(-settings.gamma * bloch_distances(np.real(left), np.real(right)))


def bloch_distances(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ_q ‖ρ_q − σ_q‖²_F of rows of ⟨X⟩, ⟨Y⟩, ⟨Z⟩ of each qubit: (n, 3q) and (m, 3q) give (n, m)."""
    differences = left[:, None, :] - right[None, :, :]
    return np.asarray(np.einsum("ijk,ijk->ij", differences, differences) / 2.0)


def _gram(rows: ArrayLike, columns: ArrayLike | None, settings: KernelSettings) -> NDArray[np.float64]:
    left = feature_rows(rows)
    right = left if columns is None else feature_rows(columns, left)
    require(8 * len(left) * len(right))
    matrix = np.empty((len(left), len(right)))
    blocks = gram_blocks(
        lambda start, stop: left[start:stop],
        len(left),
        lambda start, stop: right[start:stop],
        len(right),
        left.shape[1],
        settings,
        into=matrix,
    )
    for _ in blocks:
        pass
    return matrix
