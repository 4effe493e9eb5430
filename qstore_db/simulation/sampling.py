"""Shots: outcomes drawn with given probabilities.

An outcome is a basis index with qubit 0 as its highest bit, or the bitstring with qubit 0 left-most. All chance comes
from the generator or the seed that is passed in.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.availability import require_numba

MERGE_SHOTS: Final = 1 << 20
"""Up to so many shots one number is drawn each; above, one binomial number for each outcome."""

SUM_TOLERANCE: Final = 1e-4
"""How far the sum of probabilities may be off 1; those of a float32 run stay within 1e-5."""

MAX_SHOTS: Final = 2**53


def sample_counts(chances: ArrayLike, shots: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """How often each outcome occurs in a number of independent shots.

    Args:
        chances: Shape (outcomes,). Values down to -1e-4, as rounding leaves them, count as 0; the sum may be off 1 by
            1e-4 and is scaled to 1.
        shots: 1 … 2^53.
        generator: Chance; ``shots + 1`` exponential numbers are drawn, for more than 2^20 shots ``outcomes`` binomial
            ones.

    Returns:
        int64 (outcomes,), sum ``shots``.

    Raises:
        InvalidArgumentError: No probabilities (another shape, negative, not finite, another sum), or shots out of
            range.

    Example:
        >>> sample_counts([0.5, 0.0, 0.5], 1000, np.random.default_rng(0)).tolist()
        [462, 0, 538]
    """
    # Numba is imported at the first run, so that importing the package stays quick.
    require_numba("shots")
    from qstore_db.simulation import shot_kernel

    given = np.ascontiguousarray(chances, np.float64)
    if given.ndim != 1 or not given.size:
        raise InvalidArgumentError(
            f"probabilities of shape {given.shape} are not those of one state",
            fix="Give an array of shape (outcomes,), or use sample_batch.",
            value=given.shape,
        )
    _check_shots(shots)
    ends = np.empty(given.size + shot_kernel.AHEAD)
    least, total = shot_kernel.running_sums(given, ends)
    if not abs(total - 1.0) <= SUM_TOLERANCE or least < -SUM_TOLERANCE:
        raise InvalidArgumentError(
            f"the numbers add up to {total:.6g} and the least is {least:.6g}: they are no probabilities",
            fix="Give values from 0 on that add up to 1.",
            value=(total, least),
        )
    if shots > MERGE_SHOTS:
        return _binomials(given, shots, generator)
    counts = np.zeros(given.size, np.int64)
    shot_kernel.merge(ends, total, generator.standard_exponential(shots + 1), counts)
    return counts


def sample_batch(
    chances: ArrayLike, shots: int, seed: int, *, sample_numbers: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Counts for every sample of a batch; a sample's counts depend on seed and sample number only.

    Args:
        chances: Shape (samples, outcomes), as for :func:`sample_counts`.
        shots: For each sample, 1 … 2^53.
        seed: 0 or more.
        sample_numbers: One integer from 0 on for each sample; None: 0, 1, 2 …

    Returns:
        int64 (samples, outcomes).

    Raises:
        InvalidArgumentError: As in :func:`sample_counts`, or a negative seed or number.
    """
    rows = np.asarray(chances, np.float64)
    if rows.ndim != 2:
        raise InvalidArgumentError(
            f"probabilities of shape {rows.shape} are not those of a batch",
            fix="Give an array of shape (samples, outcomes).",
            value=rows.shape,
        )
    numbers = np.arange(len(rows)) if sample_numbers is None else np.asarray(sample_numbers)
    if numbers.shape != (len(rows),):
        raise InvalidArgumentError(
            f"sample numbers of shape {numbers.shape} do not fit {len(rows)} sample(s)",
            fix="Give one number for each sample.",
            value=numbers.shape,
        )
    out = np.empty(rows.shape, np.int64)
    for place, number in enumerate(numbers.tolist()):
        out[place] = sample_counts(rows[place], shots, shot_generator(seed, number))
    return out


def shot_generator(seed: int, *path: int) -> np.random.Generator:
    """The random numbers of a place in a computation: equal arguments give equal numbers, others independent ones.

    Raises:
        InvalidArgumentError: The seed or a number is negative.
    """
    if seed < 0 or any(number < 0 for number in path):
        raise InvalidArgumentError(
            f"the seed {seed} with {path} is negative", fix="Use integers from 0 on.", value=(seed, *path)
        )
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *path])))


def sample_outcomes(chances: ArrayLike, shots: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """The outcomes shot by shot, in random order: basis indices.

    Args:
        chances: As for :func:`sample_counts`.
        shots: As for :func:`sample_counts`; the array has one number for each.
        generator: Chance.

    Returns:
        int64 (shots,).

    Raises:
        InvalidArgumentError: As in :func:`sample_counts`.
    """
    counts = sample_counts(chances, shots, generator)
    return generator.permutation(np.repeat(np.arange(counts.size), counts))


def bits(outcomes: ArrayLike, n_qubits: int) -> NDArray[np.uint8]:
    """Outcomes as bits, uint8 (shots, n_qubits), qubit 0 first."""
    return ((np.asarray(outcomes)[:, None] >> np.arange(n_qubits - 1, -1, -1)) & 1).astype(np.uint8)


def bitstring_counts(counts: ArrayLike) -> dict[str, int]:
    """Counts by bitstring, qubit 0 left-most, in ascending order; outcomes that never occurred are left out.

    Args:
        counts: Shape (2^n,).

    Raises:
        InvalidArgumentError: The length is no power of two.

    Example:
        >>> bitstring_counts([3, 0, 0, 5])
        {'00': 3, '11': 5}
    """
    given = np.asarray(counts)
    n = given.size.bit_length() - 1
    if given.ndim != 1 or not given.size or given.size != 1 << n:
        raise InvalidArgumentError(
            f"counts of shape {given.shape} are not those of qubits", fix="Give 2^n counts.", value=given.shape
        )
    return {format(k, f"0{n}b"): int(given[k]) for k in np.flatnonzero(given).tolist()}


def _check_shots(shots: int) -> None:
    if isinstance(shots, bool) or not isinstance(shots, int | np.integer) or not 1 <= shots <= MAX_SHOTS:
        raise InvalidArgumentError(
            f"{shots!r} is not a number of shots", fix="Give an integer from 1 to 2^53.", value=shots
        )


def _binomials(chances: NDArray[np.float64], shots: int, generator: np.random.Generator) -> NDArray[np.int64]:
    # The last outcome takes what is left over, so it must be one that can occur.
    last = int(np.flatnonzero(chances > 0)[-1])
    kept = np.maximum(chances[: last + 1], 0.0)
    counts = np.zeros(chances.size, np.int64)
    counts[: last + 1] = generator.multinomial(shots, kept / kept.sum())
    return counts
