"""What a sync has done so far."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from qstore_db.sync.comparison import Compared
from qstore_db.sync.content import ABSENT
from qstore_db.sync.merging import Action
from qstore_db.sync.pairing import Pairing


@dataclass(slots=True)
class Tally:
    """Counts by what was done, and the rows it was done to.

    Attributes:
        oldest_left: The version that wrote the oldest local content that was left differing from the index's.
        changes: The rows of :data:`qstore_db.sync.report.CHANGES`.
    """

    pushed: int = 0
    deleted_remote: int = 0
    pulled: int = 0
    deleted_local: int = 0
    agreed: int = 0
    left: int = 0
    conflicts: int = 0
    oldest_left: int | None = None
    changes: list[tuple[str, str, bool, int]] = field(default_factory=list)

    def note(self, row: Compared) -> None:
        """Count what was done to a row."""
        action = row.decision.action
        if action in (Action.NOTHING, Action.AGREE):
            self.agreed += action is Action.AGREE
            return
        what = {
            Action.PUSH: "deleted_remote" if row.local == ABSENT else "pushed",
            Action.PULL: "deleted_local" if row.remote == ABSENT else "pulled",
            Action.LEAVE: "left",
        }[action]
        setattr(self, what, getattr(self, what) + 1)
        self.conflicts += row.decision.conflict
        if what == "left" and row.born:
            self.oldest_left = row.born if self.oldest_left is None else min(row.born, self.oldest_left)
        self.changes.append((row.id, what, row.decision.conflict, row.born))

    def on(self, pairing: Pairing) -> Pairing:
        """The progress with these counts."""
        return dataclasses.replace(
            pairing,
            pushed=self.pushed,
            deleted_remote=self.deleted_remote,
            pulled=self.pulled,
            deleted_local=self.deleted_local,
            conflicts=self.conflicts,
            left=self.left,
        )
