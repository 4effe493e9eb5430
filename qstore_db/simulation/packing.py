"""From sets of rotations to the arrays that the kernel walks.

Within a set the diagonal strings (x = 0) become one pass; the others are packed up to three to a pass where their
signs allow it (see ``passes``). On |0…0⟩ the first set's strings with independent x masks only grow the support of
the state and cost one pass together. The readouts are packed in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.parameters import Weight
from qstore_db.simulation.compile import Rotation, RotationSets
from qstore_db.simulation.frame import PauliMask

SIGN_BIT: Final = 28
"""First sign bit of a word; the bits below hold the row (see ``passes``)."""

MASK_COLUMNS: Final = 4
"""Numbers in a row of ``Program.rotations`` and ``Program.reads``."""

PASS_COLUMNS: Final = 9
SET_COLUMNS: Final = 3

SEGMENT: Final = 128
"""Rotations between two start factors: cos(π/4)^128 = 5e-20 is the smallest, well inside float32."""

LOW_BITS: Final = 10
"""Cosets addressed by the low table of words; the high table holds the rest."""

UNIFORM_TABLE_LIMIT: Final = 1 << 16
"""Amplitudes up to which a diagonal that is the same in every lane becomes one table of complex numbers."""

DIAGONAL_STRINGS: Final = 8
"""Diagonal strings in one sweep: two groups of four, sixteen products each."""

DIAGONAL, REAL, IMAGINARY = 0, 1, 2
WEIGHT, DATA = 0, 1


class Program(NamedTuple):
    """Everything about a circuit that the kernel reads; no numbers of a run.

    Args:
        n: Qubits.
        from_amplitudes: Whether each sample brings its start state; otherwise all start in |0…0⟩.
        grown: Rotations 0 … grown-1 grow the support of |0…0⟩.
        uniform: Rotations grown … uniform-1 have no data angle before them: the same in every lane.
        segments: Start factors.
        tabled: Amplitudes of all uniform diagonal tables together.
        diagonal_reads: Read terms 0 … diagonal_reads-1 are diagonal.
        passes: int64 (P, 9): kind, strings, first rotation, low offset, low count, high offset, high count, 1 for
            passes that only give moments (growth), place of the uniform table or -1.
        words: int32, the tables of words.
        sets: int64 (K, 3): first pass, one past the last, 1 where a segment ends.
        rotations: int64 (R, 4): x, z, 1 if imaginary, segment.
        term_start: int64 (R + 1,): terms of rotation j are term_start[j] … term_start[j+1]-1.
        term_kind: int64: WEIGHT or DATA.
        term_index: int64.
        term_scale: float64.
        constant: float64 (R,).
        reads: int64 (Q, 4): x, z, 1 if imaginary, column.
        read_scale: float64 (Q,).
        read_passes: as ``passes``, over ``reads``.
    """

    n: int
    from_amplitudes: bool
    grown: int
    uniform: int
    segments: int
    tabled: int
    diagonal_reads: int
    passes: NDArray[np.int64]
    words: NDArray[np.int32]
    sets: NDArray[np.int64]
    rotations: NDArray[np.int64]
    term_start: NDArray[np.int64]
    term_kind: NDArray[np.int64]
    term_index: NDArray[np.int64]
    term_scale: NDArray[np.float64]
    constant: NDArray[np.float64]
    reads: NDArray[np.int64]
    read_scale: NDArray[np.float64]
    read_passes: NDArray[np.int64]


def pack(n: int, lowered: RotationSets, *, amplitude_input: bool, segment_strings: int = SEGMENT) -> Program:
    """Lays out passes, tables of words, angle terms and readouts.

    Args:
        n: Qubits.
        lowered: The circuit and its readouts.
        amplitude_input: Whether each sample brings its start state.
        segment_strings: Rotations between two start factors; 1 ends a segment after every set.
    """
    words = _Words(n)
    rotations: list[Rotation] = []
    passes: list[list[int]] = []
    sets: list[list[int]] = []
    grown = 0
    for number, members in enumerate(lowered.sets):
        start = len(passes)
        growing = _independent(members) if number == 0 and not amplitude_input else []
        grown += len(growing)
        for group in _groups(growing):
            passes += words.packs([[one.string for one in group]], len(rotations), growth=True)
            rotations += group
        for group in _groups([one for one in members if not any(one is other for other in growing)]):
            passes += words.packs([[one.string for one in group]], len(rotations))
            rotations += group
        sets.append([start, len(passes), 0])
    segments = _segments(passes, sets, rotations, segment_strings)
    uniform = _uniform(rotations, grown)
    tabled = _place_tables(n, passes, grown, uniform)
    reads = sorted(lowered.readouts, key=lambda term: term.string.x != 0)
    diagonal = sum(term.string.x == 0 for term in reads)
    tail = reads[diagonal:]
    order: list[int] = []
    read_passes: list[list[int]] = []
    for group_of in _packs_of([term.string for term in tail]):
        read_passes += words.packs([[tail[place].string for place in group_of]], diagonal + len(order))
        order += group_of
    reads = reads[:diagonal] + [tail[place] for place in order]
    terms = [
        (WEIGHT if isinstance(term, Weight) else DATA, term.index, term.scale)
        for one in rotations
        for term in one.terms
    ]
    return Program(
        n=n,
        from_amplitudes=amplitude_input,
        grown=grown,
        uniform=uniform,
        segments=max(segments) + 1 if segments else 1,
        tabled=tabled,
        diagonal_reads=diagonal,
        passes=_table(passes, PASS_COLUMNS),
        words=words.array(),
        sets=_table(sets, SET_COLUMNS),
        rotations=_table(
            [
                [one.string.x, one.string.z, int(one.string.imaginary), segment]
                for one, segment in zip(rotations, segments, strict=True)
            ],
            MASK_COLUMNS,
        ),
        term_start=np.cumsum([0, *(len(one.terms) for one in rotations)], dtype=np.int64),
        term_kind=np.array([kind for kind, _, _ in terms], np.int64),
        term_index=np.array([index for _, index, _ in terms], np.int64),
        term_scale=np.array([scale for _, _, scale in terms], np.float64),
        constant=np.array([one.constant for one in rotations], np.float64),
        reads=_table(
            [[term.string.x, term.string.z, int(term.string.imaginary), term.column] for term in reads], MASK_COLUMNS
        ),
        read_scale=np.array([term.scale for term in reads], np.float64),
        read_passes=_table(read_passes, PASS_COLUMNS),
    )


def _table(rows: Sequence[Sequence[int]], columns: int) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, columns)


def pivots(masks: Sequence[int]) -> list[int] | None:
    """Ascending leading bits of a basis of the masks' span over GF(2); None when the masks are dependent."""
    reduced: list[tuple[int, int]] = []
    for mask in masks:
        rest = mask
        for pivot, other in reduced:
            if rest >> pivot & 1:
                rest ^= other
        if not rest:
            return None
        pivot = rest.bit_length() - 1
        reduced = [(p, other ^ rest if other >> pivot & 1 else other) for p, other in reduced]
        reduced.append((pivot, rest))
    return sorted(pivot for pivot, _ in reduced)


