"""The emulator as an object: starts, goes wrong on request, counts, ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType

from qstore_db.emulators.ionq.answering import VERSION, Answering
from qstore_db.emulators.ionq.devices import Devices
from qstore_db.emulators.ionq.faults import Fault
from qstore_db.emulators.ionq.job_store import Counters, JobStore
from qstore_db.errors import InvalidArgumentError
from qstore_db.loopback_server import LoopbackServer
from qstore_db.simulation.noise_model import NoiseModel


class IonqEmulator:
    """IonQ's API v0.4 on the loopback interface, computing with our simulators.

    Ideal simulations answer with exact probabilities; the provider's noise models and devices answer with shares of
    shots that are drawn, with the noise of :data:`~qstore_db.emulators.ionq.devices.NOISE`, on at most 12 qubits. Equal
    seeds and equal jobs in equal order give equal results. Jobs live as long as the emulator, whoever sent them.

    Sessions, OpenQASM programs, error mitigation and compiled circuits are not emulated: such a request is refused.

    Args:
        port: To listen on; 0 takes a free one.
        seed: Of all shots.
        api_key: The one that is accepted.
        compile_seconds: That a job is ``submitted`` before it is ``ready``.
        run_seconds: That a job is ``started``; a device runs one after the other.
        noise: Noise models in place of the usual ones, by the provider's name; ``None`` is no noise.
        clock: Seconds since 1970.

    Raises:
        InvalidArgumentError: A noise model has a name that the provider does not have, or a time is negative.
        OSError: The port is taken.

    Example:
        >>> with IonqEmulator(seed=1) as emulator:
        ...     emulator.url.startswith("http://127.0.0.1:")
        True
    """

    __slots__ = ("_answering", "_closed", "_server", "_store", "api_key")

    def __init__(
        self,
        port: int = 0,
        *,
        seed: int = 0,
        api_key: str = "emulated",
        compile_seconds: float = 0.0,
        run_seconds: float = 0.0,
        noise: Mapping[str, NoiseModel | None] = MappingProxyType({}),
        clock: Callable[[], float] = time.time,
    ) -> None:
        for seconds in (compile_seconds, run_seconds):
            if not seconds >= 0:
                raise InvalidArgumentError(f"a job cannot take {seconds} s", fix="Give 0 or more.", value=seconds)
        self.api_key = api_key
        self._store = JobStore(Devices(seed, noise), clock, compile_seconds, run_seconds)
        self._answering = Answering(self._store, api_key)
        self._server = LoopbackServer(self._answering, port)
        self._closed = threading.Event()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self._server.url

    @property
    def url(self) -> str:
        """Origin and version: what ``IONQ_API_URL`` is set to."""
        return self.origin + VERSION

    @property
    def requests(self) -> tuple[tuple[str, str], ...]:
        """Method and path of every request, in the order in which they came; nothing of their headers."""
        return self._answering.requests

    def counters(self) -> Counters:
        """What was sent, taken and billed up to now."""
        return self._store.counters()

    def inject(self, *faults: Fault) -> None:
        """Has coming requests go wrong; each fault is used up by the first request that it fits."""
        self._answering.faults.add(*faults)

    def faults_left(self) -> int:
        """Faults that no request has met yet."""
        return len(self._answering.faults)

    def wait(self) -> None:
        """Until it is closed by another thread, or interrupted."""
        while not self._closed.wait(0.5):  # in portions, so that an interrupt is seen on every system
            pass

    def close(self) -> None:
        """Ends it; jobs are gone. Idempotent."""
        self._closed.set()
        self._server.close()

    def __enter__(self) -> IonqEmulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
