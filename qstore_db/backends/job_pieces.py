"""How requests are cut into what fits one remote job, and their results put together again.

A provider counts circuits: a request of 300 samples is 300 of them. A request that is too long for one job is cut into
pieces of equal length but the last; the cut depends on the request alone, so that a program that is started again asks
the same pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult


def pieces_of(request: ExecutionRequest, circuits: int) -> tuple[ExecutionRequest, ...]:
    """The request itself where it fits, else its samples in stretches.

    Args:
        request: Without start states.
        circuits: That fit into one job, at least 1.

    Returns:
        In the order of the samples. Pieces of a seeded request have seeds of their own, made from its seed and their
        number.
    """
    if request.samples <= circuits:
        return (request,)
    return tuple(
        ExecutionRequest(
            request.circuit,
            request.observables,
            shots=request.shots,
            weights=request.weights,
            data=request.data[first : first + circuits],
            seed=None if request.seed is None else _seed(request.seed, number),
            tags=request.tags,
        )
        for number, first in enumerate(range(0, request.samples, circuits))
    )


def joined(results: Sequence[ExecutionResult]) -> ExecutionResult:
    """The result of a request from those of its pieces, in their order."""
    if len(results) == 1:
        return results[0]
    values = [one.values for one in results if one.values is not None]
    chances = [one.probabilities for one in results if one.probabilities is not None]
    counts = [one.counts for one in results if one.counts is not None]
    return ExecutionResult(
        results[0].backend,
        values=np.concatenate(values) if values else None,
        probabilities=np.concatenate(chances) if chances else None,
        counts=tuple(sample for part in counts for sample in part) if counts else None,
    )


def portions_of(pieces: Sequence[ExecutionRequest], circuits: int) -> list[list[int]]:
    """Which pieces go into one job together: those of equal shots, in their order, as many as fit.

    Args:
        pieces: Each of at most ``circuits`` samples.
        circuits: That fit into one job.

    Returns:
        Places of the pieces, each exactly once.
    """
    open_portions: dict[int | None, tuple[list[int], int]] = {}
    made: list[list[int]] = []
    for place, piece in enumerate(pieces):
        portion, size = open_portions.get(piece.shots, ([], 0))
        if not portion or size + piece.samples > circuits:
            portion, size = [], 0
            made.append(portion)
        portion.append(place)
        open_portions[piece.shots] = (portion, size + piece.samples)
    return made


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))
