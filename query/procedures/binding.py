"""Binds the arguments of ``CALL`` to a procedure's parameters, and fills in ``$names``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from query.errors import InvalidParameterError, SqlSyntaxError, UnknownProcedureError
from query.ports import Parameter, Procedure
from query.statements import Argument, Call, Literal, ParameterReference


def find(call: Call, procedures: Mapping[str, Procedure]) -> Procedure:
    """The procedure that a call names.

    Raises:
        UnknownProcedureError: There is none; the message names those there are.
    """
    found = procedures.get(call.name)
    if found is None:
        near = difflib.get_close_matches(call.name, procedures, n=1)
        known = ", ".join(sorted(procedures)) or "none"
        raise UnknownProcedureError(
            f"There is no procedure {call.name!r} (line {call.line}, column {call.column})",
            fix=f"Did you mean {near[0]}?" if near else f"Known procedures: {known}.",
            value=call.name,
        )
    return found


def bind(call: Call, procedure: Procedure, parameters: Mapping[str, object]) -> dict[str, object]:
    """The arguments of a call by name, checked; only those that were given.

    Raises:
        SqlSyntaxError: Too many positional arguments, an unknown name, or one given twice, with its place.
        InvalidParameterError: A required one is missing, or a value has the wrong type.
    """
    accepted = {item.name.lower(): item for item in procedure.parameters}
    usage = ", ".join(f"{item.name}{'' if item.required else '?'}" for item in procedure.parameters)
    values: dict[str, object] = {}
    for position, argument in enumerate(call.arguments):
        parameter = _parameter(argument, position, procedure, accepted, usage)
        if parameter.name in values:
            raise SqlSyntaxError(
                f"{call.name} got {parameter.name} twice",
                line=argument.line,
                column=argument.column,
                fix="Give it once.",
            )
        values[parameter.name] = _checked(call.name, parameter, fill(argument.value, parameters))
    for parameter in procedure.parameters:
        if parameter.required and parameter.name not in values:
            raise InvalidParameterError(
                f"{call.name} needs {parameter.name}",
                fix=f"Add {parameter.name} => …; {call.name} takes ({usage}).",
                value=parameter.name,
            )
    return values


def fill(value: Literal, parameters: Mapping[str, object]) -> object:
    """A literal with its parameters replaced by the bound values."""
    if isinstance(value, ParameterReference):
        return parameters[value.name]
    if isinstance(value, list):
        return [fill(item, parameters) for item in value]
    return value


def parameter_names(arguments: Sequence[Argument]) -> set[str]:
    """Names after ``$`` in the arguments."""
    names: set[str] = set()
    waiting: list[Literal] = [argument.value for argument in arguments]
    while waiting:
        value = waiting.pop()
        if isinstance(value, ParameterReference):
            names.add(value.name)
        elif isinstance(value, list):
            waiting.extend(value)
    return names


def _parameter(
    argument: Argument, position: int, procedure: Procedure, accepted: Mapping[str, Parameter], usage: str
) -> Parameter:
    if argument.name is None:
        if position < len(procedure.parameters):
            return procedure.parameters[position]
        raise SqlSyntaxError(
            f"{procedure.name} takes {len(procedure.parameters)} arguments",
            line=argument.line,
            column=argument.column,
            fix=f"Its arguments are ({usage}).",
        )
    parameter = accepted.get(argument.name)
    if parameter is None:
        near = difflib.get_close_matches(argument.name, accepted, n=1)
        raise SqlSyntaxError(
            f"{procedure.name} has no argument {argument.name!r}",
            line=argument.line,
            column=argument.column,
            fix=f"{f'Did you mean {near[0]}? ' if near else ''}Its arguments are ({usage}).",
        )
    return parameter


def _checked(procedure: str, parameter: Parameter, value: object) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if parameter.type == "any":
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if parameter.type == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    right = {
        "text": isinstance(value, str),
        "integer": is_number and isinstance(value, int),
        "number": is_number,
        "boolean": isinstance(value, bool),
        "list": isinstance(value, list | tuple | np.ndarray),
    }
    if not right[parameter.type]:
        raise InvalidParameterError(
            f"{procedure}: {parameter.name} must be {_ARTICLES[parameter.type]}, not {value!r}",
            fix="Leave it out to have its default." if value is None and not parameter.required else "Correct it.",
            value=value,
        )
    return value


_ARTICLES = {
    "text": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
}
