"""Where the numbers stand that compiled searches work with, and what they say of themselves; loads no compiled code.

A kernel takes one array of addresses and sizes, filled by :class:`storage_engine.index.walker.Walker`; the positions
in it come first. What a search is to be like is a shorter array of its own, worked out once for many searches
(:class:`storage_engine.index.scratch.Plan`); ``OF_…`` are positions in it.
"""

from __future__ import annotations

import numpy as np

# fmt: off
(BASE, STRIDE, NORMS, DIMENSION, METRIC, LINKS, WIDTH, UPPER, UPPER_WIDTH, FIRST_UPPER,
 NARROW, WIDE, SCRATCH, SEEN, EPOCH, KEYS, UNSEEN, FRESH, HEAP,
 EF, TOP_K, RESCORED, MASK, BUDGET, POSITIONS, SCORES, COMPARED,
 CODE_ROWS, CODE_STRIDE, CODE_TERMS, CODE_LOW, CODE_STEP, CODE_QUERY,
 PROBE, ENOUGH, WIDER, MET, MATCHED, ELEMENT, ROWS, BOUNDS_AT, ENDS, KEPT, NEAR, STARTS,
 MORE, MORE_WIDTH, COVER, PARAMETERS) = range(49)
(OF_LINKS, OF_WIDTH, OF_UPPER, OF_UPPER_WIDTH, OF_FIRST_UPPER, OF_STARTS, OF_EF, OF_TOP_K, OF_RESCORED, OF_MASK,
 OF_BUDGET, OF_PROBE, OF_ENOUGH, OF_WIDER, OF_CONFIRMED, OF_CHOSEN, OF_COUNT,
 OF_MORE, OF_MORE_WIDTH, OF_COVER, PLAN) = range(21)
# fmt: on

NONE = np.int64(2**63 - 1)  # an empty place among the keys; odd, so it reads as a row already expanded
LEAST = np.int64(-(2**63))
ROW_BITS = np.int64(0xFFFFFFFF)
CODED = 3  # the metric of a walk over codes: they know which one they stand for
AHEAD = 8  # rows whose numbers are asked for before they are compared
EPOCHS = 2**16 - 1
UNUSABLE = -1  # instead of a number of rows: the query holds NaN or infinity, or is zero and has no direction
GAVE_UP = 1 << 32  # beside a number of rows: the budget ended the walk
AGAINST = 1 << 33  # the walk was against its filter
UNCONFIRMED = 1 << 34  # a row of the answer lies in a block that nobody has checked yet
UNBOUNDED = -2  # beside UNUSABLE: the numbers are too large for codes to prove anything
ROWS_FOUND = 0xFFFFFFFF  # of an outcome: the number of rows
