"""Codes: what they stand for, what the kernel makes of them, and when they are not used."""

from __future__ import annotations

import numpy as np
import pytest

from storage_engine.index import code_kernel
from storage_engine.index.codes import MAX_DIMENSION, MIN_DIMENSION, Codes, encode, stride_of, terms_at
from storage_engine.vectors.simd import compiled

DIMENSIONS = [32, 33, 55, 56, 57, 63, 64, 100, 128, 783, 1536, 4096]


def made(d, n=60, seed=3):
    g = np.random.default_rng(seed)
    x = (g.normal(size=(n, d)) * g.uniform(0.5, 2, d)).astype(np.float32)
    return x, g.normal(size=d).astype(np.float32)


@compiled
def values_by_kernel(codes, stride, terms, low, step, query, rounded, euclidean, out):
    code_kernel.round_query(
        query.ctypes.data, low.ctypes.data, step.ctypes.data, query.size, euclidean, rounded.ctypes.data + 64
    )
    for row in range(out.size):
        out[row] = code_kernel.code_value(codes + row * stride, stride, terms, rounded.ctypes.data + 64)


@pytest.mark.parametrize("euclidean", [True, False])
@pytest.mark.parametrize("d", DIMENSIONS)
def test_the_kernel_computes_what_the_codes_stand_for(d, euclidean):
    x, query = made(d)
    codes = encode(x, None, euclidean, 0)
    assert codes is not None
    rounded = np.zeros(32 + codes.rows.shape[1], np.int16)
    out = np.empty(len(x), np.float32)
    values_by_kernel(
        codes.rows.ctypes.data,
        codes.rows.shape[1],
        terms_at(d),
        codes.low,
        codes.step,
        query,
        rounded,
        euclidean,
        out,
    )
    integers, step = codes.rows[:, :d].astype(float), codes.step.astype(float)
    read_back = codes.low + integers * step
    weight = step * (query - codes.low if euclidean else query)
    unit = np.abs(weight).max() / min(32_767, (2**31 - 1) // (255 * d))
    if euclidean:
        true = ((read_back - query) ** 2).sum(1) - ((codes.low.astype(float) - query) ** 2).sum()
    else:
        true = -read_back @ query.astype(float) + codes.low.astype(float) @ query
    rounding = (1 + euclidean) * unit * 0.51 * integers.sum(1)
    assert (np.abs(out - true) <= rounding + 1e-4 * (1 + np.abs(integers * weight).sum(1))).all()


@pytest.mark.parametrize("d", [32, 37, 64, 130])
def test_the_lost_distance_is_kept_with_the_row(d):
    x, _ = made(d)
    codes = encode(x, None, True, 0)
    read_back = codes.low + codes.rows[:, :d] * codes.step
    exact = codes.low.astype(float) + codes.rows[:, :d].astype(float) * codes.step
    lost = np.linalg.norm(x - exact, axis=1)
    assert (codes.lost >= lost).all()  # never too little
    assert np.allclose(codes.lost, lost, rtol=3e-7)
    assert (np.abs(x - read_back) <= 0.501 * codes.step + 1e-5).all()
    assert codes.rows.shape == (60, stride_of(d))
    assert codes.rows.shape[1] % 64 == 0


def test_bytes_lose_nothing():
    x = np.random.default_rng(0).integers(0, 256, size=(500, 40)).astype(np.float32)
    x[0, 0], x[0, 1] = 0, 255
    codes = encode(x, None, True, 0)
    assert (codes.rows[:, :40] == x).all()
    assert (codes.lost == 0).all()


def test_norms_are_divided_out():
    x, _ = made(40)
    norms = np.linalg.norm(x, axis=1).astype(np.float32)
    direct = encode((x / norms[:, None]).astype(np.float32), None, False, 0)
    ours = encode(x, norms, False, 0)
    assert np.array_equal(ours.rows[:, :40], direct.rows[:, :40])
    assert np.allclose(ours.lost, direct.lost, rtol=1e-4)  # of the exact quotient, not of the rounded one


def test_one_wild_dimension_gets_a_step_of_its_own():
    x, _ = made(40, 3000)
    x[:, 7] *= 1e-3
    x[:, 9] = np.where(np.arange(3000) == 5, 1e4, x[:, 9])
    codes = encode(x, None, False, 0)
    assert codes is None or len(set(codes.step.tolist())) > 1


def test_codes_that_would_lose_neighbours_are_not_used():
    g = np.random.default_rng(1)
    x = g.normal(size=(4000, 33)).astype(np.float32)
    x[::500] *= 1e6  # a few far rows stretch every step until the others fall together
    assert encode(x, None, True, 0) is None


@pytest.mark.parametrize("scale", [1e-35, 1e-38, 1e18, 3e37])
def test_numbers_outside_the_steps_are_left_alone(scale):
    x, _ = made(32)
    assert encode((x * scale).astype(np.float32), None, True, 0) is None


def test_many_equal_rows_and_one_row_have_codes():
    assert encode(np.ones((100, 50), np.float32), None, True, 0) is not None
    assert encode(np.ones((1, 50), np.float32), None, False, 0) is not None
    assert encode(np.ones((2, MAX_DIMENSION + 1), np.float32), None, True, 0) is None
    assert encode(np.ones((2, MIN_DIMENSION - 1), np.float32), None, True, 0) is None


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="for 5 dimensions"):
        Codes(np.zeros(5, np.float32), np.ones(5, np.float32), np.zeros((3, 128), np.uint8))
    with pytest.raises(ValueError, match="for 5 dimensions"):
        Codes(np.zeros(5, np.float32), np.ones(4, np.float32), np.zeros((3, 64), np.uint8))
