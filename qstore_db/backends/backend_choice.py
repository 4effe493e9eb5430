"""Which of several backends runs some circuits: by what each can do and what it costs, with a reason for each.

Qubits, gates, readings, shots, seeds and start states come from the capabilities, dollars from the price lists. Queues
and the fidelity of devices are not known here and are not guessed: whoever knows them orders the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from qstore_db.backends.backend import Backend
from qstore_db.backends.capabilities import require_supported
from qstore_db.backends.request import ExecutionRequest
from qstore_db.errors import BudgetExceededError, InvalidArgumentError, UnsupportedRequestError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about one candidate.

    Args:
        backend: Its name.
        dollars: What the requests would cost there; ``None`` where it cannot run them.
        reason: Why it was taken or not, with the number that decided.
    """

    backend: str
    dollars: Decimal | None
    reason: str


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """The backend that was taken.

    Args:
        backend: One of the candidates.
        verdicts: One for each candidate, in their order.
    """

    backend: Backend
    verdicts: tuple[Verdict, ...]


def choose_backend(
    requests: Sequence[ExecutionRequest], candidates: Sequence[Backend], *, max_cost_usd: Decimal | None = None
) -> BackendChoice:
    """The cheapest candidate that can run all requests; of equally cheap ones the first.

    Asks nobody and sends nothing.

    Args:
        requests: What is to be run.
        candidates: In order of preference.
        max_cost_usd: What they may cost together, in dollars; ``None`` is 0: only what is free is taken.

    Raises:
        InvalidArgumentError: No requests or no candidates, or a ceiling that is negative or not finite.
        UnsupportedRequestError: No candidate can run them; the message says why for each.
        BudgetExceededError: Every candidate that can run them costs more.

    Example:
        >>> from qstore_db.backends.local import local_backend
        >>> from qstore_db.backends.local_noisy import local_noisy_backend
        >>> from qstore_db.circuits.circuit import Circuit
        >>> wide = ExecutionRequest(Circuit(14), shots=100)
        >>> choice = choose_backend([wide], [local_noisy_backend(), local_backend()])
        >>> choice.backend.name, choice.verdicts[0].reason
        ('local', "the backend 'local_noisy' has no room for 14 qubits")
    """
    if not requests or not candidates:
        raise InvalidArgumentError(
            f"{len(requests)} request(s) and {len(candidates)} candidate(s) leave nothing to choose",
            fix="Give at least one of each.",
            value=len(candidates),
        )
    ceiling = Decimal(0) if max_cost_usd is None else max_cost_usd
    if not (ceiling.is_finite() and ceiling >= 0):
        raise InvalidArgumentError(f"the ceiling is {ceiling}", fix="Give dollars from 0 on.", value=ceiling)
    found = [_looked_at(candidate, requests) for candidate in candidates]
    priced = [(dollars, place) for place, (dollars, _) in enumerate(found) if dollars is not None]
    if not priced:
        raise UnsupportedRequestError(
            f"none of {len(candidates)} backend(s) can run these requests: " + "; ".join(why for _, why in found),
            fix="Change the circuits, or name another backend.",
            value=[candidate.name for candidate in candidates],
        )
    cheapest, chosen = min(priced)
    if cheapest > ceiling:
        raise BudgetExceededError(
            f"the work on {candidates[chosen].name!r}, the cheapest backend that can run it,",
            estimate=cheapest,
            spent=Decimal(0),
            ceiling=ceiling,
        )
    verdicts = tuple(
        Verdict(candidate.name, dollars, why or _compared(dollars, cheapest, place == chosen))
        for place, (candidate, (dollars, why)) in enumerate(zip(candidates, found, strict=True))
    )
    return BackendChoice(candidates[chosen], verdicts)


def _looked_at(candidate: Backend, requests: Sequence[ExecutionRequest]) -> tuple[Decimal | None, str]:
    for request in requests:
        try:
            require_supported(candidate.name, candidate.capabilities, request)
        except UnsupportedRequestError as error:
            return None, error.what
    return candidate.price(requests).dollars, ""


def _compared(dollars: Decimal | None, cheapest: Decimal, chosen: bool) -> str:
    if chosen:
        return f"it can run them, for ${cheapest}; none does for less"
    return f"it can run them, for ${dollars}" + (", and another comes first" if dollars == cheapest else "")
