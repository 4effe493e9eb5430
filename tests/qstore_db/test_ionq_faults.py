"""What goes wrong between IonQ and us: one request each, a typed error in time, and the key nowhere."""

import pickle
import socket
import subprocess
import sys
import threading
import time
import traceback

import pytest
from ionq_emulation import SDKS, connected

from qstore_db.backends.ionq.api_key import ApiKey
from qstore_db.backends.ionq.connect import ionq_service
from qstore_db.backends.ionq.exchange import _Connection
from qstore_db.backends.ionq.transport import LONGEST_RETRY_AFTER, Transport
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.emulators.ionq.emulator import IonqEmulator
from qstore_db.emulators.ionq.faults import Fault, FaultKind
from qstore_db.errors import (
    BackendFailedError,
    InvalidArgumentError,
    NotFoundError,
    SubmissionRefusedError,
    SubmissionUnknownError,
)

TIMEOUT = 0.6
SLACK = 1.5  # seconds that a busy machine may take beside
KEY = "5ecret-key-of-an-account"

X = [ExecutionRequest(Circuit(1, [Operation("X", (0,))]))]


@pytest.fixture
def emulator():
    with IonqEmulator(api_key=KEY) as made:
        yield made


@pytest.fixture(params=SDKS)
def service(request, emulator):
    made = connected(emulator, request.param)
    made.send(X, tag="warm", timeout_seconds=60)  # compiles what the first use compiles
    made.fetch(made.find("warm", timeout_seconds=60)[0], X, timeout_seconds=60)
    return made


def sending(service, timeout=TIMEOUT):
    started = time.monotonic()
    try:
        return service.send(X, tag="faulty", timeout_seconds=timeout)
    finally:
        assert time.monotonic() - started < timeout + SLACK


@pytest.mark.parametrize(
    ("fault", "retryable", "retry_after"),
    [
        (Fault(FaultKind.STATUS, status=429, retry_after=7), True, 7.0),
        (Fault(FaultKind.STATUS, status=429), True, 0.0),
        (Fault(FaultKind.STATUS, status=503, retry_after=10**9), True, LONGEST_RETRY_AFTER),
        (Fault(FaultKind.STATUS, status=400), False, 0.0),
        (Fault(FaultKind.STATUS, status=401), False, 0.0),
        (Fault(FaultKind.STATUS, status=403), False, 0.0),
        (Fault(FaultKind.STATUS, status=409), False, 0.0),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Fault) else "",
)
def test_what_was_certainly_not_taken(service, emulator, fault, retryable, retry_after):
    emulator.inject(fault)
    with pytest.raises(SubmissionRefusedError, match=str(fault.status)) as refused:
        sending(service)
    assert (refused.value.retryable, refused.value.retry_after_seconds) == (retryable, retry_after)
    counters = emulator.counters()
    assert (counters.posts, counters.taken) == (2, 1)
    assert service.find("faulty", timeout_seconds=5) == ()
    sending(service)  # it works again


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_not_followed(service, emulator, status):
    emulator.inject(Fault(FaultKind.STATUS, status=status, location=f"{emulator.url}/jobs"))
    before = len(emulator.requests)
    with pytest.raises(SubmissionRefusedError, match=str(status)):
        sending(service)
    assert emulator.requests[before:] == (("POST", "/v0.4/jobs"),)


