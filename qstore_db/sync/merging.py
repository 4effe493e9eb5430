"""Which side's content a row gets: a three-way comparison with what both sides last agreed on. Pure.

Here a side has changed a row if its content now differs from its content then. Locally that is known exactly. Of
Pinecone, which has no versions, only what it shows now is known, and reads may be behind writes: content that was the
row's a moment ago, or that a request of ours may have written, is no change by somebody else.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from qstore_db.sync.content import ABSENT

Direction: TypeAlias = Literal["push", "pull", "both"]
Preference: TypeAlias = Literal["local", "remote", "neither"]
DIRECTIONS: Final = ("push", "pull", "both")
PREFERENCES: Final = ("local", "remote", "neither")


@dataclass(frozen=True, slots=True)
class Echo:
    """Content that reads of the index may still show.

    Args:
        digest: Of what the row was there.
        until: From then on it is taken for a change, seconds since the epoch.
    """

    digest: str
    until: float


@dataclass(frozen=True, slots=True)
class Agreed:
    """What is known of a row since both sides were last compared.

    Args:
        local: Digest of its content here; ``ABSENT`` if there was no such row.
        remote: Digest of its content there. Another one than ``local`` only where a pulled vector was rounded.
        sent: Digests of what requests write, or wrote, whose answers never came.
        echoes: Content that was the row's there until lately.
    """

    local: str = ABSENT
    remote: str = ABSENT
    sent: tuple[str, ...] = ()
    echoes: tuple[Echo, ...] = ()

    def sending(self, digest: str) -> Agreed:
        """The same before a request that writes ``digest`` is sent."""
        return replace(self, sent=tuple(dict.fromkeys((*self.sent, digest))))

    def settled(self, local: str, remote: str, *, seen: str, until: float, now: float) -> Agreed:
        """The same once both sides have their content.

        Args:
            local: Digest of the content here.
            remote: Digest of the content there.
            seen: Digest of what the index showed when that was decided.
            until: As long as reads may show what was there before.
            now: Echoes that have faded by then are dropped.
        """
        kept = {echo.digest: echo.until for echo in self.echoes if echo.until > now}
        kept |= dict.fromkeys((self.remote, *self.sent, seen), until)
        kept.pop(remote, None)
        return Agreed(local, remote, (), tuple(Echo(*pair) for pair in sorted(kept.items())))

    def faded(self, now: float) -> Agreed:
        """The same without echoes that nobody can hear any more."""
        kept = tuple(echo for echo in self.echoes if echo.until > now)
        return self if kept == self.echoes else replace(self, echoes=kept)

    def echoes_at(self, now: float) -> set[str]:
        """Digests of what reads may still show."""
        return {echo.digest for echo in self.echoes if echo.until > now}

    @property
    def is_over(self) -> bool:
        """Whether the row is gone on both sides and nothing about it can come back."""
        return self == Agreed()


UNKNOWN_ROW: Final = Agreed()


class Action(enum.StrEnum):
    """What becomes of a row.

    ``NOTHING``: both sides are as they were. ``AGREE``: they have come to be equal by themselves. ``PUSH``, ``PULL``:
    one side gets the content of the other; an absent row is content too. ``LEAVE``: they differ and stay so.
    """

    NOTHING = "nothing"
    AGREE = "agree"
    PUSH = "push"
    PULL = "pull"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a row, and whether both sides had changed it to different content."""

    action: Action
    conflict: bool = False


def decide(agreed: Agreed, local: str, remote: str, direction: Direction, prefer: Preference, now: float) -> Decision:
    """Compare a row's two contents with what was agreed.

    Args:
        agreed: ``UNKNOWN_ROW`` for one that was never compared.
        local: Digest of the content here, ``ABSENT`` if there is none.
        remote: Digest of the content there.
        direction: Which way content may go.
        prefer: Who wins where both sides changed the row.
        now: Seconds since the epoch.
    """
    ours = remote in {agreed.remote, *agreed.sent, *agreed.echoes_at(now)}
    changed_here = local != agreed.local or bool(agreed.sent)
    if not changed_here and ours:
        return Decision(Action.NOTHING)
    # What may be an echo says nothing about what the index holds: the content is sent again, which does no harm.
    if local == remote and not agreed.sent and (remote == agreed.remote or not ours):
        return Decision(Action.AGREE)
    if ours:
        return Decision(Action.LEAVE if direction == "pull" else Action.PUSH)
    if not changed_here:
        return Decision(Action.LEAVE if direction == "push" else Action.PULL)
    if local == remote:
        return Decision(Action.AGREE)
    return Decision(_winner(direction, prefer), conflict=True)


def _winner(direction: Direction, prefer: Preference) -> Action:
    if prefer == "local" and direction != "pull":
        return Action.PUSH
    if prefer == "remote" and direction != "push":
        return Action.PULL
    return Action.LEAVE
