"""Kernel matrices in blocks, from circuits and of collections, against dense states."""

import tracemalloc

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import (
    InvalidArgumentError,
    InvalidVectorError,
    NotEnoughMemoryError,
    UnknownContextError,
    UnknownIdError,
)
from qstore_db.executor.executor import Executor
from qstore_db.kernels import gram
from qstore_db.kernels.estimated import estimated_cross_gram, estimated_gram, estimated_projected_gram
from qstore_db.kernels.feature_maps import Encoder
from qstore_db.kernels.gram import KernelSettings, fidelity_gram, gram_blocks, projected_gram


@pytest.fixture(scope="module")
def executor():
    with Executor.named("local", "local_noisy") as executor:
        yield executor


def vectors(count, width, seed):
    return np.random.default_rng(seed).normal(size=(count, width))


def squared_cosines(left, right):
    left = left / np.linalg.norm(left, axis=1, keepdims=True)
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    return (left @ right.T) ** 2


@pytest.mark.parametrize("kernel", ["fidelity", "projected"])
@pytest.mark.parametrize("feature_map", ["zz", "angle", "amplitude"])
def test_blocks_make_the_whole_and_hold_little(kernel, feature_map):
    rows, columns = vectors(23, 3, 1), vectors(17, 3, 2)
    settings = KernelSettings(kernel, feature_map, gamma=0.6)
    largest = []

    def read(source):
        def some(start, stop):
            largest.append(stop - start)
            return source[start:stop]

        return some

    bound = 4 * 1024
    blocks = list(gram_blocks(read(rows), 23, read(columns), 17, 3, settings, block_bytes=bound))
    assert len(blocks) > 1
    assert max(largest) * 16 * 2 ** Encoder(feature_map, 3).n_qubits <= bound
    assert [place.start for place, _ in blocks] == list(np.cumsum([0] + [len(block) for _, block in blocks[:-1]]))
    whole = fidelity_gram(rows, columns, feature_map=feature_map)
    if kernel == "projected":
        whole = projected_gram(rows, columns, feature_map=feature_map, gamma=0.6)
    assert np.allclose(np.concatenate([block for _, block in blocks]), whole, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kernel", ["fidelity", "projected"])
def test_no_more_memory_than_allowed_is_taken_beside_the_matrix(kernel):
    rows = vectors(700, 60, 1)
    matrix = np.empty((700, 700))
    settings = KernelSettings(kernel, "amplitude")
    read = lambda start, stop: rows[start:stop]  # noqa: E731
    list(gram_blocks(read, 10, read, 10, 60, settings))  # compiled and cached what there is
    tracemalloc.start()
    try:
        for _ in gram_blocks(read, 700, read, 700, 60, settings, block_bytes=1 << 20, into=matrix):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * (1 << 20)
    if kernel == "fidelity":
        assert np.allclose(matrix, squared_cosines(rows, rows), atol=1e-12)


def test_columns_that_fit_are_prepared_once_and_others_again(monkeypatch):
    rows = vectors(12, 2, 3)
    prepared = []
    original = Encoder.states
    monkeypatch.setattr(Encoder, "states", lambda self, some: prepared.append(len(some)) or original(self, some))
    settings = KernelSettings("fidelity", "angle")
    read = lambda start, stop: rows[start:stop]  # noqa: E731
    # States of 64 bytes: four a block; all twelve columns fit into half of 2 KiB, not into half of 1 KiB.
    list(gram_blocks(read, 12, read, 12, 2, settings, block_bytes=2048))
    assert sum(prepared) == 24
    prepared.clear()
    list(gram_blocks(read, 12, read, 12, 2, settings, block_bytes=1024))
    assert sum(prepared) == 12 + 3 * 12


def test_a_matrix_beyond_the_memory_is_refused_before_it_is_made(monkeypatch):
    asked = []

    def refuse(size):
        asked.append(size)
        raise NotEnoughMemoryError("no room", fix="less")

    monkeypatch.setattr(gram, "require", refuse)
    with pytest.raises(NotEnoughMemoryError):
        fidelity_gram(vectors(5, 2, 0), vectors(7, 2, 0))
    assert asked == [8 * 5 * 7]


def test_matrices_by_circuits_without_shots_are_the_exact_ones(executor):
    rows, columns = vectors(5, 3, 4), vectors(2, 3, 5)
    for feature_map in ("zz", "angle", "amplitude"):
        square = estimated_gram(executor, rows, feature_map=feature_map)
        assert np.allclose(square.matrix, fidelity_gram(rows, feature_map=feature_map), atol=1e-6)
        cross = estimated_cross_gram(executor, rows, columns, feature_map=feature_map)
        assert np.allclose(cross.matrix, fidelity_gram(rows, columns, feature_map=feature_map), atol=1e-6)
        assert not cross.standard_errors.any()
        assert cross.circuits == 10
        found = estimated_projected_gram(executor, rows, columns, gamma=0.7, feature_map=feature_map)
        assert np.allclose(found, projected_gram(rows, columns, gamma=0.7, feature_map=feature_map), atol=1e-6)


def test_shots_scatter_as_said_and_noise_shrinks_projected_kernels(executor):
    rows, columns = vectors(8, 2, 6), vectors(8, 2, 7)
    found = estimated_cross_gram(executor, rows, columns, shots=300, seed=1, feature_map="angle")
    scatter = (found.matrix - fidelity_gram(rows, columns, feature_map="angle")) / found.standard_errors
    assert 32 < np.sum(scatter**2) < 110  # 99.9 % of chi-square with 64 degrees of freedom
    few = estimated_projected_gram(executor, rows, columns, shots=20, seed=1, feature_map="angle")
    exact = projected_gram(rows, columns, feature_map="angle")
    assert -np.log(few).mean() > -np.log(exact).mean()
    many = estimated_projected_gram(executor, rows, columns, shots=50_000, seed=1, feature_map="angle")
    assert np.allclose(many, exact, atol=0.03)
    square = estimated_projected_gram(executor, rows, shots=20, seed=1, feature_map="angle")
    assert np.linalg.eigvalsh(square)[0] > -1e-12
    assert np.array_equal(np.diagonal(square), np.ones(8))


def test_a_machine_fitted_on_estimates_predicts_from_estimates(executor):
    svm = pytest.importorskip("sklearn.svm", reason="scikit-learn is optional")
    rng = np.random.default_rng(8)
    rows = rng.uniform(0, np.pi, (24, 2))
    labels = (rows[:, 0] > np.pi / 2).astype(int)
    square = estimated_gram(executor, rows[:16], shots=2000, seed=1, feature_map="angle")
    cross = estimated_cross_gram(executor, rows[16:], rows[:16], shots=2000, seed=2, feature_map="angle")
    machine = svm.SVC(kernel="precomputed").fit(square.matrix, labels[:16])
    exact = svm.SVC(kernel="precomputed").fit(fidelity_gram(rows[:16], feature_map="angle"), labels[:16])
    expected = exact.predict(fidelity_gram(rows[16:], rows[:16], feature_map="angle"))
    assert (machine.predict(cross.matrix) == expected).mean() > 0.8


@pytest.fixture(scope="module")
def items():
    rows = vectors(30, 5, 9).astype(np.float32)
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=5, metric="cosine")
        items.insert([f"r{n}" for n in range(30)], rows, metadata=[{"part": n % 3} for n in range(30)])
        items.delete("r4")
        items.insert(id="s1", vectors={"a": rows[0] + 1, "b": rows[1]}, contexts=[("a", 0.3), ("b", 0.7)])
        items.insert(id="s2", vectors={"a": rows[2] + 1, "c": rows[3]})
        items.insert(id="s3", vectors={"a": rows[6] + 1})
        yield items, rows.astype(np.float64)


