"""The pages of a database over HTTP, and what they refuse."""

import socket
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, NotADatabaseError
from qstore_db.web.markup import Curve, bars, cell, chart, table
from qstore_db.web.server import WebServer

NASTY = "<script>alert('1')</script>"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("web") / "shop.qdb"
    rng = np.random.default_rng(0)
    with QuantumDatabase.open(path) as db:
        items = db.create_collection("items", dimension=4, metric="l2")
        names = [NASTY if n == 3 else f"item {n}" for n in range(250)]
        items.insert([f"r{n:03}" for n in range(250)], rng.normal(size=(250, 4)), metadata={"name": names})
        rows = rng.normal(size=(60, 4))
        db.store_training_data("points", data=rows, labels=(rows[:, 0] > 0).astype(int), split="train")
        db.create_model("sign", kind="classifier", qubits=2, layers=1, encoding="amplitude", classes=2)
        db.train("sign", dataset="points", epochs=3, seed=0)
    return path


@pytest.fixture
def server(directory):
    with WebServer(directory) as running:
        yield running


class Links(HTMLParser):
    """Collects links and refuses tags that are not closed."""

    def __init__(self):
        super().__init__()
        self.links, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name == "href" and tag == "a"]
        if tag not in ("meta", "link", "input", "rect", "line", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "line", "path"):
            assert self.open.pop() == tag


def read(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
        return answer.status, answer.headers, answer.read().decode()


def refused(address, body=None, **headers):
    request = urllib.request.Request(address, data=body, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    with caught.value as answer:
        return answer.code, answer.read().decode()


def test_every_link_leads_to_a_page(server):
    seen, waiting = set(), [server.url]
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        status, headers, text = read(address)
        assert status == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        parsed = Links()
        parsed.feed(text)
        assert parsed.open == []
        found = [urllib.parse.urljoin(address, target) for target in parsed.links]
        rows = [one for one in found if "/row?" in one]
        waiting += [one for one in found if one not in rows] + rows[:2]
    kinds = {urllib.parse.urlsplit(one).path.rsplit("/", 1)[1] for one in seen}
    assert kinds == {"", "sql", "models", "runs", "collection", "row", "model", "run"}


def test_what_a_page_shows(server):
    assert "250 rows of 4 numbers, l2" in read(f"{server.url}collection?name=items")[2]
    assert "r249" in read(f"{server.url}collection?name=items&first=200")[2]
    curves = read(f"{server.url}run?id=1")[2]
    assert 'aria-label="loss"' in curves
    assert curves.count("<path") >= 4
    assert "0: ─" in read(f"{server.url}model?name=sign")[2]
    near = read(f"{server.url}row?collection=items&id=r007")[2]
    assert near.count('href="row?') == 10
    assert "found by" in near
    some = read(f"{server.url}row?collection=items&id=r007&where=id+%3C+%27r005%27")[2]
    assert some.count('href="row?') == 5
    assert 'class="error"' in read(f"{server.url}row?collection=items&id=r007&where=nothing+%3D+1")[2]
    assert "<rect" in near


def test_text_from_the_database_is_escaped(server):
    for address in ("collection?name=items", "row?collection=items&id=r003", "sql?q=SELECT+name+FROM+items+LIMIT+9"):
        text = read(server.url + address)[2]
        assert NASTY not in text
        assert "&lt;script&gt;" in text
    asked = urllib.parse.urlencode({"q": f"SELECT '{NASTY.replace(chr(39), '')}' FROM nowhere"})
    assert "<script>" not in read(f"{server.url}sql?{asked}")[2]


def test_sql_runs_and_cannot_write(server):
    def asked(text):
        return read(f"{server.url}sql?{urllib.parse.urlencode({'q': text})}")[2]

    assert '<td class="number">250</td>' in asked("SELECT count(*) FROM items")
    assert "the first 200 of them" in asked("SELECT id FROM items")
    for text in (
        "CALL train(model => 'sign', dataset => 'points')",
        "DROP MODEL sign",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELEC",
    ):
        assert 'class="error"' in asked(text)
    assert "sign" in read(f"{server.url}models")[2]


def test_a_commit_of_another_process_is_seen(directory, server):
    with QuantumDatabase.open(directory) as writer:
        if "late" not in writer.collections():
            writer.create_collection("late", dimension=2)
    assert "late" in read(server.url)[2]


def test_only_the_printed_address_answers(server):
    base, word = server.url.rstrip("/").rsplit("/", 1)
    assert refused(base + "/")[0] == 404
    other = word[:-1] + ("y" if word.endswith("x") else "x")
    assert refused(f"{base}/{other}/")[0] == 404
    assert refused(server.url, Host="evil.example")[0] == 404
    assert read(server.url, Host=f"localhost:{urllib.parse.urlsplit(base).port}")[0] == 200
    assert word not in refused(base + "/")[1]
    assert refused(server.url, b"x")[0] == 405
    with socket.create_connection(("127.0.0.1", urllib.parse.urlsplit(base).port)) as open_port:
        assert open_port.getpeername()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "address",
    [
        "nothing",
        "collection",
        "collection?name=none",
        "row?collection=items&id=none",
        "run?id=99",
        "run?id=x",
        "model?name=none",
    ],
)
def test_what_is_not_there_says_so(server, address):
    code, text = refused(server.url + address)
    assert code in (400, 404)
    assert "<nav>" in text


def test_a_missing_database_is_not_made(tmp_path):
    with pytest.raises(NotADatabaseError):
        WebServer(tmp_path / "none.qdb")
    assert not (tmp_path / "none.qdb").exists()


def test_closing_twice_is_closing_once(directory):
    running = WebServer(directory)
    running.close()
    running.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(running.url, timeout=5)


def test_pieces():
    assert table(["a"], []) == '<p class="note">no rows</p>'
    assert cell(None) == "–"
    assert cell("x" * 200).endswith("…")
    assert chart("loss", [Curve("train", [1, 2], [None, float("nan")])], "nats") == ""
    assert "M54.0" in chart("loss", [Curve("train", [1], [0.5])], "nats")
    assert bars([]).startswith("<svg")
    assert bars([1.0, -2.0]).count("<rect") == 2


def test_a_port_that_is_none_is_refused_and_leaves_nothing_open(directory, monkeypatch):
    opened, real = [], QuantumDatabase.open
    monkeypatch.setattr(QuantumDatabase, "open", lambda *a, **k: opened.append(real(*a, **k)) or opened[-1])
    with pytest.raises(InvalidArgumentError, match="port"):
        WebServer(directory, 70_000)
    assert opened[0]._engine.closed


def test_a_number_without_end_is_none(server):
    for place in (f"collection?name=items&first={'1' * 5000}", f"run?id={'1' * 5000}"):
        assert refused(server.url + place)[0] == 404
