"""Histograms and Bloch vectors against dense states, and what is drawn of them."""

import builtins

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db import QuantumDatabase
from qstore_db.backends.result import Counts
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.errors import InvalidArgumentError, InvalidVectorError, MissingDependencyError
from qstore_db.pictures.bloch import circuit_bloch, context_bloch, state_bloch
from qstore_db.pictures.histogram import circuit_histogram, context_histogram, counts_histogram
from qstore_db.simulation.state_vector import states

PAULI = {
    "x": np.array([[0, 1], [1, 0]]),
    "y": np.array([[0, -1j], [1j, 0]]),
    "z": np.array([[1, 0], [0, -1]]),
}


def random_state(rng, n):
    psi = rng.normal(size=1 << n) + 1j * rng.normal(size=1 << n)
    return psi / np.linalg.norm(psi)


def expectation(rho, letter, qubit, n):
    operator = np.eye(1)
    for place in range(n):
        operator = np.kron(operator, PAULI[letter] if place == qubit else np.eye(2))
    return np.real(np.trace(operator @ rho))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 4), mixed=st.booleans())
def test_bloch_vectors_are_expectations_of_dense_paulis(seed, n, mixed):
    rng = np.random.default_rng(seed)
    psi = random_state(rng, n)
    rho = np.outer(psi, psi.conj())
    if mixed:
        other = random_state(rng, n)
        rho = 0.3 * rho + 0.7 * np.outer(other, other.conj())
    found = state_bloch(rho if mixed else psi)
    expected = [[expectation(rho, letter, qubit, n) for letter in "xyz"] for qubit in range(n)]
    assert np.allclose(found.vectors, expected, atol=1e-12)
    assert found.labels == tuple(f"qubit {qubit}" for qubit in range(n))


def test_a_circuits_spheres_are_those_of_its_state(random_circuit):
    circuit = random_circuit(5, 3, 20)
    assert np.allclose(circuit_bloch(circuit).vectors, state_bloch(states(circuit)[0]).vectors, atol=1e-12)
    with pytest.raises(InvalidArgumentError, match="up to 12"):
        circuit_bloch(Circuit(13))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 5), weight=st.floats(0, 1))
def test_the_context_register_is_the_dense_state_with_its_vectors_traced_out(seed, k, weight):
    rng = np.random.default_rng(seed)
    names = [f"c{n}" for n in range(k)]
    shares = rng.dirichlet(np.ones(k))
    vectors = {name: rng.normal(size=3) for name in names}
    n = max(1, (k - 1).bit_length())
    psi = np.zeros((1 << n, 3))
    for place, name in enumerate(names):
        psi[place] = np.sqrt(shares[place]) * vectors[name] / np.linalg.norm(vectors[name])
    rho = weight * psi @ psi.T + (1 - weight) * np.diag(np.sum(psi**2, axis=1))
    found = context_bloch(dict(zip(names, shares, strict=True)), vectors, coherent_weight=weight)
    expected = [[expectation(rho, letter, qubit, n) for letter in "xyz"] for qubit in range(n)]
    assert np.allclose(found.vectors, expected, atol=1e-12)


def test_a_stored_record_can_be_drawn():
    with QuantumDatabase.open(":memory:") as db:
        db.insert(id="s", vectors={"up": [1.0, 0.0], "down": [0.6, 0.8]}, contexts=[("up", 0.7), ("down", 0.3)])
        record = db.get("s")
        sphere = context_bloch(record.probabilities, record.vectors)
        assert sphere.labels == ("up ↑  down ↓",)
        assert np.allclose(sphere.vectors[0], [2 * np.sqrt(0.21) * 0.6, 0.0, 0.4], atol=1e-6)
        assert context_histogram(record.probabilities).text(width=40).splitlines() == [
            "  up ██████████████████████████  70.00 %",
            "down ███████████▏                30.00 %",
        ]