def test_the_matrix_of_a_collection(items):
    items, rows = items
    found = items.search.gram(where="part = 1")
    chosen = [n for n in range(30) if n % 3 == 1 and n != 4]
    assert found.ids == found.column_ids == [f"r{n}" for n in chosen]
    assert np.allclose(found.matrix, squared_cosines(rows[chosen], rows[chosen]), atol=1e-12)
    assert found.estimate is None
    cross = items.search.gram(["r7", "r2"], ["r3", "r2", "r0"], kernel="projected", feature_map="zz", gamma=0.4)
    assert np.allclose(
        cross.matrix, projected_gram(rows[[7, 2]], rows[[3, 2, 0]], gamma=0.4, feature_map="zz"), atol=1e-12
    )
    assert (cross.ids, cross.column_ids) == (["r7", "r2"], ["r3", "r2", "r0"])
    assert len(items.search.gram().ids) == 32
    assert items.search.gram(where="part = 9").matrix.shape == (0, 0)


def test_states_take_part_by_their_branch_or_their_expected_vector(items):
    items, rows = items
    found = items.search.gram(context="a")
    assert found.ids == ["s1", "s2", "s3"]
    branches = np.array([(rows[n] + 1).astype(np.float32) for n in (0, 2, 6)], np.float64)
    assert np.allclose(found.matrix, squared_cosines(branches, branches), atol=1e-6)
    unit = [row / np.linalg.norm(row) for row in (branches[0], rows[1])]
    expected = 0.3 * unit[0] + 0.7 * unit[1]
    whole = items.search.gram(["s1"], ["r5"])
    assert whole.matrix[0, 0] == pytest.approx(squared_cosines(expected[None], rows[[5]])[0, 0], abs=1e-6)


