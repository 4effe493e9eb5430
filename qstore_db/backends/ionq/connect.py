"""Makes the services of IonQ by name."""

from __future__ import annotations

import os
from typing import Final, Literal

from qstore_db.backends.ionq.api_key import ApiKey
from qstore_db.backends.ionq.pricing import PUBLISHED, Rates
from qstore_db.backends.ionq.sdk import Gateset, Sdk, Setting
from qstore_db.backends.ionq.service import IonqService
from qstore_db.backends.ionq.targets import checked_noise, entangler_of, qubits_of, target_of
from qstore_db.backends.ionq.transport import Transport
from qstore_db.errors import InvalidArgumentError

PUBLIC_URL: Final = "https://api.ionq.co/v0.4"
URL_VARIABLE: Final = "IONQ_API_URL"
VERSION: Final = "v0.4"


def ionq_service(
    name: str,
    *,
    sdk: Literal["cirq", "qiskit"] = "cirq",
    target: str | None = None,
    url: str | None = None,
    api_key: str | None = None,
    gateset: Gateset = "qis",
    noise_model: str | None = None,
    rates: Rates = PUBLISHED,
) -> IonqService:
    """One of IonQ's devices, or its simulator; asks nobody.

    Args:
        name: ``"ionq_simulator"`` or ``"ionq_qpu"``.
        sdk: ``"cirq"`` (cirq-ionq) or ``"qiskit"`` (qiskit-ionq): writes the circuits and speaks with the provider.
        target: The provider's name of the device, see :data:`~qstore_db.backends.ionq.targets.TARGETS`.
        url: Of the API; its version is always v0.4. If not given, the environment variable ``IONQ_API_URL``, else
            IonQ's own.
        api_key: If not given, the environment variable ``IONQ_API_KEY``. It is kept in memory only.
        gateset: ``"qis"``: standard gates, gate by gate as they were asked, which the provider compiles; ``"native"``:
            gates of the device, compiled here by the SDK.
        noise_model: Of the simulator: ``"ideal"`` (if not given), ``"aria-1"``, ``"forte-1"``, ….
        rates: The price list of devices.

    Raises:
        InvalidArgumentError: A name that there is not, no API key, or an address that would send it unprotected.
        MissingDependencyError: The SDK is not installed; the extra ``ionq`` brings both.
    """
    device = target_of(name, target)
    noise = checked_noise(device, noise_model)
    if gateset not in ("qis", "native"):
        raise InvalidArgumentError(f"there is no gateset {gateset!r}", fix='Use "qis" or "native".', value=gateset)
    key = ApiKey.found(api_key)
    transport = Transport(url or os.environ.get(URL_VARIABLE) or PUBLIC_URL, key)
    setting = Setting(
        url=f"{transport.origin}/{VERSION}",
        target=device.name,
        gateset=gateset,
        entangler=entangler_of(device, noise),
        noise_model=noise,
        max_qubits=qubits_of(device, noise),
    )
    free = device.name == "simulator"
    return IonqService(name, setting, _sdk(sdk, setting), transport, None if free else rates)


def _sdk(name: str, setting: Setting) -> Sdk:
    # Imported when one is asked for: each brings a large library.
    if name == "cirq":
        from qstore_db.backends.ionq.cirq_service import CirqSdk

        return CirqSdk(setting)
    if name == "qiskit":
        from qstore_db.backends.ionq.qiskit_service import QiskitSdk

        return QiskitSdk(setting)
    raise InvalidArgumentError(f"there is no SDK {name!r}", fix='Use "cirq" or "qiskit".', value=name)
