"""How system tables show times: UTC, to the microsecond."""

from __future__ import annotations

import datetime
from typing import Final

import pyarrow as pa

TIME: Final = pa.timestamp("us", tz="UTC")
"""The type of a column that holds a time."""


def moment(seconds: float) -> datetime.datetime:
    """A time given as seconds since the epoch."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
