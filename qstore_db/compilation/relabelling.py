"""Observables and amplitudes of an original circuit, seen on one whose qubits have been relabelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.observables import Observable, PauliString, PauliSum
from qstore_db.errors import InvalidArgumentError

Scalar = TypeVar("Scalar", bound=np.generic)


def relabel(observable: Observable, permutation: Sequence[int]) -> Observable:
    """The observable with the letter of qubit q on qubit ``permutation[q]``.

    Args:
        observable: Of the original circuit.
        permutation: ``output_permutation`` of the rewritten one.

    Raises:
        InvalidArgumentError: The permutation does not hold each qubit of the observable once.

    Example:
        >>> str(relabel(PauliString("XYZ"), (2, 0, 1)))
        'YZX'
    """
    checked_permutation(permutation, observable.n_qubits)
    if isinstance(observable, PauliSum):
        return PauliSum(tuple((coefficient, _moved(string, permutation)) for coefficient, string in observable.terms))
    return _moved(observable, permutation)


def in_original_order(values: NDArray[Scalar], permutation: Sequence[int]) -> NDArray[Scalar]:
    """Amplitudes or probabilities of the rewritten circuit, ordered as the original circuit gives them.

    Args:
        values: Shape (…, 2^n), qubit 0 the highest bit of the last index.
        permutation: ``output_permutation`` of the rewritten circuit, n numbers.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        InvalidArgumentError: The permutation does not hold 0 … n-1 once each, or the last axis is not 2^n long.

    Example:
        >>> in_original_order(np.array([0, 1, 0, 0]), (1, 0)).tolist()
        [0, 0, 1, 0]
    """
    n = len(permutation)
    checked_permutation(permutation, n)
    if values.ndim == 0 or values.shape[-1] != 1 << n:
        raise InvalidArgumentError(
            f"an array of shape {values.shape} does not hold the amplitudes of {n} qubits",
            fix=f"Give an array whose last axis has {1 << n} entries.",
            value=values.shape,
        )
    lead = values.ndim - 1
    spread: NDArray[Any] = values.reshape(values.shape[:-1] + (2,) * n)
    turned = spread.transpose((*range(lead), *(lead + place for place in permutation)))
    return np.ascontiguousarray(turned).reshape(values.shape)


def checked_permutation(permutation: Sequence[int], n_qubits: int) -> None:
    """Refuses what does not hold 0 … n_qubits - 1 once each.

    Raises:
        InvalidArgumentError: As said.
    """
    if sorted(permutation) != list(range(n_qubits)):
        raise InvalidArgumentError(
            f"{tuple(permutation)} is not a permutation of {n_qubits} qubit(s)",
            fix=f"Give each of 0 … {n_qubits - 1} once.",
            value=tuple(permutation),
        )


def _moved(string: PauliString, permutation: Sequence[int]) -> PauliString:
    letters = [""] * string.n_qubits
    for place, letter in zip(permutation, string.letters, strict=True):
        letters[place] = letter
    return PauliString("".join(letters))
