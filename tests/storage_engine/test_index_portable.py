"""Searching in NumPy: the answers of compiled code, row for row and bit for bit, and nothing read unchecked."""

from __future__ import annotations

import numpy as np
import pytest

from storage_engine.errors import DamagedError, InvalidArgumentError
from storage_engine.index import code_kernel, portable_codes, portable_scan, range_kernel, scan_kernel
from storage_engine.index.builder import build_graph
from storage_engine.index.codes import CodeScale, encoded, terms_at
from storage_engine.index.graph import Graph
from storage_engine.index.graph_layout import BLOCK
from storage_engine.index.mapped_graph import MappedGraph
from storage_engine.index.portable_walk import PortableWalker
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric
from storage_engine.vectors.distance import exact_top_k

N, QUERIES = 3000, 25
OPTIONS = GraphOptions(ef_construction=60, m=8)


def rows_of(kind, d):
    g = np.random.default_rng(7)
    if kind == "clustered":
        x = g.normal(size=(30, d))[g.integers(0, 30, N + QUERIES)] + 0.3 * g.normal(size=(N + QUERIES, d))
    elif kind == "tied":  # whole numbers, many rows alike: every value is exact in float32
        x = g.integers(-2, 3, size=(N + QUERIES, d))
        x[::3] = x[0]
        x[1:600] = x[g.integers(1, 40, 599)]
    else:
        x = g.normal(size=(N + QUERIES, d)) * 10 ** g.uniform(-2, 2, size=d)
    x = x.astype(np.float32)
    x[~x.any(axis=1), 0] = 1.0
    return x[:N], x[N:]


class Made:
    def __init__(self, metric, kind, d):
        self.metric, self.d = metric, d
        self.x, self.queries = rows_of(kind, d)
        lengths = np.linalg.norm(self.x, axis=1).astype(np.float32)
        self.norms = lengths * np.float32(1.25) if kind == "clustered" else lengths
        self.graph = build_graph(self.x, self.norms, metric, OPTIONS)
        self.compiled = Walker(self.graph, self.x, self.norms, metric)
        self.portable = self.walker(self.graph.to_bytes())

    def walker(self, stored):
        return PortableWalker(MappedGraph(stored, "graph"), self.x, self.norms, self.metric)


@pytest.fixture(
    scope="module",
    params=[(m, kind, d) for m in Metric for kind, d in (("random", 50), ("clustered", 64), ("tied", 37), ("tied", 8))],
    ids=lambda p: f"{p[0]}-{p[1]}-{p[2]}",
)
def made(request):
    return Made(*request.param)


def same(ours, theirs):
    assert ours.exhausted == theirs.exhausted and ours.compared == theirs.compared
    if not ours.exhausted:
        assert ours.ranked.positions.tolist() == theirs.ranked.positions.tolist()
        assert ours.ranked.scores.tobytes() == theirs.ranked.scores.tobytes()
        assert ours.ranked.positions.dtype == np.int64


def test_a_walk_is_the_compiled_walk(made):
    for query in made.queries:
        for top_k, ef in ((1, 1), (10, 30), (100, 20), (10, N + 5)):
            same(made.portable.search(query, top_k, ef), made.compiled.search(query, top_k, ef))


def test_a_masked_walk_is_the_compiled_walk(made):
    g = np.random.default_rng(3)
    nearest = exact_top_k(made.queries[0], made.x, N, made.metric, made.norms).positions
    by_chance = g.random(N) < 0.3
    far = np.zeros(N, np.bool_)
    far[nearest[1500:]] = True  # against the filter, for the first query at least
    nobody = np.zeros(N, np.bool_)
    gave_up = widened = 0
    for mask in (by_chance, far, nobody):
        for query in made.queries[:8]:
            for budget, enough, wider in ((None, 0, 0), (150, 0, 0), (N, 12, 0), (N, 12, 90), (None, 12, 13)):
                how = {"mask": mask, "budget": budget, "enough": enough, "wider": wider}
                ours, theirs = (w.search(query, 10, 25, **how) for w in (made.portable, made.compiled))
                same(ours, theirs)
                if enough:
                    assert (ours.met, ours.matched) == (theirs.met, theirs.matched)
                    gave_up += ours.exhausted and not wider
                    widened += wider > 0 and ours.met >= 32 and ours.matched < enough
    assert gave_up and widened  # both ways were gone


