"""Reductions against direct formulas, independence of rows, storage, and every refusal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import DimensionMismatchError, EmptyDatasetError, InvalidModelError, InvalidVectorError
from qstore_db.models.reduction import BLOCK_ROWS, Reduction, fit_reduction, fit_reduction_on_chunks, pool_weights
from qstore_db.models.specification import ModelSpec

METHODS = [None, "pool", "pca", "projection", "truncate"]


def spec_of(qubits, reduce=None, encoding="amplitude"):
    return ModelSpec(qubits=qubits, classes=2, reduce=reduce, encoding=encoding)


def rows_of(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension)) + 1.0


def area_average(image, cells):
    """Mean over each cell of a finer image in which pixels and cells both have whole sizes."""
    side = len(image)
    fine = np.kron(image, np.ones((cells, cells)))
    return fine.reshape(cells, side, cells, side).mean(axis=(1, 3))


def test_without_a_method_rows_stay_as_they_are():
    rows = rows_of(5, 6)
    reduction = fit_reduction(spec_of(3), rows)
    assert (reduction.dimension, reduction.width) == (6, 6)
    assert reduction.apply(rows).tobytes() == rows.tobytes()


def test_truncate_keeps_the_first_features():
    rows = rows_of(5, 11)
    reduction = fit_reduction(spec_of(3, "truncate"), rows)
    assert reduction.apply(rows).tolist() == rows[:, :8].tolist()


@pytest.mark.parametrize(
    ("side", "qubits", "cells"), [(28, 8, 16), (8, 4, 4), (8, 6, 8), (5, 3, 2), (7, 5, 5), (4, 8, 4), (9, 7, 9)]
)
def test_pool_averages_exact_areas(side, qubits, cells):
    rows = rows_of(4, side * side, seed=side)
    reduction = fit_reduction(spec_of(qubits, "pool"), rows)
    assert reduction.width == cells * cells
    direct = np.stack([area_average(row.reshape(side, side), cells).ravel() for row in rows])
    np.testing.assert_allclose(reduction.apply(rows), direct, rtol=0, atol=1e-13)
    np.testing.assert_allclose(reduction.apply(rows).mean(axis=1), rows.mean(axis=1), atol=1e-13)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(cells=st.integers(1, 40), extra=st.integers(0, 60))
def test_pool_weights_share_every_pixel_once(cells, extra):
    pixels = cells + extra
    weights = pool_weights(cells, pixels)
    assert weights.shape == (cells, pixels)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(weights.sum(axis=0), cells / pixels, atol=1e-14)


def test_pca_agrees_with_the_singular_value_decomposition():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(200, 12)) * np.geomspace(10, 0.1, 12) + 50.0
    reduction = fit_reduction(spec_of(3, "pca"), rows)
    mean = rows.mean(axis=0)
    _, _, axes = np.linalg.svd(rows - mean, full_matrices=False)
    axes = axes[:8]
    axes *= np.sign(axes[np.arange(8), np.abs(axes).argmax(axis=1)])[:, None]
    np.testing.assert_allclose(reduction.arrays["pca_mean"], mean, rtol=1e-13)
    np.testing.assert_allclose(reduction.arrays["pca_components"], axes, atol=1e-7)
    np.testing.assert_allclose(reduction.apply(rows), (rows - mean) @ axes.T, atol=1e-5)
    assert np.all(np.diff(reduction.apply(rows).var(axis=0)) < 0)


def test_pca_leaves_out_directions_without_variance():
    rows = rows_of(40, 3) @ np.random.default_rng(1).normal(size=(3, 10))
    rows[:, 4] = 7.0
    reduction = fit_reduction(spec_of(3, "pca"), rows)
    assert reduction.width == 3
    centred = rows - rows.mean(axis=0)
    np.testing.assert_allclose((reduction.apply(rows) ** 2).sum(), (centred**2).sum(), rtol=1e-10)


def test_pca_does_not_see_rows_that_come_later():
    train, later = rows_of(50, 10), rows_of(50, 10, seed=9) * 100
    reduction = fit_reduction(spec_of(2, "pca"), train)
    before = {name: array.tobytes() for name, array in reduction.arrays.items()}
    reduction.apply(later)
    assert before == {name: array.tobytes() for name, array in reduction.arrays.items()}


def test_projection_is_orthonormal_seeded_and_independent_of_the_rows():
    first = fit_reduction(spec_of(3, "projection"), rows_of(5, 30), seed=4)
    again = fit_reduction(spec_of(3, "projection"), rows_of(7, 30, seed=1), seed=4)
    other = fit_reduction(spec_of(3, "projection"), rows_of(5, 30), seed=5)
    matrix = first.arrays["projection"]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(8), atol=1e-14)
    assert matrix.tobytes() == again.arrays["projection"].tobytes()
    assert np.abs(matrix - other.arrays["projection"]).max() > 0.1
    rows = rows_of(6, 30)
    np.testing.assert_allclose(first.apply(rows), rows @ matrix.T, atol=1e-13)


def test_projection_is_not_biased_in_sign():
    corners = [
        fit_reduction(spec_of(1, "projection"), np.ones((1, 3)), seed=s).arrays["projection"][0, 0] for s in range(200)
    ]
    assert 70 < sum(corner > 0 for corner in corners) < 130


@pytest.mark.parametrize(("reduce", "dimension"), [(None, 3), ("pca", 20), ("projection", 20), ("truncate", 20)])
def test_angles_span_the_training_range(reduce, dimension):
    rows = rows_of(30, dimension)
    reduction = fit_reduction(spec_of(3, reduce, "angle"), rows)
    angles = reduction.apply(rows)
    assert angles.shape == (30, 3)
    np.testing.assert_allclose(angles.min(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(angles.max(axis=0), np.pi, atol=1e-12)
    if reduce is None:
        low, high = rows.min(axis=0), rows.max(axis=0)
        np.testing.assert_allclose(angles, np.pi * (rows - low) / (high - low), atol=1e-13)
        outside = reduction.apply(np.stack([low - 5, high + 5, (low + high) / 2]))
        np.testing.assert_allclose(outside, np.pi * np.outer([0, 1, 0.5], np.ones(3)), atol=1e-12)


def test_a_constant_feature_becomes_angle_zero():
    rows = rows_of(10, 2)
    rows[:, 1] = 4.0
    reduction = fit_reduction(spec_of(2, None, "angle"), rows)
    assert reduction.apply([[1.0, 4.0], [1.0, 9.0]])[:, 1].tolist() == [0.0, 0.0]


def test_pool_for_angles_needs_as_many_cells_as_qubits():
    reduction = fit_reduction(spec_of(4, "pool", "angle"), rows_of(6, 36))
    assert reduction.width == 4
    with pytest.raises(InvalidModelError, match=r"5 qubits.*4 features"):
        fit_reduction(spec_of(5, "pool", "angle"), rows_of(6, 36))


@pytest.mark.parametrize("encoding", ["amplitude", "angle"])
@pytest.mark.parametrize("reduce", METHODS)
def test_a_row_has_the_same_bits_in_any_company(reduce, encoding):
    dimension = 4 if reduce is None else 49
    reduction = fit_reduction(spec_of(4, reduce, encoding), rows_of(60, dimension))
    rows = rows_of(3 * BLOCK_ROWS + 17, dimension, seed=3)
    whole = reduction.apply(rows)
    alone = np.concatenate([reduction.apply(rows[i : i + 1]) for i in range(len(rows))])
    order = np.random.default_rng(0).permutation(len(rows))
    assert alone.tobytes() == whole.tobytes()
    assert reduction.apply(rows[order]).tobytes() == whole[order].tobytes()
    assert reduction.apply(np.asfortranarray(rows)).tobytes() == whole.tobytes()


@pytest.mark.parametrize("encoding", ["amplitude", "angle"])
@pytest.mark.parametrize("reduce", METHODS)
def test_stored_arrays_give_the_same_reduction(reduce, encoding):
    spec = spec_of(4, reduce, encoding)
    rows = rows_of(40, 4 if reduce is None else 36)
    reduction = fit_reduction(spec, rows, seed=3)
    stored = {name: np.array(array, order="C") for name, array in reduction.arrays.items()}
    restored = Reduction.from_arrays(spec, {**stored, "of_someone_else": np.zeros(3)})
    assert (restored.method, restored.dimension, restored.width) == (reduce, reduction.dimension, reduction.width)
    assert set(restored.arrays) == set(stored)
    assert restored.apply(rows).tobytes() == reduction.apply(rows).tobytes()


@pytest.mark.parametrize("encoding", ["amplitude", "angle"])
@pytest.mark.parametrize("reduce", METHODS)
def test_chunks_give_what_the_whole_gives(reduce, encoding):
    spec = spec_of(4, reduce, encoding)
    rows = rows_of(50, 4 if reduce is None else 36)
    whole = fit_reduction(spec, rows)
    parts = fit_reduction_on_chunks(spec, rows.shape[1], lambda: (rows[i : i + 7] for i in range(0, 50, 7)))
    for name, array in whole.arrays.items():
        np.testing.assert_allclose(parts.arrays[name], array, atol=1e-9)


@pytest.mark.parametrize("name", ["dimension", "pca_mean", "pca_components", "angle_minimum", "angle_maximum"])
def test_damaged_arrays_are_refused(name):
    spec = spec_of(2, "pca", "angle")
    arrays = dict(fit_reduction(spec, rows_of(30, 5)).arrays)
    with pytest.raises(InvalidModelError, match=f"lacks the array '{name}'"):
        Reduction.from_arrays(spec, {key: value for key, value in arrays.items() if key != name})
    with pytest.raises(InvalidModelError, match="shape"):
        Reduction.from_arrays(spec, {**arrays, name: np.concatenate([arrays[name], arrays[name]])})
    if name != "dimension":
        with pytest.raises(InvalidModelError, match="finite"):
            Reduction.from_arrays(spec, {**arrays, name: arrays[name] * np.nan})


def test_arrays_of_another_width_are_refused():
    arrays = fit_reduction(spec_of(3, "pca"), rows_of(30, 9)).arrays
    with pytest.raises(InvalidModelError, match="gives 8 features, the model has room for 4"):
        Reduction.from_arrays(spec_of(2, "pca"), arrays)


@pytest.mark.parametrize(
    ("spec", "dimension", "message"),
    [
        (spec_of(8), 784, "784 numbers do not fit.*8 qubits has room for 256.*'pool'"),
        (spec_of(3, None, "angle"), 4, "4 numbers do not fit.*has room for 3"),
        (spec_of(3, None, "angle"), 2, "3 qubits one feature, but there are 2"),
        (spec_of(3, "pool"), 10, "10 numbers are no square image"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_both_sizes(spec, dimension, message):
    with pytest.raises(InvalidModelError, match=message):
        fit_reduction(spec, rows_of(20, dimension))


def test_pca_of_equal_rows_is_refused():
    with pytest.raises(InvalidModelError, match="All 5 training rows are equal"):
        fit_reduction(spec_of(2, "pca"), np.ones((5, 6)))


def test_pca_with_too_few_directions_for_the_angles_is_refused():
    with pytest.raises(InvalidModelError, match="3 qubits one feature, but there are 2"):
        fit_reduction(spec_of(3, "pca", "angle"), rows_of(3, 9))


@pytest.mark.parametrize("spec", [spec_of(2), spec_of(2, "pca"), spec_of(4, None, "angle")])
def test_no_rows_are_refused(spec):
    with pytest.raises(EmptyDatasetError):
        fit_reduction(spec, np.zeros((0, 4)))


@pytest.mark.parametrize("spec", [spec_of(2, "pca"), spec_of(4, None, "angle")])
def test_no_chunks_are_refused_where_a_pass_is_needed(spec):
    with pytest.raises(EmptyDatasetError):
        fit_reduction_on_chunks(spec, 4, lambda: iter(()))


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([[1.0, np.nan, 0.0, 0.0]], InvalidVectorError, "Row 0 holds nan at position 1"),
        ([[1.0] * 4, [0.0, 0.0, 0.0, -np.inf]], InvalidVectorError, "Row 1 holds -inf at position 3"),
        ([1.0, 2.0, 3.0, 4.0], InvalidVectorError, r"shape \(4,\)"),
        ([["a", "b", "c", "d"]], InvalidVectorError, "not a matrix of numbers"),
        ([[1.0], [1.0, 2.0]], InvalidVectorError, "not a matrix of numbers"),
        ([[1.0, None, 0.0, 0.0]], InvalidVectorError, "type object"),
        ([[1j, 0.0, 0.0, 0.0]], InvalidVectorError, "type complex128"),
        (
            np.where(np.arange(400).reshape(100, 4) == 299, np.inf, 1),
            InvalidVectorError,
            "Row 74 holds inf at position 3",
        ),
        ([[1.0, 2.0, 3.0]], DimensionMismatchError, "3 features, but the model was trained on 4"),
        (np.zeros((3, 0)), InvalidVectorError, r"shape \(3, 0\)"),
    ],
)
def test_rows_that_are_no_finite_matrix_are_refused(rows, error, message):
    reduction = fit_reduction(spec_of(2), np.ones((1, 4)))
    with pytest.raises(error, match=message):
        reduction.apply(rows)


def test_no_rows_reduce_to_no_features():
    for reduce in METHODS:
        dimension = 4 if reduce is None else 36
        assert fit_reduction(spec_of(4, reduce), rows_of(40, dimension)).apply(np.zeros((0, dimension))).shape[0] == 0
