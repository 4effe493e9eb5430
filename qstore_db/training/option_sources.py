"""Training options from TOML files, environment variables and ``name=value`` texts.

Where an option is given more than once, arguments (or the flags of a command) count before a file, a file before the
environment, and the environment before the default.
"""

from __future__ import annotations

import os
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from types import UnionType

from qstore_db.errors import InvalidArgumentError
from qstore_db.training.options import TrainingOptions, named_options

PREFIX = "QSTORE_TRAIN_"
"""What the names of environment variables begin with: ``QSTORE_TRAIN_LEARNING_RATE``."""

TABLE = "train"
"""The table of a TOML file that holds the options; without it they stand at the top."""

_BOOLEANS = {"true": True, "false": False}


def options_from(
    *,
    arguments: Mapping[str, object] | None = None,
    file: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
    prefix: str = PREFIX,
) -> TrainingOptions:
    """The options that several sources give together; the module says which counts.

    Args:
        arguments: By name; aliases and any letter case will do.
        file: A TOML file.
        environment: Variables by name, such as ``os.environ``; ``None`` for none.
        prefix: Of their names; others are not looked at.

    Raises:
        InvalidArgumentError: A source names an unknown option (the message names the nearest one) or one twice, or
            gives a value that is none; or the file cannot be read.
        UnknownBackendError: There is no such backend.
    """
    found = {
        **from_environment({} if environment is None else environment, prefix),
        **({} if file is None else from_file(file)),
        **named_options(arguments or {}),
    }
    return TrainingOptions.from_options(found)


def from_file(path: str | os.PathLike[str]) -> dict[str, object]:
    """What a TOML file says, by the options' own names; it may say nothing.

    Raises:
        InvalidArgumentError: As in :func:`options_from`.
    """
    content = read_toml(path)
    options = content.get(TABLE, content)
    if not isinstance(options, Mapping):
        raise InvalidArgumentError(
            f"{TABLE} in {os.fspath(path)!r} is {options!r}", fix=f"Write a table [{TABLE}].", value=options
        )
    return named_options(options, f" (in {os.fspath(path)!r})")


def read_toml(path: str | os.PathLike[str]) -> dict[str, object]:
    """A TOML file.

    Raises:
        InvalidArgumentError: It is not there, or no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(
            f"{os.fspath(path)!r} cannot be read: {error}", fix="Give a TOML file.", value=os.fspath(path)
        ) from error


def from_environment(environment: Mapping[str, str], prefix: str = PREFIX) -> dict[str, object]:
    """What environment variables say, by the options' own names.

    Raises:
        InvalidArgumentError: As in :func:`options_from`.
    """
    given = {name[len(prefix) :]: text for name, text in environment.items() if name.startswith(prefix)}
    named = named_options(given, f" (environment variables {prefix}…)")
    return {name: parsed(name, str(text)) for name, text in named.items()}


def from_texts(texts: list[str]) -> dict[str, object]:
    """What texts such as ``epochs=3`` say, by the options' own names.

    Raises:
        InvalidArgumentError: As in :func:`options_from`; or a text has no ``=``.
    """
    given: dict[str, object] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark:
            raise InvalidArgumentError(f"The option {text!r} has no value", fix=f"Write {text}=<value>.", value=text)
        if name in given:
            raise InvalidArgumentError(f"The option {name} is given twice", fix="Give it once.", value=name)
        given[name] = value
    return {name: parsed(name, str(value)) for name, value in named_options(given).items()}


def parsed(name: str, text: str) -> bool | int | float | str:
    """The value of an option from text, by the option's type.

    Raises:
        InvalidArgumentError: The text is none of that type.
    """
    kind = _TYPES[name]
    try:
        if kind is bool:
            return _BOOLEANS[text.strip().lower()]
        return text if kind is str else kind(text)
    except (KeyError, ValueError) as error:
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise InvalidArgumentError(f"{name} is {text!r}", fix=f"Give {wanted}.", value=text) from error


def _plain(annotation: object) -> type:
    parts = typing.get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return typing.cast(type, next(part for part in parts if part is not type(None)))


_TYPES: Mapping[str, type] = {name: _plain(kind) for name, kind in typing.get_type_hints(TrainingOptions).items()}
