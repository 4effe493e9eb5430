"""The workers of a run, where its options ask for micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from qstore_db.distributed.micro_batches import InThisProcess, ModelDescription, Workers
from qstore_db.distributed.ray_workers import RayWorkers
from qstore_db.errors import MissingDependencyError
from qstore_db.models.model import Model
from qstore_db.training.options import TrainingOptions


def check_workers(options: TrainingOptions, model: Model) -> None:
    """Refuses what :func:`workers_for` could not make, before a run is recorded.

    Raises:
        InvalidArgumentError: The loss is a function of the caller's.
        MissingDependencyError: Workers are asked for and Ray is not installed.
    """
    if options.micro_batch is None and options.workers is None:
        return
    ModelDescription.of(model, options.loss)
    if options.workers is not None and find_spec("ray") is None:
        raise MissingDependencyError("Ray is not installed", fix="pip install 'qstore-db[ray]', or leave workers out.")


@contextmanager
def workers_for(options: TrainingOptions, model: Model) -> Iterator[Workers | None]:
    """Made for the model and closed at the end; ``None`` where a step is computed in one piece.

    Raises:
        InvalidArgumentError: The loss is a function of the caller's, or Ray has fewer processors than workers.
        MissingDependencyError: Ray is not installed.
    """
    if options.micro_batch is None and options.workers is None:
        yield None
        return
    description = ModelDescription.of(model, options.loss)
    workers = InThisProcess(description) if options.workers is None else RayWorkers(description, options.workers)
    try:
        yield workers
    finally:
        workers.close()