def test_the_text_of_a_sphere_shows_where_its_vector_is():
    plus = circuit_bloch(Circuit(2, [Operation("H", (0,)), Operation("X", (1,))])).text().splitlines()
    assert plus == [
        "qubit 0: |r| = 1.000, pure",
        "  x +1.000  −1 ├──────────┼─────────●┤ +1",
        "  y +0.000  −1 ├──────────●──────────┤ +1",
        "  z +0.000  −1 ├──────────●──────────┤ +1",
        "qubit 1: |r| = 1.000, pure",
        "  x +0.000  −1 ├──────────●──────────┤ +1",
        "  y +0.000  −1 ├──────────●──────────┤ +1",
        "  z -1.000  −1 ├●─────────┼──────────┤ +1",
    ]
    half = state_bloch(np.eye(2) / 2).text().splitlines()[0]
    assert half == "qubit 0: |r| = 0.000"


def test_chances_of_a_circuit_are_named_as_far_as_asked():
    circuit = Circuit(2, [Operation("RY", (0,), (1.1,)), Operation("RY", (1,), (0.4,))])
    exact = np.abs(states(circuit)[0]) ** 2
    whole = circuit_histogram(circuit)
    assert whole.labels == ("00", "01", "10", "11")
    assert whole.shares == pytest.approx(exact)
    assert (whole.errors, whole.rest) == ((), None)
    two = circuit_histogram(circuit, most=2)
    assert two.labels == ("00", "10")
    assert two.rest == pytest.approx(exact[1] + exact[3])
    assert "other" in two.text()
    assert circuit_histogram(Circuit(2, [Operation("X", (1,))])).labels == ("01",)


def test_counts_come_with_their_errors():
    counts = Counts(3, np.array([1, 6]), np.array([25, 75]))
    found = counts_histogram(counts)
    assert found.labels == ("001", "110")
    assert found.shares == (0.25, 0.75)
    assert found.errors == pytest.approx([np.sqrt(0.25 * 0.75 / 100)] * 2)
    assert found.text().splitlines()[0].endswith("25.00 % ± 4.33")
    assert counts_histogram(counts, most=1).rest == pytest.approx(0.25)


def test_lines_are_no_longer_than_asked():
    shares = {"x" * 100: 0.5, "short": 0.25, "y": 0.25}
    for width in (30, 51, 120):
        lines = context_histogram(shares).text(width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert "…" in lines[0]


def test_figures_show_the_numbers(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is optional")
    counts = counts_histogram(Counts(1, np.array([0, 1]), np.array([30, 70])))
    (axes,) = counts.figure().axes
    assert [bar.get_width() for bar in axes.patches] == [0.3, 0.7]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1"]
    sphere = state_bloch([1.0, 0.0])
    (ball,) = sphere.figure().axes
    assert ball.get_title() == "qubit 0"
    assert np.allclose(np.ravel(list(ball.collections[-1]._offsets3d)), [0, 0, 1])
    for picture, name in ((counts, "h.png"), (sphere, "b.svg")):
        assert picture.save(tmp_path / name).stat().st_size > 1000


def test_without_matplotlib_the_text_is_left(monkeypatch):
    load = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    found = context_histogram({"a": 1.0})
    with pytest.raises(MissingDependencyError, match=r"qstore-db\[demo\]"):
        found.figure()
    with pytest.raises(MissingDependencyError):
        state_bloch([1.0, 0.0]).figure()
    assert "100.00 %" in found.text()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: state_bloch([1.0, 1.0]), InvalidVectorError),
        (lambda: state_bloch([1.0, 0.0, 0.0]), InvalidVectorError),
        (lambda: state_bloch([1.0]), InvalidVectorError),
        (lambda: state_bloch([np.nan, 1.0]), InvalidVectorError),
        (lambda: state_bloch(np.eye(2)), InvalidVectorError),
        (lambda: context_bloch({}, {}), InvalidArgumentError),
        (lambda: context_bloch({"a": 1.0}, {"b": [1.0]}), InvalidArgumentError),
        (lambda: context_bloch({"a": 1.0}, {"a": [1.0]}, coherent_weight=1.5), InvalidArgumentError),
        (lambda: context_histogram({}), InvalidArgumentError),
        (lambda: circuit_histogram(Circuit(1), most=0), InvalidArgumentError),
        (lambda: context_histogram({"a": 1.0}).text(width=29), InvalidArgumentError),
    ],
)
def test_what_makes_no_sense_is_refused(call, error):
    with pytest.raises(error):
        call()
