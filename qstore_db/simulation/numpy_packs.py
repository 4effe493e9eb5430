"""Pauli rotations and readouts as NumPy operations on whole batches of states, shape (samples, 2^n), complex.

Up to four commuting strings with independent x masks mix 16 amplitudes at a time: the cosets of the masks' span. In
coset order, and with the sign of each string moved into the amplitudes, each string is X or Y on one bit of the place
in the coset, so a rotation of all of them is one matrix product with a Kronecker product of 2 × 2 matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.simulation.compile import ReadoutTerm
from qstore_db.simulation.frame import PauliMask
from qstore_db.simulation.packing import pivots

States: TypeAlias = NDArray[np.complexfloating]
Floats: TypeAlias = NDArray[np.float64]

PACK: Final = 4


def signs(masks: Sequence[int], n: int) -> Floats:
    """(-1)^popcount(mask & p) for every mask and amplitude p, (masks, 2^n)."""
    bits = np.bitwise_count(np.arange(1 << n)[None, :] & np.array(masks, np.int64).reshape(-1, 1))
    found: Floats = 1.0 - 2.0 * (bits & 1)
    return found


@dataclass(frozen=True, slots=True)
class DiagonalPack:
    """Strings without bit flips.

    Args:
        n: Qubits.
        places: Numbers of the rotations.
        masks: Their z masks.
    """

    n: int
    places: list[int]
    masks: list[int]

    def rotate(self, states: States, angles: Floats) -> States:
        """exp(-i θ/2 P) of all strings; ``angles`` is (samples or 1, strings)."""
        phases = np.exp(-0.5j * (angles @ signs(self.masks, self.n))).astype(states.dtype)
        turned: States = states * phases
        return turned

    def step_back(self, bra: States, ket: States, angles: Floats) -> tuple[States, States, Floats]:
        """λ and ψ before the rotations, and Im⟨λ|P|ψ⟩: (samples, strings), added up where angles are shared."""
        products = (bra.conj() * ket).imag
        moments = (products.sum(axis=0, keepdims=True) if len(angles) == 1 else products) @ signs(self.masks, self.n).T
        return self.rotate(bra, -angles), self.rotate(ket, -angles), moments


class CosetPack:
    """Up to four strings that flip bits, with independent x masks, such that z_g·x_h is even for g ≠ h.

    Args:
        n: Qubits.
        places: Numbers of the rotations.
        strings: Their strings.
    """

    __slots__ = ("_back", "_imaginary", "_order", "_signs", "places")

    def __init__(self, n: int, places: list[int], strings: list[PauliMask]) -> None:
        self.places = places
        fixed = pivots([string.x for string in strings]) or []
        free = [bit for bit in range(n) if bit not in fixed]
        base = np.zeros(1 << len(free), np.int64)
        for number, bit in enumerate(free):
            base |= (np.arange(base.size) >> number & 1) << bit
        member = np.zeros(1 << len(strings), np.int64)
        flips = np.ones((base.size, member.size))
        for g, string in enumerate(strings):
            inside = np.arange(member.size) >> g & 1
            member ^= inside * string.x
            odd = np.bitwise_count(base & string.z) & 1
            flips *= 1.0 - 2.0 * (odd[:, None] & inside[None, :])
        self._order = base[:, None] ^ member[None, :]
        self._back = np.argsort(self._order, axis=None)
        self._signs = flips
        self._imaginary = [string.imaginary for string in strings]

    def rotate(self, states: States, angles: Floats) -> States:
        """exp(-i θ/2 P) of all strings; ``angles`` is (samples or 1, strings)."""
        return self._leave(_times(self._enter(states), self._matrix(angles, states.dtype)))

    def step_back(self, bra: States, ket: States, angles: Floats) -> tuple[States, States, Floats]:
        """λ and ψ before the rotations, and Im⟨λ|P|ψ⟩: (samples, strings), added up where angles are shared."""
        left, right = self._enter(bra), self._enter(ket)
        rows = (1, -1, left.shape[2]) if len(angles) == 1 else left.shape
        products = left.conj().reshape(rows).transpose(0, 2, 1) @ right.reshape(rows)
        moments = np.empty((len(angles), len(self.places)))
        member = np.arange(products.shape[1])
        for g, imaginary in enumerate(self._imaginary):
            pairs = products[:, member, member ^ (1 << g)]
            if imaginary:
                pairs = pairs * np.where(member >> g & 1, 1j, -1j)
            moments[:, g] = pairs.sum(axis=1).imag
        matrix = self._matrix(-angles, bra.dtype)
        return self._leave(_times(left, matrix)), self._leave(_times(right, matrix)), moments

    def _enter(self, states: States) -> States:
        ordered: States = np.take(states, self._order, axis=1)
        ordered *= self._signs.astype(states.real.dtype)
        return ordered

    def _leave(self, ordered: States) -> States:
        ordered *= self._signs.astype(ordered.real.dtype)
        states: States = np.take(ordered.reshape(len(ordered), -1), self._back, axis=1)
        return states

    def _matrix(self, angles: Floats, dtype: np.dtype[np.complexfloating]) -> States:
        """Transposed, for rows of amplitudes: (samples or 1, 2^strings, 2^strings)."""
        whole: States = np.ones((len(angles), 1, 1), dtype)
        for g, imaginary in enumerate(self._imaginary):
            cosine, sine = np.cos(angles[:, g] / 2), np.sin(angles[:, g] / 2)
            one = np.empty((len(angles), 2, 2), dtype)
            one[:, 0, 0] = one[:, 1, 1] = cosine
            one[:, 0, 1] = sine if imaginary else -1j * sine
            one[:, 1, 0] = -sine if imaginary else -1j * sine
            size = 2 * whole.shape[1]
            whole = (one[:, :, None, :, None] * whole[:, None, :, None, :]).reshape(len(angles), size, size)
        return whole


def _times(ordered: States, matrix: States) -> States:
    """Every row of amplitudes times a matrix of its sample, or of all: then one product does."""
    if len(matrix) > 1:
        each: States = ordered @ matrix
        return each
    whole: States = (ordered.reshape(-1, matrix.shape[1]) @ matrix[0]).reshape(ordered.shape)
    return whole


def packs_of(n: int, numbered: Sequence[tuple[int, PauliMask]]) -> list[DiagonalPack | CosetPack]:
    """The rotations of one commuting set, diagonal ones first, the others greedily in packs."""
    diagonal = [(place, string.z) for place, string in numbered if not string.x]
    packs: list[DiagonalPack | CosetPack] = []
    if diagonal:
        packs.append(DiagonalPack(n, [place for place, _ in diagonal], [z for _, z in diagonal]))
    left = [(place, string) for place, string in numbered if string.x]
    while left:
        chosen: list[tuple[int, PauliMask]] = []
        rest: list[tuple[int, PauliMask]] = []
        for one in left:
            (chosen if _fits([string for _, string in chosen], one[1]) else rest).append(one)
        packs.append(CosetPack(n, [place for place, _ in chosen], [string for _, string in chosen]))
        left = rest
    return packs


def _fits(chosen: Sequence[PauliMask], string: PauliMask) -> bool:
    return (
        len(chosen) < PACK
        and not any((string.z & o.x).bit_count() & 1 or (o.z & string.x).bit_count() & 1 for o in chosen)
        and pivots([*(other.x for other in chosen), string.x]) is not None
    )


@dataclass(frozen=True, slots=True)
class ReadoutGroup:
    """Read terms with the same bit flips.

    Args:
        n: Qubits.
        x: The flips.
        terms: The terms.
    """

    n: int
    x: int
    terms: list[ReadoutTerm]

    def add_values(self, states: States, values: Floats) -> None:
        """Adds scale · ⟨ψ|P|ψ⟩ of every term to its column."""
        product = self._flipped(states).conj() * states
        for imaginary, terms in self._kinds():
            found = (-product.imag if imaginary else product.real) @ signs([t.string.z for t in terms], self.n).T
            for number, term in enumerate(terms):
                values[:, term.column] += term.scale * found[:, number]

    def add_seed(self, states: States, cotangent: Floats, bra: States) -> None:
        """Adds c · scale · Pψ of every term to λ."""
        for imaginary, terms in self._kinds():
            factors = cotangent[:, [t.column for t in terms]] * np.array([t.scale for t in terms])
            weights = (factors @ signs([t.string.z for t in terms], self.n)).astype(states.real.dtype)
            bra += self._flipped(states * weights * np.array(1j if imaginary else 1, states.dtype))

    def _kinds(self) -> list[tuple[bool, list[ReadoutTerm]]]:
        kinds = [(kind, [t for t in self.terms if t.string.imaginary == kind]) for kind in (False, True)]
        return [(kind, terms) for kind, terms in kinds if terms]

    def _flipped(self, states: States) -> States:
        if not self.x:
            return states
        flipped: States = np.take(states, np.arange(1 << self.n) ^ self.x, axis=1)
        return flipped


def readout_groups(n: int, terms: Sequence[ReadoutTerm]) -> list[ReadoutGroup]:
    """The terms by their bit flips, in order of first appearance."""
    groups: dict[int, list[ReadoutTerm]] = {}
    for term in terms:
        groups.setdefault(term.string.x, []).append(term)
    return [ReadoutGroup(n, x, members) for x, members in groups.items()]
