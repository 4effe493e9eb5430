"""Compiling the kernels now, so that the first search and the first training step do not wait for it.

Numba keeps compiled code on disk, beside the package or in the user's cache folder; later processes load it. Without
this the first user of a kernel waits for its compilation, some seconds once per machine.
"""

from __future__ import annotations

import numpy as np

from qstore_db.database import QuantumDatabase
from qstore_db.simulation.warm_up import warm_up as warm_up_simulation

_ROWS = 6_000
_DIMENSION = 40  # enough for codes


def warm_up() -> None:
    """Run every kernel once on made-up rows in a database in memory.

    Searches by graph, masked and exactly under each metric, and simulates a circuit in each precision.
    """
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(_ROWS, _DIMENSION)).astype(np.float32)
    ids = [str(row) for row in range(_ROWS)]
    with QuantumDatabase.open(":memory:", progress=False) as db:
        for metric in ("l2", "cosine", "ip"):
            rows = db.create_collection(metric, dimension=_DIMENSION, metric=metric, ef_construction=20, m=4)
            rows.insert(ids, vectors, metadata={"half": np.arange(_ROWS) % 2})
            rows.build_graph()
            for where in (None, "half = 1"):
                rows.query(vectors[0], where=where)
                rows.query(vectors[0], where=where, exact=True)
    warm_up_simulation(("float32", "float64"))
