"""Every backend by name: the one list that training, SQL and the executor read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from qstore_db.backends.backend import Backend
from qstore_db.backends.capabilities import LOCAL, LOCAL_NOISY, Capabilities
from qstore_db.errors import UnknownBackendError


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """A backend that can be asked for.

    Args:
        name: Its name.
        description: What it is, in one line.
        capabilities: As it is made by default.
        make: Makes one with default settings.
    """

    name: str
    description: str
    capabilities: Capabilities
    make: Callable[[], Backend]


# What computes is imported when circuits are to run, not with the list.


def _local() -> Backend:
    from qstore_db.backends.local import local_backend

    return local_backend()


def _local_noisy() -> Backend:
    from qstore_db.backends.local_noisy import local_noisy_backend

    return local_noisy_backend()


BACKENDS: Final[Mapping[str, BackendEntry]] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            BackendEntry(
                "local", "batched state-vector simulator in this process, exact expectation values", LOCAL, _local
            ),
            BackendEntry(
                "local_noisy",
                "simulator of noisy circuits in this process, exact, with the published error rates of IonQ Aria",
                LOCAL_NOISY,
                _local_noisy,
            ),
        )
    }
)
"""Name to entry. A remote backend joins by one file and one entry here."""


def backend_entry(name: str) -> BackendEntry:
    """The entry of that name.

    Raises:
        UnknownBackendError: There is none; the message names those there are.
    """
    entry = BACKENDS.get(name)
    if entry is None:
        raise UnknownBackendError(
            f"There is no backend {name!r}",
            fix=f"Use one of {', '.join(map(repr, BACKENDS))}; this version has no hardware backend and no remote"
            " simulator.",
            value=name,
        )
    return entry


def backend_named(name: str) -> Backend:
    """A new backend of that name with default settings; whoever asked closes it, or gives it to an executor.

    Raises:
        UnknownBackendError: There is none of that name.

    Example:
        >>> backend_named("local").capabilities.max_qubits
        24
    """
    return backend_entry(name).make()
