"""A Cirq circuit as ours."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from numbers import Complex
from typing import TYPE_CHECKING, Any, TypeAlias

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.controlled import controlled
from qstore_db.circuits.parameters import Angle, angle
from qstore_db.circuits.symbol_names import symbol_named
from qstore_db.errors import InvalidCircuitError, MissingDependencyError

if TYPE_CHECKING:
    import cirq

_Translated: TypeAlias = tuple[tuple[Operation, ...], Angle]
"""Operations, and the global phase in radians that they lack."""

_PHASE_GATES = {1.0: "Z", 0.5: "S", -0.5: "SDG", 0.25: "T", -0.25: "TDG"}


def from_cirq(circuit: cirq.Circuit, qubits: Sequence[cirq.Qid] | None = None) -> Circuit:
    """The same unitary up to a global phase.

    Powers of X, Y, Z, XX, YY, ZZ, CX and CZ, H, SWAP, ISWAP, CCX, CSWAP, identities, and any of these under one control
    are translated gate by gate; every other gate by Cirq's own decomposition, which is exact. SymPy symbols named w0,
    x0 … become weights and data columns; angles must be linear in them.

    Args:
        circuit: Without measurement, classical control and noise.
        qubits: Cirq's qubits in the order of ours; by default sorted as Cirq sorts them. Named ones need not be in use.

    Raises:
        InvalidCircuitError: A gate that is not unitary or cannot be decomposed, a qudit, a qubit that ``qubits`` lacks,
            another symbol, or an angle that is not linear in its symbols.
        MissingDependencyError: Cirq is not installed.
    """
    try:
        import cirq
    except ImportError as error:
        raise MissingDependencyError("Cirq is not installed", fix="pip install cirq-core") from error
    order = sorted(circuit.all_qubits()) if qubits is None else list(qubits)
    places = {qubit: place for place, qubit in enumerate(order)}
    strange = [qubit for qubit in circuit.all_qubits() if qubit not in places or qubit.dimension != 2]
    if strange or len(places) != len(order):
        raise InvalidCircuitError(
            f"the circuit's {strange or order} are not all two-level qubits named once",
            fix="Name each qubit of the circuit once; qudits cannot be translated.",
            value=strange or order,
        )
    operations: list[Operation] = []
    for operation in circuit.all_operations():
        operations += _operation(cirq, operation, places)
    return Circuit(len(order), operations)


def _operation(cirq: Any, operation: Any, places: dict[Any, int]) -> tuple[Operation, ...]:
    on = tuple(places[qubit] for qubit in operation.qubits)
    if not cirq.is_measurement(operation) and not operation.classical_controls:
        translated = None if operation.gate is None else _gate(cirq, operation.gate, on)
        if translated is not None:
            return translated[0]
        parts = cirq.decompose_once(operation, default=None)
        if parts is not None and parts != [operation]:
            return tuple(step for part in parts for step in _operation(cirq, part, places))
    raise InvalidCircuitError(
        f"Cirq's {operation!r} has no unitary decomposition",
        fix="Remove measurements, resets, classical controls and noise.",
        value=operation,
    )


def _gate(cirq: Any, gate: Any, on: tuple[int, ...]) -> _Translated | None:
    """The gate with its phase, or None where Cirq has to decompose it."""
    if isinstance(gate, cirq.IdentityGate):
        return (), Angle()
    if isinstance(gate, cirq.GlobalPhaseGate) and isinstance(gate.coefficient, Complex):
        return (), angle(cmath.phase(gate.coefficient))
    if isinstance(gate, cirq.CSwapGate):
        return (Operation("CSWAP", on),), Angle()
    if isinstance(gate, cirq.ControlledGate):
        return _controlled(cirq, gate, on)
    return _power(cirq, gate, on) if isinstance(gate, cirq.EigenGate) else None


def _power(cirq: Any, gate: Any, on: tuple[int, ...]) -> _Translated | None:
    """A power of an involution, where we have a gate for it."""
    turns = _radians(gate.exponent)
    extra = turns * gate.global_shift
    whole = gate.exponent == 1
    if isinstance(gate, cirq.ZPowGate):
        return _z_power(turns, extra, on)
    for letter in "XY":
        if isinstance(gate, getattr(cirq, f"{letter}PowGate")):
            return ((Operation(letter, on),), extra) if whole else _rotation(f"R{letter}", turns, extra, on)
    for letter in "XYZ":
        if isinstance(gate, getattr(cirq, f"{letter}{letter}PowGate")):
            return _rotation(f"R{letter}{letter}", turns, extra, on)
    if isinstance(gate, cirq.ISwapPowGate) and gate.exponent == -1:
        return (Operation("ISWAPDG", on),), extra
    for kind, name in (
        (cirq.HPowGate, "H"),
        (cirq.CXPowGate, "CX"),
        (cirq.CZPowGate, "CZ"),
        (cirq.SwapPowGate, "SWAP"),
        (cirq.ISwapPowGate, "ISWAP"),
        (cirq.CCXPowGate, "CCX"),
    ):
        if isinstance(gate, kind) and whole:
            return (Operation(name, on),), extra
    if isinstance(gate, cirq.CXPowGate):
        # X^t is e^{iπt/2} RX(πt); the phase shows under the control.
        return (Operation("P", on[:1], (turns * 0.5,)), Operation("CRX", on, (turns,))), extra
    if isinstance(gate, cirq.CZPowGate):
        return (Operation("CP", on, (turns,)),), extra
    return None


def _rotation(name: str, turns: Angle, extra: Angle, on: tuple[int, ...]) -> _Translated:
    """X^t is e^{iπt/2} RX(πt), and so for the other involutions."""
    return (Operation(name, on, (turns,)),), extra + turns * 0.5


def _z_power(turns: Angle, extra: Angle, on: tuple[int, ...]) -> _Translated:
    if not turns.terms and not extra.constant and turns.constant / math.pi in _PHASE_GATES:
        return (Operation(_PHASE_GATES[turns.constant / math.pi], on),), extra
    if _is_zero(extra + turns * 0.5):
        return (Operation("RZ", on, (turns,)),), Angle()
    return (Operation("P", on, (turns,)),), extra


def _is_zero(value: Angle) -> bool:
    """Whether constant and symbols all cancel."""
    scales: dict[tuple[type, int], float] = {}
    for term in value.terms:
        key = (type(term), term.index)
        scales[key] = scales.get(key, 0.0) + term.scale
    return not value.constant and not any(scales.values())


def _controlled(cirq: Any, gate: Any, on: tuple[int, ...]) -> _Translated | None:
    if gate.num_controls() != 1 or gate.control_values != cirq.ProductOfSums([1]):
        return None
    inner = _gate(cirq, gate.sub_gate, on[1:])
    if inner is None:
        return None
    operations, phase = inner
    steps = tuple(step for operation in operations for step in controlled(operation, on[0]))
    if _is_zero(phase):
        return steps, Angle()
    return (*steps, Operation("P", on[:1], (phase,))), Angle()


def _radians(exponent: Any) -> Angle:
    """π times the exponent."""
    if isinstance(exponent, int | float):
        return angle(exponent * math.pi)
    import sympy

    try:
        symbols = sorted(exponent.free_symbols, key=str)
        polynomial = sympy.Poly(sympy.expand(exponent * sympy.pi), *symbols) if symbols else None
        terms = polynomial.terms() if polynomial is not None else [((), exponent * sympy.pi)]
        total = Angle()
        for powers, coefficient in terms:
            if sum(powers) > 1:
                raise sympy.PolynomialError(f"degree {sum(powers)}")
            if sum(powers):
                total += symbol_named(str(symbols[powers.index(1)])) * float(coefficient)
            else:
                total += float(coefficient)
    except (sympy.PolynomialError, TypeError) as error:
        raise InvalidCircuitError(
            f"the exponent {exponent} is not a real linear expression",
            fix="Give its symbols numbers first.",
            value=exponent,
        ) from error
    return total
