"""Which noise follows which gate, and how outcomes are misread.

A model is a list of rules. After every gate of a circuit each rule that matches it adds its channel, rule after rule in
the order of the list: a channel on one qubit on every qubit of the gate, in the gate's order, a channel on two qubits
on the two of a two-qubit gate. A gate that matches no rule is perfect, and so are waiting qubits: idle noise is not
modelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.observables import Observable, PauliString, PauliSum, terms_of
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.channels import Channel, channel_from_json


@dataclass(frozen=True, slots=True, init=False)
class NoiseRule:
    """A channel and the gates it follows.

    Args:
        channel: What happens.
        gates: Names of gates, upper case; None: every gate.
        arity: 1, 2 or 3, only gates on that many qubits; None: a channel on two qubits follows gates on two, a channel
            on one qubit all gates.
        places: The qubits on which the channel acts, tuples of as many qubits as it has; other places stay clean. For
            two qubits the order is the gate's. None: everywhere.

    Raises:
        InvalidArgumentError: An unknown gate, another arity, a channel on two qubits for gates on one or three, or a
            place of another length.

    Example:
        >>> from qstore_db.simulation.channels import depolarizing
        >>> NoiseRule(depolarizing(0.01, 2), gates=["CX"]).strikes(Operation("CX", (3, 1)))
        ((3, 1),)
    """

    channel: Channel
    gates: frozenset[str] | None
    arity: int | None
    places: frozenset[tuple[int, ...]] | None

    def __init__(
        self,
        channel: Channel,
        *,
        gates: Iterable[str] | None = None,
        arity: int | None = None,
        places: Iterable[Iterable[int]] | None = None,
    ) -> None:
        named = None if gates is None else frozenset(gates)
        where = None if places is None else frozenset(tuple(place) for place in places)
        for gate in sorted(named or ()):
            if gate not in GATES or (channel.n_qubits == 2 and GATES[gate].qubits != 2):
                raise InvalidArgumentError(
                    f"a channel on {channel.n_qubits} qubit(s) cannot follow the gate {gate!r}",
                    fix=f"A channel on two qubits follows gates on two; the gates are {', '.join(GATES)}.",
                    value=gate,
                )
        if arity not in (None, 1, 2, 3) or (channel.n_qubits == 2 and arity not in (None, 2)):
            raise InvalidArgumentError(
                f"arity {arity!r} does not fit a channel on {channel.n_qubits} qubit(s)",
                fix="Use None, or 2 for a channel on two qubits, or 1, 2 or 3 for one on one.",
                value=arity,
            )
        for place in sorted(where or ()):
            if len(place) != channel.n_qubits or len(set(place)) != len(place) or min(place) < 0:
                raise InvalidArgumentError(
                    f"the place {place} is not {channel.n_qubits} different qubit(s)",
                    fix="Give tuples of as many qubits as the channel has.",
                    value=place,
                )
        object.__setattr__(self, "channel", channel)
        object.__setattr__(self, "gates", named)
        object.__setattr__(self, "arity", arity)
        object.__setattr__(self, "places", where)

    def strikes(self, operation: Operation) -> tuple[tuple[int, ...], ...]:
        """Where the channel acts after the gate; empty if it does not."""
        qubits = operation.qubits
        if self.gates is not None and operation.gate not in self.gates:
            return ()
        if self.arity is not None and len(qubits) != self.arity:
            return ()
        if self.channel.n_qubits == 2:
            found: tuple[tuple[int, ...], ...] = (qubits,) if len(qubits) == 2 else ()
        else:
            found = tuple((qubit,) for qubit in qubits)
        return tuple(place for place in found if self.places is None or place in self.places)

    def to_json(self) -> dict[str, object]:
        """JSON values; :meth:`NoiseModel.from_json` reads them."""
        return {
            "channel": self.channel.to_json(),
            "gates": None if self.gates is None else sorted(self.gates),
            "arity": self.arity,
            "places": None if self.places is None else [list(place) for place in sorted(self.places)],
        }


@dataclass(frozen=True, slots=True, init=False)
class ReadoutError:
    """How the outcome of one qubit is misread: a stochastic matrix.

    Args:
        zero_as_one: Probability that a 0 is reported as 1.
        one_as_zero: Probability that a 1 is reported as 0; None: as often as the other.

    Raises:
        InvalidArgumentError: A probability outside [0, 1].

    Example:
        >>> ReadoutError(0.02, 0.05).matrix.tolist()
        [[0.98, 0.05], [0.02, 0.95]]
    """

    zero_as_one: float
    one_as_zero: float

    def __init__(self, zero_as_one: float, one_as_zero: float | None = None) -> None:
        for value in (zero_as_one, one_as_zero):
            if value is not None and not 0.0 <= value <= 1.0:
                raise InvalidArgumentError(
                    f"the probability {value!r} of a misread outcome is outside [0, 1]",
                    fix="Give a probability.",
                    value=value,
                )
        object.__setattr__(self, "zero_as_one", float(zero_as_one))
        object.__setattr__(self, "one_as_zero", float(zero_as_one if one_as_zero is None else one_as_zero))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> ReadoutError:
        """From a (2, 2) matrix, entry (reported, true); columns sum to 1.

        Raises:
            InvalidArgumentError: Another shape, a negative entry, or a column whose sum is off 1 by more than 1e-10.
        """
        given = np.asarray(matrix, np.float64)
        if given.shape != (2, 2) or not (given >= 0).all() or np.abs(given.sum(axis=0) - 1).max() > 1e-10:
            raise InvalidArgumentError(
                f"{given.tolist()} is not a stochastic matrix of (reported, true)",
                fix="Give two columns of two probabilities that sum to 1.",
                value=given.tolist(),
            )
        return cls(float(min(1.0, given[1, 0])), float(min(1.0, given[0, 1])))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 2), entry (reported, true)."""
        return np.array([[1 - self.zero_as_one, self.one_as_zero], [self.zero_as_one, 1 - self.one_as_zero]])

    @property
    def scale(self) -> float:
        """The a in ⟨Z reported⟩ = a ⟨Z⟩ + b: 1 minus both probabilities."""
        return 1.0 - self.zero_as_one - self.one_as_zero

    @property
    def offset(self) -> float:
        """The b in ⟨Z reported⟩ = a ⟨Z⟩ + b."""
        return self.one_as_zero - self.zero_as_one


