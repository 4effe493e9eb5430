"""What comes back from a backend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """How often each bitstring was measured on one sample.

    Args:
        n_qubits: Length of a bitstring.
        outcomes: Measured basis indices, ascending, each once; int64, shape (m,). Qubit 0 is the highest bit.
        numbers: How often, at least 1 each; int64, shape (m,).
    """

    n_qubits: int
    outcomes: NDArray[np.int64]
    numbers: NDArray[np.int64]

    @property
    def shots(self) -> int:
        """Measurements in all."""
        return int(self.numbers.sum())

    def by_bitstring(self) -> dict[str, int]:
        """Bitstring, qubit 0 first, to its number; in ascending order, without those never seen."""
        return {
            format(outcome, f"0{self.n_qubits}b"): number
            for outcome, number in zip(self.outcomes.tolist(), self.numbers.tolist(), strict=True)
        }

    def dense(self) -> NDArray[np.int64]:
        """Numbers of all 2^n bitstrings, shape (2^n,)."""
        out = np.zeros(1 << self.n_qubits, np.int64)
        out[self.outcomes] = self.numbers
        return out


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionResult:
    """What one request read; exactly one of ``values``, ``probabilities`` and ``counts`` is there.

    Arrays cannot be written to: the same result may be handed to several callers.

    Args:
        backend: Name of the place that computed it.
        values: Expectation values, float64, shape (samples, observables), in the order of the request.
        probabilities: Of all bitstrings, float64, shape (samples, 2^n); qubit 0 is the highest bit of the index.
        counts: One for each sample.
    """

    backend: str
    values: NDArray[np.float64] | None = None
    probabilities: NDArray[np.float64] | None = None
    counts: tuple[Counts, ...] | None = None

    def __post_init__(self) -> None:
        for array in self._arrays():
            array.setflags(write=False)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in self._arrays())

    def _arrays(self) -> list[NDArray[np.float64] | NDArray[np.int64]]:
        found: list[NDArray[np.float64] | NDArray[np.int64]] = [
            array for array in (self.values, self.probabilities) if array is not None
        ]
        for one in self.counts or ():
            found += [one.outcomes, one.numbers]
        return found
