"""The readouts a model sees: fixed lists of Pauli strings in an order that never changes."""

from __future__ import annotations

from itertools import combinations
from typing import Literal, TypeAlias, assert_never, get_args

from qstore_db.circuits.observables import PauliString
from qstore_db.errors import InvalidCircuitError

Readout: TypeAlias = Literal["pauli_pairs", "z"]


def pauli_pairs(n_qubits: int) -> tuple[PauliString, ...]:
    """⟨X⟩, ⟨Y⟩, ⟨Z⟩ of every qubit, then ⟨XX⟩, ⟨YY⟩, ⟨ZZ⟩ of every pair: 3n + 3n(n-1)/2 numbers, 63 for six qubits.

    Order: X₀ Y₀ Z₀ X₁ Y₁ Z₁ … and then for the pairs (0,1) (0,2) … (0,n-1) (1,2) … each XX YY ZZ.
    """
    singles = [PauliString.on(n_qubits, {qubit: letter}) for qubit in range(n_qubits) for letter in "XYZ"]
    pairs = [
        PauliString.on(n_qubits, {first: letter, second: letter})
        for first, second in combinations(range(n_qubits), 2)
        for letter in "XYZ"
    ]
    return (*singles, *pairs)


def single_z(n_qubits: int) -> tuple[PauliString, ...]:
    """⟨Z⟩ of every qubit, qubit 0 first."""
    return tuple(PauliString.on(n_qubits, {qubit: "Z"}) for qubit in range(n_qubits))


def readout(kind: Readout, n_qubits: int) -> tuple[PauliString, ...]:
    """The list of the given name.

    Raises:
        InvalidCircuitError: No readout of that name.
    """
    if kind not in get_args(Readout):
        raise InvalidCircuitError(
            f"unknown readout {kind!r}", fix=f"Use one of {', '.join(get_args(Readout))}.", value=kind
        )
    match kind:
        case "pauli_pairs":
            return pauli_pairs(n_qubits)
        case "z":
            return single_z(n_qubits)
        case _:
            assert_never(kind)
