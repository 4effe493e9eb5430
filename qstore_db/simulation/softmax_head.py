"""A linear head and its loss inside the kernel, so that a training step is one sweep forward and back a block.

Scores u = A v + b of the values v of a sample, loss = mean over the batch of log Σ_k exp(u_k) - u_label. The derivative
by the scores is (softmax(u) - one-hot(label)) / B; by A it is its outer product with v, and by v, which is the
cotangent of the circuit, A transposed times it.
"""

from __future__ import annotations

import math
from typing import Any

from qstore_db.simulation.compiled import part
from qstore_db.simulation.job import LABEL_OUT_OF_RANGE, SLOT
from qstore_db.simulation.simd import fma, lanes, multiply, pointer, shifted, store
from qstore_db.simulation.wide import lane_sum, load_wide, splat_wide


@part
def head_cotangents(job: Any, scratch: Any, block: int, first: int, count: int) -> None:
    """Cotangents of the block, and its row: gradient of A, of b, loss, number of rows classified rightly."""
    like, scores, values = scratch.tangents, scratch.scores, scratch.values
    width, classes, readouts = lanes(like), job[SLOT.classes], job[SLOT.readouts]
    matrix, bias = pointer(job[SLOT.head_matrix], scores), pointer(job[SLOT.head_bias], scores)
    row = shifted(pointer(job[SLOT.head_rows], scores), block * (classes * (readouts + 1) + 2))
    for k in range(classes):
        total = splat_wide(like, bias[k])
        for m in range(readouts):
            total = fma(splat_wide(like, matrix[k * readouts + m]), load_wide(like, values, m), total)
        store(scores, k, total)
    _softmax(job, scores, row, width, first, count)
    for k in range(classes):
        outer = load_wide(like, scores, k)
        for m in range(readouts):
            row[k * readouts + m] = lane_sum(multiply(outer, load_wide(like, values, m)))
        row[classes * readouts + k] = lane_sum(outer)
    for m in range(readouts):
        total = splat_wide(like, 0.0)
        for k in range(classes):
            total = fma(splat_wide(like, matrix[k * readouts + m]), load_wide(like, scores, k), total)
        store(scratch.cotangents, m, total)


@part
def _softmax(job: Any, scores: Any, row: Any, width: int, first: int, count: int) -> None:
    """Scores become the derivative of the mean loss by them; 0 in lanes past the last sample."""
    classes, share = job[SLOT.classes], 1.0 / job[SLOT.samples]
    labels = pointer(job[SLOT.labels], job)
    loss, right = 0.0, 0.0
    for lane in range(width):
        if lane >= count:
            for k in range(classes):
                scores[k * width + lane] = 0.0
            continue
        label, best, top = labels[first + lane], 0, scores[lane]
        if not 0 <= label < classes:
            job[SLOT.status] |= LABEL_OUT_OF_RANGE
            label = 0
        for k in range(1, classes):
            if scores[k * width + lane] > top:
                best, top = k, scores[k * width + lane]
        whole, wanted = 0.0, scores[label * width + lane] - top
        for k in range(classes):
            power = math.exp(scores[k * width + lane] - top)
            scores[k * width + lane] = power
            whole += power
        for k in range(classes):
            scores[k * width + lane] *= share / whole
        scores[label * width + lane] -= share
        loss += math.log(whole) - wanted
        right += 1.0 if best == label else 0.0
    at = classes * (job[SLOT.readouts] + 1)
    row[at] = loss
    row[at + 1] = right
