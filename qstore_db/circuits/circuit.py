"""The circuit: an immutable list of gates on numbered qubits.

Qubit 0 is the left-most bit of a printed bitstring and the most significant bit of a basis index. All qubits start in
|0⟩ unless the simulator is given amplitudes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from qstore_db.circuits.gates import GATES
from qstore_db.circuits.parameters import Angle, AngleLike, Data, Weight, angles
from qstore_db.errors import InvalidCircuitError

MAX_QUBITS: Final = 24


@dataclass(frozen=True, slots=True)
class Operation:
    """One gate on named qubits.

    Args:
        gate: A name in :data:`qstore_db.circuits.gates.GATES`, upper case.
        qubits: The qubits in the gate's order (a control first).
        angles: One value per angle of the gate: a number in radians, ``Weight``, ``Data``, or a sum of these. Stored as
            :class:`~qstore_db.circuits.parameters.Angle`.

    Raises:
        InvalidCircuitError: Unknown gate, wrong number of qubits or angles, a qubit twice or not an integer from 0 on.

    Example:
        >>> Operation("RY", (0,), (Weight(0) + 0.5,)).gate
        'RY'
    """

    gate: str
    qubits: tuple[int, ...]
    angles: tuple[Angle, ...] = ()

    def __init__(self, gate: str, qubits: Iterable[int], angles: Iterable[AngleLike] = ()) -> None:
        object.__setattr__(self, "gate", gate)
        object.__setattr__(self, "qubits", tuple(qubits))
        object.__setattr__(self, "angles", _angles(angles))
        self._validate()
        object.__setattr__(self, "qubits", tuple(int(qubit) for qubit in self.qubits))

    def _validate(self) -> None:
        kind = GATES.get(self.gate)
        if kind is None:
            raise InvalidCircuitError(
                f"unknown gate {self.gate!r}", fix=f"Use one of {', '.join(GATES)}.", value=self.gate
            )
        for qubit in self.qubits:
            if isinstance(qubit, bool) or not isinstance(qubit, int | np.integer) or qubit < 0:
                raise InvalidCircuitError(
                    f"{self.gate} acts on {qubit!r}, which is not a qubit",
                    fix="Number qubits with integers from 0.",
                    value=qubit,
                )
        if len(self.qubits) != kind.qubits or len(set(self.qubits)) != kind.qubits:
            raise InvalidCircuitError(
                f"{self.gate} acts on {kind.qubits} different qubit(s), not on {self.qubits}",
                fix=f"Give {kind.qubits} different qubit(s).",
                value=self.qubits,
            )
        if len(self.angles) != kind.angles:
            raise InvalidCircuitError(
                f"{self.gate} takes {kind.angles} angle(s), not {len(self.angles)}",
                fix=f"Give {kind.angles} angle(s).",
                value=self.angles,
            )


def _angles(values: Iterable[AngleLike]) -> tuple[Angle, ...]:
    return angles(tuple(values))


@dataclass(frozen=True, slots=True, eq=False)
class Circuit:
    """Gates in the order in which they act, on ``n_qubits`` qubits.

    Args:
        n_qubits: 1 … 24.
        operations: The gates.

    Raises:
        InvalidCircuitError: The number of qubits is out of range or an operation names a qubit that is not there.

    Example:
        >>> bell = Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))
        >>> bell.number_of_weights
        0
    """

    n_qubits: int
    operations: tuple[Operation, ...] = ()
    _digest: list[str] = field(init=False, repr=False)

    def __init__(self, n_qubits: int, operations: Iterable[Operation] = ()) -> None:
        if isinstance(n_qubits, bool) or not isinstance(n_qubits, int | np.integer):
            raise InvalidCircuitError(
                f"the number of qubits {n_qubits!r} is not an integer", fix="Give an integer.", value=n_qubits
            )
        if not 1 <= n_qubits <= MAX_QUBITS:
            raise InvalidCircuitError(
                f"{n_qubits} qubits are outside 1 … {MAX_QUBITS}",
                fix=f"The exact simulator holds 2^n amplitudes; use 1 to {MAX_QUBITS} qubits.",
                value=n_qubits,
            )
        object.__setattr__(self, "n_qubits", int(n_qubits))
        object.__setattr__(self, "operations", tuple(operations))
        object.__setattr__(self, "_digest", [])
        for position, operation in enumerate(self.operations):
            if not isinstance(operation, Operation):
                raise InvalidCircuitError(
                    f"operation {position} is {operation!r}, which is not an Operation",
                    fix="Build operations with Operation(gate, qubits, angles).",
                    value=operation,
                )
            if max(operation.qubits) >= n_qubits:
                raise InvalidCircuitError(
                    f"operation {position} ({operation.gate}) acts on qubit {max(operation.qubits)} of {n_qubits}",
                    fix=f"Use qubits 0 … {n_qubits - 1}.",
                    value=operation.qubits,
                )

    # By digest: comparing gate by gate took longer than a training step, in every look-up of an equal circuit's plan.
    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Circuit) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def number_of_weights(self) -> int:
        """One more than the largest index of a weight; 0 without weights."""
        return self._count(Weight)

    @property
    def number_of_data(self) -> int:
        """One more than the largest index of a data column; 0 without data."""
        return self._count(Data)

    def _count(self, kind: type[Weight] | type[Data]) -> int:
        used = (
            term.index
            for operation in self.operations
            for value in operation.angles
            for term in value.terms
            if isinstance(term, kind)
        )
        return max(used, default=-1) + 1

    @property
    def depth(self) -> int:
        """Number of time steps when gates on different qubits act at the same time."""
        level = [0] * self.n_qubits
        for operation in self.operations:
            step = 1 + max(level[qubit] for qubit in operation.qubits)
            for qubit in operation.qubits:
                level[qubit] = step
        return max(level)

    def then(self, *operations: Operation) -> Circuit:
        """This circuit followed by more gates."""
        return Circuit(self.n_qubits, self.operations + operations)

    def compose(self, other: Circuit, *, weight_offset: int = 0, data_offset: int = 0) -> Circuit:
        """This circuit followed by ``other`` on the same qubits.

        Args:
            other: A circuit on as many qubits.
            weight_offset: Added to every index of a weight of ``other``; ``self.number_of_weights`` keeps the two sets
                apart.
            data_offset: The same for data columns.

        Raises:
            InvalidCircuitError: The numbers of qubits differ.
        """
        if other.n_qubits != self.n_qubits:
            raise InvalidCircuitError(
                f"a circuit on {other.n_qubits} qubits cannot follow one on {self.n_qubits}",
                fix="Build both on the same number of qubits.",
                value=other.n_qubits,
            )
        if not weight_offset and not data_offset:
            return Circuit(self.n_qubits, self.operations + other.operations)
        moved = tuple(
            Operation(
                operation.gate,
                operation.qubits,
                tuple(value.shifted(weight_offset, data_offset) for value in operation.angles),
            )
            for operation in other.operations
        )
        return Circuit(self.n_qubits, self.operations + moved)

    @property
    def structure(self) -> str:
        """SHA-256 of gates, qubits and symbols, without scales and constants.

        Two circuits with equal structure differ only in numbers. Stable between processes and versions.
        """
        return _sha256(
            f"{self.n_qubits};",
            (
                f"{operation.gate}{operation.qubits}"
                + ",".join(
                    "+".join(f"{type(term).__name__}{term.index}" for term in value.terms) for value in operation.angles
                )
                for operation in self.operations
            ),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the whole circuit, angles included. Stable between processes and versions; computed once."""
        if not self._digest:
            self._digest.append(
                _sha256(
                    f"{self.n_qubits};",
                    (
                        f"{operation.gate}{operation.qubits}" + ",".join(_spelled(value) for value in operation.angles)
                        for operation in self.operations
                    ),
                )
            )
        return self._digest[0]


def _spelled(value: Angle) -> str:
    # float.hex is exact, and the same on every machine.
    terms = (f"{type(term).__name__}{term.index}*{term.scale.hex()}" for term in value.terms)
    return "+".join((*terms, value.constant.hex()))


def _sha256(head: str, parts: Iterable[str]) -> str:
    digest = hashlib.sha256(head.encode())
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\n")
    return digest.hexdigest()
