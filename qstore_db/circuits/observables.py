"""What is read from a circuit: expectation values of Pauli strings and of real sums of them.

⟨P⟩ = ⟨ψ|P|ψ⟩ lies in [-1, 1] for a Pauli string P; it is the mean of the product of the ±1 outcomes that a device
would give.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from qstore_db.errors import InvalidCircuitError


@dataclass(frozen=True, slots=True)
class PauliString:
    """A product of Pauli matrices, one letter a qubit.

    Args:
        letters: ``I``, ``X``, ``Y`` or ``Z`` for each qubit; the first letter acts on qubit 0.

    Raises:
        InvalidCircuitError: No letters, or another letter.

    Example:
        >>> PauliString("XIZ").on_qubits
        {0: 'X', 2: 'Z'}
    """

    letters: str

    def __post_init__(self) -> None:
        if not isinstance(self.letters, str) or not self.letters or set(self.letters) - set("IXYZ"):
            raise InvalidCircuitError(
                f"{self.letters!r} is not a Pauli string",
                fix="Write one of I, X, Y, Z for every qubit, for example 'XIZ'.",
                value=self.letters,
            )

    @classmethod
    def on(cls, n_qubits: int, letters: Mapping[int, str]) -> PauliString:
        """The string on ``n_qubits`` qubits with the given letters and ``I`` elsewhere."""
        if any(qubit not in range(n_qubits) for qubit in letters):
            raise InvalidCircuitError(
                f"qubits {sorted(letters)} are not all among 0 … {n_qubits - 1}",
                fix="Name qubits of the circuit.",
                value=dict(letters),
            )
        return cls("".join(letters.get(qubit, "I") for qubit in range(n_qubits)))

    @property
    def n_qubits(self) -> int:
        """Number of qubits the string is written for."""
        return len(self.letters)

    @property
    def on_qubits(self) -> dict[int, str]:
        """Qubit to letter, without the identities."""
        return {qubit: letter for qubit, letter in enumerate(self.letters) if letter != "I"}

    @property
    def masks(self) -> tuple[int, int, int]:
        """Flipped bits x, signed bits z, and the number y of Y: P|b⟩ = i^y (-1)^|b ∧ z| |b ⊕ x⟩.

        Bit n-1-q of x and z belongs to qubit q, as in basis indices b; |·| counts ones.

        Example:
            >>> PauliString("XYZ").masks
            (6, 3, 1)
        """
        flipped = int("".join("1" if letter in "XY" else "0" for letter in self.letters), 2)
        signed = int("".join("1" if letter in "YZ" else "0" for letter in self.letters), 2)
        return flipped, signed, self.letters.count("Y")

    def __mul__(self, factor: float) -> PauliSum:
        return PauliSum(((factor, self),))

    __rmul__ = __mul__

    def __neg__(self) -> PauliSum:
        return self * -1.0

    def __add__(self, other: Observable) -> PauliSum:
        return PauliSum(((1.0, self),)) + other

    def __sub__(self, other: Observable) -> PauliSum:
        return self + other * -1.0

    def __str__(self) -> str:
        return self.letters


@dataclass(frozen=True, slots=True)
class PauliSum:
    """A real combination of Pauli strings, Σ coefficient · string: any Hermitian observable can be written so.

    Args:
        terms: Pairs of coefficient and string, at least one, all on as many qubits.

    Raises:
        InvalidCircuitError: No term, a coefficient that is not finite, or strings of different length.
    """

    terms: tuple[tuple[float, PauliString], ...]

    def __post_init__(self) -> None:
        lengths = {string.n_qubits for _, string in self.terms}
        if len(lengths) != 1 or not all(math.isfinite(coefficient) for coefficient, _ in self.terms):
            raise InvalidCircuitError(
                f"a sum of {len(self.terms)} Pauli strings on {sorted(lengths)} qubits is no observable",
                fix="Give at least one term, finite coefficients, and strings of one length.",
                value=self.terms,
            )

    @property
    def n_qubits(self) -> int:
        """Number of qubits the strings are written for."""
        return self.terms[0][1].n_qubits

    def __mul__(self, factor: float) -> PauliSum:
        return PauliSum(tuple((coefficient * factor, string) for coefficient, string in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> PauliSum:
        return self * -1.0

    def __add__(self, other: Observable) -> PauliSum:
        return PauliSum(self.terms + terms_of(other))

    def __sub__(self, other: Observable) -> PauliSum:
        return self + other * -1.0

    def __str__(self) -> str:
        return " + ".join(f"{coefficient:.4g}·{string}" for coefficient, string in self.terms)


Observable: TypeAlias = PauliString | PauliSum


def terms_of(observable: Observable) -> tuple[tuple[float, PauliString], ...]:
    """Pairs of coefficient and string of either kind of observable."""
    return observable.terms if isinstance(observable, PauliSum) else ((1.0, observable),)


_ALONE: Final = (PauliString, PauliSum, str)


def listed(observables: Iterable[Observable]) -> tuple[Observable, ...]:
    """Observables as a tuple.

    Raises:
        InvalidCircuitError: A single one, or its letters, stands where several are taken.
    """
    if isinstance(observables, _ALONE):
        raise InvalidCircuitError(
            f"{observables!s} stands alone where observables are listed",
            fix="Give a list, such as [PauliString('XIZ')].",
            value=str(observables),
        )
    return tuple(observables)


def require_observables(observables: Sequence[Observable], n_qubits: int) -> None:
    """Checks that there are observables and that they are written for a circuit's qubits.

    Raises:
        InvalidCircuitError: There are none, one is no observable, or one is for another number of qubits.
    """
    if not observables:
        raise InvalidCircuitError("no observables: nothing is read", fix="Give at least one.", value=0)
    require_qubits(observables, n_qubits)


def require_qubits(observables: Iterable[Observable], n_qubits: int) -> None:
    """Checks that observables are written for a circuit's qubits.

    Raises:
        InvalidCircuitError: One is no observable, or is for another number of qubits.
    """
    for observable in observables:
        if not isinstance(observable, PauliString | PauliSum):
            raise InvalidCircuitError(
                f"{observable!r} is no observable", fix="Give PauliString('XIZ'), or sums of such.", value=observable
            )
        if observable.n_qubits != n_qubits:
            raise InvalidCircuitError(
                f"observable {observable} is for {observable.n_qubits} qubit(s), the circuit has {n_qubits}",
                fix="Write one letter for every qubit of the circuit.",
                value=str(observable),
            )
