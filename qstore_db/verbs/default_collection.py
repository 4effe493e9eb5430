"""The verbs of a database that mean its collection ``default``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.collection import Collection
from qstore_db.functions.state_operations import UNCHANGED, Unchanged
from qstore_db.hits import Hits
from qstore_db.record import Record
from qstore_db.row_input import MetadataInput

if TYPE_CHECKING:
    from qstore_db.functions.group_operations import EntangledGroup
    from qstore_db.search.records import Records
    from qstore_db.search.verbs import Search
    from qstore_db.states.contexts import ContextsInput
    from qstore_db.states.measurement import Measurement


class DefaultCollectionVerbs(ABC):
    """Each verb is that of :class:`~qstore_db.collection.Collection` on ``default``."""

    @abstractmethod
    def _default(self, *, creating: bool = False) -> Collection:
        """The collection; with ``creating``, one whose first insert creates it."""

    def insert(
        self,
        ids: str | Sequence[str] | None = None,
        vectors: ArrayLike | Mapping[str, ArrayLike] | None = None,
        metadata: MetadataInput = None,
        *,
        id: str | None = None,  # noqa: A002 - the word users know
        vector: ArrayLike | None = None,
        contexts: ContextsInput | None = None,
        weights: Sequence[float] | None = None,
        coherence_time: float | None = None,
    ) -> int:
        """:meth:`Collection.insert` on ``default``; the first one creates it, as long as its vectors."""
        return self._default(creating=True).insert(
            ids,
            vectors,
            metadata,
            id=id,
            vector=vector,
            contexts=contexts,
            weights=weights,
            coherence_time=coherence_time,
        )

    def upsert(
        self,
        ids: str | Sequence[str] | None = None,
        vectors: ArrayLike | Mapping[str, ArrayLike] | None = None,
        metadata: MetadataInput = None,
        *,
        id: str | None = None,  # noqa: A002 - the word users know
        vector: ArrayLike | None = None,
        contexts: ContextsInput | None = None,
        weights: Sequence[float] | None = None,
        coherence_time: float | None = None,
    ) -> int:
        """:meth:`Collection.upsert` on ``default``."""
        return self._default(creating=True).upsert(
            ids,
            vectors,
            metadata,
            id=id,
            vector=vector,
            contexts=contexts,
            weights=weights,
            coherence_time=coherence_time,
        )

    def update(
        self,
        ids: str | Sequence[str] | None = None,
        vectors: ArrayLike | Mapping[str, ArrayLike] | None = None,
        metadata: MetadataInput = None,
        *,
        id: str | None = None,  # noqa: A002 - the word users know
        vector: ArrayLike | None = None,
        contexts: ContextsInput | None = None,
        weights: Sequence[float] | None = None,
        coherence_time: float | None | Unchanged = UNCHANGED,
    ) -> int:
        """:meth:`Collection.update` on ``default``."""
        return self._default().update(
            ids,
            vectors,
            metadata,
            id=id,
            vector=vector,
            contexts=contexts,
            weights=weights,
            coherence_time=coherence_time,
        )

    def delete(self, ids: str | Sequence[str], *, missing_ok: bool = False) -> int:
        """:meth:`Collection.delete` on ``default``."""
        return self._default().delete(ids, missing_ok=missing_ok)

    @overload
    def get(self, ids: str) -> Record: ...  # type: ignore[overload-overlap]  # one id is one row, though str is a sequence
    @overload
    def get(self, ids: Sequence[str]) -> list[Record]: ...
    def get(self, ids: str | Sequence[str]) -> Record | list[Record]:
        """:meth:`Collection.get` on ``default``."""
        return self._default().get(ids)

    def query(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        *,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        context: ContextsInput | None = None,
        phases: Mapping[str, float] | None = None,
        coherent_only: bool = False,
        exact: bool = False,
        ef: int | None = None,
        recall: float | None = None,
        include: Sequence[str] | None = None,
        tunneling_strength: float | None = None,
        rerank: str | None = None,
        backend: str | None = None,
        shots: int | None = None,
        seed: int | None = None,
    ) -> Hits | list[Hits]:
        """:meth:`Collection.query` on ``default``."""
        return self._default().query(
            vector,
            top_k,
            where=where,
            filter=filter,
            context=context,
            phases=phases,
            coherent_only=coherent_only,
            exact=exact,
            ef=ef,
            recall=recall,
            include=include,
            tunneling_strength=tunneling_strength,
            rerank=rerank,
            backend=backend,
            shots=shots,
            seed=seed,
        )

    @property
    def search(self) -> Search:
        """:attr:`Collection.search` of ``default``."""
        return self._default().search

    @property
    def records(self) -> Records:
        """:attr:`Collection.records` of ``default``, which the first record creates."""
        return self._default(creating=True).records

    def measure(
        self,
        id: str,  # noqa: A002 - the word users know
        context: ContextsInput | None = None,
        *,
        seed: int | None = None,
        rng: np.random.Generator | None = None,
        postselect: bool = False,
        collapse: bool = False,
    ) -> Measurement:
        """:meth:`Collection.measure` on ``default``."""
        return self._default().measure(id, context, seed=seed, rng=rng, postselect=postselect, collapse=collapse)

    def create_entangled_group(
        self,
        id: str,  # noqa: A002 - the word users know
        ids: Sequence[str],
        correlation_strength: float = 1.0,
        *,
        propagate: bool = False,
    ) -> EntangledGroup:
        """:meth:`Collection.create_entangled_group` on ``default``."""
        return self._default().create_entangled_group(id, ids, correlation_strength, propagate=propagate)
