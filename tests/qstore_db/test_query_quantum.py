"""The quantum keywords of ``query`` against dense density matrices and every subset."""

import asyncio
import itertools
import math

import numpy as np
import pytest
from set_clock import SetClock

from qstore_db import QuantumDatabase
from qstore_db.async_database import AsyncQuantumDatabase
from qstore_db.errors import (
    DimensionMismatchError,
    InvalidArgumentError,
    UnknownBackendError,
    UnknownContextError,
    UnsupportedRequestError,
)
from qstore_db.executor.executor import Executor
from qstore_db.hits import arrow_of
from qstore_db.qubo import exact_count
from qstore_db.states.contexts import parse_superposed_context
from qstore_db.states.likeness import asked_parts, operator_likeness
from qstore_db.states.superposition import parse_superposition

NAMES = ("a", "b", "c")
D, T = 5, 40.0


class World:
    """A database with ordinary rows and states, and what was put into it."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.clock = SetClock(100.0)
        self.db = QuantumDatabase.open(":memory:", clock=self.clock)
        self.rows = {f"p{n}": rng.normal(size=D).astype(np.float32) for n in range(8)}
        self.db.insert(
            list(self.rows), np.stack(list(self.rows.values())), metadata=[{"kind": n % 2} for n in range(8)]
        )
        self.states = {}
        for n in range(7):
            names = list(rng.permutation(NAMES)[: rng.integers(1, 4)])
            weights = rng.uniform(0.1, 1, len(names))
            branches = {name: rng.normal(size=D).astype(np.float32) for name in names}
            self.states[f"s{n}"] = dict(zip(names, weights / weights.sum(), strict=True)), branches
            self.db.insert(
                id=f"s{n}",
                vectors=branches,
                contexts=list(zip(names, weights, strict=True)),
                coherence_time=T if n % 2 else None,
            )
        self.query = rng.normal(size=D)
        self.clock.now += 25.0

    def weight(self, name):
        return math.exp(-25.0 / T) if int(name[1:]) % 2 else 1.0

    def density(self, name, factor=1.0):
        """ρ on |context⟩⊗|vector⟩, (contexts, D, contexts, D); an ordinary row has one context of its own."""
        psi = np.zeros((len(NAMES) + 1, D))
        if name in self.rows:
            psi[-1] = self.rows[name] / np.linalg.norm(self.rows[name].astype(float))
            return np.einsum("cd,ef->cdef", psi, psi)
        probabilities, branches = self.states[name]
        for context, p in probabilities.items():
            v = branches[context].astype(float)
            psi[NAMES.index(context)] = math.sqrt(p) * v / np.linalg.norm(v)
        rho = np.einsum("cd,ef->cdef", psi, psi)
        mixed = np.zeros_like(rho)
        places = np.arange(len(psi))
        mixed[places, :, places, :] = np.einsum("cd,ce->cde", psi, psi)
        weight = factor * self.weight(name)
        return weight * rho + (1 - weight) * mixed

    def overlaps(self, context=None, phases=None, factors=None):
        """Tr(Πρ) by id, of those that have one of the contexts."""
        q = self.query / np.linalg.norm(self.query)
        found = {}
        for name in [*self.rows, *self.states] if context is None else self.states:
            rho = np.einsum("cdef,d,f->ce", self.density(name, (factors or {}).get(name, 1.0)), q, q)
            if context is None:
                found[name] = np.trace(rho)
            elif isinstance(context, str):
                if context in self.states[name][0]:
                    place = NAMES.index(context)
                    found[name] = rho[place, place] / self.states[name][0][context]
            elif set(context) & set(self.states[name][0]):
                chi = np.zeros(len(NAMES) + 1, complex)
                for label, share in context.items():
                    turned = np.exp(-1j * (phases or {}).get(label, 0.0))
                    chi[NAMES.index(label)] = math.sqrt(share / sum(context.values())) * turned
                found[name] = np.real(chi.conj() @ rho @ chi)
        return found


@pytest.fixture(scope="module", params=range(3))
def world(request):
    made = World(request.param)
    with made.db:
        yield made


def expect(hits, wanted, tolerance=1e-6):
    """Exactly these records, best first, with these scores."""
    assert len(hits.ids) == len(wanted)
    assert [wanted[name] for name in hits.ids] == pytest.approx(hits.scores.tolist(), abs=tolerance)
    assert sorted(hits.scores.tolist(), reverse=True) == hits.scores.tolist()


def test_reranked_scores_are_expectations_of_the_dense_state(world):
    expect(world.db.query(world.query, top_k=15, rerank="quantum"), world.overlaps())
    for context in NAMES:
        expect(world.db.query(world.query, context=context, rerank="quantum"), world.overlaps(context))
    superposed, phases = {"a": 0.5, "c": 0.2, "b": 0.9}, {"c": 1.2, "a": -0.4}
    for shown in (None, phases):
        hits = world.db.query(world.query, context=superposed, phases=shown, rerank="quantum", backend="local")
        expect(hits, world.overlaps(superposed, shown))
        plain = world.db.query(world.query, context=superposed, phases=shown)
        assert hits.ids == plain.ids
        assert hits.scores == pytest.approx(plain.scores, abs=1e-6)


def test_interference_of_entangled_records_is_measured_reduced():
    world = World(11)
    with world.db:
        several = [name for name, (probabilities, _) in world.states.items() if len(probabilities) > 1]
        world.db.create_entangled_group("pair", several[:2], correlation_strength=0.7)
        context = {"a": 0.4, "b": 0.3, "c": 0.3}
        hits = world.db.query(world.query, context=context, rerank="quantum")
        expect(hits, world.overlaps(context, factors=dict.fromkeys(several[:2], 0.3)))


def test_old_states_can_be_left_out(world):
    world.clock.now += 20.0  # 45 s, beyond the coherence time of every second one
    try:
        hits = world.db.query(world.query, top_k=15, rerank="quantum", coherent_only=True)
    finally:
        world.clock.now -= 20.0
    assert sorted(hits.ids) == sorted([*world.rows, *(name for name in world.states if int(name[1:]) % 2 == 0)])


def test_candidates_come_from_the_search_and_conditions_hold(world):
    hits = world.db.query(world.query, top_k=3, rerank="quantum", where="kind = 1", include=["kind"])
    near = world.db.query(world.query, top_k=20, where="kind = 1")
    assert set(hits.ids) <= set(near.ids)
    assert hits.metadata.column_names == ["kind"]
    assert world.db.query(world.query, rerank="quantum", where="kind = 5").ids == []


def test_errors_of_shots_reach_the_caller(world):
    exact = world.overlaps()
    hits = world.db.query(world.query, top_k=15, rerank="quantum", backend="local", shots=4000, seed=5)
    scores = np.asarray(hits.scores, float)
    assert hits.standard_errors == pytest.approx(np.sqrt(scores * (1 - scores) / 4000), abs=1e-6)
    for name, score in zip(hits.ids, scores, strict=True):
        true_error = math.sqrt(max(0.0, exact[name] * (1 - exact[name])) / 4000)
        assert abs(exact[name] - score) < 5 * true_error + 2 / 4000
    again = world.db.query(world.query, top_k=15, rerank="quantum", shots=4000, seed=5)
    assert again.scores.tolist() == hits.scores.tolist()
    assert again.ids == hits.ids
    assert "4000 shots each" in hits.reason
    assert hits.arrow().column_names == ["id", "score", "standard_error", "kind"]
    assert hits.to_pydict()["standard_error"] == hits.arrow().column("standard_error").to_pylist()
    assert hits.to_pydict()["standard_error"] == hits.standard_errors.tolist()
    batch = world.db.query(np.stack([world.query] * 2), top_k=3, rerank="quantum", shots=50, seed=1, include=[])
    assert arrow_of(batch).column_names == ["query", "id", "score", "standard_error"]
    assert arrow_of(batch).column("standard_error").to_pylist() == 2 * batch[0].standard_errors.tolist()
    assert world.db.query(world.query).standard_errors is None


def test_all_circuits_of_a_question_are_one_job(world, monkeypatch):
    seen = []
    close = Executor.close
    monkeypatch.setattr(Executor, "close", lambda self, **options: seen.append(self.usage()) or close(self, **options))
    rng = np.random.default_rng(2)
    many = world.db.create_collection("many", dimension=3) if "many" not in world.db.collections() else None
    many.insert([f"m{n}" for n in range(60)], rng.normal(size=(60, 3)))
    many.query(rng.normal(size=3), top_k=15, rerank="quantum", shots=10)
    assert [(usage["local"].jobs, usage["local"].requests, usage["local"].shots) for usage in seen] == [(1, 60, 600)]
    world.db.drop_collection("many")


@pytest.mark.parametrize("method", ["compute_uncompute", "swap_test"])
def test_a_noisy_backend_by_name(world, method):
    hits = world.db.search.reranked(
        world.query, 4, context="a", backend="local_noisy", shots=200, seed=1, method=method
    ).hits
    exact = world.overlaps("a")
    assert len(hits.ids) == min(4, len(exact))
    assert f"{method} on local_noisy" in hits.reason
    # Published error rates move these small circuits by some percent, not by more.
    assert all(abs(exact[name] - score) < 0.35 for name, score in zip(hits.ids, hits.scores, strict=True))
    if method == "swap_test":
        p = (1 + np.asarray(hits.scores, float)) / 2
        assert hits.standard_errors == pytest.approx(2 * np.sqrt(p * (1 - p) / 200), abs=1e-6)


def test_a_swap_test_may_say_less_than_nothing():
    with QuantumDatabase.open(":memory:") as db:
        db.insert(["x"], [[0.0, 1.0]])
        found = [db.search.reranked([1.0, 0.0], 1, method="swap_test", shots=20, seed=seed).hits for seed in range(20)]
        scores = [float(hits.scores[0]) for hits in found]
        assert min(scores) < 0 < max(scores)


def gain(chosen, relevance, alike, k, diversity):
    r = (relevance - relevance.min()) / np.ptp(relevance)
    outside = alike[~np.eye(len(r), dtype=bool)]
    s = (alike - outside.min()) / np.ptp(outside)
    pairs = sum(s[i, j] for i, j in itertools.combinations(chosen, 2))
    return (1 - diversity) * sum(r[i] for i in chosen) - diversity * 2 / max(1, k - 1) * pairs


@pytest.mark.parametrize("context", [None, "a", "b"])
def test_a_tunneling_query_reports_the_energy_of_its_choice(world, context):
    pytest.importorskip("dwave.samplers", reason="dwave-samplers is optional")
    near = world.db.query(world.query, top_k=20, context=context)
    if context is None:
        vectors = np.array([world.db.get(name).vector for name in near.ids], float)
        norms = [
            1.0 if name in world.states else np.linalg.norm(row) for name, row in zip(near.ids, vectors, strict=True)
        ]
        unit = vectors / np.array(norms)[:, None]
    else:
        vectors = np.array([world.states[name][1][context] for name in near.ids], float)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance, alike = unit @ (world.query / np.linalg.norm(world.query)), unit @ unit.T
    k = 2
    best = max(itertools.combinations(range(len(near.ids)), k), key=lambda c: gain(c, relevance, alike, k, 0.5))
    hits = world.db.query(vector=world.query, top_k=k, context=context, tunneling_strength=0.5)
    chosen = [near.ids.index(name) for name in hits.ids]
    assert hits.energy == pytest.approx(-gain(chosen, relevance, alike, k, 0.5), abs=1e-5)
    assert -hits.energy > 0.85 * gain(best, relevance, alike, k, 0.5)
    assert "by path_integral" in hits.reason or len(near.ids) == k
    assert world.db.query(world.query).energy is None


@pytest.mark.parametrize("phases", [None, {"b": 1.3, "c": -0.5}])
def test_in_a_superposed_context_near_and_unlike_are_read_from_what_is_left(world, phases):
    context = {"a": 0.2, "b": 0.5, "c": 0.3}
    near = world.db.query(world.query, top_k=20, context=context, phases=phases)
    chi = np.array([*(math.sqrt(context[n]) * np.exp(-1j * (phases or {}).get(n, 0.0)) for n in NAMES), 0])
    left = [np.einsum("cdef,c,e->df", world.density(name), chi.conj(), chi) for name in near.ids]
    q = world.query / np.linalg.norm(world.query)
    relevance = np.real(np.array([q @ sigma @ q for sigma in left]))
    assert relevance == pytest.approx(near.scores, abs=1e-6)
    sizes = [np.sqrt(np.trace(sigma @ sigma).real) for sigma in left]
    alike = np.array([[np.trace(a @ b).real for b in left] for a in left]) / np.outer(sizes, sizes)
    best = max(itertools.combinations(range(len(left)), 3), key=lambda chosen: gain(chosen, relevance, alike, 3, 0.4))
    found = world.db.search.annealed(
        world.query, 3, context=context, phases=phases, diversity=0.4, method="brute_force"
    )
    assert found.ids == [near.ids[place] for place in best]
    assert found.energy == pytest.approx(-gain(best, relevance, alike, 3, 0.4), abs=1e-5)
    pytest.importorskip("dwave.samplers", reason="dwave-samplers is optional")
    hits = world.db.query(world.query, 3, context=context, phases=phases, tunneling_strength=1.0)
    chosen = [near.ids.index(name) for name in hits.ids]
    assert hits.energy == pytest.approx(-gain(chosen, relevance, alike, 3, 0.5), abs=1e-5)


def test_a_record_that_cancels_is_like_nothing():
    parts = [
        asked_parts(
            parse_superposition(vectors={"a": [1.0, 0.0], "b": [-1.0, 0.0]}), parse_superposed_context(context), weight
        )
        for context, weight in (({"a": 1, "b": 1}, 1.0), ({"a": 1, "b": 1}, 0.5), ({"a": 1}, 1.0))
    ]
    assert np.allclose(operator_likeness(parts), [[0, 0, 0], [0, 1, 1], [0, 1, 1]])


def test_the_field_is_the_one_that_was_given(world, monkeypatch):
    pytest.importorskip("dwave.samplers", reason="dwave-samplers is optional")
    given = []
    solve = exact_count.solve_qubo

    def watched(problem, method, **options):
        given.append((method, options["tunneling_strength"], options["seed"]))
        return solve(problem, method, **options)

    monkeypatch.setattr(exact_count, "solve_qubo", watched)
    world.db.query(world.query, top_k=3, tunneling_strength=0.25, seed=9)
    world.db.query(world.query, top_k=3, tunneling_strength=0)
    assert given == [("path_integral", 0.25, 9), ("path_integral", 0, 0)]


def test_qaoa_chooses_on_a_backend(world):
    hits = world.db.search.annealed(world.query, 3, fetch_k=7, backend="local", shots=100, seed=2)
    best = world.db.search.annealed(world.query, 3, fetch_k=7, method="brute_force")
    assert "by qaoa" in hits.reason
    assert hits.energy == pytest.approx(best.energy, abs=1e-9)
    with pytest.raises(InvalidArgumentError, match="takes no backend"):
        world.db.search.annealed(world.query, 3, fetch_k=7, method="brute_force", backend="local")
    with pytest.raises(UnsupportedRequestError, match="no room"):
        world.db.search.annealed(world.query, 3, fetch_k=14, backend="local_noisy")


def test_a_batch_is_answered_one_by_one(world):
    pytest.importorskip("dwave.samplers", reason="dwave-samplers is optional")
    queries = np.random.default_rng(4).normal(size=(3, D))
    for options in ({"rerank": "quantum", "shots": 50, "seed": 3}, {"tunneling_strength": 1.0}):
        together = world.db.query(queries, top_k=4, **options)
        alone = [world.db.query(query, top_k=4, **options) for query in queries]
        assert [hits.ids for hits in together] == [hits.ids for hits in alone]
        assert [hits.energy for hits in together] == [hits.energy for hits in alone]


def test_the_async_face_has_the_keywords(world):
    async def ask():
        face = AsyncQuantumDatabase._with(world.db, AsyncQuantumDatabase(world.db)._workers, owns=False)
        return await face.query(world.query, top_k=4, rerank="quantum")

    assert asyncio.run(ask()).ids == world.db.query(world.query, top_k=4, rerank="quantum").ids


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"rerank": "classical"}, InvalidArgumentError, "no rerank 'classical'"),
        ({"rerank": "quantum", "tunneling_strength": 1.0}, InvalidArgumentError, "both rerank"),
        ({"rerank": "quantum", "seed": 1}, InvalidArgumentError, "only with shots"),
        ({"rerank": "quantum", "shots": 0}, InvalidArgumentError, "shots"),
        ({"rerank": "quantum", "backend": "nowhere"}, UnknownBackendError, "nowhere"),
        ({"rerank": "quantum", "context": "z"}, UnknownContextError, "'z'"),
        ({"rerank": "quantum", "phases": {"a": 1.0}}, InvalidArgumentError, "phases need"),
        ({"rerank": "quantum", "ef": 10, "context": {"a": 1.0}}, InvalidArgumentError, "ef"),
        ({"rerank": "quantum", "top_k": 0}, InvalidArgumentError, "top_k is 0"),
        ({"tunneling_strength": 1.0, "top_k": "three"}, InvalidArgumentError, "top_k is 'three'"),
        ({"backend": "local"}, InvalidArgumentError, "backend is without meaning"),
        ({"shots": 5}, InvalidArgumentError, "shots is without meaning"),
        ({"seed": 5}, InvalidArgumentError, "seed is without meaning"),
        ({"tunneling_strength": 1.0, "shots": 5}, InvalidArgumentError, "shots is without meaning"),
        ({"tunneling_strength": -1.0}, InvalidArgumentError, "tunneling_strength"),
        ({"tunneling_strength": 1.0, "phases": {"a": 1.0}}, InvalidArgumentError, "phases need"),
        ({"tunneling_strength": 1.0, "context": {"a": 1.0, "z": 1.0}}, UnknownContextError, "'z'"),
        ({"tunneling_strength": 1.0, "top_k": 1001}, InvalidArgumentError, "fetch_k"),
    ],
)
def test_what_makes_no_sense_is_refused(world, arguments, error, says):
    with pytest.raises(error, match=says):
        world.db.query(world.query, **{"top_k": 3, **arguments})


def test_a_query_of_another_length_is_refused(world):
    with pytest.raises(DimensionMismatchError):
        world.db.query([1.0, 2.0], rerank="quantum")
    with pytest.raises(InvalidArgumentError, match="swap test"):
        world.db.search.reranked(world.query, 3, method="swap_test", context={"a": 0.5, "b": 0.5})
