"""A superposition over contexts as a value, parsed from what callers write."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import DimensionMismatchError, InvalidStateError, InvalidVectorError
from qstore_db.states.coherence import parse_coherence_time
from qstore_db.states.contexts import ContextsInput, check_context_name, normalise, parse_weighted_names

_LARGEST = float(np.finfo(np.float32).max)

VectorsInput: TypeAlias = "Mapping[str, ArrayLike] | Sequence[ArrayLike] | NDArray[np.floating]"


@dataclass(frozen=True, slots=True, eq=False)
class Superposition:
    """|ψ⟩ = Σ_c √p_c |c⟩⊗|v_c/‖v_c‖⟩ as it is stored.

    Args:
        contexts: Distinct names c with p_c > 0, in the order in which they were given.
        probabilities: p_c > 0, Σ p_c = 1 up to rounding.
        vectors: float32 (contexts, dimension), finite and non-zero: the branch vectors as they were given. Their norms
            are kept and play no part in any overlap.
        shared: Whether one vector was given for all contexts.
        coherence_time: T in seconds, > 0, possibly infinite.
        initial_coherence: Coherent weight at the moment of writing, in [0, 1]; below 1 only after a collapse that left
            several branches of a state which had already dephased.
    """

    contexts: tuple[str, ...]
    probabilities: tuple[float, ...]
    vectors: NDArray[np.float32]
    shared: bool
    coherence_time: float = math.inf
    initial_coherence: float = 1.0

    @property
    def norms(self) -> NDArray[np.float64]:
        """Euclidean norms of the branch vectors, float64 (contexts,)."""
        return np.asarray(np.linalg.norm(self.vectors.astype(np.float64), axis=1), dtype=np.float64)

    @property
    def unit_vectors(self) -> NDArray[np.float64]:
        """The branches' directions v_c/‖v_c‖, float64 (contexts, dimension)."""
        wide = self.vectors.astype(np.float64)
        return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), dtype=np.float64)

    def branches(self) -> dict[str, NDArray[np.float32]]:
        """Context to branch vector, in order."""
        return dict(zip(self.contexts, self.vectors, strict=True))


def expected_vector(superposition: Superposition) -> NDArray[np.float32]:
    """Σ_c p_c v_c/‖v_c‖ as float32 (dimension,), summed in float64.

    Its inner product with a unit query q is the expected similarity Σ_c p_c⟨q|v_c⟩. Its norm is at most 1 and 0 where
    opposite branches cancel.
    """
    probabilities = np.asarray(superposition.probabilities)
    return np.asarray(probabilities @ superposition.unit_vectors, dtype=np.float32)


def parse_superposition(
    *,
    vector: ArrayLike | None = None,
    vectors: VectorsInput | None = None,
    contexts: ContextsInput | None = None,
    weights: Sequence[float] | None = None,
    coherence_time: float | None = None,
) -> Superposition:
    """The superposition that a caller describes.

    Args:
        vector: One vector for every context.
        vectors: One vector per context: a mapping by name, or a sequence parallel to ``contexts``.
        contexts: ``[("technical", 0.6), …]``, ``{"technical": 0.6, …}`` or bare names; may be left out where
            ``vectors`` is a mapping, which then weighs its contexts equally.
        weights: Parallel to bare names.
        coherence_time: Seconds above 0; ``None`` or infinity for no dephasing.

    Returns:
        Weights normalised to probabilities. A context that is named twice with an equal vector adds its weights; one of
        weight 0 is absent.

    Raises:
        InvalidStateError: Names, weights or coherence time out of their range; both or neither of ``vector`` and
            ``vectors``; contexts and ``vectors`` that do not match; one context with two different vectors.
        InvalidVectorError: A vector is not finite, not real, zero, or has the wrong shape.
    """
    seconds = parse_coherence_time(coherence_time)
    if (vector is None) == (vectors is None):
        raise InvalidStateError(
            "a state needs either vector or vectors",
            fix="give vector=… for one vector in every context, or vectors={context: vector}",
        )
    if contexts is None:
        if not isinstance(vectors, Mapping):
            raise InvalidStateError("a state needs contexts", fix="give contexts=[('technical', 0.6), …]")
        contexts = list(vectors)
    names, raw = parse_weighted_names(contexts, weights)
    rows = _rows_of(names, vector, vectors)
    merged = _merge(names, normalise(raw), rows)
    return Superposition(
        contexts=tuple(merged),
        probabilities=tuple(probability for probability, _ in merged.values()),
        vectors=np.stack([row for _, row in merged.values()]),
        shared=vector is not None,
        coherence_time=seconds,
    )


