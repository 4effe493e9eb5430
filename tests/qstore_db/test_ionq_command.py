import signal
import socket
import subprocess
import sys
from importlib.util import find_spec

import pytest

from qstore_db.backends.ionq.connect import ionq_service
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.circuit import Circuit, Operation


def started(*options):
    return subprocess.Popen(
        [sys.executable, "-m", "qstore_db.cli", "emulator", "ionq", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def exported(running):
    lines = [running.stdout.readline() for _ in range(3)]
    return dict(line.removeprefix("export ").strip().split("=", 1) for line in lines[:2])


@pytest.mark.skipif(find_spec("cirq_ionq") is None, reason="cirq_ionq is not installed")
def test_the_printed_variables_lead_to_the_emulator(monkeypatch):
    found = []
    for _ in range(2):
        running = started("--seed", "3")
        try:
            variables = exported(running)
            assert set(variables) == {"IONQ_API_KEY", "IONQ_API_URL"}
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            device = ionq_service("ionq_qpu", target="qpu.aria-1")
            request = [ExecutionRequest(Circuit(1, [Operation("H", (0,))]), shots=1_000)]
            job = device.send(request, tag="by-command", timeout_seconds=60)
            found.append(device.fetch(job, request, timeout_seconds=60)[0].counts[0].by_bitstring())
        finally:
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=30)
        assert "Traceback" not in errors
        assert running.returncode in (0, 130)
    assert found[0] == found[1]  # the same seed


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = started("--port", str(port))
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 2
    assert f"port {port} cannot be listened on" in errors
