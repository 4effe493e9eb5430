"""Names for versions of a model, such as ``champion``: they move, versions do not.

The keyed table ``model_aliases`` holds them, by model and alias. Wherever a model's name is read for prediction or
evaluation, ``clothes@champion`` stands for the version that has the alias, and ``clothes@3`` for version 3.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

from qstore_db.errors import InvalidArgumentError, UnknownModelError
from storage_engine.batch import DeleteRecord, JsonValue, PutRecord
from storage_engine.snapshot import Snapshot

MODEL_ALIASES = "model_aliases"
MARK = "@"

_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name for one version of a model.

    Args:
        model: The model's name.
        alias: The name, unique within the model.
        version: Which one it names.
        accuracy: What was measured when it was given, in [0, 1]; ``None`` where nothing was asked for.
        measured_on: The data set and split, or ``validation`` for the accuracy of the version's own run.
        promoted_at: Seconds since the epoch.
    """

    model: str
    alias: str
    version: int
    accuracy: float | None
    measured_on: str | None
    promoted_at: float

    def put(self) -> PutRecord:
        """The operation that writes it; an alias that another version had moves."""
        return PutRecord(MODEL_ALIASES, _key(self.model, self.alias), dataclasses.asdict(self))

    def remove(self) -> DeleteRecord:
        """The operation that takes it away."""
        return DeleteRecord(MODEL_ALIASES, _key(self.model, self.alias))

    @classmethod
    def from_json(cls, record: Mapping[str, JsonValue]) -> Self:
        """The value whose :meth:`put` wrote ``record``."""
        return cls(**cast(Any, record))


def aliases_of(snapshot: Snapshot, model: str | None = None) -> list[Alias]:
    """Every alias, or those of one model, by model and alias."""
    found = [Alias.from_json(record) for record in snapshot.table(MODEL_ALIASES).values()]
    chosen = [alias for alias in found if model is None or alias.model == model]
    return sorted(chosen, key=lambda alias: (alias.model, alias.alias))


def split_reference(reference: str, version: int | None) -> tuple[str, int | str | None]:
    """Model and version, alias or ``None`` of a text such as ``clothes``, ``clothes@3`` or ``clothes@champion``.

    Raises:
        InvalidArgumentError: A version is given both in the text and beside it.
    """
    name, mark, rest = reference.partition(MARK)
    if not mark:
        return reference, version
    if version is not None:
        raise InvalidArgumentError(
            f"{reference!r} names a version, and version {version} is given beside it", fix="Give one of them."
        )
    return name, int(rest) if rest.isdecimal() else rest


def version_of(snapshot: Snapshot, model: str, alias: str) -> int:
    """The version that has an alias.

    Raises:
        UnknownModelError: None has it; the message names the aliases that there are.
    """
    record = snapshot.table(MODEL_ALIASES).get(_key(model, alias))
    if record is None:
        known = ", ".join(item.alias for item in aliases_of(snapshot, model))
        raise UnknownModelError(
            f"No version of model {model!r} has the alias {alias!r}",
            fix=f"Its aliases are: {known}." if known else "Give it one with db.promote or CALL promote.",
            value=alias,
        )
    return Alias.from_json(record).version


def check_alias(alias: object) -> None:
    """Check that a version may be called so.

    Raises:
        InvalidArgumentError: It is no text of the allowed form.
    """
    if not isinstance(alias, str) or not _ALIAS.fullmatch(alias):
        raise InvalidArgumentError(
            f"{alias!r} is no alias",
            fix="Use a letter or _, then up to 63 letters, digits, _, . or -.",
            value=alias,
        )


def _key(model: str, alias: str) -> str:
    return f"{model}/{alias}"
