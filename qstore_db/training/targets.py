"""Targets of regression: what a row's column ``target`` holds, and rows of a split with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from qstore_db.errors import InvalidTargetError

if TYPE_CHECKING:
    from qstore_db.training.dataset import SplitRows

TARGET: Final = "target"


def with_targets(rows: SplitRows, outputs: int) -> SplitRows:
    """Rows with the targets of a regressor, all there, finite and of one length. Cost: one pass over ``target``.

    Args:
        rows: Of a split.
        outputs: Numbers that each target must have; numbers outside of lists count as one.

    Raises:
        InvalidTargetError: The data set has no targets; or a row has none, one that is not finite, or one of another
            length: the message names the row's id.
    """
    import pyarrow.compute as pc

    name = rows.view.schema.name
    if TARGET not in rows.view.columns:
        raise InvalidTargetError(
            f"Data set {name!r} has no targets",
            fix="Store them: db.store_training_data(…, targets=numbers).",
            value=name,
        )
    column = rows.view.column(TARGET).take(pa.array(rows.slots)).combine_chunks()
    listed = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    kind = column.type.value_type if listed else column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise InvalidTargetError(
            f"The column {TARGET!r} of data set {name!r} is of type {column.type}",
            fix="Store numbers, or lists of numbers, as targets.",
            value=str(column.type),
        )

    def wrong(position: int, what: str) -> InvalidTargetError:
        where = rows.view.ids_at(rows.slots[[position]])[0]
        return InvalidTargetError(
            f"Row {where!r} of data set {name!r} has {what}",
            fix=f"Store the split with a target of {outputs} finite number(s) for each row.",
            value=where,
        )

    if column.null_count:
        raise wrong(int(np.flatnonzero(pc.is_null(column).to_numpy(zero_copy_only=False))[0]), "no target")
    lengths = pc.list_value_length(column).to_numpy() if listed else np.ones(len(column), np.int64)
    odd = np.flatnonzero(lengths != outputs)
    if len(odd):
        raise wrong(int(odd[0]), f"a target of {int(lengths[odd[0]])} number(s), but the model has {outputs} output(s)")
    flat = column.flatten() if listed else column
    values = flat.cast(pa.float64()).to_numpy(zero_copy_only=False).reshape(len(rows), outputs)
    unusable = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(unusable):
        raise wrong(int(unusable[0]), "a target that is not finite")
    return replace(rows, targets=values)


def target_array(targets: ArrayLike, rows: int) -> pa.Array:
    """Targets as an Arrow array: float64 of (rows,), lists of float64 of (rows, outputs).

    Raises:
        InvalidTargetError: Their number differs from that of the rows, or one is no finite real number.
    """
    try:
        given = np.asarray(targets)
    except ValueError:  # of lists of several lengths
        given = np.empty((0, 0), object)
    if given.ndim not in {1, 2} or len(given) != rows or (given.ndim == 2 and not given.shape[1]):
        raise InvalidTargetError(
            f"The targets have shape {given.shape}, but there are {rows} rows",
            fix="Give one number, or one list of as many numbers, for each row.",
            value=given.shape,
        )
    if given.dtype.kind not in "iuf":
        raise InvalidTargetError(
            f"The targets are of type {given.dtype}, not real numbers", fix="Give numbers.", value=str(given.dtype)
        )
    values = given.astype(np.float64)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        raise InvalidTargetError(
            f"The target of row {int(wrong[0][0])} is {values[tuple(wrong[0])]}",
            fix="Remove or replace targets that are not finite.",
            value=float(values[tuple(wrong[0])]),
        )
    if values.ndim == 1:
        return pa.array(values)
    offsets = pa.array(np.arange(0, values.size + 1, values.shape[1], dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))
