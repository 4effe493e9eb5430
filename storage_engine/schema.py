"""What a collection is: the values that describe it, and the limits that keep files and names sane."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

MAX_ID_BYTES = 512
MAX_HIDDEN_ID_BYTES = 2048
MAX_DIMENSION = 65_536
MAX_TOP_K = 10_000
RESERVED_COLUMNS = frozenset({"id", "vector"})


class Metric(enum.StrEnum):
    """How two vectors are compared; the score that a search returns and its order.

    ``L2``: Euclidean distance ``sqrt(sum (x-q)^2)``, ascending. ``COSINE``: inner product of the unit vectors, in
    [-1, 1], descending. ``IP``: inner product ``sum x q``, descending.
    """

    L2 = "l2"
    COSINE = "cosine"
    IP = "ip"


class VectorType(enum.StrEnum):
    """How a number of a vector is kept: 4, 2 or 1 bytes; see :mod:`storage_engine.vectors.types`.

    ``FLOAT16``: rounded to the nearest float16. ``INT8``: whole numbers from -128 to 127, others are refused.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


CODES = "codes"
"""Key of the attribute that says where the codes of a collection's graph are: ``stored`` in its file, which is so
without it, or ``computed`` from the rows when they are first needed."""


class Role(enum.StrEnum):
    """Why a collection exists.

    ``ITEMS``: what the user created. ``DATASET``: training data, also shown by the table ``training_data``.
    ``HIDDEN``: kept by an upper floor beside another collection; never listed to users.
    """

    ITEMS = "items"
    DATASET = "dataset"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How the graph of a collection is built: HNSW's M and ef_construction, the seed, and from how many rows on."""

    m: int = 16
    ef_construction: int = 200
    seed: int = 100
    minimum_rows: int = 2_000


@dataclass(frozen=True, slots=True)
class CollectionSchema:
    """One collection as the catalog knows it.

    Args:
        name: Unique among live collections.
        uuid: 32 hexadecimal digits; the only part that ever enters a file name.
        dimension: Length of each vector, 1 to ``MAX_DIMENSION``.
        metric: How vectors are compared.
        role: Why the collection exists.
        created_at: Seconds since the epoch, by the engine's clock.
        graph: How its graph is built.
        attributes: Small facts of upper floors, as sorted pairs of text.
        dtype: How numbers are kept.
    """

    name: str
    uuid: str
    dimension: int
    metric: Metric
    role: Role = Role.ITEMS
    created_at: float = 0.0
    graph: GraphOptions = field(default_factory=GraphOptions)
    attributes: tuple[tuple[str, str], ...] = ()
    dtype: VectorType = VectorType.FLOAT32
