"""Words of a text, and the id of a text: the same in every process and on every machine."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

from qstore_db.errors import InvalidStateError

LONGEST: Final = 32
"""Characters of one token; longer words are cut into pieces, so that a token fits a context's 128 bytes of UTF-8."""

_WORD: Final = re.compile(rf"[^\W_]{{1,{LONGEST}}}")


def tokens(text: str) -> list[str]:
    """Runs of letters and digits in their case-folded compatibility form (Unicode NFKC), in order, repeats kept.

    Raises:
        InvalidStateError: It is no text, or holds a lone surrogate.
    """
    _checked(text)
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def text_id(text: str) -> str:
    """32 hexadecimal digits: BLAKE2b-128 of the text's canonical form (NFC) in UTF-8.

    Equal texts have equal ids whatever model encodes them; two different ones collide with a chance of about n²/2^129
    among n texts.

    Raises:
        InvalidStateError: It is no text, or holds a lone surrogate.

    Example:
        >>> len(text_id("Grüße"))
        32
    """
    data = _checked(unicodedata.normalize("NFC", text) if isinstance(text, str) else text)
    return hashlib.blake2b(data, digest_size=16, person=b"qstore text id").hexdigest()


def _checked(text: object) -> bytes:
    if not isinstance(text, str):
        raise InvalidStateError(f"{text!r} is no text", fix="give a str", value=text)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidStateError(
            f"the text {text[:40]!r} holds a lone surrogate", fix="use text that UTF-8 can encode", value=text
        ) from error
