"""Grover's search: amplitude flows to the marked bitstrings.

Source: Grover, STOC 1996; number of repetitions by Boyer, Brassard, Høyer and Tapp, Fortschritte der Physik 46, 493
(1998). The oracle here is written from the marked bitstrings themselves, so this shows how the amplitudes move; it
finds nothing that was not known before.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.controlled import multi_controlled_z
from qstore_db.circuits.encodings.basis import checked_bits
from qstore_db.errors import InvalidCircuitError


def phase_oracle(marked: Collection[str]) -> Circuit:
    """-1 on every marked bitstring, 1 on every other: exact, without ancilla qubits.

    X on the zeros, a multi-controlled Z of about 2^{n+1} gates (n of 3 and more), X again, for each marked bitstring.

    Args:
        marked: Different bitstrings of one length, at least one; first bit qubit 0's.

    Raises:
        InvalidCircuitError: None, one twice, different lengths, or something else than 0 and 1.
    """
    strings = tuple(marked)
    if isinstance(marked, str) or not strings or len(set(strings)) != len(strings) or len(set(map(len, strings))) != 1:
        raise InvalidCircuitError(
            f"{marked!r} are not different bitstrings of one length",
            fix="Give a list of bitstrings such as ['011', '101'].",
            value=marked,
        )
    n = len(strings[0])
    operations: list[Operation] = []
    for string in strings:
        flips = [Operation("X", (qubit,)) for qubit, bit in enumerate(checked_bits(string)) if not bit]
        operations += [*flips, *multi_controlled_z(range(n)), *flips]
    return Circuit(n, operations)


def diffusion(n_qubits: int) -> Circuit:
    """The reflection 1 - 2|s⟩⟨s| about the uniform state |s⟩ = H^n |0…0⟩; minus the usual 2|s⟩⟨s| - 1, a global phase.

    Raises:
        InvalidCircuitError: ``n_qubits`` is out of range.
    """
    hadamards = [Operation("H", (qubit,)) for qubit in range(n_qubits)]
    return Circuit(n_qubits, (*hadamards, *phase_oracle(["0" * n_qubits]).operations, *hadamards))


def best_iterations(n_qubits: int, marked: int) -> int:
    """The number r of repetitions at the first maximum of the success probability sin²((2r+1)θ).

    sin²θ = marked / 2^n, and r = ⌊π / (4θ)⌋, the integer for which (2r+1)θ lies nearest to π/2; 0 when more than half
    is marked.

    Raises:
        InvalidCircuitError: ``marked`` is not in 1 … 2^n.
    """
    if not 1 <= marked <= 1 << n_qubits:
        raise InvalidCircuitError(
            f"{marked} marked of {1 << n_qubits} basis states", fix="Mark at least one and at most all.", value=marked
        )
    return int(math.pi / (4 * math.asin(math.sqrt(marked / (1 << n_qubits)))))


def grover(marked: Collection[str], iterations: int | None = None) -> Circuit:
    """H on every qubit, then oracle and diffusion ``iterations`` times.

    The marked bitstrings together then have probability sin²((2r+1)θ) with sin²θ = marked / 2^n, exactly.

    Args:
        marked: Different bitstrings of one length.
        iterations: r, 0 or more; by default :func:`best_iterations`.

    Raises:
        InvalidCircuitError: As in :func:`phase_oracle`, or a negative number of iterations.

    Example:
        >>> grover(["11"]).n_qubits
        2
    """
    oracle = phase_oracle(marked)
    n = oracle.n_qubits
    rounds = best_iterations(n, len(marked)) if iterations is None else iterations
    if rounds < 0:
        raise InvalidCircuitError(f"{rounds} iterations are fewer than none", fix="Give 0 or more.", value=rounds)
    step = oracle.operations + diffusion(n).operations
    return Circuit(n, tuple(Operation("H", (qubit,)) for qubit in range(n)) + step * rounds)
