"""Runs on the scripted provider, by the name that users would write."""

import contextlib
from types import MappingProxyType

from scripted_provider import CAPABILITIES, ScriptedProvider

from qstore_db.backends import named
from qstore_db.backends.named import RemoteEntry, remote_entry

NAME = "scripted_remote"


@contextlib.contextmanager
def provider_at(folder, *, capabilities=CAPABILITIES, **script):
    """The scripted provider as one of the backends by name; gives the services that were made, the newest last."""
    made = []

    def connect(connection):
        service = ScriptedProvider(folder, capabilities=capabilities, **script)
        service.sdk, service.target = connection.sdk or "cirq", connection.target or "qpu.scripted"
        made.append(service)
        return service

    entry = remote_entry(NAME, "a provider in a folder", capabilities, RemoteEntry(connect, ("cirq", "qiskit")))
    before = named.BACKENDS
    named.BACKENDS = MappingProxyType({**before, NAME: entry})
    try:
        yield made
    finally:
        named.BACKENDS = before
