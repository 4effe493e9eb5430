"""What the caller of a procedure gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def given_arguments(arguments: Mapping[str, object]) -> dict[str, Any]:
    """The arguments without those that are NULL, which count as not given."""
    return {name: value for name, value in arguments.items() if value is not None}
