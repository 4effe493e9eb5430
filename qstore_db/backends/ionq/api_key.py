"""The key of an account, so held that nothing prints it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from qstore_db.errors import InvalidArgumentError

VARIABLE: Final = "IONQ_API_KEY"
HIDDEN: Final = "[API key]"


class ApiKey:
    """A secret. It is in no ``repr``, cannot be pickled, and :meth:`struck_from` takes it out of any text.

    Args:
        text: As the provider gave it: visible ASCII characters without blanks, not empty.

    Raises:
        InvalidArgumentError: It is empty or holds another character; the message does not show it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise InvalidArgumentError(
                "the API key is empty or holds characters that no key has",
                fix=f"Give it as the provider shows it, or set {VARIABLE}.",
            )
        self._text = text

    @classmethod
    def found(cls, given: str | None, environment: Mapping[str, str] = os.environ) -> ApiKey:
        """The key that was given, else that of the environment variable ``IONQ_API_KEY``.

        Raises:
            InvalidArgumentError: There is none, or it makes no sense.
        """
        text = environment.get(VARIABLE) if given is None else given
        if text is None:
            raise InvalidArgumentError(
                "there is no API key of IonQ", fix=f"Set the environment variable {VARIABLE}, or give api_key."
            )
        return cls(text)

    def header(self) -> str:
        """The value of the header ``Authorization``."""
        return f"apiKey {self._text}"

    def struck_from(self, text: str) -> str:
        """The text with ``[API key]`` in every place of the key."""
        return text.replace(self._text, HIDDEN)

    def __repr__(self) -> str:
        return HIDDEN

    def __reduce__(self) -> str:
        raise TypeError("an API key is not pickled")
