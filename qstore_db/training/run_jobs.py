"""The remote jobs of a run: their ledger in the database, their ceiling, and when their results are used for good.

Between two checkpoints the ledger keeps every result. A run that is resumed starts from its checkpoint and asks the
same circuits again: their results are read from the ledger, and what was under way is found at the provider. With the
next checkpoint, in the same commit, the results that led to it are given up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.backend import Price
from qstore_db.backends.job_ledger import JobStatus
from qstore_db.backends.job_pieces import pieces_of, portions_of
from qstore_db.backends.remote import RemoteBackend, remote_capabilities
from qstore_db.backends.remote_options import RemoteOptions
from qstore_db.backends.remote_service import RemoteService
from qstore_db.backends.request import ExecutionRequest
from qstore_db.errors import BudgetExceededError, UnsupportedRequestError
from qstore_db.executor.expectations import PricedExpectations
from qstore_db.gradients.value_source import ValueSource
from qstore_db.models.model import Model
from qstore_db.training.job_ledger import DatabaseLedger
from qstore_db.training.options import TrainingOptions
from qstore_db.training.provider import ceiling_of, service_of
from qstore_db.training.recipe import Recipe
from qstore_db.training.registry import Run
from qstore_db.training.step import TrainState, advance
from storage_engine.batch import Operation
from storage_engine.engine import Engine

CHECKPOINT_SECONDS: Final = 10.0
"""Between checkpoints of a run with remote jobs, whose results are kept until then."""

TIMES: Final = RemoteOptions()
"""How patiently the provider of a run is asked."""

Work = Callable[[ValueSource], object]
"""What is about to be done, for a source of values that asks the price of it."""


class RunJobs:
    """The jobs of a run that is being trained.

    Args:
        engine: The database.
        run: The run.
        service: The provider; belongs to the backend from now on.
    """

    def __init__(self, engine: Engine, run: Run, service: RemoteService) -> None:
        self._options, self._service = run.options, service
        self._ceiling = ceiling_of(run.options)
        self._ledger = DatabaseLedger(engine, run.id)
        self.backend = RemoteBackend(service, self._ledger, ceiling=self._ceiling, options=TIMES, keeps_delivered=True)
        self._used: dict[str, frozenset[int]] = {}

    @property
    def target(self) -> str:
        """The provider's name of the device."""
        return self._service.target

    @property
    def dollars(self) -> float:
        """What all jobs of the run count for, open ones included."""
        return float(self._ledger.counted)

    def check(self, name: str, work: Work) -> None:
        """Check that work stays below the ceiling, without sending anything.

        What an earlier process has paid for and nobody has used yet is not counted twice.

        Args:
            name: What it is, as the subject of a sentence.
            work: Asks the circuits that it is about to ask.

        Raises:
            BudgetExceededError: It would not.
        """
        kept = Counter(
            fingerprint
            for record in self._ledger.records()
            if record.is_open or record.status is JobStatus.DONE
            for place, fingerprint in enumerate(record.fingerprints)
            if place not in record.used and place not in self._used.get(record.tag, ())
        )
        estimate = _price_of(self._service, self._options, work, kept)
        if self._ledger.counted + estimate > self._ceiling:
            raise BudgetExceededError(name, estimate=estimate, spent=self._ledger.counted, ceiling=self._ceiling)

    def accept(self) -> float:
        """The results that were handed out since the last call are part of the run's state now.

        Returns:
            The cost, in dollars, of the jobs of which something was handed out for the first time.
        """
        handed_out = self.backend.take_delivered()
        for tag, places in handed_out.places.items():
            self._used[tag] = self._used.get(tag, frozenset()) | places
        return float(handed_out.cost)

    def settle(self, commit: Callable[[Sequence[Operation]], object]) -> None:
        """Gives up the accepted results, in the commit of the checkpoint that they led to.

        Args:
            commit: Commits the operations together with the checkpoint.
        """
        records, operations = self._ledger.settling(self._used)
        commit(operations)
        self._ledger.note_settled(records)
        self._used = {}


@contextmanager
def jobs_for(engine: Engine, run: Run) -> Iterator[RunJobs | None]:
    """The jobs of a run, whose backend the caller closes with its executor; ``None`` where nothing is sent away.

    Raises:
        QStoreError: The provider cannot be reached as the options say; see :func:`check_connection`.
    """
    yield RunJobs(engine, run, service_of(run.options)) if run.options.is_remote else None


def check_connection(options: TrainingOptions, qubits: int, first: Work | None = None) -> None:
    """Check that a run can go on: the provider has what is asked, and the first step stays below the ceiling.

    Nothing is sent. Does nothing for a backend of this process.

    Args:
        options: Of the run.
        qubits: Of the model.
        first: Asks the circuits of the run's first step; ``None`` where steps were taken before.

    Raises:
        InvalidArgumentError: There is no such SDK or target, or no API key.
        MissingDependencyError: The SDK is not installed.
        UnsupportedRequestError: The device has no room for the model's qubits.
        BudgetExceededError: The first step alone would cost more than the ceiling.
    """
    if not options.is_remote:
        return
    service = service_of(options)
    try:
        room = service.capabilities.max_qubits
        if qubits > room:
            raise UnsupportedRequestError(
                f"{service.target} has no room for {qubits} qubits", fix=f"Use at most {room} qubits.", value=qubits
            )
        estimate = Decimal(0) if first is None else _price_of(service, options, first, Counter())
        if estimate > ceiling_of(options):
            raise BudgetExceededError(
                "the first step", estimate=estimate, spent=Decimal(0), ceiling=ceiling_of(options)
            )
    finally:
        service.close()


def work_of_step(
    model: Model, recipe: Recipe, state: TrainState, features: NDArray[np.float64], targets: NDArray[Any] | None
) -> Work:
    """The next step, for asking its price: arguments as of :func:`qstore_db.training.step.advance`."""
    return lambda source: advance(model, replace(recipe, source=source), state, features, targets)


def _price_of(service: RemoteService, options: TrainingOptions, work: Work, kept: Counter[str]) -> Decimal:
    most = service.capabilities.max_batch

    def price(requests: Sequence[ExecutionRequest]) -> Price:
        new = []
        for piece in (piece for request in requests for piece in pieces_of(request, most)):
            if kept[piece.fingerprint]:
                kept[piece.fingerprint] -= 1
            else:
                new.append(piece)
        portions = portions_of(new, most)
        return Price(sum((service.price([new[n] for n in one]).dollars for one in portions), Decimal(0)))

    asked = PricedExpectations(price, options.backend, remote_capabilities(service), shots=options.shots)
    work(asked)
    return asked.dollars