def _independent(members: list[Rotation]) -> list[Rotation]:
    """Rotations of the first set whose x masks are independent, in order."""
    chosen: list[Rotation] = []
    for one in members:
        if one.string.x and pivots([*(other.string.x for other in chosen), one.string.x]) is not None:
            chosen.append(one)
    return chosen


def _fits(pack_strings: Sequence[PauliMask], string: PauliMask) -> bool:
    return (
        len(pack_strings) < 3
        and string.imaginary == pack_strings[0].imaginary
        and not any(
            (string.z & other.x).bit_count() & 1 or (other.z & string.x).bit_count() & 1 for other in pack_strings
        )
        and pivots([*(other.x for other in pack_strings), string.x]) is not None
    )


def _packs_of(strings: Sequence[PauliMask]) -> list[list[int]]:
    """Positions of the strings, greedily in groups that one pass can hold."""
    left = list(range(len(strings)))
    packs: list[list[int]] = []
    while left:
        chosen = [left[0]]
        for place in left[1:]:
            if _fits([strings[other] for other in chosen], strings[place]):
                chosen.append(place)
        left = [place for place in left if place not in chosen]
        packs.append(chosen)
    return packs


def _groups(members: list[Rotation]) -> list[list[Rotation]]:
    """The diagonal rotations as one group, then the others in packs."""
    diagonal = [one for one in members if not one.string.x]
    others = [one for one in members if one.string.x]
    packs = [[others[place] for place in group] for group in _packs_of([one.string for one in others])]
    return ([diagonal] if diagonal else []) + packs


