"""A circuit as steps of the state kernel: gates on one qubit fused, runs of CX, SWAP and X as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.angle_rows import AngleRows
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.composite import parts
from qstore_db.circuits.gates import GATES

# The numbers of state_kernel, which imports Numba and so is only imported to run.
_MATRIX, _DIAGONAL, _CONTROLLED, _SWAP, _FLIP, _SIGN, _PARITY, _PHASE, _PAIR, _GATHER = range(10)
_TURNS: Final = {"RX": 1, "RY": 2, "RZ": 3, "P": 4, "U": 5}
_FIXED: Final = ("H", "X", "Y", "Z", "S", "SDG", "T", "TDG")
_DIAGONAL_FACTORS: Final = frozenset({"Z", "S", "SDG", "T", "TDG", "RZ", "P"})
_MOVES: Final = frozenset({"CX", "SWAP", "X"})

TABLE_QUBITS: Final = 13
"""Runs of moves become tables up to this many qubits; beyond, steps are grouped."""
GROUP_BITS: Final = 12
"""Steps on so many bits are applied together to pieces of the state that stay in the fastest cache."""
NEAR_BITS: Final = 3
"""The lowest bits are in every group: amplitudes are fetched by whole lines of memory."""
IDLE_BITS: Final = 4
"""Bits of a group that no step of it touches: they become the lowest ones of a piece, so that registers hold amplitudes
that all meet the same."""
TABLE_MOVES: Final = 4
"""A table costs as much as so many CX."""
PROGRAMS_KEPT: Final = 128

FIXED_MATRICES: Final = np.array(
    [GATES[name].matrices()[0].reshape(-1).view(np.float64) for name in _FIXED], np.float64
).reshape(len(_FIXED), 8)


@dataclass(frozen=True, slots=True, eq=False)
class StateProgram:
    """A compiled circuit.

    Args:
        n: Qubits.
        angles: Weights and data to the angles that steps and factors count.
        steps: int64 (steps, 5).
        factors: int64 (factors, 2).
        tables: int32 (tables, 2^n).
        groups: Steps of one group after the other, as (first, end); empty where steps act on the whole state. Their
            bits are then those of a piece of 2^GROUP_BITS amplitudes.
        inside: int64 (groups, 2^GROUP_BITS): where the amplitudes of a piece are, from its base.
        bases: int64 (groups, pieces).
    """

    n: int
    angles: AngleRows
    steps: NDArray[np.int64]
    factors: NDArray[np.int64]
    tables: NDArray[np.int32]
    groups: NDArray[np.int64]
    inside: NDArray[np.int64]
    bases: NDArray[np.int64]


@lru_cache(maxsize=PROGRAMS_KEPT)
def state_program(circuit: Circuit) -> StateProgram:
    """The program of a circuit; pure Python, some microseconds a gate, kept for the last 128 circuits."""
    # CP has a step of its own.
    plain = Circuit(
        circuit.n_qubits, (part for one in circuit.operations for part in ((one,) if one.gate == "CP" else parts(one)))
    )
    found = _Steps(circuit.n_qubits)
    first = 0
    for operation in plain.operations:
        found.add(operation, first)
        first += len(operation.angles)
    found.end()
    tables = np.array(found.tables, np.int32).reshape(-1, 1 << circuit.n_qubits if found.tables else 1)
    n, factors = circuit.n_qubits, _array(found.factors, 2)
    if n <= TABLE_QUBITS:
        none = np.zeros((0, 0), np.int64)
        steps, groups, inside, bases = _array(found.steps, 5), none, none, none
    else:
        steps, groups, inside, bases = _grouped(found.steps, n)
    return StateProgram(n, AngleRows.of(plain), steps, factors, tables, groups, inside, bases)


_Step: TypeAlias = tuple[int, int, int, int, int]


def _grouped(
    steps: Sequence[_Step], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Steps in groups that touch few bits. A step may pass those on other bits, which it commutes with."""
    out: list[_Step] = []
    groups, inside, bases = [], [], []
    near, waiting = set(range(NEAR_BITS)), list(steps)
    while waiting:
        touched: set[int] = set()
        held: set[int] = set()
        taken, later = [], []
        for step in waiting:
            bits = set(_bits(step))
            together = touched | bits
            room = len(together) <= GROUP_BITS - IDLE_BITS and len(together | near) <= GROUP_BITS
            if bits & held or not room:
                held |= bits
                later.append(step)
            else:
                touched = together
                taken.append(step)
        chosen = touched | near
        chosen |= set([bit for bit in range(n) if bit not in chosen][: GROUP_BITS - len(chosen)])
        order = sorted(chosen - touched) + sorted(touched)
        groups.append((len(out), len(out) + len(taken)))
        out += [_renumbered(step, order) for step in taken]
        inside.append(_spread(order))
        bases.append(_spread([bit for bit in range(n) if bit not in chosen]))
        waiting = later
    return _array(out, 5), _array(groups, 2), _stacked(inside), _stacked(bases)


