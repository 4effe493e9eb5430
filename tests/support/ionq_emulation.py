"""IonQ's services against the emulator, for both SDKs."""

from importlib.util import find_spec

import pytest

from qstore_db.backends.ionq.connect import ionq_service

SDKS = [
    pytest.param(sdk, marks=pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed"))
    for sdk, package in (("cirq", "cirq_ionq"), ("qiskit", "qiskit_ionq"))
]


def connected(emulator, sdk, name="ionq_simulator", **options):
    """A service that asks the emulator."""
    return ionq_service(name, sdk=sdk, url=emulator.url, api_key=emulator.api_key, **options)
