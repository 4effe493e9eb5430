"""The server under the emulators and the web page: what it does with connections, lengths and ports."""

import socket
import threading
import time

import pytest
import requests

from qstore_db.errors import InvalidArgumentError
from qstore_db.loopback_server import MAX_BODY_BYTES, Answer, LoopbackServer


def settled(count):
    """Whether so few threads are left, soon."""
    end = time.monotonic() + 10
    while threading.active_count() > count and time.monotonic() < end:
        time.sleep(0.01)
    return threading.active_count() <= count


def test_closing_ends_connections_that_clients_keep_open():
    before = threading.active_count()
    server = LoopbackServer(lambda request: Answer(200, {"path": request.path}))
    with requests.Session() as client:
        assert client.get(f"{server.url}/a").json() == {"path": "/a"}
        server.close()
        assert settled(before)
        with pytest.raises(requests.ConnectionError):
            client.get(f"{server.url}/b")
    server.close()


@pytest.mark.parametrize("length", ["-1", "x", "1" * 5000, str(MAX_BODY_BYTES + 1), "٣"])
def test_a_length_that_is_none_is_not_waited_for(length, capsys):
    with (
        LoopbackServer(lambda request: Answer(200, len(request.body))) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nhello".encode())
        assert client.recv(100) == b""
    assert not capsys.readouterr().err


@pytest.mark.parametrize("port", [-1, 65_536])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(InvalidArgumentError, match="port"):
        LoopbackServer(lambda request: Answer(200), port)
