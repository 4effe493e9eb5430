"""The text of a statement, and how a place in it is named: line and column, counted in characters from 1."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replacement:
    """Characters ``start`` to ``stop`` of the text as written become ``text``."""

    start: int
    stop: int
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """One statement inside the text that the caller gave, and the text that DuckDB gets for it.

    Args:
        whole: The caller's whole text; lines are counted in it.
        start: Where the statement begins in ``whole``.
        stop: Where it ends (exclusive).
        replacements: Pieces that DuckDB cannot read as written, in order, without overlap, in positions of ``whole``.
    """

    whole: str
    start: int
    stop: int
    replacements: tuple[Replacement, ...] = ()

    @property
    def written(self) -> str:
        """The statement as the caller wrote it."""
        return self.whole[self.start : self.stop]

    @property
    def text(self) -> str:
        """The statement as DuckDB gets it."""
        pieces: list[str] = []
        position = self.start
        for replacement in self.replacements:
            pieces += [self.whole[position : replacement.start], replacement.text]
            position = replacement.stop
        pieces.append(self.whole[position : self.stop])
        return "".join(pieces)

    def original(self, byte_offset: int) -> int:
        """The position in ``whole`` of a byte of ``text`` (UTF-8), as DuckDB's parser counts."""
        offset = len(self.text.encode()[: max(byte_offset, 0)].decode(errors="ignore"))
        position = self.start
        for replacement in self.replacements:
            kept = replacement.start - position
            if offset < kept:
                return position + offset
            offset -= kept
            if offset < len(replacement.text):
                return replacement.start
            offset -= len(replacement.text)
            position = replacement.stop
        return min(position + offset, self.stop)

    def place(self, byte_offset: int) -> tuple[int, int]:
        """Line and column of a byte of ``text``."""
        return line_and_column(self.whole, self.original(byte_offset))


def line_and_column(text: str, position: int) -> tuple[int, int]:
    """Line and column, both from 1, of a character of ``text``; the position after the last character is allowed."""
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1
