"""First come first served within a priority; higher priorities before lower ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class PriorityQueue(Generic[Item]):
    """Items by priority, then by arrival; anything can be taken out at once. Not for several threads.

    A lower priority waits as long as higher ones arrive.
    """

    __slots__ = ("_levels", "_size")

    def __init__(self) -> None:
        # A dict is an ordered set here: appending, taking the first and removing any take constant time.
        self._levels: dict[int, dict[Item, None]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Item]:
        """In the order of :meth:`pop`."""
        for priority in sorted(self._levels, reverse=True):
            yield from self._levels[priority]

    def push(self, item: Item, priority: int) -> None:
        """Adds an item that is not in the queue."""
        self._levels.setdefault(priority, {})[item] = None
        self._size += 1

    def pop(self) -> Item:
        """Takes out the first item of the highest priority.

        Raises:
            ValueError: The queue is empty.
        """
        priority = max(self._levels)
        item = next(iter(self._levels[priority]))
        self.remove(item, priority)
        return item

    def remove(self, item: Item, priority: int) -> None:
        """Takes out an item.

        Raises:
            KeyError: It is not there with that priority.
        """
        level = self._levels[priority]
        del level[item]
        self._size -= 1
        if not level:
            del self._levels[priority]
