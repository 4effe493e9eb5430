"""Structured logs: each record of the standard library's logging as one line of JSON, without secrets.

Q-Store writes to loggers below ``qstore_db`` and sets none of them up: without a handler nothing is shown but warnings,
as Python has it. :func:`log_as_json` gives them a handler.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any, Final, TextIO

HIDDEN: Final = "***"
_SECRET_NAME: Final = re.compile(r"(^|[_-])(api_?key|key|token|secret|password|passwd|authorization)$", re.IGNORECASE)
_SHORTEST_SECRET: Final = 6
"""Shorter values of such variables are not looked for: they would be found in every text."""
_PATTERNS: Final = (
    (re.compile(r"(?i)\b(apikey|bearer|basic)\s+[^\s'\",}]+"), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"(?i)(?<![a-z0-9])(api[-_]?key|token|secret|password|passwd)(['\"]?\s*[=:]\s*)"
            r"(?:(['\"])(?:(?!\3).)*\3?|[^\s'\",;&}]+)"
        ),
        rf"\1\2\3{HIDDEN}\3",
    ),
    (re.compile(r"(://[^/\s:@]+:)[^/\s@]+@"), rf"\1{HIDDEN}@"),
)
_OF_EVERY_RECORD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One line of JSON for a record.

    Fields: ``time`` (UTC, ISO 8601, milliseconds), ``level``, ``logger``, ``message``; what was given as ``extra``, by
    its names; and of an exception ``error`` (its type), ``error_message`` and ``traceback``. What JSON has no form for
    becomes text.

    Secrets are replaced by ``***`` wherever they stand: the values of environment variables whose names end in KEY,
    TOKEN, SECRET or PASSWORD, whole fields of such names, and what follows ``apiKey``, ``Bearer``, ``password=`` and
    the like. A secret that is none of these, such as a key given as an argument, is not recognised: Q-Store logs none.

    Args:
        environment: Where secrets are looked up, at each record; ``None`` is that of the process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._environment = os.environ if environment is None else environment

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        fields: dict[str, Any] = {
            "time": time,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            fields["error"], fields["error_message"] = type(error).__name__, str(error)
            fields["traceback"] = self.formatException(record.exc_info)
        secrets = self._secrets()
        line = json.dumps({name: _clean(name, value, secrets) for name, value in fields.items()}, ensure_ascii=False)
        # Names of files may hold what UTF-8 has no form for; escaped, it is JSON again. A stream that refused the line
        # would have logging print the record as it came, with its secrets.
        return line.encode("utf-8", "backslashreplace").decode("utf-8")

    def _secrets(self) -> list[str]:
        """Values of the environment to hide, longest first, so that none hides a part of another."""
        found = {
            value
            for name, value in self._environment.items()
            if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
        }
        return sorted(found, key=len, reverse=True)


def log_as_json(
    stream: TextIO | None = None, *, level: int | str = logging.INFO, logger: str = "qstore_db"
) -> logging.Handler:
    """Write the records of a logger and all below it to a stream, as JSON.

    Args:
        stream: ``None`` is standard error.
        level: The least that is written.
        logger: Its name; records of loggers above it are not written by this handler, and records below go no further.

    Returns:
        The handler; ``logging.getLogger(logger).removeHandler`` ends it.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    target = logging.getLogger(logger)
    target.addHandler(handler)
    target.setLevel(level)
    target.propagate = False
    return handler


def _clean(name: str, value: Any, secrets: list[str]) -> Any:
    if _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), one, secrets) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", one, secrets) for one in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has no NaN and no infinity
    text = str(value)
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
