"""What searches a graph that is in memory: compiled code, or NumPy where that cannot be had."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_engine import compiled_code
from storage_engine.index.graph import Graph
from storage_engine.index.graph_search import GraphSearch
from storage_engine.schema import Metric
from storage_engine.vectors.types import StoredVectors


def searcher(graph: Graph, vectors: StoredVectors, norms: NDArray[np.float32] | None, metric: Metric) -> GraphSearch:
    """Over a graph and its rows; loads compiled code. Arguments as for :class:`storage_engine.index.walker.Walker`."""
    if compiled_code.process.load():
        from storage_engine.index.walker import Walker

        return Walker(graph, vectors, norms, metric)
    from storage_engine.index.mapped_graph import MappedGraph
    from storage_engine.index.portable_walk import PortableWalker

    return PortableWalker(MappedGraph(graph.to_bytes(), "the graph that is being built"), vectors, norms, metric)
