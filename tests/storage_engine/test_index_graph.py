"""The frozen graph: what was built, row by row; bytes that cannot lie."""

from __future__ import annotations

import struct
import zlib

import hnswlib
import numpy as np
import pytest

from storage_engine.errors import DamagedError, FormatTooNewError, InvalidArgumentError, InvalidVectorError
from storage_engine.index.builder import Builder, build_graph
from storage_engine.index.calibration import EFS, TOPS
from storage_engine.index.codes import stride_of
from storage_engine.index.graph import Graph
from storage_engine.index.hnswlib_builder import frozen
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric

OPTIONS = GraphOptions(m=5, ef_construction=40)


def rows(n=3000, d=35, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.fixture(scope="module")
def graph():
    return build_graph(rows(), None, Metric.L2, OPTIONS)


@pytest.fixture(scope="module")
def stored(graph):
    return graph.to_bytes()


def test_one_seed_gives_the_same_bytes_each_time(stored):
    assert build_graph(rows(), None, Metric.L2, OPTIONS).to_bytes() == stored
    assert build_graph(rows(), None, Metric.L2, GraphOptions(m=5, ef_construction=40, seed=1)).to_bytes() != stored


def test_one_thread_of_hnswlib_gives_the_same_bytes_each_time():
    steps = []

    def build():
        steps.clear()
        report = lambda done, of: steps.append((done, of))  # noqa: E731
        return build_graph(rows(), None, Metric.L2, OPTIONS, progress=report, builder=Builder.HNSWLIB).to_bytes()

    assert build() == build()
    assert steps[:4] == [(1024, 3000), (2048, 3000), (2872, 3000), (3000, 3000)]  # 128 rows wait, to be queries
    assert set(steps[4:]) == {(3000, 3000)}  # while they are


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("builder", list(Builder))
def test_links_join_near_rows_whatever_the_threads(threads, builder):
    x = rows(4000, 3)
    built = build_graph(x, None, Metric.L2, OPTIONS, threads=threads, builder=builder)
    lengths = [
        np.linalg.norm(x[row] - x[neighbours[neighbours >= 0]], axis=1).mean()
        for row, neighbours in enumerate(built.links)
    ]
    assert np.mean(lengths) < 0.5  # two random rows are 2.3 apart: a wrong numbering would show
    heights = built.levels.astype(int)
    assert heights.max() >= 2
    assert heights[built.entry] == heights.max()
    for row in np.flatnonzero(heights):
        for level in range(1, heights[row] + 1):
            neighbours = built.upper[built.first_upper[row] + level - 1]
            assert (heights[neighbours[neighbours >= 0]] >= level).all()


def test_rows_keep_their_numbers_whatever_the_order_of_adding():
    x = rows(4000, 3)
    order = np.random.default_rng(1).permutation(4000)
    index = hnswlib.Index(space="l2", dim=3)
    index.init_index(max_elements=4000, M=5, ef_construction=40, random_seed=1)
    index.add_items(x[order], order, num_threads=1)  # what threads do to each other, to the extreme
    graph = frozen(index.__getstate__()[0], 5)
    for links, of in ((graph.links, np.arange(4000)), (graph.upper, np.repeat(np.arange(4000), graph.levels))):
        lengths = np.linalg.norm(x[of][:, None] - x[links], axis=2)[links >= 0]
        assert lengths.mean() < 0.6  # two random rows are 2.3 apart
    index.set_ef(40)
    walker = Walker(graph, x, None, Metric.L2)
    for query in rows(50, 3, seed=8):
        found = walker.search(query, 5, 40).ranked.positions
        assert found.tolist() == index.knn_query(query, 5, num_threads=1)[0][0].tolist()


def test_a_graph_may_have_no_codes():
    plain = build_graph(rows(), None, Metric.L2, OPTIONS, codes=False)
    assert plain.codes is None
    back = Graph.from_buffer(plain.to_bytes())
    assert back.codes is None
    assert reseal(plain.to_bytes()) == back.to_bytes()


def test_what_progress_raises_ends_the_build():
    class StopBuildError(Exception):
        pass

    def stop(done, of):
        raise StopBuildError

    with pytest.raises(StopBuildError):
        build_graph(rows(), None, Metric.L2, OPTIONS, progress=stop)


def test_one_row_is_a_graph():
    single = build_graph(rows(1), None, Metric.IP, OPTIONS)
    assert (single.rows, single.entry) == (1, 0)
    assert Graph.from_buffer(single.to_bytes()).to_bytes() == single.to_bytes()


def test_what_cannot_be_built_is_refused():
    with pytest.raises(InvalidArgumentError):
        build_graph(rows(0), None, Metric.L2, OPTIONS)
    with pytest.raises(InvalidArgumentError):
        build_graph(rows(5), None, Metric.COSINE, OPTIONS)
    with pytest.raises(InvalidArgumentError):
        build_graph(rows(5), None, Metric.L2, OPTIONS, threads=0)
    bad = rows(2000)
    bad[1500, 2] = np.nan
    with pytest.raises(InvalidVectorError, match="to 1999"):
        build_graph(bad, None, Metric.L2, OPTIONS)
    with pytest.raises(InvalidVectorError), np.errstate(divide="ignore"):
        build_graph(rows(5), np.zeros(5, np.float32), Metric.COSINE, OPTIONS)


def test_bytes_come_back_without_a_copy(graph, stored):
    back = Graph.from_buffer(stored)
    for name in ("links", "levels", "upper", "first_upper"):
        assert np.array_equal(getattr(back, name), getattr(graph, name))
    assert (back.entry, back.max_level, back.rows) == (graph.entry, graph.max_level, 3000)
    for name in ("low", "step", "rows"):
        assert np.array_equal(getattr(back.codes, name), getattr(graph.codes, name))
    assert np.array_equal(back.calibration.recall, graph.calibration.recall, equal_nan=True)
    assert np.array_equal(back.calibration.compared, graph.calibration.compared, equal_nan=True)
    for array in (back.links, back.upper, back.codes.rows):
        assert np.shares_memory(array, np.frombuffer(stored, np.uint8))
    # The planner remembers calibrations; they must not keep the mapped file of a graph that is gone.
    for array in (back.calibration.recall, back.calibration.compared):
        assert not np.shares_memory(array, np.frombuffer(stored, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        back.links[0, 0] = 1


def test_every_flipped_bit_is_noticed(stored):
    g = np.random.default_rng(5)
    places = [*range(0, 128, 3), *g.integers(0, len(stored), 150), *range(len(stored) - 8, len(stored))]
    for place in places:
        damaged = bytearray(stored)
        damaged[place] ^= 1 << int(g.integers(8))
        with pytest.raises(DamagedError) as caught:
            Graph.from_buffer(bytes(damaged), where="idx/x.graph")
        assert "idx/x.graph" in str(caught.value)
        assert isinstance(caught.value.value, int)


@pytest.mark.parametrize("cut", [0, 1, 100, 127, 128, 200, 65_536, -1, -4, -5])
def test_a_cut_or_grown_file_is_noticed(stored, cut):
    with pytest.raises(DamagedError):
        Graph.from_buffer(stored[:cut])
    with pytest.raises(DamagedError):
        Graph.from_buffer(stored + b"\0" * 4)


def reseal(body):
    """Bytes with all checksums right, as only a wrong writer could make them."""
    end = 128
    rows_, width, m, upper = struct.unpack_from("<QIIQ", body, 16)
    (d,) = struct.unpack_from("<I", body, 52)
    sizes = [rows_, 4 * rows_ * width, 4 * upper * m, *((4 * d, 4 * d, rows_ * stride_of(d)) if d else ())]
    if body[12] & 2:
        sizes.append(4 * 2 * len(TOPS) * len(EFS))
    for size in sizes:
        end = -(-(end + size) // 64) * 64
    whole = bytearray(body[:end])
    whole[124:128] = struct.pack("<I", zlib.crc32(whole[:124]))
    crcs = b"".join(struct.pack("<I", zlib.crc32(whole[at : at + 65_536])) for at in range(0, end, 65_536))
    return bytes(whole) + crcs + struct.pack("<I", zlib.crc32(crcs))


def test_a_lie_with_right_checksums_is_noticed(stored, graph):
    assert reseal(stored) == stored
    at_links = 128 + -(-3000 // 64) * 64
    at_upper = -(-(at_links + 4 * 3000 * 10) // 64) * 64
    low = int(np.flatnonzero(graph.levels == 0)[0])
    lies = {
        "link beyond the rows": (at_links, struct.pack("<i", 3000)),
        "link below -1": (at_links, struct.pack("<i", -2)),
        "upper link beyond the rows": (at_upper, struct.pack("<i", 3000)),
        "upper link to a row of level 0": (at_upper, struct.pack("<i", low)),
        "entry beyond the rows": (40, struct.pack("<Q", 3000)),
        "entry on a low level": (40, struct.pack("<Q", low)),
        "wrong top level": (48, struct.pack("<I", graph.max_level + 1)),
        "a level that nobody has": (128, b"\xff"),
        "no codes after all": (12, struct.pack("<I", 0)),
    }
    for name, (at, change) in lies.items():
        lying = bytearray(stored)
        lying[at : at + len(change)] = change
        with pytest.raises(DamagedError):
            Graph.from_buffer(reseal(bytes(lying)), where=name)


def test_a_later_format_is_refused_by_name(stored):
    for at, by in ((8, 1), (12, 8)):
        later = bytearray(stored)
        later[at] += by
        with pytest.raises(FormatTooNewError, match="newer version"):
            Graph.from_buffer(reseal(bytes(later)))


def test_an_earlier_format_is_built_again(stored):
    earlier = bytearray(stored)
    earlier[8] -= 1
    with pytest.raises(DamagedError, match="earlier version"):
        Graph.from_buffer(reseal(bytes(earlier)))


@pytest.mark.parametrize("at", [16, 24, 28, 32, 52])
@pytest.mark.parametrize("value", [0, 2**31 - 1, 2**32 - 1])
def test_absurd_sizes_allocate_nothing(stored, at, value):
    lying = bytearray(stored)
    lying[at : at + 4] = struct.pack("<I", value)
    lying[124:128] = struct.pack("<I", zlib.crc32(lying[:124]))
    with pytest.raises(DamagedError):
        Graph.from_buffer(bytes(lying))