def _rows_of(names: Sequence[str], vector: ArrayLike | None, vectors: VectorsInput | None) -> list[NDArray[np.float32]]:
    """One checked float32 vector per name."""
    if vectors is None:
        row = parse_branch_vector(vector)
        return [row] * len(names)
    if isinstance(vectors, Mapping):
        for name in vectors:
            check_context_name(name)
        unweighted = [name for name in vectors if name not in set(names)]
        missing = [name for name in names if name not in vectors]
        if unweighted or missing:
            raise InvalidStateError(
                f"vectors and contexts do not match: {', '.join(map(repr, unweighted + missing))}",
                fix="give one vector and one weight per context",
                value=unweighted + missing,
            )
        by_name = {name: parse_branch_vector(row) for name, row in vectors.items()}
        rows = [by_name[name] for name in names]
    else:
        given = list(vectors)
        if len(given) != len(names):
            raise InvalidStateError(
                f"{len(given)} vectors for {len(names)} contexts", fix="give one vector per context", value=len(given)
            )
        rows = [parse_branch_vector(row) for row in given]
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise DimensionMismatchError(
            f"branch vectors have lengths {lengths}", fix="give vectors of one length", value=lengths
        )
    return rows


def _merge(
    names: Sequence[str], probabilities: Sequence[float], rows: Sequence[NDArray[np.float32]]
) -> dict[str, tuple[float, NDArray[np.float32]]]:
    merged: dict[str, tuple[float, NDArray[np.float32]]] = {}
    for name, probability, row in zip(names, probabilities, rows, strict=True):
        if probability == 0:
            continue
        if name not in merged:
            merged[name] = (probability, row)
            continue
        stored_probability, stored_row = merged[name]
        if not np.array_equal(stored_row, row):
            raise InvalidStateError(
                f"context {name!r} is given twice with different vectors",
                fix="give each context one vector",
                value=name,
            )
        merged[name] = (stored_probability + probability, stored_row)
    return merged


def parse_branch_vector(given: ArrayLike | None) -> NDArray[np.float32]:
    """A branch vector as float32 (dimension,).

    Raises:
        InvalidVectorError: Not real numbers, not one-dimensional, empty, not finite in float32, or zero.
    """
    try:
        wide = np.asarray(given)
        if wide.dtype == object:
            wide = np.asarray(given, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise InvalidVectorError(
            f"a branch vector is no array of numbers: {error}", fix="give a list of floats"
        ) from error
    if wide.dtype.kind not in "fiu" or wide.ndim != 1 or wide.size == 0:
        raise InvalidVectorError(
            f"a branch vector of type {wide.dtype} and shape {wide.shape} is no vector",
            fix="give real numbers of shape (dimension,)",
            value=wide.shape,
        )
    with np.errstate(over="ignore", under="ignore"):
        row = np.array(wide, dtype=np.float32)
    if not np.isfinite(row).all():
        raise InvalidVectorError(
            "a branch vector holds NaN, infinity or a number beyond float32", fix="give finite numbers below 3.4e38"
        )
    norm = float(np.linalg.norm(row.astype(np.float64)))
    if not 0 < norm <= _LARGEST:
        raise InvalidVectorError(
            f"a branch vector has norm {norm:g}",
            fix=f"give a vector that is not zero and no longer than {_LARGEST:g}",
            value=norm,
        )
    return row
