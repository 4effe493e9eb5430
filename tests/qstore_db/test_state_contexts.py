"""Lenient input of states is parsed once, into probabilities and branches (pure, no database)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import DimensionMismatchError, InvalidStateError, InvalidVectorError
from qstore_db.states.contexts import normalise, parse_superposed_context
from qstore_db.states.superposition import expected_vector, parse_superposition

V = [3.0, 4.0, 0.0]
W = [0.0, 0.0, 2.0]


def described(state):
    return dict(zip(state.contexts, state.probabilities, strict=True))


@pytest.mark.parametrize(
    "arguments",
    [
        {"contexts": [("technical", 0.6), ("general", 0.4)]},
        {"contexts": [["technical", 6], ["general", 4]]},
        {"contexts": {"technical": 0.3, "general": 0.2}},
        {"contexts": ["technical", "general"], "weights": [0.6, 0.4]},
        {"contexts": ("technical", "general"), "weights": np.array([1.2, 0.8])},
        {"contexts": [("technical", 0.6), ("general", 0.4), ("legal", 0.0)]},
        {"contexts": [("technical", 0.4), ("general", 0.4), ("technical", 0.2)]},
    ],
)
def test_spellings_of_the_same_weights(arguments):
    state = parse_superposition(vector=V, **arguments)
    assert state.contexts == ("technical", "general")
    assert state.probabilities == pytest.approx((0.6, 0.4), abs=1e-15)
    assert state.shared
    assert state.vectors.dtype == np.float32
    assert state.coherence_time == math.inf


def test_weights_that_sum_to_one_are_kept_bit_for_bit():
    assert parse_superposition(vector=V, contexts=[("a", 0.6), ("b", 0.4)]).probabilities == (0.6, 0.4)


def test_bare_names_weigh_equally():
    assert described(parse_superposition(vector=V, contexts=["a", "b", "c"])) == pytest.approx(
        {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    )
    assert described(parse_superposition(vector=V, contexts="technical")) == {"technical": 1.0}
    assert described(parse_superposition(vectors={"a": V, "b": W})) == {"a": 0.5, "b": 0.5}


def test_one_vector_per_context_keeps_bits_and_norms():
    given_vectors = {"a": np.array(V, np.float32), "b": np.array(W, np.float32)}
    state = parse_superposition(vectors=given_vectors, contexts=[("b", 1), ("a", 3)])
    assert state.contexts == ("b", "a")
    assert state.vectors.tobytes() == np.stack([given_vectors["b"], given_vectors["a"]]).tobytes()
    assert state.norms == pytest.approx([2.0, 5.0])
    assert not state.shared


def test_vectors_parallel_to_contexts_and_repeated_labels():
    state = parse_superposition(vectors=[V, W, V], contexts=["a", "b", "a"], weights=[1, 2, 1])
    assert described(state) == {"a": 0.5, "b": 0.5}
    with pytest.raises(InvalidStateError, match="twice with different vectors"):
        parse_superposition(vectors=[V, W], contexts=["a", "a"])
    assert described(parse_superposition(vectors=[V, W], contexts=[("a", 1), ("a", 0)])) == {"a": 1.0}


@pytest.mark.parametrize(
    "arguments",
    [
        {"vector": V, "contexts": [("a", -0.1), ("b", 1.0)]},
        {"vector": V, "contexts": [("a", 0.0), ("b", 0.0)]},
        {"vector": V, "contexts": [("a", math.nan)]},
        {"vector": V, "contexts": [("a", math.inf)]},
        {"vector": V, "contexts": [("a", "0.5")]},
        {"vector": V, "contexts": [("a", True)]},
        {"vector": V, "contexts": [("a", 0.5), "b"]},
        {"vector": V, "contexts": [("a", 0.5, 0.5)]},
        {"vector": V, "contexts": []},
        {"vector": V, "contexts": 7},
        {"vector": V, "contexts": b"ab"},
        {"vector": V, "contexts": [""]},
        {"vector": V, "contexts": [3]},
        {"vector": V, "contexts": ["ä" * 65]},
        {"vector": V, "contexts": ["\ud800"]},
        {"vector": V, "contexts": ["a", "b"], "weights": [1.0]},
        {"vector": V, "contexts": [("a", 1.0)], "weights": [1.0]},
        {"vector": V},
        {"contexts": ["a"]},
        {"vector": V, "vectors": {"a": V}, "contexts": ["a"]},
        {"vectors": {"a": V}, "contexts": ["a", "b"]},
        {"vectors": {"a": V, "b": W}, "contexts": ["a"]},
        {"vectors": [V, W], "contexts": ["a"]},
        {"vector": V, "contexts": ["a"], "coherence_time": 0.0},
        {"vector": V, "contexts": ["a"], "coherence_time": -1.0},
        {"vector": V, "contexts": ["a"], "coherence_time": math.nan},
        {"vector": V, "contexts": ["a"], "coherence_time": "1h"},
    ],
)
def test_what_is_no_state_is_refused(arguments):
    with pytest.raises(InvalidStateError):
        parse_superposition(**arguments)


@pytest.mark.parametrize(
    "vector", [[0.0, 0.0], [math.nan, 1.0], [1e39, 0.0], [[1.0]], [], ["x"], [1j, 0], 3.0, [3e38] * 4]
)
def test_what_is_no_branch_vector_is_refused(vector):
    with pytest.raises(InvalidVectorError):
        parse_superposition(vector=vector, contexts=["a"])


def test_branch_vectors_of_two_lengths_are_refused():
    with pytest.raises(DimensionMismatchError):
        parse_superposition(vectors={"a": [1.0], "b": [1.0, 2.0]})


def test_context_of_128_bytes_and_infinite_coherence_time_are_allowed():
    state = parse_superposition(vector=V, contexts=["ä" * 64], coherence_time=math.inf)
    assert state.coherence_time == math.inf


weights = st.lists(
    st.one_of(st.just(0.0), st.floats(0, 1.7e308, allow_nan=False), st.floats(1e-3, 1e3)), min_size=1, max_size=12
).filter(any)


@given(weights)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_any_weights_become_probabilities(raw):
    probabilities = normalise(raw)
    assert math.fsum(probabilities) == pytest.approx(1.0, abs=1e-12)
    assert all(0 <= p <= 1 for p in probabilities)
    assert np.argsort(raw, kind="stable").tolist() == sorted(
        range(len(raw)), key=lambda i: (probabilities[i], raw[i], i)
    )
    state = parse_superposition(vector=V, contexts=[(f"c{i}", w) for i, w in enumerate(raw)])
    assert all(p > 0 for p in state.probabilities)
    assert expected_vector(state) == pytest.approx(np.array(V) / 5.0, abs=1e-6)


def test_superposed_context_of_a_query():
    parsed = parse_superposed_context({"a": 2, "b": 1, "c": 0}, {"b": math.pi})
    assert parsed.contexts == ("a", "b")
    assert parsed.weights == pytest.approx((2 / 3, 1 / 3))
    assert parsed.phases == (0.0, math.pi)
    assert parse_superposed_context(["a", "b", "a"]).weights == pytest.approx((2 / 3, 1 / 3))
    for phases in ({"x": 1.0}, {"a": math.nan}, {"a": "1"}, [1.0]):
        with pytest.raises(InvalidStateError):
            parse_superposed_context({"a": 1.0}, phases)


def test_expected_vector_of_opposite_branches_is_zero():
    state = parse_superposition(vectors={"a": [1.0, 0.0], "b": [-2.0, 0.0]})
    assert expected_vector(state).tolist() == [0.0, 0.0]
