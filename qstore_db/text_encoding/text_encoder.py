"""Texts as states: a superposition over their tokens, and what measuring it in a context leaves.

A text with distinct tokens t, counted n_t times and weighing w_t each, denotes

    |text⟩ = Σ_t √p_t |t⟩⊗|v_t⟩,        p_t = n_t w_t / Σ n w

with the token model's unit vectors v_t. A context is a text too; its direction u is Σ_t p_t v_t of that text,
normalised, and it stands for the state of the token register

    |χ⟩ = Σ_t √q_t |t⟩,        q_t ∝ max(0, ⟨u|v_t⟩)²  over the tokens of the text.

Measured in the context, the text shows "yes" with probability P = ‖Σ_t √(p_t q_t) v_t‖² and is then the vector
Σ_t √(p_t q_t) v_t / √P: the text as seen by what in it belongs to the context. With one branch a context, weighed by P,
it is an ordinary superposed record, and searching it is that of any other.

This is linear algebra on a classical processor; the words are those of :mod:`qstore_db.states`, and claim no more.
The order of words plays no part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidStateError, UnknownContextError
from qstore_db.states.contexts import ContextSuperposition, check_context_name
from qstore_db.states.measurement import Outcome, measure_superposed
from qstore_db.states.superposition import Superposition, expected_vector, parse_superposition
from qstore_db.text_encoding.token_models import TokenModel
from qstore_db.text_encoding.tokens import text_id, tokens


class TextRecord(TypedDict):
    """Arguments of ``insert`` and ``upsert``."""

    id: str
    vectors: dict[str, NDArray[np.float32]]
    contexts: list[tuple[str, float]]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedText:
    """A text as a state.

    Args:
        id: Of the text; :func:`qstore_db.text_encoding.tokens.text_id`.
        state: |text⟩: its contexts are the tokens, in order of first appearance.
        directions: Unit vector u of each context of the encoder, float64 (dimension,).
    """

    id: str
    state: Superposition
    directions: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def vector(self) -> NDArray[np.float32]:
        """Σ_t p_t v_t: the text without a context, float32 (dimension,), not normalised."""
        return expected_vector(self.state)

    def register(self, context: str) -> ContextSuperposition | None:
        """The state |χ⟩ of the token register that a context stands for; ``None`` where no token belongs to it.

        Raises:
            UnknownContextError: The encoder has no such context.
        """
        if context not in self.directions:
            known = ", ".join(map(repr, self.directions))
            raise UnknownContextError(
                f"the encoder has no context {context!r}",
                fix=f"known contexts: {known}" if known else "give TextEncoder(model, contexts={…})",
                value=context,
            )
        shares = np.maximum(0.0, self.state.unit_vectors @ self.directions[context]) ** 2
        kept = np.flatnonzero(shares)
        if not len(kept):
            return None
        weights = shares[kept] / shares[kept].sum()
        return ContextSuperposition(
            tuple(self.state.contexts[place] for place in kept), tuple(weights.tolist()), (0.0,) * len(kept)
        )

    def measured(self, context: str, *, rng: np.random.Generator | None = None, postselect: bool = True) -> Outcome:
        """Measure the token register in a context.

        Args:
            context: One of the encoder's.
            rng: Draws "yes" or "no" by Born's rule; only with ``postselect=False``, which needs it.
            postselect: Impose "yes".

        Returns:
            Whether it showed, with which probability, and what is left; ``vector`` is a unit vector after "yes".

        Raises:
            UnknownContextError: The encoder has no such context.
            InvalidStateError: "Yes" is imposed and has probability 0: no token of the text belongs to the context;
                or ``rng`` is given or missing where it is not or is needed.
        """
        if postselect == (rng is not None):
            raise InvalidStateError(
                f"postselect is {postselect} and rng is {rng!r}",
                fix="give rng to draw the outcome, with postselect=False",
                value=postselect,
            )
        register = self.register(context)
        if register is None:
            raise InvalidStateError(
                f"no token of the text belongs to the context {context!r}",
                fix="leave the context out for this text, or describe it by other words",
                value=context,
            )
        drawn = np.random.default_rng(0) if rng is None else rng  # nothing is drawn where "yes" is imposed
        return measure_superposed(self.state, register, coherent_weight=1.0, rng=drawn, postselect=postselect)

    def record(self) -> TextRecord:
        """The text as a superposed record: one branch a context, weighed by the probability to be found in it.

        Contexts to which no token belongs are left out. ``collection.insert(**encoded.record())``.

        Raises:
            InvalidStateError: No context is left.
        """
        found: dict[str, Outcome] = {}
        for context in self.directions:
            if self.register(context) is not None:
                found[context] = self.measured(context)
        if not found:
            raise InvalidStateError(
                "no token of the text belongs to a context of the encoder",
                fix="store it without contexts: insert(id=encoded.id, vector=encoded.vector)",
                value=self.id,
            )
        vectors = {context: outcome.state.vectors[0] for context, outcome in found.items()}
        weights = [(context, outcome.probability) for context, outcome in found.items()]
        return TextRecord(id=self.id, vectors=vectors, contexts=weights)


class TextEncoder:
    """Encodes texts with one token model and one set of contexts.

    Args:
        model: Gives tokens their vectors.
        contexts: What belongs to each context, in words: ``{"legal": "court contract law", …}``. May be empty.
        weights: w_t by token, finite and at least 0; tokens that are not named weigh 1. For instance inverse document
            frequencies.

    Raises:
        InvalidStateError: A context's name is out of its range, its text has no token, or a weight is no such number.
    """

    def __init__(
        self,
        model: TokenModel,
        contexts: Mapping[str, str] | None = None,
        *,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self._model = model
        self._weights = dict(weights or {})
        self._directions: dict[str, NDArray[np.float64]] = {}
        for name, words in (contexts or {}).items():
            total = expected_vector(self._state(words)).astype(np.float64)
            norm = float(np.linalg.norm(total))
            if norm == 0:
                raise InvalidStateError(
                    f"the words of the context {name!r} cancel each other", fix="describe it by others", value=words
                )
            self._directions[check_context_name(name)] = total / norm

    @property
    def model(self) -> TokenModel:
        """What gives tokens their vectors."""
        return self._model

    @property
    def contexts(self) -> tuple[str, ...]:
        """Names of its contexts."""
        return tuple(self._directions)

    def encode(self, text: str) -> EncodedText:
        """A text as a state. Cost: one vector of the model a distinct token.

        Raises:
            InvalidStateError: It has no token, or none with a weight above 0.
            InvalidVectorError: The model gave something else than vectors.
        """
        return EncodedText(text_id(text), self._state(text), self._directions)

    def _state(self, text: str) -> Superposition:
        counted = Counter(tokens(text))
        if not counted:
            raise InvalidStateError("the text has no token", fix="give words or numbers", value=text[:40])
        names = list(counted)
        pairs = [(name, count * self._weights.get(name, 1.0)) for name, count in counted.items()]
        return parse_superposition(vectors=list(self._model.vectors(names)), contexts=pairs)
