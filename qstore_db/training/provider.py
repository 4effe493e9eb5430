"""What the options of a run say about a remote provider: how it is reached, and what it may cost."""

from __future__ import annotations

from decimal import Decimal

from qstore_db.backends.named import Connection, backend_entry
from qstore_db.backends.remote_service import RemoteService
from qstore_db.errors import InvalidArgumentError
from qstore_db.training.options import TrainingOptions


def service_of(options: TrainingOptions) -> RemoteService:
    """The provider of a run; whoever asks closes it.

    Raises:
        InvalidArgumentError: The backend is no remote one, or there is no such target, or no API key.
        MissingDependencyError: The SDK is not installed.
    """
    remote = backend_entry(options.backend).remote
    if remote is None:
        raise InvalidArgumentError(
            f"the backend {options.backend!r} has no provider", fix="Use a remote one.", value=options.backend
        )
    return remote.connect(Connection(sdk=options.sdk, target=options.target))


def ceiling_of(options: TrainingOptions) -> Decimal:
    """What a run may cost, in dollars; nothing, where no ceiling was stated."""
    return Decimal(str(options.max_cost_usd or 0))
