"""Every backend by name: the one list that training, SQL and the executor read.

A backend is the one that was asked for: none stands in for another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import Final

from qstore_db.backends.backend import Backend
from qstore_db.backends.capabilities import LOCAL, LOCAL_NOISY, SIMULATOR, TRAJECTORIES, Capabilities
from qstore_db.errors import MissingDependencyError, UnknownBackendError


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """A backend that can be asked for.

    Args:
        name: Its name.
        description: What it is, in one line.
        capabilities: As it is made by default.
        make: Makes one with default settings; the packages must be there.
        packages: Modules it needs besides those of this package, all of the extra ``sim``.
    """

    name: str
    description: str
    capabilities: Capabilities
    make: Callable[[], Backend]
    packages: tuple[str, ...] = ()

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
