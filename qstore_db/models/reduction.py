"""From rows of any length to the features that an encoding has room for.

A :class:`Reduction` is fitted once, on training rows, and is a value from then on: the arrays it holds are stored with
the model and nothing is ever fitted on rows that are to be predicted. It runs *before* a row is normalised.

The bits of a reduced row do not depend on the rows beside it: pooling works image by image, and dense
products run over blocks of one fixed size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import EmptyDatasetError, InvalidModelError
from qstore_db.models.rows import finite_rows, row_matrix
from qstore_db.models.specification import ModelSpec, ReductionMethod

BLOCK_ROWS = 64
_FIT_ROWS = 4096

RowChunks = Callable[[], Iterable[NDArray[np.number | np.bool]]]
"""Gives the training rows from the start, in chunks of any size; called once for each pass."""

_ARRAYS: Mapping[str | None, tuple[str, ...]] = {
    None: (),
    "truncate": (),
    "pool": ("pool_weights",),
    "pca": ("pca_mean", "pca_components"),
    "projection": ("projection",),
}


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """A fitted map from rows of one length to features.

    Args:
        method: What shortens the rows; ``None``: nothing does.
        dimension: Length of the rows it takes.
        width: Number of features it gives.
        arrays: What was fitted, by name. ``pool_weights`` (s, S): share of each of S pixels in each of s cells along
            one axis. ``pca_mean`` (d,), ``pca_components`` (width, d). ``projection`` (width, d): orthonormal rows.
            ``angle_minimum``, ``angle_maximum`` (width,): range of each feature on the training rows, present for angle
            encoding only. ``dimension`` (1,).
    """

    method: ReductionMethod | None
    dimension: int
    width: int
    arrays: Mapping[str, NDArray[np.float64]]

    @classmethod
    def from_arrays(cls, spec: ModelSpec, arrays: Mapping[str, NDArray[np.float64]]) -> Self:
        """The reduction whose ``arrays`` were stored, for a model of that specification.

        Raises:
            InvalidModelError: An array is missing or of a shape that the specification does not allow.
        """
        names = ("dimension", *_ARRAYS[spec.reduce])
        if spec.encoding == "angle":
            names += ("angle_minimum", "angle_maximum")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise InvalidModelError(
                f"The stored reduction lacks the array {missing[0]!r}",
                fix=f"A model with reduce = {spec.reduce!r} needs {', '.join(names)}.",
                value=missing[0],
            )
        kept = {name: np.asarray(arrays[name], dtype=np.float64) for name in names}
        dimension = int(kept["dimension"][0])
        reduction = cls(spec.reduce, dimension, _width(spec, dimension, kept), kept)
        _check_shapes(reduction, spec)
        return reduction

    def apply(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Features of each row.

        For angle encoding the feature x becomes π (x − min) / (max − min) with the range of the training rows, cut to
        [0, π]; a feature that was constant becomes 0.

        Args:
            rows: Finite numbers, (B, dimension).

        Returns:
            (B, width), float64. A row's bits do not depend on the other rows.

        Raises:
            DimensionMismatchError: The rows have another length.
            InvalidVectorError: They are no matrix of finite numbers.
        """
        given = row_matrix(rows, self.dimension)
        features = np.empty((len(given), self.width))
        for start in range(0, len(given), BLOCK_ROWS):
            block = finite_rows(given[start : start + BLOCK_ROWS], first=start)
            features[start : start + BLOCK_ROWS] = self._scaled(self._shortened(block))
        return features

    def _scaled(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        if "angle_minimum" not in self.arrays:
            return features
        low, high = self.arrays["angle_minimum"], self.arrays["angle_maximum"]
        span = np.where(high > low, high - low, np.inf)
        return np.clip((features - low) / span, 0.0, 1.0) * np.pi

    def _shortened(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        match self.method:
            case None:
                return rows
            case "truncate":
                return rows[:, : self.width]
            case "pool":
                return _pooled(rows, self.arrays["pool_weights"])
            case "pca":
                return _block_product(rows - self.arrays["pca_mean"], self.arrays["pca_components"])
            case "projection":
                return _block_product(rows, self.arrays["projection"])


def fit_reduction(spec: ModelSpec, rows: ArrayLike, *, seed: int = 0) -> Reduction:
    """Fit the reduction of a model on training rows.

    Args:
        spec: Names the method and the room there is.
        rows: Training rows, (B, d). Never give rows that are to be predicted.
        seed: For ``projection``; other methods draw nothing.

    Returns:
        The fitted value.

    Raises:
        EmptyDatasetError: There are no rows.
        InvalidModelError: The rows do not fit the specification; both sizes are named.
        InvalidVectorError: The rows are no matrix of finite numbers.
    """
    given = row_matrix(rows, None)
    if not len(given):
        raise EmptyDatasetError("There are no rows to fit the reduction on", fix="Store training rows first.", value=0)

    def chunks() -> Iterable[NDArray[np.number | np.bool]]:
        return (given[start : start + _FIT_ROWS] for start in range(0, len(given), _FIT_ROWS))

    return fit_reduction_on_chunks(spec, given.shape[1], chunks, seed=seed)


def fit_reduction_on_chunks(spec: ModelSpec, dimension: int, chunks: RowChunks, *, seed: int = 0) -> Reduction:
    """As :func:`fit_reduction`, for rows that do not fit into memory.

    Passes over the rows: one for ``pca``, one for angle encoding, otherwise none. The last bits of what is fitted
    depend on where the chunks are cut.

    Args:
        spec: Names the method and the room there is.
        dimension: Length of the rows.
        chunks: Gives the rows again at each call, as matrices (any, dimension).
        seed: For ``projection``.

    Raises:
        EmptyDatasetError: A pass is needed and there are no rows.
        InvalidModelError: ``dimension`` does not fit the specification; both sizes are named.
        InvalidVectorError: A chunk is no matrix of finite numbers.
    """
    arrays = {"dimension": np.array([float(dimension)]), **_fitted_arrays(spec, dimension, chunks, seed)}
    shortening = Reduction(spec.reduce, dimension, _width(spec, dimension, arrays), arrays)
    if spec.encoding == "amplitude":
        return shortening
    if shortening.width != spec.qubits:
        raise InvalidModelError(
            f"Angle encoding gives each of {spec.qubits} qubits one feature, but there are {shortening.width} features"
            f" (rows of {dimension} numbers, reduce = {spec.reduce!r})",
            fix=f"Use qubits = {shortening.width}, another reduce, or encoding = 'amplitude'.",
            value=shortening.width,
        )
    low = np.full(shortening.width, np.inf)
    high = -low
    for chunk in chunks():
        features = shortening.apply(chunk)
        if len(features):
            low, high = np.minimum(low, features.min(axis=0)), np.maximum(high, features.max(axis=0))
    if not np.isfinite(low).all():
        raise EmptyDatasetError("There are no rows to fit the angles on", fix="Store training rows first.", value=0)
    arrays |= {"angle_minimum": low, "angle_maximum": high}
    return Reduction(shortening.method, dimension, shortening.width, arrays)


def pool_weights(cells: int, pixels: int) -> NDArray[np.float64]:
    """Shares by which ``pixels`` of one axis are averaged into ``cells``.

    Cell i covers the stretch from i·pixels/cells to (i + 1)·pixels/cells, in units of a pixel; each pixel counts with
    the length of it that lies inside, over the length of the stretch. The lengths are computed in integers, so that
    they are exact before the one division.

    Returns:
        (cells, pixels), not negative, each row summing to one.
    """
    cell, pixel = np.arange(cells)[:, None], np.arange(pixels)[None, :]
    start = np.maximum(cell * pixels, pixel * cells)
    end = np.minimum((cell + 1) * pixels, (pixel + 1) * cells)
    shares: NDArray[np.float64] = np.maximum(end - start, 0) / float(pixels)
    return shares


def _fitted_arrays(spec: ModelSpec, dimension: int, chunks: RowChunks, seed: int) -> dict[str, NDArray[np.float64]]:
    room = min(spec.capacity, dimension)
    match spec.reduce:
        case None if dimension > spec.capacity:
            raise InvalidModelError(
                f"Rows of {dimension} numbers do not fit: {spec.encoding} encoding on {spec.qubits} qubits has room for"
                f" {spec.capacity}",
                fix="Set reduce to 'pool' (square images), 'pca', 'projection' or 'truncate', or use more qubits.",
                value=dimension,
            )
        case "pool":
            side = isqrt(dimension)
            if side * side != dimension:
                raise InvalidModelError(
                    f"Rows of {dimension} numbers are no square image, which reduce = 'pool' needs",
                    fix="Set reduce to 'pca', 'projection' or 'truncate'.",
                    value=dimension,
                )
            return {"pool_weights": pool_weights(isqrt(room), side)}
        case "pca":
            mean, components = _principal_components(chunks, dimension, room)
            return {"pca_mean": mean, "pca_components": components}
        case "projection":
            return {"projection": _random_projection(room, dimension, seed)}
    return {}


def _width(spec: ModelSpec, dimension: int, arrays: Mapping[str, NDArray[np.float64]]) -> int:
    match spec.reduce:
        case "pool":
            return int(arrays["pool_weights"].shape[0]) ** 2
        case "pca":
            return int(arrays["pca_components"].shape[0])
        case "projection":
            return int(arrays["projection"].shape[0])
        case "truncate":
            return min(spec.capacity, dimension)
    return dimension


def _check_shapes(reduction: Reduction, spec: ModelSpec) -> None:
    dimension, width = reduction.dimension, reduction.width
    expected = {
        "pool_weights": (isqrt(width), isqrt(dimension)),
        "pca_mean": (dimension,),
        "pca_components": (width, dimension),
        "projection": (width, dimension),
        "angle_minimum": (width,),
        "angle_maximum": (width,),
        "dimension": (1,),
    }
    for name, array in reduction.arrays.items():
        if array.shape != expected[name] or not np.isfinite(array).all():
            raise InvalidModelError(
                f"The stored array {name!r} has shape {array.shape} instead of {expected[name]}, or is not finite",
                fix="Load the arrays of one checkpoint together with its own specification.",
                value=array.shape,
            )
    if width > spec.capacity or (spec.encoding == "angle" and width != spec.qubits):
        raise InvalidModelError(
            f"The stored reduction gives {width} features, the model has room for {spec.capacity}",
            fix="Load the arrays of one checkpoint together with its own specification.",
            value=width,
        )


def _pooled(rows: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    # Two small products an image, of one shape whatever the number of rows: the same bits for a row in any company.
    cells, pixels = weights.shape
    if cells == pixels:
        return rows
    grid = weights @ rows.reshape(len(rows), pixels, pixels) @ weights.T
    return grid.reshape(len(rows), cells * cells)


def _block_product(rows: NDArray[np.float64], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    # rows @ factors.T for up to BLOCK_ROWS rows. A product may add in another order when its shape changes, so that the
    # rows are always filled up to one shape.
    block = np.zeros((BLOCK_ROWS, rows.shape[1]))
    block[: len(rows)] = rows
    product: NDArray[np.float64] = (block @ factors.T)[: len(rows)]
    return product


def _principal_components(
    chunks: RowChunks, dimension: int, room: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # Eigenvectors of the covariance of the training rows, largest variance first. Moments are taken about the first
    # row: subtracting a point near the data keeps digits that a large mean would cost. Each eigenvector's sign is
    # chosen so that its largest entry in magnitude (the first of equals) is positive.
    count, origin = 0, np.zeros(dimension)
    total, square = np.zeros(dimension), np.zeros((dimension, dimension))
    for chunk in chunks():
        rows = finite_rows(row_matrix(chunk, dimension), first=count)
        if not count and len(rows):
            origin = rows[0].copy()
        shifted = rows - origin
        count += len(rows)
        total += shifted.sum(axis=0)
        square += shifted.T @ shifted
    if not count:
        raise EmptyDatasetError("There are no rows to fit PCA on", fix="Store training rows first.", value=0)
    shift = total / count
    values, vectors = np.linalg.eigh(square / count - np.outer(shift, shift))
    components = vectors.T[::-1]
    # Directions without variance (a pixel that is always 0) carry rounding noise and are left out.
    noise = dimension * np.finfo(np.float64).eps * np.trace(square) / count
    varied = int(np.count_nonzero(values > noise))
    if not varied:
        raise InvalidModelError(
            f"All {count} training rows are equal, so PCA has no direction",
            fix="Store rows that differ, or use another reduce.",
            value=count,
        )
    components = components[: min(room, varied)]
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return origin + shift, np.ascontiguousarray(components * signs[:, None])


def _random_projection(width: int, dimension: int, seed: int) -> NDArray[np.float64]:
    # QR of a Gaussian matrix with the signs of R's diagonal divided out is uniform over orthonormal frames
    # (F. Mezzadri, Notices of the AMS 54, 2007, section 5).
    gaussian = np.random.default_rng(seed).standard_normal((dimension, width))
    orthonormal, triangle = np.linalg.qr(gaussian)
    return np.ascontiguousarray((orthonormal * np.sign(np.diagonal(triangle))).T)