def test_blocks_of_a_collection(items):
    items, _ = items
    whole = items.search.gram(where="part < 2")
    blocks = list(items.search.gram_blocks(where="part < 2", block_bytes=4096))
    assert len(blocks) > 1
    assert [name for block in blocks for name in block.ids] == whole.ids
    assert np.allclose(np.concatenate([block.matrix for block in blocks]), whole.matrix, atol=1e-13)


def test_measured_matrices_of_a_collection_say_how_they_were_mended(items):
    items, rows = items
    ids = ["r0", "r1", "r2", "r3", "r5"]
    found = items.search.gram(ids, backend="local", shots=60, seed=3)
    assert found.estimate.circuits == 10
    assert np.linalg.eigvalsh(found.matrix)[0] > -1e-9
    cross = items.search.gram(ids[:2], ids[2:], backend="local")
    assert np.allclose(cross.matrix, squared_cosines(rows[:2], rows[[2, 3, 5]]), atol=1e-6)
    exact = items.search.gram(ids, kernel="projected", feature_map="angle", gamma=0.3)
    by_circuits = items.search.gram(ids, kernel="projected", feature_map="angle", gamma=0.3, backend="local")
    assert np.allclose(by_circuits.matrix, exact.matrix, atol=1e-6)
    shots = items.search.gram(ids, kernel="projected", feature_map="angle", gamma=0.3, backend="local", shots=20)
    assert 0.001 < np.abs(shots.matrix - exact.matrix).max() < 0.5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"ids": ["nobody"]}, UnknownIdError),
        ({"ids": ["r0"], "context": "a"}, UnknownIdError),
        ({"context": "z"}, UnknownContextError),
        ({"ids": ["r0"], "where": "part = 1"}, InvalidArgumentError),
        ({"shots": 10}, InvalidArgumentError),
        ({"kernel": "other"}, InvalidArgumentError),
        ({"kernel": "projected", "gamma": 0.0}, InvalidArgumentError),
        ({"feature_map": "none"}, InvalidArgumentError),
    ],
)
def test_what_makes_no_sense_is_refused(items, arguments, error):
    with pytest.raises(error):
        items[0].search.gram(**arguments)


def test_long_vectors_need_amplitudes():
    with QuantumDatabase.open(":memory:") as db:
        wide = db.create_collection("wide", dimension=30, metric="l2")
        wide.insert(["a", "b"], vectors(2, 30, 0))
        with pytest.raises(InvalidVectorError, match="use amplitude"):
            wide.search.gram(feature_map="zz")
        assert wide.search.gram().matrix.shape == (2, 2)
