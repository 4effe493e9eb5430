"""Every backend by name: the one list that training, SQL and the executor read.

A backend is the one that was asked for: none stands in for another, and ``auto`` says which one answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import Final, Literal, cast

from qstore_db.backends.backend import Backend
from qstore_db.backends.capabilities import (
    IONQ_QPU,
    IONQ_SIMULATOR,
    LOCAL,
    LOCAL_NOISY,
    SIMULATOR,
    TRAJECTORIES,
    Capabilities,
)
from qstore_db.backends.remote_service import RemoteService
from qstore_db.errors import MissingDependencyError, UnknownBackendError


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How a remote provider is reached.

    Args:
        sdk: The library that speaks with it; ``None`` for the provider's first.
        target: The provider's name of the device; ``None`` for the backend's usual one.
    """

    sdk: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """What makes a backend a remote one.

    Args:
        connect: Makes the service; refuses what the provider does not have.
        sdks: Libraries that can speak with the provider, the usual one first.
    """

    connect: Callable[[Connection], RemoteService]
    sdks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """A backend that can be asked for.

    Args:
        name: Its name.
        description: What it is, in one line.
        capabilities: As it is made by default.
        make: Makes one with default settings; the packages must be there.
        packages: Modules it needs besides those of this package, all of the extra ``sim``.
        remote: How its provider is reached; ``None`` for what runs in this process.
    """

    name: str
    description: str
    capabilities: Capabilities
    make: Callable[[], Backend]
    packages: tuple[str, ...] = ()
    remote: RemoteEntry | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Packages that are not installed; nothing is imported to know."""
        return tuple(name for name in self.packages if find_spec(name) is None)


# What computes is imported when circuits are to run, not with the list.


def _local() -> Backend:
    from qstore_db.backends.local import local_backend

    return local_backend()


def _local_noisy() -> Backend:
    from qstore_db.backends.local_noisy import local_noisy_backend

    return local_noisy_backend()


def _trajectories() -> Backend:
    from qstore_db.backends.trajectories import trajectory_backend

    return trajectory_backend()


def _lightning() -> Backend:
    from qstore_db.backends.lightning import lightning_backend

    return lightning_backend()


def _aer() -> Backend:
    from qstore_db.backends.aer import aer_backend

    return aer_backend()


def _qsim() -> Backend:
    from qstore_db.backends.qsim import qsim_backend

    return qsim_backend()


def _auto() -> Backend:
    from qstore_db.backends.handover import auto_backend

    return auto_backend()


_IONQ_SDKS: Final = ("cirq", "qiskit")


def _ionq(name: str, connection: Connection) -> RemoteService:
    from qstore_db.backends.ionq.connect import ionq_service

    # Another name than these two is refused there.
    sdk = cast(Literal["cirq", "qiskit"], connection.sdk or _IONQ_SDKS[0])
    return ionq_service(name, sdk=sdk, target=connection.target)


def remote_entry(name: str, description: str, capabilities: Capabilities, remote: RemoteEntry) -> BackendEntry:
    """The entry of a remote backend.

    Made with default settings, its ledger ends with the process and its ceiling is nothing: it sends what is free. To
    pay, give :class:`~qstore_db.backends.remote.RemoteBackend` a ceiling and a ledger, or train with ``max_cost_usd``.
    """

    def make() -> Backend:
        from qstore_db.backends.job_ledger import MemoryLedger
        from qstore_db.backends.remote import RemoteBackend

        return RemoteBackend(remote.connect(Connection()), MemoryLedger(), ceiling=Decimal(0))

    return BackendEntry(name, description, capabilities, make, remote=remote)


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
            BackendEntry(
                "trajectories",
                "noise of IonQ Aria by 1,024 trajectories in this process, estimates of expectation values",
                TRAJECTORIES,
                _trajectories,
            ),
            BackendEntry(
                "lightning",
                "PennyLane's lightning.qubit, exact, double precision",
                SIMULATOR,
                _lightning,
                ("pennylane", "pennylane_lightning"),
            ),
            BackendEntry("aer", "Qiskit Aer's state vector, exact, double precision", SIMULATOR, _aer, ("qiskit_aer",)),
            BackendEntry("qsim", "qsim's state vector, exact, single precision", SIMULATOR, _qsim, ("qsimcirq",)),
            BackendEntry(
                "auto",
                "the quickest exact simulator here, single precision: local, above 19 qubits qsim for values",
                SIMULATOR,
                _auto,
            ),
            remote_entry(
                "ionq_simulator",
                "IonQ's simulator, through cirq-ionq or qiskit-ionq; free, needs an API key",
                IONQ_SIMULATOR,
                RemoteEntry(partial(_ionq, "ionq_simulator"), _IONQ_SDKS),
            ),
            remote_entry(
                "ionq_qpu",
                "IonQ's devices, through cirq-ionq or qiskit-ionq; costs money, needs an API key and a ceiling",
                IONQ_QPU,
                RemoteEntry(partial(_ionq, "ionq_qpu"), _IONQ_SDKS),
            ),
        )
    }
)
"""Name to entry. A backend joins by one file and one entry here."""

OTHER_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"mock": "local", "mock_ideal": "local", "mock_noisy": "local_noisy", "ionq": "ionq_simulator"}
)
"""Names of earlier programs, each for what really computes. None stands for a device that costs money."""


def full_name(name: str) -> str:
    """The name of a backend from any that is accepted.

    Example:
        >>> full_name("mock_noisy")
        'local_noisy'
    """
    return OTHER_NAMES.get(name, name)


def backend_entry(name: str) -> BackendEntry:
    """The entry of that name, or of the name that it stands for.

    Raises:
        UnknownBackendError: There is none; the message names those there are.
    """
    entry = BACKENDS.get(full_name(name))
    if entry is None:
        raise UnknownBackendError(
            f"There is no backend {name!r}", fix=f"Use one of {', '.join(map(repr, BACKENDS))}.", value=name
        )
    return entry


def available_backend(name: str) -> BackendEntry:
    """The entry of that name, whose packages are installed.

    Raises:
        UnknownBackendError: There is none of that name.
        MissingDependencyError: A package that it needs is not installed.
    """
    entry = backend_entry(name)
    if entry.missing:
        raise MissingDependencyError(
            f"the backend {name!r} needs {', '.join(entry.missing)}, which is not installed",
            fix="pip install 'qstore-db[sim]', or use the backend 'local'.",
            value=name,
        )
    return entry


def backend_named(name: str) -> Backend:
    """A new backend of that name with default settings; whoever asked closes it, or gives it to an executor.

    Raises:
        UnknownBackendError: There is none of that name.
        MissingDependencyError: A package that it needs is not installed.

    Example:
        >>> backend_named("local").capabilities.max_qubits
        24
    """
    return available_backend(name).make()
