"""The one function of the kernel that Python calls: it leads a job, or waits for the jobs of another thread.

A leader opens a job, takes blocks until none is left, and closes the job again; a waiting thread that sees an open job
joins it and takes blocks as well. The leader waits at the end only for a thread that did join, so a sleeping one costs
nothing but its help. Words of ``control``, each on a cache line of its own:
    STATE  4·g closed, 4·g + 1 open, 4·g + 2 joined, for job number g; below 0: the waiting thread is to return
    JOB    address of job g
    DONE   number of the last job that the joined thread has finished with
    COUNT  number of the last job
"""

from __future__ import annotations

from typing import Any, Final

from qstore_db.simulation.atomics import address_of, exchange_word, load_word, store_word
from qstore_db.simulation.compiled import inlined
from qstore_db.simulation.job import SLOT
from qstore_db.simulation.lanes import finish, run_blocks
from qstore_db.simulation.simd import pointer

STATE, JOB, DONE, COUNT = 0, 8, 16, 24
CONTROL_WORDS: Final = 32


@inlined
def _lead(job: Any, like: Any) -> None:
    job[SLOT.next_block] = 0
    job[SLOT.status] = 0
    if job[SLOT.control] == 0:
        run_blocks(job, like, 0)
    else:
        control = pointer(job[SLOT.control], job)
        number = control[COUNT] + 1
        control[COUNT] = number
        control[JOB] = address_of(job)
        store_word(control, STATE, 4 * number + 1)
        run_blocks(job, like, 0)
        if not exchange_word(control, STATE, 4 * number + 1, 4 * number):
            while load_word(control, DONE) != number:
                pass
    finish(job, like)


@inlined
def _serve(control: Any, like: Any, patience: int) -> int:
    idle = 0
    while idle < patience:
        state = load_word(control, STATE)
        if state < 0:
            return -1
        if state & 3 == 1 and exchange_word(control, STATE, state, state + 1):
            run_blocks(pointer(control[JOB], control), like, 1)
            store_word(control, DONE, state >> 2)
            idle = 0
        else:
            idle += 1
    return 0


def simulate(words: Any, like: Any, patience: int) -> int:
    """Leads the job at ``words`` (patience 0), or waits at the control ``words`` for ``patience`` empty looks.

    Args:
        words: A :class:`~qstore_db.simulation.job.Job`, or control words.
        like: Any pointer to numbers of the state's dtype; not read.
        patience: Looks without a job before a waiting thread returns.

    Returns:
        -1 when a waiting thread was told to return, else 0.
    """
    if patience > 0:
        return _serve(words, like, patience)
    _lead(words, like)
    return 0
