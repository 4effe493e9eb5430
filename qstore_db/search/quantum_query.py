"""The keywords of ``query`` that choose rows by a QUBO or order them by measured overlaps."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.hits import Hits
from qstore_db.search.candidates import Terms
from qstore_db.search.quantum_verbs import MAX_ANNEALED, annealed_hits, reranked_rows
from qstore_db.search.target import Target, check_count
from storage_engine.schema import MAX_TOP_K

LEAST_CANDIDATES = 20
CANDIDATES_PER_HIT = 4


def quantum_query(
    target: Target,
    queries: NDArray[np.float32],
    top_k: int,
    terms: Terms,
    *,
    tunneling_strength: float | None,
    rerank: str | None,
    backend: str | None,
    shots: int | None,
    seed: int | None,
) -> list[Hits]:
    """The answer to each query: ``search.annealed`` or ``search.reranked`` among max(20, 4·top_k) nearest rows.

    Args:
        target: The collection.
        queries: float32 (queries, dimension).
        top_k: As in ``query``.
        terms: What else was asked.
        tunneling_strength: Γ of the annealing.
        rerank: ``"quantum"``.
        backend: Only with ``rerank``; ``local`` if not given.
        shots: Only with ``rerank``.
        seed: Of annealing (0 if not given) or of shots.

    Raises:
        InvalidArgumentError: ``top_k`` is out of its range; both or neither of ``tunneling_strength`` and ``rerank``;
            or a keyword of the other one.
    """
    check_count("top_k", top_k, 1, MAX_TOP_K)
    near = max(LEAST_CANDIDATES, CANDIDATES_PER_HIT * top_k)
    if rerank is None:
        for name, value in (("backend", backend), ("shots", shots)):
            if value is not None:
                raise InvalidArgumentError(f"{name} is without meaning here", fix="give rerank='quantum'", value=value)
        if tunneling_strength is None:
            raise InvalidArgumentError(
                "seed is without meaning here",
                fix="give rerank='quantum' with shots, or tunneling_strength",
                value=seed,
            )
        chosen = partial(
            annealed_hits,
            target,
            top_k=top_k,
            terms=terms,
            fetch_k=max(top_k, min(near, MAX_ANNEALED)),
            tunneling_strength=tunneling_strength,
            seed=0 if seed is None else seed,
        )
        return [chosen(query) for query in queries]
    if rerank != "quantum":
        raise InvalidArgumentError(f"there is no rerank {rerank!r}", fix="use rerank='quantum'", value=rerank)
    if tunneling_strength is not None:
        raise InvalidArgumentError(
            "both rerank and tunneling_strength were given", fix="give one of them", value=tunneling_strength
        )
    measured = partial(
        reranked_rows,
        target,
        top_k=top_k,
        terms=terms,
        fetch_k=min(near, MAX_TOP_K),
        backend="local" if backend is None else backend,
        shots=shots,
        seed=seed,
    )
    return [measured(query).hits for query in queries]
