"""Expectation values of Pauli strings read from one vector of amplitudes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from qstore_db.simulation.compiled import compiled

BLOCK: Final = 1024
"""Amplitudes that all strings read while they are in the nearest cache."""

_TOGETHER: Final = 8


@compiled
def _sign(mask: int, index: int) -> float:
    """(-1) to the number of bits that mask and index share."""
    found = mask & index
    odd = 0
    while found:
        odd ^= 1
        found &= found - 1
    return 1.0 - 2.0 * odd


@compiled
def _weighted(chances: Any, signs: Any) -> float:
    """Σ chance · sign in eight sums that do not wait for each other, added in one order."""
    sums = np.zeros(_TOGETHER)
    size = chances.size
    if size < _TOGETHER:
        for k in range(size):
            sums[0] += chances[k] * signs[k]
    else:
        for start in range(0, size, _TOGETHER):
            for k in range(_TOGETHER):
                sums[k] += chances[start + k] * signs[start + k]
    total = 0.0
    for k in range(_TOGETHER):
        total += sums[k]
    return total


@compiled
def _crossed(re: Any, im: Any, base: int, there: int, x: int, quarter: int, top: int, signs: Any) -> float:
    """Σ Re(i^y · sign · conj(ψ_j) ψ_k) over the amplitudes of a block without the bit ``top``; j is k's partner."""
    total = 0.0
    for k in range(signs.size):
        if k & top:
            continue
        j = there + (k ^ x)
        a, b = float(re[base + k]), float(im[base + k])
        c, d = float(re[j]), float(im[j])
        part = c * a + d * b if quarter & 1 == 0 else d * a - c * b
        total += signs[k] * part
    return -total if quarter & 2 else total


@compiled
def read_strings(state: Any, strings: Any, signs: Any, chances: Any, out: Any) -> None:
    """⟨ψ|P|ψ⟩ of every string.

    P|k⟩ = i^y (-1)^popcount(z & k) |k ^ x⟩, so the value is Σ_k i^y (-1)^popcount(z & k) conj(ψ_{k^x}) ψ_k; without
    X and Y it is a signed sum of chances, otherwise twice the real part over half of the indices.

    Args:
        state: (2, 2^n), real and imaginary parts.
        strings: int64 (strings, 3): flipped bits x, signed bits z (those of Y as well), number of Y.
        signs: float64 (strings, min(2^n, BLOCK)), overwritten.
        chances: float64 (min(2^n, BLOCK),), overwritten.
        out: float64 (strings,), overwritten.
    """
    re, im = state[0], state[1]
    block = chances.size
    for t in range(len(strings)):
        out[t] = 0.0
        for k in range(block):
            signs[t, k] = _sign(strings[t, 1], k)
    for base in range(0, re.size, block):
        for k in range(block):
            a, b = float(re[base + k]), float(im[base + k])
            chances[k] = a * a + b * b
        for t in range(len(strings)):
            x, z, quarter = strings[t, 0], strings[t, 1], strings[t, 2]
            if x == 0:
                out[t] += _sign(z, base) * _weighted(chances, signs[t])
                continue
            low = x & (block - 1)
            high = x - low
            top = 0
            if high:
                first = high
                while first & (first - 1):
                    first &= first - 1
                if base & first:  # its partner's block reads it
                    continue
            else:
                top = low
                while top & (top - 1):
                    top &= top - 1
            out[t] += 2.0 * _sign(z, base) * _crossed(re, im, base, base ^ high, low, quarter, top, signs[t])
