"""A job's numbers under names, as the kernel sees them: pointers into the program and a thread's working memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types
from numba.extending import intrinsic

from qstore_db.simulation.compiled import part
from qstore_db.simulation.job import SLOT
from qstore_db.simulation.simd import Builder, Context, pointer


class ProgramView(NamedTuple):
    """See ``packing.Program``."""

    n: int
    from_amplitudes: int
    grown: int
    uniform: int
    segments: int
    diagonal_reads: int
    pass_count: int
    set_count: int
    rotation_count: int
    read_count: int
    read_pass_count: int
    passes: Any
    words: Any
    sets: Any
    rotations: Any
    term_start: Any
    term_kind: Any
    term_index: Any
    term_scale: Any
    constant: Any
    reads: Any
    read_scale: Any
    read_passes: Any


class ScratchView(NamedTuple):
    """See ``scratch``."""

    tangents: Any
    turned: Any
    moments: Any
    reads: Any
    cosines: Any
    factors: Any
    signs: Any
    lane: Any
    products: Any
    table: Any
    work: Any
    bra: Any
    start: Any
    start_x: Any
    start_z: Any
    factor: Any
    x: Any
    z: Any
    theta: Any
    columns: Any
    slopes: Any
    values: Any
    cotangents: Any
    norm: Any
    scores: Any
    shared: Any
    support: Any


def _typed(kind: Any, meaning: str) -> Any:
    def operation(typing: Context, address: Any) -> Any:
        def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), generate

    operation.__doc__ = meaning
    return intrinsic(operation)


numbers_at = _typed(types.float64, "The float64 numbers at an address.")
words_at = _typed(types.int32, "The int32 numbers at an address.")


@part
def program_view(job: Any, like: Any) -> Any:
    """The program of a job."""
    return ProgramView(
        job[SLOT.n], job[SLOT.from_amplitudes], job[SLOT.grown], job[SLOT.uniform], job[SLOT.segments],
        job[SLOT.diagonal_reads], job[SLOT.pass_count], job[SLOT.set_count], job[SLOT.rotation_count],
        job[SLOT.read_count], job[SLOT.read_pass_count],
        pointer(job[SLOT.passes], job), words_at(job[SLOT.words]), pointer(job[SLOT.sets], job),
        pointer(job[SLOT.rotations], job), pointer(job[SLOT.term_start], job), pointer(job[SLOT.term_kind], job),
        pointer(job[SLOT.term_index], job), numbers_at(job[SLOT.term_scale]), numbers_at(job[SLOT.constant]),
        pointer(job[SLOT.reads], job), numbers_at(job[SLOT.read_scale]), pointer(job[SLOT.read_passes], job),
    )  # fmt: skip


@part
def scratch_view(job: Any, like: Any, worker: int) -> Any:
    """The working memory of one thread of a job."""
    base = job[SLOT.scratch] + worker * job[SLOT.scratch_size]
    return ScratchView(
        pointer(base + job[SLOT.at_tangents], like), pointer(base + job[SLOT.at_turned], like),
        pointer(base + job[SLOT.at_moments], like), pointer(base + job[SLOT.at_reads], like),
        pointer(base + job[SLOT.at_cosines], like), pointer(base + job[SLOT.at_factors], like),
        pointer(base + job[SLOT.at_signs], like), pointer(base + job[SLOT.at_lane], like),
        pointer(base + job[SLOT.at_products], like), pointer(base + job[SLOT.at_table], like),
        pointer(base + job[SLOT.at_work], like), pointer(base + job[SLOT.at_bra], like),
        numbers_at(base + job[SLOT.at_start]), pointer(base + job[SLOT.at_start_x], job),
        pointer(base + job[SLOT.at_start_z], job), numbers_at(base + job[SLOT.at_factor]),
        pointer(base + job[SLOT.at_x], job), pointer(base + job[SLOT.at_z], job),
        numbers_at(base + job[SLOT.at_theta]), numbers_at(base + job[SLOT.at_columns]),
        numbers_at(base + job[SLOT.at_slopes]), numbers_at(base + job[SLOT.at_values]),
        numbers_at(base + job[SLOT.at_cotangents]), numbers_at(base + job[SLOT.at_norm]),
        numbers_at(base + job[SLOT.at_scores]), numbers_at(base + job[SLOT.at_shared]),
        pointer(base + job[SLOT.at_support], job),
    )  # fmt: skip