@pytest.mark.parametrize(
    ("fault", "taken"),
    [
        (Fault(FaultKind.STATUS, status=500), False),
        (Fault(FaultKind.STATUS, status=502), False),
        (Fault(FaultKind.STATUS, status=504), False),
        (Fault(FaultKind.STATUS, status=408), False),
        (Fault(FaultKind.STATUS, status=524), False),
        (Fault(FaultKind.SILENT), False),
        (Fault(FaultKind.RESET), False),
        (Fault(FaultKind.LOST_ANSWER), True),
        (Fault(FaultKind.LATE_ANSWER), True),
        (Fault(FaultKind.TRUNCATED), True),
        (Fault(FaultKind.GARBLED), True),
        (Fault(FaultKind.DRIBBLE), True),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else "",
)
def test_what_may_have_been_taken_is_found_by_its_tag(service, emulator, fault, taken):
    emulator.inject(fault)
    with pytest.raises(SubmissionUnknownError) as lost:
        sending(service)
    assert not lost.value.retryable
    counters = emulator.counters()
    assert (counters.posts, counters.taken) == (2, 2 if taken else 1)  # one POST, beside the first job's
    found = service.find("faulty", timeout_seconds=5)
    assert len(found) == taken
    if taken:
        assert service.fetch(found[0], X, timeout_seconds=5)[0].probabilities.tolist() == [[0.0, 1.0]]


READS = {
    "state": ("GET", r"/jobs/[\w-]+", lambda service, job: service.state(job, timeout_seconds=TIMEOUT)),
    "fetch": ("GET", r".*/probabilities", lambda service, job: service.fetch(job, X, timeout_seconds=TIMEOUT)),
    "find": ("GET", "/jobs", lambda service, job: service.find("warm", timeout_seconds=TIMEOUT)),
    "cancel": ("GET", r"/jobs/[\w-]+", lambda service, job: service.cancel(job, timeout_seconds=TIMEOUT)),
    "targets": ("GET", "/backends", lambda service, job: service.targets(timeout_seconds=TIMEOUT)),
}


@pytest.mark.parametrize(
    "kind", [FaultKind.SILENT, FaultKind.DRIBBLE, FaultKind.TRUNCATED, FaultKind.GARBLED, FaultKind.RESET]
)
@pytest.mark.parametrize("verb", READS)
def test_reading_ends_in_time_and_may_be_tried_again(service, emulator, verb, kind):
    method, path, ask = READS[verb]
    job = service.find("warm", timeout_seconds=5)[0]
    before = len(emulator.requests)
    emulator.inject(Fault(kind, method, path))
    started = time.monotonic()
    with pytest.raises(BackendFailedError) as failed:
        ask(service, job)
    assert time.monotonic() - started < TIMEOUT + SLACK
    assert failed.value.retryable
    assert not isinstance(failed.value, SubmissionRefusedError | SubmissionUnknownError)
    asked = emulator.requests[before:]
    assert len(asked) == len(set(asked))  # nothing was asked twice
    ask(service, job)


@pytest.mark.parametrize(("status", "retryable"), [(429, True), (500, True), (503, True), (409, False), (401, False)])
def test_statuses_of_reading(service, emulator, status, retryable):
    job = service.find("warm", timeout_seconds=5)[0]
    emulator.inject(Fault(FaultKind.STATUS, "GET", r"/jobs/[\w-]+", status=status, retry_after=3))
    with pytest.raises(BackendFailedError, match=str(status)) as failed:
        service.state(job, timeout_seconds=TIMEOUT)
    assert (failed.value.retryable, failed.value.retry_after_seconds) == (retryable, 3.0)
    assert emulator.faults_left() == 0


def test_a_job_that_fails_says_why(service, emulator):
    emulator.inject(Fault(FaultKind.JOB_FAILS))
    job = service.send(X, tag="fails", timeout_seconds=5)
    with pytest.raises(BackendFailedError, match="injected failure") as failed:
        service.fetch(job, X, timeout_seconds=5)
    assert not failed.value.retryable


def test_other_requests_than_were_sent_are_noticed(service):
    job = service.send(X * 2, tag="two", timeout_seconds=5)
    for other in (X, X * 3):
        with pytest.raises((BackendFailedError, NotFoundError)):
            service.fetch(job, other, timeout_seconds=5)


@pytest.mark.parametrize("sdk", SDKS)
def test_a_host_that_is_not_there_certainly_takes_nothing(sdk):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        service = ionq_service("ionq_simulator", sdk=sdk, url=f"http://127.0.0.1:{taken.getsockname()[1]}", api_key=KEY)
        with pytest.raises(SubmissionRefusedError) as refused:
            sending(service)
        assert refused.value.retryable
        with pytest.raises(BackendFailedError) as failed:
            service.state("1", timeout_seconds=TIMEOUT)
        assert failed.value.retryable


@pytest.mark.parametrize("kind", [FaultKind.SILENT, FaultKind.DRIBBLE])
def test_threads_that_were_left_behind_end(service, emulator, kind):
    before = threading.active_count()
    for _ in range(3):
        emulator.inject(Fault(kind))
        with pytest.raises(SubmissionUnknownError):
            service.send(X, tag="left", timeout_seconds=0.4)
    for _ in range(100):
        if threading.active_count() <= before:
            return
        time.sleep(0.05)
    pytest.fail(f"{threading.active_count() - before} threads are left")


def test_who_connects_too_late_sends_nothing_more(service, emulator, monkeypatch):
    real, connected = _Connection._new_conn, threading.Event()

    def slowly(self):
        time.sleep(0.5)
        made = real(self)
        connected.set()
        return made

    monkeypatch.setattr(_Connection, "_new_conn", slowly)
    with pytest.raises(SubmissionRefusedError, match="no answer in time"):  # certainly not taken
        service.send(X, tag="late", timeout_seconds=0.2)
    assert connected.wait(5)
    time.sleep(0.2)
    assert emulator.counters().posts == 1  # the one of the first job


def test_many_threads_share_a_service(service):
    results = [None] * 12

    def work(place):
        circuit = Circuit(4, [Operation("X", (qubit,)) for qubit in range(4) if place >> (3 - qubit) & 1])
        request = [ExecutionRequest(circuit)] * (1 + place % 3)  # single jobs and batches side by side
        job = service.send(request, tag=f"thread-{place}", timeout_seconds=60)
        results[place] = [one.probabilities[0].argmax() for one in service.fetch(job, request, timeout_seconds=60)]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[place] * (1 + place % 3) for place in range(12)]


