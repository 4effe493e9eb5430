"""A stored state: the superposition, when it was written, and its form in the table ``states``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.states.coherence import age_seconds, coherent_weight, is_coherent
from qstore_db.states.superposition import Superposition


@dataclass(frozen=True, slots=True, eq=False)
class StateRecord:
    """A superposition as it was found in a collection.

    Args:
        id: The record's id.
        superposition: Contexts, probabilities and branch vectors, bit for bit as they were written.
        written_at: Seconds since the epoch by the database's clock: the last insert, update or collapse of the state.
            Changing metadata alone does not write the state.
    """

    id: str
    superposition: Superposition
    written_at: float

    def coherent_weight(self, now: float) -> float:
        """The factor on the interference terms at time ``now``: c₀·e^(−Δt/T)."""
        state = self.superposition
        return coherent_weight(age_seconds(now, self.written_at), state.coherence_time, state.initial_coherence)

    def is_coherent(self, now: float) -> bool:
        """Whether its age is below its coherence time."""
        return is_coherent(age_seconds(now, self.written_at), self.superposition.coherence_time)


def to_json(record_id: str, superposition: Superposition, collection: str, written_at: float) -> dict[str, Any]:
    """The state without its vectors, as numbers and text. An infinite coherence time is ``None``."""
    seconds = superposition.coherence_time
    return {
        "collection": collection,
        "id": record_id,
        "contexts": list(superposition.contexts),
        "probabilities": list(superposition.probabilities),
        "norms": superposition.norms.tolist(),
        "shared_vector": superposition.shared,
        "coherence_time": None if math.isinf(seconds) else seconds,
        "initial_coherence": superposition.initial_coherence,
        "written_at": written_at,
    }


def from_json(value: Mapping[str, Any], vectors: NDArray[np.float32]) -> StateRecord:
    """The inverse of :func:`to_json`.

    Args:
        value: What it returned.
        vectors: float32 (contexts, dimension), in the order of the contexts.
    """
    seconds = value["coherence_time"]
    return StateRecord(
        id=value["id"],
        superposition=Superposition(
            contexts=tuple(value["contexts"]),
            probabilities=tuple(value["probabilities"]),
            vectors=vectors,
            shared=value["shared_vector"],
            coherence_time=math.inf if seconds is None else seconds,
            initial_coherence=value["initial_coherence"],
        ),
        written_at=value["written_at"],
    )
