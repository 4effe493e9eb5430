"""The way to IonQ over TLS, and through a proxy: what an account on the public service uses."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

pytest.importorskip("requests")

from qstore_db.backends.ionq.api_key import ApiKey
from qstore_db.backends.ionq.transport import Transport
from qstore_db.emulators.ionq.emulator import IonqEmulator
from qstore_db.emulators.ionq.faults import Fault, FaultKind
from qstore_db.errors import BackendFailedError, SubmissionRefusedError, SubmissionUnknownError

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl for a certificate")

HOST = "ionq.example"
JOB = {"type": "ionq.circuit.v1", "backend": "simulator", "shots": 1, "input": {"qubits": 1, "circuit": []}}


class Relay:
    """Listens on this machine, greets every client, and carries bytes between it and the emulator."""

    def __init__(self, port, greet):
        self._port, self._greet = port, greet
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), client:
            inner = self._greet(client)
            with inner, socket.create_connection(("127.0.0.1", self._port)) as service:
                back = threading.Thread(target=pump, args=(service, inner), daemon=True)
                back.start()
                pump(inner, service)
                back.join()

    def close(self):
        self._listening.close()


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
         "-addext", f"subjectAltName=IP:127.0.0.1,DNS:{HOST}", "-keyout", "key.pem", "-out", "certificate.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def emulator():
    with IonqEmulator() as made:
        yield made


@pytest.fixture
def secure(emulator, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    relay = Relay(int(emulator.origin.rsplit(":", 1)[1]), lambda client: context.wrap_socket(client, server_side=True))
    yield relay
    relay.close()


@pytest.fixture
def proxy(secure):
    """Takes CONNECT for any host, and leads to the emulator's TLS."""
    asked = []

    def greet(client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1)
        asked.append(head)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return client

    relay = Relay(secure.port, greet)
    relay.asked = asked
    yield relay
    relay.close()


def transport(url):
    return Transport(url, ApiKey("emulated"))


def test_jobs_go_over_tls(secure, emulator, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate / "certificate.pem"))
    way = transport(f"https://127.0.0.1:{secure.port}")
    assert way.within(10).post(f"{way.origin}/v0.4/jobs", json=JOB).json()["status"] == "submitted"
    emulator.inject(Fault(FaultKind.LATE_ANSWER))
    with pytest.raises(SubmissionUnknownError):
        way.within(0.5).post(f"{way.origin}/v0.4/jobs", json=JOB)
    assert emulator.counters().taken == 2


def test_nothing_is_sent_to_whom_no_authority_vouches_for(secure, emulator, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    way = transport(f"https://127.0.0.1:{secure.port}")
    with pytest.raises(SubmissionRefusedError, match="SSLError") as refused:
        way.within(10).post(f"{way.origin}/v0.4/jobs", json=JOB)
    assert not refused.value.retryable
    assert emulator.requests == ()


def test_jobs_go_through_a_proxy_that_does_not_see_them(proxy, emulator, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate / "certificate.pem"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    way = transport(f"https://{HOST}")
    assert way.within(10).post(f"{way.origin}/v0.4/jobs", json=JOB).json()["status"] == "submitted"
    (head,) = proxy.asked
    assert head.startswith(f"CONNECT {HOST}:443".encode())
    assert b"emulated" not in head  # the key is inside
    emulator.inject(Fault(FaultKind.LOST_ANSWER))
    with pytest.raises(SubmissionUnknownError):
        way.within(10).post(f"{way.origin}/v0.4/jobs", json=JOB)
    assert emulator.counters().taken == 2


def test_a_proxy_that_is_not_there_certainly_lets_nothing_through(emulator, monkeypatch):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{bound.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        way = transport(f"https://{HOST}")
        with pytest.raises(SubmissionRefusedError, match="ProxyError") as refused:
            way.within(10).post(f"{way.origin}/v0.4/jobs", json=JOB)
    assert refused.value.retryable
    with pytest.raises(BackendFailedError):
        way.within(1).get(f"{way.origin}/v0.4/jobs")
