"""Where the readouts of a trained model are computed: the exact simulator, or the backend that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from qstore_db.backends.bounded_cache import CacheLimits
from qstore_db.backends.capabilities import check_reading
from qstore_db.backends.named import available_backend, backend_entry, full_name
from qstore_db.backends.request import MAX_SHOTS
from qstore_db.errors import InvalidArgumentError, UnsupportedRequestError
from qstore_db.executor.executor import Executor
from qstore_db.executor.expectations import BackendExpectations
from qstore_db.executor.options import ExecutorOptions
from qstore_db.training.options import PURE_BACKEND

_READING_SEEDS: Final = 3
"""Tells the shots of reading from those of steps and of validations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReading:
    """How to read a trained model's circuits.

    Args:
        backend: Name of a backend, see the table ``backends``; of the remote ones, those that cost nothing.
        shots: Of each circuit; ``None`` for exact values, where the backend gives them.
        seed: Of the shots, from 0 on; ``None`` becomes 0 where there are shots. Equal readings of equal rows in equal
            order give equal numbers where the backend can be seeded.

    Raises:
        UnknownBackendError: There is no such backend.
        UnsupportedRequestError: It gives no exact values and there are no shots, or not so many.
        InvalidArgumentError: Shots or seed are out of range, or a seed is given without shots.
    """

    backend: str = PURE_BACKEND
    shots: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, value, low, high in (("shots", self.shots, 2, MAX_SHOTS), ("seed", self.seed, 0, 2**63 - 1)):
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high
            ):
                raise InvalidArgumentError(
                    f"{name} is {value!r}", fix=f"Give {name} as an integer from {low} to {high}.", value=value
                )
        object.__setattr__(self, "backend", full_name(self.backend))
        check_reading(self.backend, backend_entry(self.backend).capabilities, self.shots)
        if self.seed is not None and self.shots is None:
            raise InvalidArgumentError(
                f"seed = {self.seed} chooses shots, and there are none", fix="Leave seed out.", value=self.seed
            )
        if self.shots is not None and self.seed is None:
            object.__setattr__(self, "seed", 0)

    @property
    def is_exact(self) -> bool:
        """Whether this process computes pure states: no backend is asked."""
        return self.backend == PURE_BACKEND and self.shots is None


EXACT: Final = ModelReading()


@contextmanager
def source_of(reading: ModelReading, qubits: int) -> Iterator[BackendExpectations | None]:
    """Where values come from while the context is open; ``None`` for the exact simulator itself.

    Args:
        reading: What is asked for.
        qubits: Of the model.

    Raises:
        UnsupportedRequestError: The backend has no room for so many qubits.
        MissingDependencyError: It needs a package that is not installed.
    """
    if reading.is_exact:
        yield None
        return
    room = available_backend(reading.backend).capabilities.max_qubits
    if qubits > room:
        raise UnsupportedRequestError(
            f"the backend {reading.backend!r} has no room for {qubits} qubits",
            fix="Use another backend.",
            value=qubits,
        )
    nothing_kept = ExecutorOptions(result_cache=CacheLimits(entries=0, size_bytes=0))
    with Executor.named(reading.backend, options=nothing_kept) as executor:
        yield BackendExpectations(
            executor, reading.backend, shots=reading.shots, seed=(reading.seed or 0, _READING_SEEDS)
        )
