"""What a model is, as a value: the declarative part that the registry stores and a checkpoint repeats.

A specification names no data and holds no parameters. Together with a fitted
:class:`~qstore_db.models.reduction.Reduction` it determines a model completely.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, get_args

from qstore_db.circuits.ansatz.hardware_efficient import Entanglement, Rotations
from qstore_db.circuits.readouts import Readout
from qstore_db.errors import InvalidModelError

Kind = Literal["classifier", "regressor", "autoencoder"]
Encoding = Literal["amplitude", "angle"]
ReductionMethod = Literal["pool", "pca", "projection", "truncate"]
Precision = Literal["float32", "float64"]

MAX_QUBITS = 16
MAX_LAYERS = 128
MAX_CLASSES = 65_536
MAX_OUTPUTS = 4_096
MAX_TRASH = 10
"""Trash qubits of an autoencoder: their projector has 2^trash strings."""


ALIASES: Mapping[str, str] = {
    "n_qubits": "qubits",
    "circuit_depth": "layers",
    "depth": "layers",
    "entanglement_pattern": "entanglement",
    "n_classes": "classes",
    "n_outputs": "outputs",
    "latent_qubits": "latent",
}
"""Other names of fields that :meth:`ModelSpec.from_options` accepts."""

_CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "kind": get_args(Kind),
    "encoding": get_args(Encoding),
    "reduce": (None, *get_args(ReductionMethod)),
    "rotations": get_args(Rotations),
    "entanglement": get_args(Entanglement),
    "readout": get_args(Readout),
    "dtype": get_args(Precision),
}
_RANGES: Mapping[str, tuple[int, int]] = {
    "qubits": (1, MAX_QUBITS),
    "layers": (1, MAX_LAYERS),
}
_SIZES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "classifier": {"classes": (2, MAX_CLASSES)},
    "regressor": {"outputs": (1, MAX_OUTPUTS)},
    "autoencoder": {"latent": (1, MAX_QUBITS - 1)},
}
"""The size that each kind has of its own, with its range; the others must be left out."""

_DEFAULT_SIZES: Mapping[str, int] = {"outputs": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model: encoding, variational circuit, readouts, and what its kind makes of them.

    Args:
        qubits: Width of the circuit, 1 to ``MAX_QUBITS``.
        classes: Of a classifier: number of classes; labels are the integers 0 … ``classes - 1``.
        layers: Repetitions of the variational layer, 1 to ``MAX_LAYERS``.
        kind: What the model answers. ``"classifier"``: a class. ``"regressor"``: ``outputs`` numbers.
            ``"autoencoder"``: the row again, from ``latent`` of its qubits; it encodes amplitudes and reads no Pauli
            strings, so that ``readout`` is left out.
        encoding: ``"amplitude"``: a row of up to 2**qubits numbers becomes the amplitudes of the start state.
            ``"angle"``: one feature a qubit becomes a rotation angle.
        reduce: How rows that are too long are shortened *before* they are encoded; ``None`` allows none.
        rotations: Rotations of each qubit in each layer.
        entanglement: Which pairs of qubits each layer's CX gates join.
        readout: ``"pauli_pairs"``: ⟨X⟩, ⟨Y⟩, ⟨Z⟩ of each qubit and ⟨XX⟩, ⟨YY⟩, ⟨ZZ⟩ of each pair. ``"z"``: ⟨Z⟩ of each
            qubit.
        dtype: Precision of the simulation. Parameters are float64 either way.
        train_circuit: ``False`` freezes the circuit at its random start and trains the head alone.
        outputs: Of a regressor: numbers in a target; ``None`` for 1.
        latent: Of an autoencoder: qubits that keep the row, fewer than ``qubits``; the others, ``MAX_TRASH`` at most,
            are trained to |0⟩.

    Raises:
        InvalidModelError: A field is of the wrong type, out of its range, none of its choices, or of another kind.
    """

    qubits: int
    classes: int | None = None
    layers: int = 4
    kind: Kind = "classifier"
    encoding: Encoding = "amplitude"
    reduce: ReductionMethod | None = None
    rotations: Rotations = "ry_rz"
    entanglement: Entanglement = "linear"
    readout: Readout = "pauli_pairs"
    dtype: Precision = "float32"
    train_circuit: bool = True
    outputs: int | None = None
    latent: int | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            _check_integer(name, getattr(self, name), low, high)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if not (value is None or isinstance(value, str)) or value not in choices:
                raise InvalidModelError(
                    f"The model's {name} is {value!r}",
                    fix=f"Use one of {', '.join(map(repr, choices))}.",
                    value=value,
                )
        if not isinstance(self.train_circuit, bool):
            raise InvalidModelError(
                f"The model's train_circuit is {self.train_circuit!r}, which is neither true nor false",
                fix="Use true to train the circuit, false to freeze it at its random start.",
                value=self.train_circuit,
            )
        self._check_sizes()
        if self.kind == "autoencoder":
            self._check_autoencoder()

    def _check_sizes(self) -> None:
        for kind, sizes in _SIZES.items():
            for name, (low, high) in sizes.items():
                value = getattr(self, name)
                if kind == self.kind:
                    if value is None and name in _DEFAULT_SIZES:
                        object.__setattr__(self, name, _DEFAULT_SIZES[name])
                        continue
                    if value is None:
                        raise InvalidModelError(
                            f"The model's {name} is not given", fix=f"Add {name} = <integer>.", value=None
                        )
                    _check_integer(name, value, low, high)
                elif value is not None:
                    raise InvalidModelError(
                        f"The model's {name} is {value!r}, which models of kind {self.kind!r} do not have",
                        fix=f"Leave {name} out, or use kind = {kind!r}.",
                        value=value,
                    )

    def _check_autoencoder(self) -> None:
        if self.encoding != "amplitude":
            raise InvalidModelError(
                f"An autoencoder with encoding = {self.encoding!r} could not give rows back: no state tells its angles",
                fix="Use encoding = 'amplitude'.",
                value=self.encoding,
            )
        if self.latent is not None and self.latent >= self.qubits:
            raise InvalidModelError(
                f"The model's latent is {self.latent}, of {self.qubits} qubits: nothing would be compressed",
                fix=f"Give latent from 1 to {self.qubits - 1}.",
                value=self.latent,
            )
        if self.latent is not None and self.qubits - self.latent > MAX_TRASH:
            raise InvalidModelError(
                f"The model's latent is {self.latent}, which leaves {self.qubits - self.latent} trash qubits",
                fix=f"Give latent from {self.qubits - MAX_TRASH} to {self.qubits - 1}.",
                value=self.latent,
            )
        if not self.train_circuit:
            raise InvalidModelError(
                "An autoencoder with train_circuit = False has nothing to train",
                fix="Leave train_circuit out.",
                value=False,
            )
        if self.readout != "pauli_pairs":
            raise InvalidModelError(
                f"The model's readout is {self.readout!r}, but an autoencoder reads the fidelity of its trash qubits",
                fix="Leave readout out.",
                value=self.readout,
            )

    @property
    def width(self) -> int:
        """Numbers that the model's head gives for a row: classes, outputs, or 1 for an autoencoder's fidelity."""
        return self.classes or self.outputs or 1

    @property
    def capacity(self) -> int:
        """How many features the encoding has room for: 2**qubits amplitudes, or one angle a qubit."""
        return 2**self.qubits if self.encoding == "amplitude" else self.qubits

    def to_json(self) -> dict[str, int | str | bool | None]:
        """The fields by name, as JSON values, without sizes of other kinds; :meth:`from_json` is its inverse."""
        record = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        absent = {name for sizes in _SIZES.values() for name in sizes if record[name] is None}
        return {name: value for name, value in record.items() if name not in absent}

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Self:
        """The specification that :meth:`to_json` wrote.

        Fields that are absent take their defaults.

        Raises:
            InvalidModelError: A field is unknown (written by a newer version), missing without a default, or invalid.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in record:
            if name not in known:
                raise InvalidModelError(
                    f"A model has no option {name!r}",
                    fix=f"The options are {', '.join(known)}.",
                    value=name,
                )
        if "qubits" not in record:
            raise InvalidModelError("The model's qubits is not given", fix="Add qubits = <integer>.", value=None)
        return cls(**record)  # type: ignore[arg-type]  # each field is checked by __post_init__

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """A specification from options as users type them: any letter case of names, and the ``ALIASES``.

        Raises:
            InvalidModelError: An option is unknown, given twice under two names, missing or invalid.

        Example:
            >>> ModelSpec.from_options({"n_qubits": 6, "n_classes": 10, "circuit_depth": 3}).layers
            3
        """
        record: dict[str, object] = {}
        spelled: dict[str, str] = {}
        for given, value in options.items():
            name = ALIASES.get(given.lower(), given.lower())
            if name in record:
                raise InvalidModelError(
                    f"The options {spelled[name]!r} and {given!r} both set the model's {name}",
                    fix=f"Give {name} once.",
                    value=given,
                )
            record[name], spelled[name] = value, given
        return cls.from_json(record)


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidModelError(
            f"The model's {name} is {value!r}, which is not an integer",
            fix=f"Give {name} as an integer from {low} to {high}.",
            value=value,
        )
    if not low <= value <= high:
        raise InvalidModelError(f"The model's {name} is {value}", fix=f"Give {name} from {low} to {high}.", value=value)
