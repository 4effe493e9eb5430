"""The SQL function ``fidelity(a, b)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qstore_db.errors import DimensionMismatchError, InvalidVectorError
from qstore_db.sql.vector_lists import lengths, matrix


@dataclass(frozen=True, slots=True)
class Fidelity:
    """``fidelity(a FLOAT[], b FLOAT[]) → DOUBLE``: |⟨a|b⟩|² of two vectors as amplitudes of pure states, in [0, 1].

    Each vector is divided by its Euclidean norm first, so this is the square of their cosine, computed in float64. No
    circuit runs: for pure states that are known the number is exact. The sign of the overlap is lost. Null where an
    argument is null.
    """

    name: str = "fidelity"
    argument_types: Sequence[str] = ("FLOAT[]", "FLOAT[]")
    result_type: str = "DOUBLE"

    def evaluate(self, arguments: Sequence[pa.Array]) -> pa.Array:
        """Fidelities of one batch of rows, float64.

        Raises:
            DimensionMismatchError: The two vectors of a row differ in length.
            InvalidVectorError: A vector is zero, empty, not finite, or holds a null.
        """
        first, second = arguments
        asked = (first.is_valid().to_numpy(False)) & (second.is_valid().to_numpy(False))
        positions = np.flatnonzero(asked)
        chosen = pa.array(positions)
        left, right = first.take(chosen), second.take(chosen)
        sizes = lengths(left)
        wrong = np.flatnonzero(sizes != lengths(right))
        if len(wrong):
            one, other = int(sizes[wrong[0]]), int(lengths(right)[wrong[0]])
            raise DimensionMismatchError(
                f"fidelity(a, b) got vectors of {one} and {other} numbers", fix="Give equally long vectors.", value=one
            )
        found = np.zeros(len(first))
        for size in np.unique(sizes):
            rows = np.flatnonzero(sizes == size)
            some = pa.array(rows)
            a, b = _unit(matrix(left.take(some), int(size))), _unit(matrix(right.take(some), int(size)))
            found[positions[rows]] = np.minimum(np.einsum("ij,ij->i", a, b) ** 2, 1.0)
        return pa.array(found, pa.float64(), mask=~asked)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    numbers = rows.astype(np.float64)
    norms = np.linalg.norm(numbers, axis=1)
    wrong = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(wrong):
        raise InvalidVectorError(
            "fidelity(a, b) got a vector that is zero or not finite, which is no state",
            fix="Leave such rows out: WHERE …",
            value=numbers[wrong[0]].tolist()[:8],
        )
    return np.asarray(numbers / norms[:, None])
