"""Workers as Ray actors: processes of this machine, or of every machine of a cluster.

A worker is handed plain values and makes its own model; parameters go out once a step. Only the process that trains
touches the database. Where Ray runs already it is used as it is; otherwise it is started on this machine, on the
loopback address, and stopped at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.distributed.micro_batches import InThisProcess, MicroBatch, ModelDescription
from qstore_db.errors import InvalidArgumentError, MissingDependencyError, WorkerLostError
from qstore_db.models.model import LossGradient


class RayWorkers:
    """See :class:`~qstore_db.distributed.micro_batches.Workers`.

    Micro-batches are dealt out in turn: worker w computes the parts w, w + count, …; which one computes what changes
    no bit. Starting takes a few seconds.

    Args:
        description: Of the model.
        count: Workers, at least 1; each takes one processor of Ray's.

    Raises:
        MissingDependencyError: Ray is not installed.
        InvalidArgumentError: ``count`` is below 1, or Ray has fewer processors.
    """

    def __init__(self, description: ModelDescription, count: int) -> None:
        if isinstance(count, bool) or count < 1:
            raise InvalidArgumentError(f"{count} workers", fix="Use at least 1.", value=count)
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError("Ray is not installed", fix="pip install 'qstore-db[ray]'") from error
        self._ray: Any = ray
        self._started = not ray.is_initialized()
        if self._started:
            ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        there = int(ray.cluster_resources().get("CPU", 0))
        if there < count:
            self.close()
            raise InvalidArgumentError(
                f"{count} workers need as many processors, Ray has {there}", fix=f"Use at most {there}.", value=count
            )
        actor = ray.remote(num_cpus=1, max_restarts=0)(InThisProcess)
        self._workers: list[Any] = []
        try:
            for _ in range(count):
                self._workers.append(actor.remote(description))
        except BaseException:  # also Ctrl-C: Ray would stay started
            self.close()
            raise

    def gradients(
        self, parameters: Mapping[str, NDArray[np.float64]], parts: Sequence[MicroBatch]
    ) -> list[LossGradient]:
        """See :class:`~qstore_db.distributed.micro_batches.Workers`."""
        count = len(self._workers)
        if not count:
            raise WorkerLostError("the workers are closed", fix="Make new ones.")
        shared = self._ray.put(dict(parameters))
        asked = [
            worker.gradients.remote(shared, parts[first::count])
            for first, worker in enumerate(self._workers[: len(parts)])
        ]
        try:
            answers = self._ray.get(asked)
        except self._ray.exceptions.RayActorError as error:
            raise WorkerLostError(
                f"a worker ended: {error}", fix="Resume the run: it goes on after the last finished step."
            ) from error
        out: list[LossGradient | None] = [None] * len(parts)
        for first, answer in enumerate(answers):
            out[first::count] = answer
        return [one for one in out if one is not None]

    def close(self) -> None:
        """Ends the workers, and Ray where it was started for them. Idempotent."""
        workers, self._workers = getattr(self, "_workers", []), []
        for worker in workers:
            self._ray.kill(worker)
        if self._started:
            self._ray.shutdown()
            self._started = False