@pytest.mark.parametrize("kind", [np.float16, np.int8])
@pytest.mark.parametrize("d", [9, 40])
@pytest.mark.parametrize("metric", list(Metric))
def test_rows_of_other_types_are_walked_alike(metric, d, kind):
    g = np.random.default_rng(d)
    x = np.round(g.normal(size=(1500, d)) * 20).clip(-120, 120).astype(kind)
    norms = np.linalg.norm(x.astype(np.float32), axis=1).astype(np.float32)
    graph = build_graph(x, norms, metric, OPTIONS)
    compiled = Walker(graph, x, norms, metric)
    for codes in (True, False):
        portable = PortableWalker(MappedGraph(graph.to_bytes(with_codes=codes), "g"), x, norms, metric)
        for query in (g.normal(size=(5, d)) * 20).astype(np.float32):
            same(portable.search(query, 10, 30), compiled.search(query, 10, 30))
            if portable.coded and codes:
                ours, theirs = portable.scan(query, 10).ranked, compiled.scan(query, 10).ranked
                assert ours.scores.tobytes() == theirs.scores.tobytes()


def test_many_walks_are_single_walks(made):
    for one, query in zip(made.portable.search_many(made.queries[:4], 5, 20), made.queries, strict=False):
        same(one, made.portable.search(query, 5, 20))


def test_a_scan_is_exact(made):
    if not made.portable.coded:
        with pytest.raises(InvalidArgumentError, match="no codes"):
            made.portable.scan(made.queries[0], 3)
        return
    some = np.sort(np.random.default_rng(1).permutation(N)[:700])
    for rows in (None, some, some[:5], some[:0]):
        for top_k in (1, 10, 2000):
            for query in made.queries[:4]:
                found = made.portable.scan(query, top_k, rows)
                truth = exact_top_k(query, made.x, top_k, made.metric, made.norms, rows)
                assert found.ranked.positions.tolist() == truth.positions.tolist()
                assert found.ranked.scores.tobytes() == truth.scores.tobytes()
                assert set(truth.positions.tolist()) <= set(found.read.tolist())


def test_a_scan_within_a_bound_leaves_out_no_row(made):
    if not made.portable.coded:
        return
    sign = 1.0 if made.metric is Metric.L2 else -1.0
    for query in made.queries[:6]:
        truth = exact_top_k(query, made.x, 50, made.metric, made.norms)
        limit = sign * float(truth.scores[-1])
        ours, theirs = (w.scan_within(query, limit) for w in (made.portable, made.compiled))
        for found in (ours, theirs):
            assert set(truth.positions.tolist()) <= set(found.positions.tolist())
        assert len(ours.positions) < N
        both = np.intersect1d(ours.positions, theirs.positions)
        assert (
            ours.scores[np.isin(ours.positions, both)].tobytes()
            == theirs.scores[np.isin(theirs.positions, both)].tobytes()
        )


def test_codes_that_are_computed_are_the_stored_ones(made):
    if not made.portable.coded:
        return
    short = made.graph.to_bytes(with_codes=False)
    assert len(short) < len(made.graph.to_bytes()) - made.graph.codes.rows.nbytes
    back = Graph.from_buffer(short)
    assert back.codes is None and back.to_bytes() == short
    divisors = made.norms if made.metric is Metric.COSINE else None
    again = encoded(made.x, divisors, back.scale, made.metric is Metric.L2)
    assert again.rows.tobytes() == made.graph.codes.rows.tobytes()
    computing = made.walker(short)
    assert computing.coded
    for query in made.queries[:3]:
        same(computing.search(query, 10, 30), made.compiled.search(query, 10, 30))
        assert computing.scan(query, 10) is computing.scan_within(query, 1.0) is None  # rows are compared instead


@pytest.mark.parametrize("euclidean", [True, False])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("d", [32, 37, 784])
def test_the_arithmetic_of_codes_is_the_compiled_one(d, scale, euclidean):
    g = np.random.default_rng(d)
    x = (g.normal(size=(200, d)) * scale).astype(np.float32)
    x[:40] = np.round(x[:40] / scale) * np.float32(scale)
    norms = g.uniform(0.5, 2.0, 200).astype(np.float32)
    step = (g.uniform(0.5, 3.0, d) * scale / 60).astype(np.float32)
    codes = CodeScale(x.min(axis=0) + step * 20, step)  # some rows are clipped at both ends
    for divisors in (None, norms):
        ours = portable_codes.encode_rows(x, divisors, codes, euclidean)
        theirs = np.zeros_like(ours)
        own = np.empty(0, np.float32) if divisors is None else divisors
        code_kernel.encode_rows(x, own, codes.low, codes.step, euclidean, terms_at(d), theirs)
        assert ours.tobytes() == theirs.tobytes()
    for query in x[:20] * np.float32(1.7):
        rounded = portable_codes.rounded_query(query, codes, euclidean)
        values, room = np.empty(200, np.float32), np.zeros(32 + ours.shape[1], np.int16)
        code_kernel.all_values(query, codes.low, codes.step, euclidean, terms_at(d), theirs, room, values)
        assert rounded.values(ours).tobytes() == values.tobytes()