@dataclass(frozen=True, slots=True, init=False)
class NoiseModel:
    """Rules for gates, and readout errors.

    Args:
        rules: In the order in which they act after a gate.
        readout: One error for every qubit, or a mapping from qubit to error (the others are read without error).
        name: For people; presets fill it.
        source: Where the numbers come from, and what was assumed.

    Raises:
        InvalidArgumentError: A readout error for something that is not a qubit.

    Example:
        >>> from qstore_db.simulation.channels import depolarizing
        >>> model = NoiseModel([NoiseRule(depolarizing(0.001)), NoiseRule(depolarizing(0.01, 2))])
        >>> len(model.after(Operation("CX", (0, 1))))
        3
    """

    rules: tuple[NoiseRule, ...]
    readout: tuple[tuple[int | None, ReadoutError], ...]
    name: str
    source: str

    def __init__(
        self,
        rules: Iterable[NoiseRule] = (),
        *,
        readout: ReadoutError | Mapping[int, ReadoutError] | None = None,
        name: str = "",
        source: str = "",
    ) -> None:
        errors: tuple[tuple[int | None, ReadoutError], ...] = ()
        if isinstance(readout, ReadoutError):
            errors = ((None, readout),)
        elif readout is not None:
            for qubit in readout:
                if isinstance(qubit, bool) or not isinstance(qubit, int | np.integer) or qubit < 0:
                    raise InvalidArgumentError(
                        f"{qubit!r} is not a qubit", fix="Number qubits with integers from 0.", value=qubit
                    )
            errors = tuple((int(qubit), readout[qubit]) for qubit in sorted(readout))
        object.__setattr__(self, "rules", tuple(rules))
        object.__setattr__(self, "readout", errors)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "source", source)

    def after(self, operation: Operation) -> tuple[tuple[Channel, tuple[int, ...]], ...]:
        """Channels that follow the gate and their qubits, in the order in which they act."""
        return tuple((rule.channel, place) for rule in self.rules for place in rule.strikes(operation))

    def readout_error(self, qubit: int) -> ReadoutError | None:
        """The error of one qubit; None if its outcomes are read right."""
        for place, error in self.readout:
            if place is None or place == qubit:
                return error if error.scale != 1.0 or error.offset else None
        return None

    def reported(self, observable: Observable) -> PauliSum:
        """The observable whose mean is that of the outcomes that a device with these readout errors reports.

        Every string is measured in its own basis; a letter P of a misread qubit becomes a·P + b with the ``scale`` and
        ``offset`` of its error. A string of w letters so becomes up to 2^w terms.
        """
        terms: list[tuple[float, PauliString]] = []
        for coefficient, string in terms_of(observable):
            grown = [(coefficient, "")]
            for qubit, letter in enumerate(string.letters):
                error = self.readout_error(qubit) if letter != "I" else None
                read = [(factor * (error.scale if error else 1.0), text + letter) for factor, text in grown]
                if error is not None and error.offset:
                    read += [(factor * error.offset, text + "I") for factor, text in grown]
                grown = read
            terms += [(factor, PauliString(text)) for factor, text in grown]
        return PauliSum(tuple(terms))

    def to_json(self) -> dict[str, object]:
        """JSON values; :meth:`from_json` reads them."""
        return {
            "name": self.name,
            "source": self.source,
            "rules": [rule.to_json() for rule in self.rules],
            "readout": [[qubit, error.zero_as_one, error.one_as_zero] for qubit, error in self.readout],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> NoiseModel:
        """The model that :meth:`to_json` wrote; equal to it.

        Raises:
            InvalidArgumentError: Missing or unknown fields, or values out of their range.
        """
        rules, readout = record.get("rules"), record.get("readout")
        known = set(record) == {"name", "source", "rules", "readout"}
        if not known or not isinstance(rules, list) or not isinstance(readout, list):
            raise InvalidArgumentError(
                f"a record with {sorted(record)} is no noise model",
                fix="Write name, source, rules and readout, as NoiseModel.to_json does.",
                value=sorted(record),
            )
        errors = {qubit: ReadoutError(zero, one) for qubit, zero, one in readout}
        return cls(
            [_rule(one) for one in rules],
            readout=errors.get(None) or errors or None,
            name=str(record["name"]),
            source=str(record["source"]),
        )


def _rule(record: Mapping[str, Any]) -> NoiseRule:
    if set(record) != {"channel", "gates", "arity", "places"}:
        raise InvalidArgumentError(
            f"a record with {sorted(record)} is no noise rule",
            fix="Write channel, gates, arity and places, as NoiseRule.to_json does.",
            value=sorted(record),
        )
    return NoiseRule(
        channel_from_json(record["channel"]), gates=record["gates"], arity=record["arity"], places=record["places"]
    )
