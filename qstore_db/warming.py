"""Compiling the kernels now, so that the first search and the first training step do not wait for it.

Numba keeps compiled code on disk, beside the package or in the user's cache folder; later processes load it. Without
this the first user of a kernel waits for its compilation, some seconds once per machine.
"""

from __future__ import annotations

import numpy as np

from qstore_db.database import QuantumDatabase

_ROWS = 6_000
_DIMENSION = 20


def warm_up() -> None:
    """Run every kernel once on made-up rows in a database in memory.

    Searches by graph, masked and exactly under each metric, and trains a model of each precision for one step.
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
        db.store_training_data("rows", data=np.abs(vectors[:32, :4]), labels=np.arange(32) % 2)
        for dtype in ("float32", "float64"):
            db.create_model(dtype, qubits=2, layers=2, classes=2, dtype=dtype)
            db.train(dtype, "rows", epochs=1)
            db.predict(dtype, np.abs(vectors[:2, :4]))