class TestTheKey:
    def test_no_error_shows_it(self, service, emulator, monkeypatch):
        shown = [repr(service), service.identity, str(service.capabilities)]
        for fault in (
            Fault(FaultKind.STATUS, status=400),
            Fault(FaultKind.STATUS, status=401),
            Fault(FaultKind.GARBLED),
            Fault(FaultKind.RESET),
            Fault(FaultKind.SILENT),
        ):
            emulator.inject(fault)
            try:
                service.send(X, tag="secret", timeout_seconds=TIMEOUT)
            except BackendFailedError as error:
                shown.append("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
                shown += [
                    repr(error),
                    repr(error.args),
                    str(error.__dict__),
                    repr(error.__cause__),
                    repr(error.__context__),
                ]
        assert len(shown) == 3 + 5 * 6
        assert not [text for text in shown if KEY in text]
        assert not [entry for entry in emulator.requests if KEY in str(entry)]

    def test_a_provider_that_repeats_it_is_not_quoted(self, service, emulator, monkeypatch):
        monkeypatch.setattr(
            "qstore_db.emulators.ionq.answering._error", lambda status, _: {"message": f"the key {KEY} is wrong"}
        )
        emulator.inject(Fault(FaultKind.STATUS, status=401))
        with pytest.raises(SubmissionRefusedError, match=r"\[API key\] is wrong") as refused:
            service.send(X, tag="secret", timeout_seconds=TIMEOUT)
        assert KEY not in str(refused.value)

    def test_it_comes_from_the_environment(self, emulator, monkeypatch):
        pytest.importorskip("cirq_ionq")
        monkeypatch.setenv("IONQ_API_KEY", KEY)
        monkeypatch.setenv("IONQ_API_URL", emulator.url)
        service = ionq_service("ionq_simulator")
        job = service.send(X, tag="environment", timeout_seconds=60)
        assert service.find("environment", timeout_seconds=5) == (job,)
        monkeypatch.delenv("IONQ_API_KEY")
        with pytest.raises(InvalidArgumentError, match="no API key"):
            ionq_service("ionq_simulator")

    def test_it_is_not_pickled_or_printed(self):
        key = ApiKey(KEY)
        assert KEY not in repr(key) + str(key)
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(key)
        with pytest.raises(InvalidArgumentError) as wrong:
            ApiKey(f"{KEY} ")
        assert KEY not in str(wrong.value)

    def test_it_goes_to_no_other_host(self, emulator):
        call = Transport(emulator.url, ApiKey(KEY)).within(1.0)
        with pytest.raises(BackendFailedError, match="nothing was sent"):
            call.get("https://api.example.com/v0.4/jobs")
        with pytest.raises(BackendFailedError, match="nothing was sent"):
            call.get(f"{emulator.origin}.example.com/v0.4/jobs")
        with pytest.raises(InvalidArgumentError) as wrong:
            Transport(f"https://user:{KEY}@api.example.com", ApiKey(KEY))
        assert KEY not in str(wrong.value)

    def test_a_login_in_netrc_does_not_replace_it(self, emulator, monkeypatch, tmp_path):
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password something\n")
        (tmp_path / ".netrc").chmod(0o600)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("NETRC", raising=False)
        call = Transport(emulator.url, ApiKey(KEY)).within(5.0)
        assert call.get(f"{emulator.url}/jobs").json() == {"jobs": []}


def test_a_proxy_is_not_asked_for_this_machine(service, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert len(service.find("warm", timeout_seconds=5)) == 1


def test_asking_for_a_service_loads_no_sdk():
    program = (
        "import sys\n"
        "import qstore_db.backends.ionq.connect, qstore_db.backends.remote_service, qstore_db.cli.app\n"
        "loaded = {'cirq', 'cirq_ionq', 'qiskit', 'qiskit_ionq'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
