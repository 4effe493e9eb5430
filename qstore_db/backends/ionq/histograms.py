"""The provider's histograms as our probabilities and counts.

They are read from the protocol and not from the SDKs' result objects: cirq-ionq rounds counts without regard to their
sum, and qiskit-ionq drops every outcome of an ideal simulation that its own local sampling did not happen to draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.result import Counts
from qstore_db.errors import BackendFailedError

SUM_TOLERANCE: Final = 1e-3
"""By how much the shares of a histogram may miss 1."""

_DIGITS: Final = 18  # of an outcome: more than any device has qubits for


def histograms_of(answer: object, children: Sequence[str], circuits: int) -> list[Mapping[str, object]]:
    """One histogram for each circuit, in the order in which the circuits were sent.

    Args:
        answer: Of ``results/probabilities``, or of ``…/aggregated`` where the job has several circuits.
        children: Ids of the circuits in their order, as the job names them; empty where it names none: then the order
            of the answer counts.
        circuits: That were sent.

    Raises:
        BackendFailedError: The answer has another form, or another number of histograms.
    """
    found: list[object]
    if circuits == 1 and not children:
        found = [answer]
    elif isinstance(answer, Mapping) and set(children) == set(answer):
        found = [answer[child] for child in children]
    else:
        found = list(answer.values()) if isinstance(answer, Mapping) and not children else []
    histograms = [one for one in found if isinstance(one, Mapping)]
    if len(histograms) != circuits:
        raise _wrong(f"{len(histograms)} histogram(s) came for {circuits} circuit(s)")
    return histograms


def shares_of(histogram: Mapping[str, object], n_qubits: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Outcomes and their shares, which sum to 1; qubit 0 is the highest bit of an outcome.

    Args:
        histogram: Outcomes as decimal numbers whose *lowest* bit is qubit 0, to their shares.
        n_qubits: Of the circuit.

    Returns:
        Outcomes, ascending, each once; and as many shares.

    Raises:
        BackendFailedError: An outcome is none of the circuit's, a share is negative or no number, or they do not sum to
            1 within ``SUM_TOLERANCE``.
    """
    found: dict[int, float] = {}
    for key, value in histogram.items():
        valid = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 + SUM_TOLERANCE
        number = key.isascii() and key.isdigit() and len(key) <= _DIGITS
        if not number or int(key) >> n_qubits or not valid:
            raise _wrong(f"a histogram of {n_qubits} qubit(s) holds {key[:_DIGITS]!r}: {value!r}")
        outcome = int(format(int(key), f"0{n_qubits}b")[::-1], 2)
        found[outcome] = found.get(outcome, 0.0) + float(value)  # type: ignore[arg-type]
    outcomes = np.array(sorted(found), np.int64)
    shares = np.array([found[outcome] for outcome in sorted(found)], np.float64)
    total = float(shares.sum())
    if abs(total - 1) > SUM_TOLERANCE:
        raise _wrong(f"the shares of a histogram sum to {total}")
    return outcomes, shares / total


def probabilities_of(histogram: Mapping[str, object], n_qubits: int) -> NDArray[np.float64]:
    """Shares of all 2^n outcomes; see :func:`shares_of`."""
    outcomes, shares = shares_of(histogram, n_qubits)
    dense = np.zeros(1 << n_qubits)
    dense[outcomes] = shares
    return dense


def counts_from(histogram: Mapping[str, object], n_qubits: int, shots: int) -> Counts:
    """Whole numbers that sum to the shots, from shares of them; cost linear in the outcomes that were seen.

    Exact where each share is a whole number of shots over the shots, up to rounding. Shares that are not (the provider
    rounded, or averaged) are rounded down, and the shots that are left go to the largest remainders.

    Args:
        histogram: See :func:`shares_of`.
        n_qubits: Of the circuit.
        shots: That were measured.

    Raises:
        BackendFailedError: As for :func:`shares_of`.
    """
    outcomes, shares = shares_of(histogram, n_qubits)
    wanted = shares * shots
    numbers = np.floor(wanted + 1e-6).astype(np.int64)
    left = shots - int(numbers.sum())
    if left > 0:
        numbers[np.argsort(numbers - wanted, kind="stable")[:left]] += 1
    seen = numbers > 0
    return Counts(n_qubits, outcomes[seen], numbers[seen])


def seed_of(job_id: str, place: int) -> int:
    """Seed of the shots that are drawn here for one circuit of a job: the same whenever they are fetched."""
    return int.from_bytes(hashlib.sha256(f"{job_id} {place}".encode()).digest()[:8], "big") >> 1


def _wrong(what: str) -> BackendFailedError:
    return BackendFailedError(what, fix="Fetch the results again; if they stay so, report it.", value=what)
