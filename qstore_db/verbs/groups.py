"""The verbs of a database about entangled groups, whatever collection their members are in."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

from storage_engine.engine import Engine

if TYPE_CHECKING:
    import numpy as np

    from qstore_db.functions.group_operations import EntangledGroup
    from qstore_db.functions.group_writing import GroupMeasurement


class GroupVerbs(ABC):
    """Each verb is a call of :mod:`qstore_db.functions`."""

    _engine: Engine

    def entangled_groups(self) -> list[EntangledGroup]:
        """All groups, in order of creation, with the agreement that their members do and can reach."""
        from qstore_db.functions.group_operations import entangled_groups

        return entangled_groups(self._engine.snapshot())

    def measure_entangled_group(
        self,
        id: str,  # noqa: A002 - the word users know
        *,
        seed: int | None = None,
        rng: np.random.Generator | None = None,
        collapse: bool = False,
    ) -> GroupMeasurement:
        """Measure the contexts of all members together, by their joint law; see docs/states.md.

        Args:
            id: Name of the group.
            seed: Of the draw.
            rng: A generator to draw from instead.
            collapse: Write what is left of every member and end the group, in the same commit.

        Raises:
            UnknownGroupError: There is no such group.
        """
        from qstore_db.functions.group_writing import measure_entangled_group

        return measure_entangled_group(self._engine, id, seed=seed, rng=rng, collapse=collapse)

    def dissolve_entangled_group(self, id: str) -> None:  # noqa: A002 - the word users know
        """End a group; its members keep their own states.

        Raises:
            UnknownGroupError: There is no such group.
        """
        from qstore_db.functions.group_writing import dissolve_entangled_group

        dissolve_entangled_group(self._engine, id)