def test_sums_run_in_order():
    numbers = np.array([[2.0**53, 1.0, 1.0, -(2.0**53)] * 40])
    assert portable_codes._in_order(numbers)[0] == 0.0  # each 1 is lost where it is added; np.sum keeps some


def test_the_numbers_of_the_bounds_are_those_of_the_kernels():
    assert (portable_codes.MOST, portable_codes.LARGEST_SUM) == (code_kernel.MOST, code_kernel.LARGEST_SUM)
    assert portable_codes.UNIT32 == code_kernel._UNIT32 and portable_codes.TINY == code_kernel._TINY
    assert portable_codes.SUMS == code_kernel._SUMS and portable_codes.SCORES == code_kernel._SCORES
    assert portable_scan.ABOVE == scan_kernel._ABOVE
    assert portable_scan.WITHIN_ABOVE == range_kernel._ABOVE and portable_scan.TINY == range_kernel._TINY


def test_numbers_that_prove_nothing_are_left_to_others():
    x = np.full((40, 33), 3e38, np.float32)
    x[::2] = -3e38
    scale = CodeScale(np.full(33, -3e38, np.float32), np.full(33, 1e14, np.float32))
    rounded = portable_codes.rounded_query(x[0], scale, True)
    huge = CodeScale(scale.low, np.full(33, 3e38, np.float32))
    assert portable_codes.code_bounds(x[0], scale, rounded, True, False) is not None
    with np.errstate(over="ignore"):
        assert portable_codes.code_bounds(x[0] * np.float32(np.inf), huge, rounded, True, False) is None


def graph_of(d=40, n=4000):
    x = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    return x, build_graph(x, None, Metric.L2, OPTIONS).to_bytes()


def read(mapped, row, part):
    return mapped.neighbours(row, 0) if part == "links" else mapped.stored_codes()(np.array([row]))


def test_a_block_is_checked_before_its_first_use_and_not_sooner():
    x, stored = graph_of(150)  # rows of codes take 192 bytes: some lie across two blocks
    mapped = MappedGraph(stored, "g")
    at_once = mapped._checked.copy()
    layout, reads = mapped._layout, {}
    for row in range(len(x)):
        reads[row, "links"] = layout.links + 4 * layout.width * row, 4 * layout.width
        reads[row, "codes"] = layout.codes + 192 * row, 192
    assert not at_once.all() and mapped.neighbours(0, 0) and mapped.stored_codes() is not None
    for block in range(len(at_once)):
        broken = bytearray(stored)
        broken[min((block + 1) * BLOCK, layout.end) - 1] ^= 1
        if at_once[block]:
            with pytest.raises(DamagedError):
                MappedGraph(bytes(broken), "g")
            continue
        again = MappedGraph(bytes(broken), "g")
        refused = 0
        for (row, part), (start, length) in reads.items():
            if start // BLOCK <= block <= (start + length - 1) // BLOCK:
                refused += 1
                with pytest.raises(DamagedError, match=f"offset {block * BLOCK}"):
                    read(again, row, part)
            else:
                read(again, row, part)
        assert refused
        with pytest.raises(DamagedError):
            again.whole()


def test_links_that_lead_outside_are_refused_even_with_right_checksums():
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    graph = build_graph(x, None, Metric.L2, OPTIONS)
    for wrong in (50, -2, 2**31 - 1):
        links = graph.links.copy()
        object.__setattr__(graph, "links", links)
        links[graph.entry, 0] = wrong
        mapped = MappedGraph(graph.to_bytes(), "g")
        with pytest.raises(DamagedError, match="leads outside"):
            PortableWalker(mapped, x, None, Metric.L2).search(x[0], 3, 50)
        with pytest.raises(DamagedError):
            mapped.whole()
        links[graph.entry, 0] = 0


def test_arguments_that_do_not_fit_are_refused():
    x, stored = graph_of(n=1200)
    mapped = MappedGraph(stored, "g")
    for wrong in (x[:-1], x[0]):
        with pytest.raises(InvalidArgumentError):
            PortableWalker(mapped, wrong, None, Metric.L2)
    with pytest.raises(InvalidArgumentError, match="dimensions"):
        PortableWalker(mapped, x[:, :39], None, Metric.L2)
    with pytest.raises(InvalidArgumentError, match="norm"):
        PortableWalker(mapped, x, None, Metric.COSINE)
    walker = PortableWalker(mapped, x, None, Metric.L2)
    for bad in ((x[0, :3], 1), (x[0].astype(np.float64), 1), (x[0], 0)):
        with pytest.raises(InvalidArgumentError):
            walker.search(bad[0], bad[1], 10)
    with pytest.raises(InvalidArgumentError, match="mask"):
        walker.search(x[0], 1, 10, np.ones(3, np.bool_))
