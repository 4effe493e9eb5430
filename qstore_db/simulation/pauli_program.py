"""From layers of Pauli maps to the arrays that the kernel walks.

A pass takes the 4^n rows in blocks of up to 4^4 that differ in the letters of up to four qubits, applies the maps of
these qubits while the block is in the first-level cache, and writes it back. The first pass after a table of strings
reads through the table, so a table costs no pass of its own; the last table, and the last maps when few strings are
read, cost nothing but what is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.parameters import Weight
from qstore_db.simulation.noise_model import NoiseModel
from qstore_db.simulation.packing import DATA, WEIGHT
from qstore_db.simulation.pauli_schedule import Fixed, Layer, Relabelling, Turn, schedule, trace_back

GROUP: Final = 4
"""Qubits whose maps share a pass: 4^4 rows of one register are 16 KiB."""

Number = TypeVar("Number", np.int32, np.float64)

UNITAL, AFFINE, FROM_AMPLITUDES = 0, 1, 2

MAP_ROWS: Final = 12
"""Numbers of a map: the 3 × 3 part row by row, then what is added to X, Y, Z."""


class Read(NamedTuple):
    """``coefficient · r_string`` is added to value number ``column``."""

    string: int
    coefficient: float
    column: int


class PauliProgram(NamedTuple):
    """Everything about a noisy circuit that the kernel reads; no numbers of a run.

    Args:
        n: Qubits.
        from_amplitudes: Whether each sample brings its start state; otherwise all start in |0…0⟩.
        grown: int64 (n,): the map of each qubit in |0…0⟩, or -1; empty when starting from amplitudes.
        passes: int64 (P, 9): 1 for a pair pass and 0 for maps, place of the table or -1, first base, bases, first
            offset, qubits, first entry, entries (of a pair pass: place of its matrix and 1).
        bases: int32, first row of every block.
        offsets: int32, rows of a block after the first.
        entries: int64 (E, 3): twice the position of the qubit in the block, map, kind of map.
        sources: int32, tables of strings, in rows.
        factors: float64, beside the sources.
        pairs: float64, 16 × 16 matrices, row by row.
        map_start: int64 (maps + 1,): elements of map m are map_start[m] … map_start[m+1]-1.
        map_varies: int64 (maps,): 1 where a data column takes part.
        element_kind: int64: 0 for a fixed transfer, 1 2 3 for a turn about X Y Z.
        element_index: int64: its constants or its angle.
        constants: float64 (fixed, 12).
        term_start: int64 (angles + 1,).
        term_kind: int64: WEIGHT or DATA.
        term_index: int64.
        term_scale: float64.
        constant: float64 (angles,).
        reads: int64 (Q, 5): first row, rows, first contraction, contractions, column.
        coefficients: float64 (Q,).
        read_rows: int32.
        read_factors: float64, beside the rows.
        contractions: int64 (C, 3): map, letter 0 1 2, strings it reads (3 or 4).
    """

    n: int
    from_amplitudes: bool
    grown: NDArray[np.int64]
    passes: NDArray[np.int64]
    bases: NDArray[np.int32]
    offsets: NDArray[np.int32]
    entries: NDArray[np.int64]
    sources: NDArray[np.int32]
    factors: NDArray[np.float64]
    pairs: NDArray[np.float64]
    map_start: NDArray[np.int64]
    map_varies: NDArray[np.int64]
    element_kind: NDArray[np.int64]
    element_index: NDArray[np.int64]
    constants: NDArray[np.float64]
    term_start: NDArray[np.int64]
    term_kind: NDArray[np.int64]
    term_index: NDArray[np.int64]
    term_scale: NDArray[np.float64]
    constant: NDArray[np.float64]
    reads: NDArray[np.int64]
    coefficients: NDArray[np.float64]
    read_rows: NDArray[np.int32]
    read_factors: NDArray[np.float64]
    contractions: NDArray[np.int64]


def rows_of(n_qubits: int) -> int:
    """Rows of one state, padding included."""
    return int(place(4**n_qubits))


def place(strings: int | NDArray[np.int64]) -> int | NDArray[np.int64]:
    """Row of a string: one row of padding every 4^4 and 4^8, so that rows far apart do not share a set of the cache.

    Additive for strings that have no letter on a common qubit.
    """
    return strings + (strings >> 8) + (strings >> 16)


def pack(circuit: Circuit, noise: NoiseModel, reads: Sequence[Read], *, from_amplitudes: bool) -> PauliProgram:
    """Lays out passes, tables, maps and reads.

    Args:
        circuit: The gates.
        noise: What follows them.
        reads: What is read at the end; readout errors are already part of it.
        from_amplitudes: Whether samples bring start states.
    """
    packer = _Packer(circuit.n_qubits, from_amplitudes)
    layers = schedule(circuit, noise)
    if from_amplitudes:
        packer.butterflies()
    else:
        packer.grow(layers[0])
    last = layers[-1]
    cheap = not last.pairs and len(layers) > 1 and packer.contraction_is_cheap(last, layers[-2], reads)
    for layer in layers[: -1 if cheap else None]:
        packer.layer(layer)
    if cheap:
        packer.contract(last, reads)
    else:
        packer.read(reads)
    return packer.program()


class _Packer:
    """Collects the arrays."""

    def __init__(self, n: int, from_amplitudes: bool) -> None:
        self.n, self.from_amplitudes = n, from_amplitudes
        self.grown: list[int] = []
        self.passes: list[list[int]] = []
        self.bases: list[NDArray[np.int32]] = []
        self.offsets: list[NDArray[np.int32]] = []
        self.entries: list[tuple[int, int, int]] = []
        self.tables: dict[tuple[bool, tuple[Relabelling, ...]], int] = {}
        self.bijective: set[int] = set()
        self.sources: list[NDArray[np.int32]] = []
        self.factors: list[NDArray[np.float64]] = []
        self.pairs: list[NDArray[np.float64]] = []
        self.maps: list[tuple[Turn | Fixed, ...]] = []
        self.reads: list[tuple[int, int, int, int, int]] = []
        self.coefficients: list[float] = []
        self.read_rows: list[NDArray[np.int32]] = []
        self.read_factors: list[NDArray[np.float64]] = []
        self.contractions: list[tuple[int, int, int]] = []
        self._read_total = 0
        self._blocks: dict[tuple[int, ...], tuple[int, int, int]] = {}
        # The relabelling that the next pass reads through: signs of the start, and steps.
        self._signs = False
        self._steps: tuple[Relabelling, ...] = ()

    def butterflies(self) -> None:
        """Amplitudes become coefficients; see :func:`qstore_db.simulation.pauli_kernel.run`."""
        self._map_passes(dict.fromkeys(range(self.n), (0, FROM_AMPLITUDES)))
        self._signs = True

    def grow(self, first: Layer) -> None:
        """The first maps act on |0…0⟩, which stays a product; they leave the layer."""
        self.grown = [self._map(first.maps[qubit])[0] if qubit in first.maps else -1 for qubit in range(self.n)]
        first.maps = {}

    def layer(self, layer: Layer) -> None:
        self._map_passes({qubit: self._map(elements) for qubit, elements in layer.maps.items()})
        for qubits, transfer in layer.pairs:
            first = sum(part.size for part in self.pairs)
            self.pairs.append(transfer.ravel())
            self._pass(1, qubits[::-1], first, 1)  # the first qubit is the high digit of the matrix index
        self._steps += tuple(layer.strings)

    def read(self, reads: Sequence[Read]) -> None:
        strings = np.array([one.string for one in reads], np.int64)
        source, factor = self._traced(strings)
        for number, one in enumerate(reads):
            self._read(one, source[number : number + 1], factor[number : number + 1], 0)

    def contract(self, last: Layer, reads: Sequence[Read]) -> None:
        maps = {qubit: self._map(elements) for qubit, elements in last.maps.items()}
        strings = np.array([one.string for one in reads], np.int64)
        # The last table comes after the maps, the pending one before them.
        source, factor = trace_back(self.n, tuple(last.strings), strings)
        for number, one in enumerate(reads):
            string, contracted = np.array([source[number]]), 0
            for qubit in range(self.n):
                shift = 2 * (self.n - 1 - qubit)
                letter = int(source[number] >> shift) & 3
                if letter and qubit in maps:
                    which, kind = maps[qubit]
                    codes = np.array([1, 2, 3, 0][: 3 + (kind == AFFINE)])
                    others = string - (letter << shift)
                    string = (others[:, None] + (codes << shift)).ravel()
                    self.contractions.append((which, letter - 1, len(codes)))
                    contracted += 1
            # The qubit added last varies fastest and is contracted first.
            self.contractions[len(self.contractions) - contracted :] = self.contractions[
                len(self.contractions) - contracted :
            ][::-1]
            rows, factors = self._traced(string)
            self._read(one, rows, factors * factor[number], contracted)

    def contraction_is_cheap(self, last: Layer, before: Layer, reads: Sequence[Read]) -> bool:
        source, _ = trace_back(self.n, tuple(last.strings), np.array([one.string for one in reads], np.int64))
        cost = np.ones(len(source))
        for qubit, elements in last.maps.items():
            touched = (source >> 2 * (self.n - 1 - qubit)) & 3 != 0
            cost[touched] *= 3 if _unital(elements) else 4
        return bool(cost.sum() < 0.5 * len(last.maps) * 4**self.n)

    def program(self) -> PauliProgram:
        elements = [element for one in self.maps for element in one]
        turns = [element for element in elements if isinstance(element, Turn)]
        fixed = [element for element in elements if isinstance(element, Fixed)]
        numbers = {Turn: iter(range(len(turns))), Fixed: iter(range(len(fixed)))}
        terms = [term for turn in turns for term in turn.theta.terms]
        return PauliProgram(
            n=self.n,
            from_amplitudes=self.from_amplitudes,
            grown=np.array(self.grown, np.int64),
            passes=_table(self.passes, 9),
            bases=_joined(self.bases, np.dtype(np.int32)),
            offsets=_joined(self.offsets, np.dtype(np.int32)),
            entries=_table(self.entries, 3),
            sources=_joined(self.sources, np.dtype(np.int32)),
            factors=_joined(self.factors, np.dtype(np.float64)),
            pairs=_joined(self.pairs, np.dtype(np.float64)),
            map_start=np.cumsum([0, *(len(one) for one in self.maps)], dtype=np.int64),
            map_varies=np.array([_varies(one) for one in self.maps], np.int64),
            element_kind=np.array([one.axis if isinstance(one, Turn) else 0 for one in elements], np.int64),
            element_index=np.array([next(numbers[type(one)]) for one in elements], np.int64),
            constants=np.array([_constants(one) for one in fixed]).reshape(-1, MAP_ROWS),
            term_start=np.cumsum([0, *(len(turn.theta.terms) for turn in turns)], dtype=np.int64),
            term_kind=np.array([WEIGHT if isinstance(term, Weight) else DATA for term in terms], np.int64),
            term_index=np.array([term.index for term in terms], np.int64),
            term_scale=np.array([term.scale for term in terms], np.float64),
            constant=np.array([turn.theta.constant for turn in turns], np.float64),
            reads=_table(self.reads, 5),
            coefficients=np.array(self.coefficients, np.float64),
            read_rows=_joined(self.read_rows, np.dtype(np.int32)),
            read_factors=_joined(self.read_factors, np.dtype(np.float64)),
            contractions=_table(self.contractions, 3),
        )

    def _map(self, elements: Sequence[Turn | Fixed]) -> tuple[int, int]:
        self.maps.append(tuple(elements))
        return len(self.maps) - 1, UNITAL if _unital(elements) else AFFINE

    def _map_passes(self, maps: dict[int, tuple[int, int]]) -> None:
        """Groups of neighbours, the lowest digits first: they are read through the table and written in order."""
        qubits = sorted(maps, reverse=True)
        count = -(-len(qubits) // GROUP)
        for group in np.array_split(np.array(qubits), count) if count else ():
            first = len(self.entries)
            for position, qubit in enumerate(group.tolist()):
                self.entries.append((2 * position, *maps[qubit]))
            self._pass(0, tuple(group.tolist()), first, len(group))

    def _pass(self, kind: int, qubits: tuple[int, ...], first: int, count: int) -> None:
        """Qubits from the low digit of the block's index to the high one."""
        bases, blocks, offsets = self._block(qubits)
        table = self._table()
        self.passes.append([kind, table, bases, blocks, offsets, len(qubits), first, count, table in self.bijective])

    def _block(self, qubits: tuple[int, ...]) -> tuple[int, int, int]:
        if qubits not in self._blocks:
            inside = [2 * (self.n - 1 - qubit) for qubit in qubits]
            outside = [shift for shift in range(0, 2 * self.n, 2) if shift not in inside]
            starts = sum(part.size for part in self.bases), sum(part.size for part in self.offsets)
            self.bases.append(_digits(outside))
            self.offsets.append(_digits(inside))
            self._blocks[qubits] = (starts[0], self.bases[-1].size, starts[1])
        return self._blocks[qubits]

    def _table(self) -> int:
        """Place of the table that the next pass reads through, -1 for none; afterwards none is pending."""
        key = (self._signs, self._steps)
        if key == (False, ()):
            return -1
        if key not in self.tables:
            source, factor = self._traced(np.arange(4**self.n, dtype=np.int64))
            rows, factors = np.zeros(rows_of(self.n), np.int32), np.zeros(rows_of(self.n))
            at = place(np.arange(4**self.n, dtype=np.int64))
            rows[at], factors[at] = place(source), factor
            self.tables[key] = sum(part.size for part in self.sources)
            if np.bincount(source, minlength=source.size).max() == 1:
                self.bijective.add(self.tables[key])
            self.sources.append(rows)
            self.factors.append(factors)
        self._signs, self._steps = False, ()
        return self.tables[key]

    def _traced(self, strings: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        source, factor = trace_back(self.n, self._steps, strings)
        if self._signs:
            y = sum((source >> shift) & 3 == 2 for shift in range(0, 2 * self.n, 2))
            factor = factor * np.where((y + 1) & 2, -1.0, 1.0)  # -1 to the power ⌈y/2⌉
        return source, factor

    def _read(self, one: Read, strings: NDArray[np.int64], factors: NDArray[np.float64], contracted: int) -> None:
        first = self._read_total
        self.reads.append((first, strings.size, len(self.contractions) - contracted, contracted, one.column))
        self.coefficients.append(one.coefficient)
        self.read_rows.append(np.asarray(place(strings), np.int32))
        self.read_factors.append(factors)
        self._read_total += strings.size


def _digits(shifts: Sequence[int]) -> NDArray[np.int32]:
    """Rows of all strings with letters at the given digits only, the first digit fastest."""
    out = np.zeros(1, np.int64)
    for shift in shifts:
        out = ((np.arange(4) << shift)[:, None] + out).ravel()
    return np.asarray(place(out), np.int32)


def _unital(elements: Sequence[Turn | Fixed]) -> bool:
    return all(isinstance(one, Turn) or not one.transfer[1:, 0].any() for one in elements)


def _varies(elements: Sequence[Turn | Fixed]) -> bool:
    return any(not isinstance(term, Weight) for one in elements if isinstance(one, Turn) for term in one.theta.terms)


def _constants(one: Fixed) -> NDArray[np.float64]:
    return np.concatenate([one.transfer[1:, 1:].ravel(), one.transfer[1:, 0]])


def _table(rows: Sequence[Sequence[int]], width: int) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, width)


def _joined(parts: Sequence[NDArray[Number]], dtype: np.dtype[Number]) -> NDArray[Number]:
    return np.concatenate([np.zeros(0, dtype), *parts], dtype=dtype)
