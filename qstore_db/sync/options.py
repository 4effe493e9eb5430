"""How a sync is done."""

from __future__ import annotations

from dataclasses import dataclass

from qstore_db.errors import InvalidArgumentError
from qstore_db.sync.merging import DIRECTIONS, PREFERENCES, Direction, Preference


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How a sync is done.

    Args:
        direction: ``push`` carries local changes to the index, ``pull`` those of the index here, ``both`` both.
        prefer: Who wins where both sides changed a row: ``local``, ``remote``, or ``neither``: both stay as they are.
        dry_run: Only tell what would be done.
        allow_emptying: Go on if one side has lost every row that had been synced.
        anew: Forget what was agreed, as if it were the first sync: nothing is deleted on either side.
        settle_seconds: For how long after a write the index may still show what was there before.

    Raises:
        InvalidArgumentError: A value is none of these.
    """

    direction: Direction = "both"
    prefer: Preference = "local"
    dry_run: bool = False
    allow_emptying: bool = False
    anew: bool = False
    settle_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, value, known in (("direction", self.direction, DIRECTIONS), ("prefer", self.prefer, PREFERENCES)):
            if value not in known:
                fix = f"Use one of {', '.join(map(repr, known))}."
                raise InvalidArgumentError(f"{name} is {value!r}", fix=fix, value=value)
        if not self.settle_seconds >= 0:
            raise InvalidArgumentError(
                f"settle_seconds is {self.settle_seconds!r}", fix="Give seconds, at least 0.", value=self.settle_seconds
            )
