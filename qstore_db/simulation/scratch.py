"""Working memory of one thread of a run: what it holds, and where."""

from __future__ import annotations

from typing import Any, Final

from qstore_db.simulation.job import Job
from qstore_db.simulation.packing import Program

_ALIGNMENT: Final = 64


def place_scratch(job: Job, program: Program, lanes: int, itemsize: int, *, gradients: bool) -> int:
    """Writes the offsets of the working arrays to the job.

    Args:
        job: Its sizes are set.
        program: Of the run.
        lanes: Samples in a register.
        itemsize: Bytes of a number of the state.
        gradients: Whether a backward sweep will need room.

    Returns:
        Bytes of one thread.
    """
    row, wide = lanes * itemsize, lanes * 8
    rotations, reads, readouts = len(program.rotations), len(program.reads), job.readouts
    size = 1 << program.n
    needed: dict[str, int] = {
        "tangents": 2 * rotations * row,  # + and - of each rotation's tangent (sine for growing ones)
        "turned": rotations * row,  # the sign of each rotation's string
        "moments": rotations * row,  # Im⟨λ|P|ψ⟩
        "reads": 2 * reads * row,  # values of the read terms, later their ± coefficients
        "cosines": program.grown * row,
        "factors": program.segments * row,  # start factor of each segment
        "signs": 2 * row,  # +1 and -1
        "lane": row,
        "products": 64 * row,  # for diagonals
        "table": 2 * program.tabled * itemsize,  # complex numbers of uniform diagonals
        "work": size * row if _needs_work(program) else 0,
        "bra": 2 * size * row if gradients else 0,  # λ
        "start": program.segments * wide,  # products of the cosines of the uniform rotations
        "start_x": wide,  # strings moved out of the uniform rotations
        "start_z": wide,
        "factor": program.segments * wide,  # product of the cosines of each segment in the block
        "x": wide,  # strings moved to the end in the block
        "z": wide,
        "theta": wide,
        "columns": job.columns * wide,  # the block's data, transposed
        "slopes": job.columns * wide,  # their gradient
        "values": readouts * wide,  # of the block, transposed
        "cotangents": readouts * wide,
        "norm": wide,
        "scores": job.classes * wide,
        "shared": rotations * 8,  # the part of each angle that all samples share
        "support": 8 << program.grown,  # the amplitudes that growing rotations reach
    }
    offset = 0
    for name, count in needed.items():
        setattr(job, f"at_{name}", offset)
        offset += -(-count // _ALIGNMENT) * _ALIGNMENT
    return offset


def _needs_work(program: Program) -> bool:
    diagonals: Any = program.passes[program.passes[:, 0] == 0]
    return program.diagonal_reads > 0 or bool((diagonals[:, 1] > 3).any())
