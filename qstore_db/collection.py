"""One collection as its users meet it: rows in, rows out, nearest rows found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError, InvalidStateError, UnknownIdError
from qstore_db.functions import group_writing, state_measurement, state_reading, state_writing, superposed_search
from qstore_db.functions.state_operations import UNCHANGED, Unchanged
from qstore_db.hits import Hits, hit_of, hits_of
from qstore_db.promise import promised_recall
from qstore_db.record import Record
from qstore_db.row_input import (
    MetadataInput,
    one_or_many,
    parse_ids,
    parse_metadata,
    parse_query_vector,
    parse_vectors,
    to_float32,
)
from qstore_db.search.candidates import Terms
from qstore_db.search.quantum_query import quantum_query
from qstore_db.search.records import Records
from qstore_db.search.target import Target
from qstore_db.search.verbs import Search
from qstore_db.states.superposition import VectorsInput, parse_superposition
from storage_engine.index.nearest import Wish
from storage_engine.schema import CollectionSchema, Metric

if TYPE_CHECKING:
    from qstore_db.functions.group_operations import EntangledGroup
    from qstore_db.states.contexts import ContextsInput
    from qstore_db.states.measurement import Measurement
    from qstore_db.sync.merging import Direction, Preference
    from qstore_db.sync.report import SyncReport
    from query.conditions import Selecting
    from storage_engine.batch import PutMode
    from storage_engine.engine import Engine
    from storage_engine.snapshot import CollectionView, Snapshot

_PLAIN = (None,) * 5  # what query is given of its quantum keywords where none is wanted
_COMPLETE = "give ids, vectors and metadata row by row, or insert each state in a call of its own"


class Collection:
    """A named set of rows with vectors of one dimension and one metric.

    Each writing call is one commit: all of it is durable when the call returns, or none of it is stored. Rows are found
    by searches at once; the graph over them is built in the background. Safe to use from many threads.

    Made by :meth:`QuantumDatabase.create_collection` and :meth:`QuantumDatabase.collection`, not directly.
    """

    def __init__(
        self,
        engine: Engine,
        session: Callable[[], Selecting],
        name: str,
        *,
        new: Callable[[int], CollectionSchema] | None = None,
    ) -> None:
        self._engine = engine
        self._session = session
        self._name = name
        self._new = new  # makes the schema, from a dimension, of a collection that the first insert creates

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def schema(self) -> CollectionSchema:
        """Its description at the newest version."""
        return self._view().schema

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return self.schema.dimension

    @property
    def metric(self) -> Metric:
        """How vectors are compared; says what scores mean."""
        return self.schema.metric

    @property
    def dtype(self) -> str:
        """What is stored of each number: ``float32``, ``float16`` or ``int8``."""
        return self.schema.dtype.value

    @property
    def search(self) -> Search:
        """Searches beyond the nearest k rows: ranges, groups, pages, words; docs/search_verbs.md shows them."""
        return Search(self._engine, self._session, self._name)

    @property
    def records(self) -> Records:
        """Records of several vectors: written, deleted and scored together; docs/search_verbs.md shows them."""
        return Records(Target(self._engine, self._session, self._name), self._new)

    def __len__(self) -> int:
        return len(self._view())

    def __contains__(self, identifier: object) -> bool:
        return isinstance(identifier, str) and bool(self._view().slots_of([identifier])[0] >= 0)

    def __repr__(self) -> str:
        schema = self.schema
        return f"Collection({self._name!r}, {len(self)} rows, dimension {schema.dimension}, {schema.metric})"

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
        """Add rows with new ids.

        Args:
            ids: One id, or one per row: text of 1 to 512 UTF-8 bytes.
            vectors: Shape (dimension,) for one id, (rows, dimension) for several; anything that NumPy reads as real
                numbers, kept as float32. A mapping of context to vector makes one state.
            metadata: A mapping for one row; a list of mappings, a mapping of columns, an Arrow table, a pandas or a
                polars frame for several.
            id: The same as ``ids``, for one row.
            vector: The same as ``vectors``, for one row.
            contexts: Makes the row a state: ``[("technical", 0.6), ("general", 0.4)]``, or bare names (equal weights).
            weights: Weights beside bare names.
            coherence_time: Seconds of the state's dephasing time; ``None`` is infinite. Only with contexts.

        Returns:
            The version that holds the rows.

        Raises:
            DuplicateIdError: An id is stored already, or occurs twice.
            InvalidVectorError: NaN, infinity, a wrong shape, or a zero vector under cosine.
            DimensionMismatchError: Vectors of another length.
            InvalidIdError: Empty, too long, or not text.
            InvalidMetadataError: A reserved name, or a type that conflicts with what is stored.
            InvalidStateError: Contexts outside their rules, or in a collection that is not cosine.
        """
        return self._put(
            "insert", ids, vectors, metadata, id, vector, contexts=contexts, weights=weights, time=coherence_time
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
        """Add rows, or replace whole those whose ids are stored. Otherwise as :meth:`insert`."""
        return self._put(
            "upsert", ids, vectors, metadata, id, vector, contexts=contexts, weights=weights, time=coherence_time
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
        """Change stored rows: what is given changes, the rest stays. Arguments as in :meth:`insert`.

        Raises:
            UnknownIdError: An id is not stored.
            InvalidArgumentError: Nothing is given to change.
            InvalidStateError: Several rows, one of them a state, are given vectors.
        """
        names, single = parse_ids(one_or_many(id, ids, "id"))
        values = None if vector is None and vectors is None else one_or_many(vector, vectors, "vector")
        table = parse_metadata(metadata, single=single, rows=len(names))
        changes_state = contexts is not None or weights is not None or coherence_time is not UNCHANGED
        if values is None and table is None and not changes_state:
            raise InvalidArgumentError("nothing to change was given", fix="give vectors, metadata or contexts")
        states = state_reading.read_states(self._engine.snapshot(), self._name, names)
        if single and (changes_state or isinstance(values, Mapping) or states):
            one, branches = _one_vector_or_branches(values)
            return state_writing.update_state(
                self._engine,
                self._name,
                names[0],
                vector=one,
                vectors=branches,
                contexts=contexts,
                weights=weights,
                coherence_time=coherence_time,
                metadata=table,
            )
        if changes_state or (states and values is not None):
            raise InvalidStateError("several states cannot be changed in one call", fix=_COMPLETE, value=names)
        array = None if values is None else parse_vectors(values, single=single, rows=len(names))
        return state_writing.write_rows(self._engine, self._name, names, array, table, "update")

    def delete(self, ids: str | Sequence[str], *, missing_ok: bool = False) -> int:
        """Remove rows, with their states.

        Args:
            ids: One id or several.
            missing_ok: Whether ids that are not stored are passed over.

        Returns:
            The version without them.

        Raises:
            UnknownIdError: An id is not stored and ``missing_ok`` is not set.
        """
        names, _ = parse_ids(ids)
        return state_writing.delete_rows(self._engine, self._name, names, missing_ok=missing_ok)

    @overload
    def get(self, ids: str) -> Record: ...  # type: ignore[overload-overlap]  # one id is one row, though str is a sequence
    @overload
    def get(self, ids: Sequence[str]) -> list[Record]: ...
    def get(self, ids: str | Sequence[str]) -> Record | list[Record]:
        """Rows by id, in the order asked for; vectors are bit-equal to what was written.

        Raises:
            UnknownIdError: An id is not stored.
        """
        names, single = parse_ids(ids)
        snapshot = self._engine.snapshot()
        view = snapshot.collection(self._name)
        slots = view.slots_of(names)
        if len(slots) and slots.min() < 0:
            missing = names[int(np.argmin(slots))]
            raise UnknownIdError(f"no row {missing!r} in {self._name!r}", fix="check the id", value=missing)
        vectors = view.vectors_at(slots)
        values = view.values_at(slots)
        by_row = zip(*values.values(), strict=True) if values else ([] for _ in names)
        rows = [dict(zip(values, row, strict=True)) for row in by_row]
        states = state_reading.read_states(snapshot, self._name, names)
        records = []
        for position, identifier in enumerate(names):
            state = states.get(identifier)
            known = (
                {}
                if state is None
                else {
                    "vectors": state.superposition.branches(),
                    "probabilities": dict(
                        zip(state.superposition.contexts, state.superposition.probabilities, strict=True)
                    ),
                    "coherence_time": state.superposition.coherence_time,
                }
            )
            records.append(Record(identifier, vectors[position], rows[position], **known))  # type: ignore[arg-type]
        return records[0] if single else records

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
        """The ``top_k`` nearest rows, exactly min(top_k, matching) of them.

        Args:
            vector: Shape (dimension,); or (queries, dimension), which returns a list with the answer to each: the same
                as one by one, by all cores.
            top_k: 1 to 10,000.
            where: A condition on metadata in SQL, such as ``"label = 3 AND price < 10"``.
            filter: A condition as a mapping, such as ``{"label": {"$in": [1, 2]}}``; both together must hold.
            context: One name: among states in that context, by the similarity to that context's vector. A mapping of
                names to weights: by the coherent overlap, in which branches interfere (docs/states.md). ``None``: by
                the expected similarity, among all rows.
            phases: Radians by context, with a mapping as ``context``.
            coherent_only: Leave out states older than their coherence time.
            exact: Look at every row instead of walking the graph.
            ef: How widely the graph is searched; larger finds more of the true neighbours and takes longer.
            recall: Which share of the true neighbours must be found on average: 0.95, 0.99; 1.0 means ``exact``. The
                graph is searched as widely as was measured to be enough when it was built (docs/search.md); where
                nothing was enough, or there is no such measurement, every row is looked at. ``None`` means the
                collection's own promise, if it has one. Not together with ``ef``.
            include: Metadata columns of the answer; ``None`` means all. An empty list reads none.
            tunneling_strength: Γ ≥ 0: choose rows that are relevant and diverse, together, among the max(20, 4·top_k)
                nearest, by annealing in a transverse field of this strength (extra ``anneal``); ``hits.energy`` is that
                of the choice. :meth:`Search.annealed` is the full form.
            rerank: ``"quantum"``: the max(20, 4·top_k) nearest in the order of their overlap with the query, measured
                by circuits, which is blind to the sign; ``hits.scores`` are the overlaps and ``hits.standard_errors``
                their errors. :meth:`Search.reranked` is the full form.
            backend: Where those circuits run: ``local`` if not given. Only with ``rerank``.
            shots: Of each circuit; ``None`` reads exact probabilities. Only with ``rerank``.
            seed: Of the shots (``None`` measures anew) or of the annealing (0 if not given).

        Raises:
            InvalidVectorError: NaN, infinity, or a zero query under cosine.
            DimensionMismatchError: A query of another length.
            InvalidArgumentError: ``top_k``, ``ef`` or ``recall`` out of range; ``tunneling_strength`` beside
                ``rerank``; ``backend``, ``shots`` or ``seed`` where nothing asks for them.
            UnknownColumnError: The condition or ``include`` names a column that no row has.
            UnknownContextError: No state has the context.
            UnknownBackendError: There is no such backend.
            ExecutionError: A circuit has no result.
            MissingDependencyError: Annealing without dwave-samplers.
        """
        queries, single = parse_query_vector(vector)
        asked = (tunneling_strength, rerank, backend, shots, seed)
        if asked != _PLAIN:
            terms = Terms(
                where=where,
                filter=filter,
                context=context,
                phases=phases,
                coherent_only=coherent_only,
                exact=exact,
                ef=ef,
                recall=recall,
                include=include,
            )
            chosen_hits = quantum_query(
                Target(self._engine, self._session, self._name),
                queries,
                top_k,
                terms,
                tunneling_strength=tunneling_strength,
                rerank=rerank,
                backend=backend,
                shots=shots,
                seed=seed,
            )
            return chosen_hits[0] if single else chosen_hits
        snapshot = self._engine.snapshot()
        view = snapshot.collection(self._name)
        unfiltered = where is None and filter is None
        chosen = None if unfiltered else self._session().selection(view, where=where, filter=filter)
        if include and not view.columns.keys() >= set(include):
            view.metadata_at([], include)  # raises the error that names the column
        if recall is None and ef is None and not exact:
            recall = promised_recall(view.schema)
        if context is None and phases is None and not coherent_only:
            if single:
                return hit_of(
                    view, view.search(queries[0], top_k, mask=chosen, exact=exact, ef=ef, recall=recall), include
                )
            found = view.search_many(queries, top_k, mask=chosen, exact=exact, ef=ef, recall=recall)
            answers = hits_of(view, found, include)
        else:
            exact = exact or Wish(1, exact, ef, recall).recall is not None  # promises are about rows, not contexts
            mask = None if chosen is None else chosen.mask
            answers = [
                self._search_states(
                    snapshot, view, one, top_k, mask, context, phases, coherent_only, exact, ef, include
                )
                for one in queries
            ]
        return answers[0] if single else answers

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
        """Measure the context register of a state by Born's rule and record the outcome; see docs/states.md.

        Args:
            id: A stored state.
            context: ``None`` draws a context; a name asks whether the state is in it; a mapping of names to weights
                asks whether it is in that superposition.
            seed: Of the draw.
            rng: A generator to draw from instead.
            postselect: Take the named outcome as given and return its branch with its probability.
            collapse: Write the state that the measurement leaves, in the same commit.

        Raises:
            UnknownIdError: No such row.
            InvalidStateError: The row is no state.
            UnknownContextError: No state of the collection has the context (one that only this state lacks has
                probability 0).
        """
        return state_measurement.measure(
            self._engine, self._name, id, context, seed=seed, rng=rng, postselect=postselect, collapse=collapse
        )

    def create_entangled_group(
        self,
        id: str,  # noqa: A002 - the word users know
        ids: Sequence[str],
        correlation_strength: float = 1.0,
        *,
        propagate: bool = False,
    ) -> EntangledGroup:
        """Entangle stored states: their contexts are drawn together from now on; see docs/states.md.

        Args:
            id: Name of the group.
            ids: At least two states of this collection, each in no other group.
            correlation_strength: r of r·P_max + (1 − r)·ΠP_i, in [0, 1].
            propagate: Whether an update of one member's probabilities moves the others by r times the change.

        Returns:
            The group, with the agreement that its members do and can reach.

        Raises:
            UnknownIdError: No such record.
            InvalidStateError: A record is no state or is in a group; fewer than two; the strength is out of range.
            AlreadyExistsError: There is a group of that name.
        """
        return group_writing.create_entangled_group(
            self._engine, self._name, id, ids, correlation_strength, propagate=propagate
        )

    def sync(
        self,
        index: str,
        direction: Direction = "both",
        *,
        namespace: str = "",
        prefer: Preference = "local",
        dry_run: bool = False,
        allow_emptying: bool = False,
        anew: bool = False,
        settle_seconds: float = 60.0,
        retry_seconds: float = 60.0,
        api_key: str | None = None,
        host: str | None = None,
    ) -> SyncReport:
        """Carry what changed since the last sync between this collection and a Pinecone index; docs/sync.md.

        It goes on where an earlier one ended, however that ended. Rows are compared with what both sides last agreed
        on, so each change travels once, deletions too.

        Args:
            index: Name of an index of this dimension and metric (l2: euclidean, cosine: cosine, ip: dotproduct).
            direction: ``push`` carries local changes there, ``pull`` those of the index here, ``both`` both.
            namespace: Of the index; empty text is its default one.
            prefer: Which content a row gets that changed on both sides: ``local``, ``remote``, or ``neither``: both
                stay as they are. The report names such rows.
            dry_run: Send and write nothing; the report is the plan.
            allow_emptying: Go on although one side has lost every row that had been synced.
            anew: Forget what was agreed, as if it were the first sync, such as after the index was made anew: rows of
                one side are carried to the other, and nothing is deleted.
            settle_seconds: For how long after a write reads of the index may still show what was there before.
            retry_seconds: For how long a request that fails is tried again; the SDK's own tries come on top.
            api_key: Otherwise that of the environment variable ``PINECONE_API_KEY``. Never stored or logged.
            host: Address of the control plane, such as that of an emulator; ``None`` is Pinecone's own, or that of
                ``PINECONE_CONTROLLER_HOST``.

        Returns:
            What was done, with ``df()`` for the rows it was done to.

        Raises:
            MissingDependencyError: The extra ``pinecone`` is not installed.
            InvalidArgumentError: No key, or an argument out of its range.
            UnknownIndexError: No such index.
            DimensionMismatchError, SyncRefusedError: Index and collection do not go together, another thread syncs the
                collection, or one side is empty now.
            InvalidIdError, InvalidVectorError, InvalidMetadataError: A changed row is nothing that Pinecone can hold,
                or the other way round. Before anything is sent.
            InvalidStateError: The collection holds states.
            RemoteIndexError: Pinecone failed for good; the next sync goes on where this one was.
        """
        from qstore_db.sync.options import SyncOptions
        from qstore_db.sync.pinecone_index import PineconeIndex
        from qstore_db.sync.syncing import sync

        options = SyncOptions(direction, prefer, dry_run, allow_emptying, anew, settle_seconds)
        self._view()  # before anything is asked of the network
        with PineconeIndex.connect(index, namespace, api_key=api_key, host=host, retry_seconds=retry_seconds) as remote:
            return sync(self._engine, self._name, remote, options)

    def build_graph(self) -> None:
        """Build the search graph over all rows now, instead of waiting for the background."""
        self._engine.build_graphs(self._name)

    def build_filter_graph(self, column: str) -> None:
        """Build a search graph for each value of a metadata column, for quick searches under filters on it.

        Worth it for columns of few values that follow the vectors, such as labels: a filter on one of those hides the
        neighbourhood of most queries. Filters that hold for more than the column, such as ``label = 3 AND price < 5``,
        gain as well. The graphs are kept up to date with the collection's graph until they are dropped; docs/search.md.

        Args:
            column: With at most 4,096 values; null is one of them.

        Raises:
            UnknownColumnError: No row has the column.
            InvalidArgumentError: The collection is empty, or the column has too many values, or lists.
        """
        self._engine.build_filter_graph(self._name, column)

    def drop_filter_graph(self, column: str) -> bool:
        """Give up the graphs of a column's values; whether there were any."""
        return self._engine.drop_filter_graph(self._name, column)

    @property
    def filter_graphs(self) -> tuple[str, ...]:
        """Columns for whose values there are search graphs."""
        return self._view().filter_graphs

    def _view(self) -> CollectionView:
        return self._engine.snapshot().collection(self._name)

    def _search_states(
        self,
        snapshot: Snapshot,
        view: CollectionView,
        query: NDArray[np.float32],
        top_k: int,
        mask: NDArray[np.bool_] | None,
        context: ContextsInput | None,
        phases: Mapping[str, float] | None,
        coherent_only: bool,
        exact: bool,
        ef: int | None,
        include: Sequence[str] | None,
    ) -> Hits:
        states = superposed_search.search(
            snapshot,
            self._name,
            query,
            top_k,
            now=self._engine.clock(),
            context=context,
            phases=phases,
            mask=mask,
            coherent_only=coherent_only,
            exact=exact,
            ef=ef,
        )
        scores = states.scores.astype(np.float32)
        return Hits(list(states.ids), scores, states.strategy, view, states.slots, include)

    def _put(
        self,
        mode: PutMode,
        ids: str | Sequence[str] | None,
        vectors: ArrayLike | Mapping[str, ArrayLike] | None,
        metadata: MetadataInput,
        identifier: str | None,
        vector: ArrayLike | None,
        *,
        contexts: ContextsInput | None,
        weights: Sequence[float] | None,
        time: float | None,
    ) -> int:
        names, single = parse_ids(one_or_many(identifier, ids, "id"))
        values = one_or_many(vector, vectors, "vector")
        table = parse_metadata(metadata, single=single, rows=len(names))
        if contexts is None and weights is None and time is None and not isinstance(values, Mapping):
            array = parse_vectors(values, single=single, rows=len(names))
            new = None if self._new is None else self._new(array.shape[1])
            return state_writing.write_rows(self._engine, self._name, names, array, table, mode, new=new)
        if not single:
            raise InvalidStateError("contexts were given for several rows", fix=_COMPLETE, value=names)
        one, branches = _one_vector_or_branches(values)
        state = parse_superposition(
            vector=one, vectors=branches, contexts=contexts, weights=weights, coherence_time=time
        )
        new = None if self._new is None else self._new(state.vectors.shape[1])
        return state_writing.write_states(self._engine, self._name, names, [state], table, mode, new=new)


def _one_vector_or_branches(values: object) -> tuple[ArrayLike | None, VectorsInput | None]:
    # One vector for all contexts is flat; a mapping or a matrix holds one for each.
    if values is None or isinstance(values, Mapping) or to_float32(values).ndim == 2:
        return None, cast("VectorsInput | None", values)
    return cast("ArrayLike", values), None