def _segments(passes: list[list[int]], sets: list[list[int]], rotations: list[Rotation], longest: int) -> list[int]:
    """Segment of each rotation; marks in ``sets`` where one ends."""
    segment_of = [0] * len(rotations)
    count = segment = 0
    for number, (first, last, _) in enumerate(sets):
        strings = sum(one[1] for one in passes[first:last])
        if number and count + strings > longest:
            sets[number - 1][2] = 1
            segment += 1
            count = 0
        count += strings
        for one in passes[first:last]:
            segment_of[one[2] : one[2] + one[1]] = [segment] * one[1]
    return segment_of


def _uniform(rotations: list[Rotation], grown: int) -> int:
    """The first rotation after the growing ones that has a data angle."""
    for place in range(grown, len(rotations)):
        if any(not isinstance(term, Weight) for term in rotations[place].terms):
            return place
    return len(rotations)


def _place_tables(n: int, passes: list[list[int]], grown: int, uniform: int) -> int:
    tabled = 0
    for one in passes:
        inside = one[2] >= grown and one[2] + one[1] <= uniform
        if one[0] == DIAGONAL and one[1] > 1 and inside and 1 << n <= UNIFORM_TABLE_LIMIT:
            one[8] = tabled
            tabled += 1 << n
    return tabled


class _Words:
    """Grows the table of words; see ``passes`` for what a word is."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._parts: list[NDArray[np.int32]] = []
        self._length = 0

    def array(self) -> NDArray[np.int32]:
        """All tables in one array."""
        return np.concatenate([*self._parts, np.zeros(1, np.int32)])

    def packs(self, packs: Sequence[Sequence[PauliMask]], first: int, *, growth: bool = False) -> list[list[int]]:
        """Rows of the pass table for packs whose strings are numbered from ``first`` on."""
        rows = []
        for strings in packs:
            if strings[0].x:
                kind = IMAGINARY if strings[0].imaginary else REAL
                places = self._coset_words(strings)
            else:
                kind = DIAGONAL
                places = self._pattern_words(strings)
            rows.append([kind, len(strings), first, *places, int(growth), -1])
            first += len(strings)
        return rows

    def _coset_words(self, strings: Sequence[PauliMask]) -> tuple[int, int, int, int]:
        fixed = pivots([string.x for string in strings]) or []
        free = [bit for bit in range(self._n) if bit not in fixed]

        def words(count: int, bits: list[int]) -> NDArray[np.int64]:
            place = np.zeros(count, np.int64)
            for number, bit in enumerate(bits):
                place |= (np.arange(count) >> number & 1) << bit
            out = 2 * place
            for g, string in enumerate(strings):
                out |= _parity(place & string.z) << (SIGN_BIT + g)
            return out

        low = free[:LOW_BITS]
        return self._append([words(1 << len(low), low)], [words(1 << (len(free) - len(low)), free[len(low) :])])

    def _pattern_words(self, strings: Sequence[PauliMask]) -> tuple[int, int, int, int]:
        """For every sweep of eight diagonal strings: bits 1-4 and 6-9 hold the signs of its two groups of four."""
        low_bits = min(self._n, LOW_BITS)
        low, high = np.arange(1 << low_bits), np.arange(1 << (self._n - low_bits)) << low_bits

        def words(index: NDArray[np.int64], group: Sequence[PauliMask]) -> NDArray[np.int64]:
            out = np.zeros(index.size, np.int64)
            for number, string in enumerate(group):
                out |= _parity(index & string.z) << (1 + number + number // 4)
            return out

        groups = [strings[at : at + DIAGONAL_STRINGS] for at in range(0, len(strings), DIAGONAL_STRINGS)]
        return self._append([words(low, group) for group in groups], [words(high, group) for group in groups])

    def _append(self, low: list[NDArray[np.int64]], high: list[NDArray[np.int64]]) -> tuple[int, int, int, int]:
        """Offset and size of one table of low words and of high words; more sweeps follow at once behind each."""
        places = []
        for tables in (low, high):
            places += [self._length, tables[0].size]
            for table in tables:
                self._parts.append(table.astype(np.int32))
                self._length += table.size
        return places[0], places[1], places[2], places[3]


def _parity(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bitwise_count(numbers).astype(np.int64) & 1


def kept_states(program: Program) -> int:
    """States a block keeps for its gradient: the first, then one after every second set."""
    return (len(program.sets) >> 1) + 1