def _stacked(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.stack(rows) if rows else np.zeros((0, 0), np.int64)


def _bits(step: _Step) -> tuple[int, ...]:
    code = step[0]
    if code in (_MATRIX, _DIAGONAL):
        return (step[1],)
    return (step[1], step[4]) if code == _CONTROLLED else (step[1], step[2])


def _renumbered(step: _Step, order: Sequence[int]) -> _Step:
    code, one, two, three, four = step
    one = order.index(one)
    if code == _CONTROLLED:
        four = order.index(four)
    elif code not in (_MATRIX, _DIAGONAL):
        two = order.index(two)
    return (code, one, two, three, four)


def _spread(bits: Sequence[int]) -> NDArray[np.int64]:
    """Numbers 0, 1, 2 … with their bits at these places of an index."""
    index = np.zeros(1, np.int64)
    for bit in bits:
        index = np.concatenate((index, index | (1 << bit)))
    return index


def _array(rows: Sequence[Sequence[int]], width: int) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, width)


class _Steps:
    """Steps so far, gates on one qubit that wait to be fused, and moves that wait to become a table."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.steps: list[_Step] = []
        self.factors: list[tuple[int, int]] = []
        self.tables: list[NDArray[np.int32]] = []
        self._waiting: list[list[tuple[Operation, int]]] = [[] for _ in range(n)]
        self._moves: list[Operation] = []

    def add(self, operation: Operation, angle: int) -> None:
        """A gate whose first angle has that number."""
        gate, qubits = operation.gate, operation.qubits
        if len(qubits) == 1:
            if gate == "X" and self._moves and not self._waiting[qubits[0]]:
                self._moves.append(operation)
                return
            self._touch(qubits)
            self._waiting[qubits[0]].append((operation, angle))
            return
        for qubit in qubits:
            self._fuse(qubit)
        if gate in _MOVES:
            self._moves.append(operation)
            return
        self._move()
        one, other = (self.n - 1 - qubit for qubit in qubits)
        if gate == "CZ":
            self._step(_SIGN, one, other)
        elif gate == "CP":
            self._step(_PHASE, one, other, angle)
        elif gate == "RZZ":
            self._step(_PARITY, one, other, angle)
        elif gate in ("RXX", "RYY"):
            self._step(_PAIR, one, other, angle, int(gate == "RYY"))
        else:  # CRX, CRY, CRZ
            self.factors.append((_TURNS[gate[1:]], angle))
            self._step(_CONTROLLED, other, len(self.factors) - 1, 1, one)

    def end(self) -> None:
        """What still waits."""
        self._move()
        for qubit in range(self.n):
            self._fuse(qubit)

    def _touch(self, qubits: Sequence[int]) -> None:
        # Moves come before a gate that waits on one of their qubits.
        if any(qubit in move.qubits for move in self._moves for qubit in qubits):
            self._move()

    def _fuse(self, qubit: int) -> None:
        waiting, self._waiting[qubit] = self._waiting[qubit], []
        if not waiting:
            return
        first = len(self.factors)
        for operation, angle in waiting:
            fixed = operation.gate in _FIXED
            self.factors.append((0, _FIXED.index(operation.gate)) if fixed else (_TURNS[operation.gate], angle))
        code = _DIAGONAL if all(operation.gate in _DIAGONAL_FACTORS for operation, _ in waiting) else _MATRIX
        self._step(code, self.n - 1 - qubit, first, len(waiting))

    def _move(self) -> None:
        moves, self._moves = self._moves, []
        if len(moves) >= TABLE_MOVES and self.n <= TABLE_QUBITS:
            self._step(_GATHER, len(self.tables))
            self.tables.append(_sources(moves, self.n))
            return
        for move in moves:
            places = [self.n - 1 - qubit for qubit in move.qubits]
            if move.gate == "X":
                self.factors.append((0, _FIXED.index("X")))
                self._step(_MATRIX, places[0], len(self.factors) - 1, 1)
            elif move.gate == "CX":
                self._step(_FLIP, places[1], places[0])
            else:
                self._step(_SWAP, *places)

    def _step(self, code: int, *numbers: int) -> None:
        one, two, three, four = (*numbers, 0, 0, 0, 0)[:4]
        self.steps.append((code, one, two, three, four))


def _sources(moves: Sequence[Operation], n: int) -> NDArray[np.int32]:
    """Where each amplitude comes from: the moves undone, the last one first; each undoes itself."""
    index = np.arange(1 << n, dtype=np.int32)
    for move in reversed(moves):
        places = [n - 1 - qubit for qubit in move.qubits]
        if move.gate == "X":
            index ^= np.int32(1 << places[0])
        elif move.gate == "CX":
            index ^= ((index >> places[0]) & 1) << places[1]
        else:
            differ = ((index >> places[0]) ^ (index >> places[1])) & 1
            index ^= (differ << places[0]) | (differ << places[1])
    return index
