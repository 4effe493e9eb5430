"""Circuits and observables as JSON values, and back: equal to the bit.

    {"format": "qstore-circuit", "version": 1, "qubits": 2, "operations": [
        {"gate": "RY", "qubits": [0], "angles": [{"terms": [["data", 0, 1.0]], "constant": 0.5}]},
        {"gate": "CX", "qubits": [0, 1]}]}

An angle without terms is its constant alone. Numbers are JSON numbers in their shortest spelling that reads back as the
same float64, which is how Python, JavaScript and most others write them. Terms keep their order. An observable is
``[[coefficient, letters], …]``; a Pauli string alone is its letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import Observable, PauliString, PauliSum
from qstore_db.circuits.parameters import Angle, Data, Symbol, Weight
from qstore_db.errors import InvalidCircuitError

FORMAT: Final = "qstore-circuit"
VERSION: Final = 1
"""Of the text; a reader takes this one and refuses later ones."""

JsonValue: TypeAlias = "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]"

_KINDS: Final[Mapping[str, type[Symbol]]] = {"weight": Weight, "data": Data}


def circuit_to_json(circuit: Circuit) -> dict[str, JsonValue]:
    """The circuit as what ``json.dumps`` takes; :func:`circuit_from_json` is the inverse.

    Example:
        >>> circuit_to_json(Circuit(1, (Operation("RX", (0,), (Weight(0),)),)))["operations"]
        [{'gate': 'RX', 'qubits': [0], 'angles': [{'terms': [['weight', 0, 1.0]], 'constant': 0.0}]}]
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "qubits": circuit.n_qubits,
        "operations": [_written(operation) for operation in circuit.operations],
    }


def circuit_from_json(record: object) -> Circuit:
    """The circuit that :func:`circuit_to_json` wrote, equal to it.

    Args:
        record: What ``json.loads`` gives.

    Raises:
        InvalidCircuitError: The record is not of this format, of a later version, or does not describe a circuit.
    """
    fields = _fields(record, "circuit", {"format", "version", "qubits", "operations"})
    if fields["format"] != FORMAT:
        raise InvalidCircuitError(
            f"a record of format {fields['format']!r} is not a circuit",
            fix=f"Give what circuit_to_json wrote: its format is {FORMAT!r}.",
            value=fields["format"],
        )
    if fields["version"] != VERSION or isinstance(fields["version"], bool):
        raise InvalidCircuitError(
            f"version {fields['version']!r} of a circuit's text is not known here",
            fix=f"Read it with a newer Q-Store, or write version {VERSION}.",
            value=fields["version"],
        )
    qubits = _integer(fields["qubits"])
    return Circuit(qubits, [_operation(one) for one in _list(fields["operations"], "operations")])


def observable_to_json(observable: Observable) -> JsonValue:
    """A Pauli string as its letters, a sum as pairs of coefficient and letters.

    Example:
        >>> observable_to_json(PauliString("ZI") * 0.5)
        [[0.5, 'ZI']]
    """
    if isinstance(observable, PauliString):
        return observable.letters
    return [[float(coefficient), string.letters] for coefficient, string in observable.terms]


def observable_from_json(record: object) -> Observable:
    """What :func:`observable_to_json` wrote, as an equal observable.

    Raises:
        InvalidCircuitError: It is neither letters nor pairs of coefficient and letters.
    """
    if isinstance(record, str):
        return PauliString(record)
    pairs = [_list(pair, "terms", 2) for pair in _list(record, "observable")]
    return PauliSum(tuple((_number(coefficient), PauliString(_text(letters))) for coefficient, letters in pairs))


def _written(operation: Operation) -> dict[str, JsonValue]:
    out: dict[str, JsonValue] = {"gate": operation.gate, "qubits": list(operation.qubits)}
    if operation.angles:
        out["angles"] = [_angle_written(value) for value in operation.angles]
    return out


def _angle_written(value: Angle) -> JsonValue:
    if not value.terms:
        return value.constant
    terms: list[JsonValue] = [
        ["weight" if isinstance(term, Weight) else "data", term.index, term.scale] for term in value.terms
    ]
    return {"terms": terms, "constant": value.constant}


def _operation(record: object) -> Operation:
    fields = _fields(record, "operation", {"gate", "qubits"}, {"angles"})
    qubits = [_integer(qubit) for qubit in _list(fields["qubits"], "qubits")]
    angles = [_angle(value) for value in _list(fields.get("angles", []), "angles")]
    return Operation(_text(fields["gate"]), qubits, angles)


def _angle(record: object) -> Angle:
    if not isinstance(record, Mapping):
        return Angle((), _number(record))
    fields = _fields(record, "angle", {"terms", "constant"})
    return Angle(tuple(_term(term) for term in _list(fields["terms"], "terms")), _number(fields["constant"]))


def _term(record: object) -> Symbol:
    kind, index, scale = _list(record, "term", 3)
    symbol = _KINDS.get(_text(kind))
    if symbol is None:
        raise _malformed("kind of a term", kind)
    return symbol(_integer(index), _number(scale))


def _fields(
    record: object, what: str, needed: set[str], possible: set[str] | frozenset[str] = frozenset()
) -> Mapping[str, object]:
    if not isinstance(record, Mapping) or not needed <= set(record) <= needed | possible:
        raise _malformed(what, record)
    return record


def _list(record: object, what: str, length: int | None = None) -> Sequence[object]:
    if not isinstance(record, list | tuple) or (length is not None and len(record) != length):
        raise _malformed(what, record)
    return record


def _text(record: object) -> str:
    if not isinstance(record, str):
        raise _malformed("text", record)
    return record


def _integer(record: object) -> int:
    if isinstance(record, bool) or not isinstance(record, int):
        raise _malformed("integer", record)
    return record


def _number(record: object) -> float:
    if isinstance(record, bool) or not isinstance(record, int | float):
        raise _malformed("number", record)
    return float(record)


def _malformed(what: str, value: object) -> InvalidCircuitError:
    return InvalidCircuitError(
        f"{str(value)[:80]!r} is not the {what} of a circuit's JSON form",
        fix="Give what circuit_to_json or observable_to_json wrote, unchanged.",
        value=value,
    )
