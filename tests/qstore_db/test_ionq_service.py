"""IonQ through both real SDKs against the emulator."""

import json
import time
import urllib.request
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ionq_emulation import SDKS, connected
from scipy.stats import chisquare

from qstore_db.backends.backend import JobState
from qstore_db.backends.batched import BatchedSimulator
from qstore_db.backends.ionq.connect import ionq_service
from qstore_db.backends.ionq.histograms import counts_from, histograms_of, probabilities_of, shares_of
from qstore_db.backends.ionq.pricing import PUBLISHED, Rates
from qstore_db.backends.ionq.service import CIRCUITS_PER_JOB
from qstore_db.backends.ionq.targets import TARGETS
from qstore_db.backends.local import StateVectorEngine
from qstore_db.backends.named import BACKENDS
from qstore_db.backends.remote_service import RemoteService
from qstore_db.backends.request import ExecutionRequest, Reading
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.emulators.ionq.emulator import IonqEmulator
from qstore_db.errors import (
    BackendFailedError,
    InvalidArgumentError,
    NotFoundError,
    SubmissionUnknownError,
    UnsupportedRequestError,
)
from qstore_db.loopback_server import Answer, LoopbackServer
from qstore_db.simulation.unitary import unitary

exact = BatchedSimulator(StateVectorEngine())
TIME = 60.0  # seconds; a busy machine may compile kernels in between
GATESETS = ("qis", "native")


@pytest.fixture(scope="module")
def emulator():
    # Devices without noise, so that their shots can be compared with exact probabilities.
    with IonqEmulator(seed=11, noise=dict.fromkeys(("aria-1", "forte-1"))) as made:
        yield made


@pytest.fixture(scope="module")
def services(emulator):
    """One of each kind, made when it is first asked for."""
    made = {}

    def service(sdk, name="ionq_simulator", **options):
        key = (sdk, name, tuple(sorted(options.items())))
        if key not in made:
            made[key] = connected(emulator, sdk, name, **options)
        return made[key]

    return service


def answers(service, requests, tag="t"):
    """Sent, found done, fetched."""
    job = service.send(requests, tag=tag, timeout_seconds=TIME)
    assert service.state(job, timeout_seconds=TIME) is JobState.DONE
    return service.fetch(job, requests, timeout_seconds=TIME)


def lopsided(name):
    """A gate between layers that give every qubit and every pair a state of its own."""
    gate = GATES[name]
    before = [Operation("RY", (q,), (0.4 + q,)) for q in range(3)] + [
        Operation("RX", (q,), (1.1 - q,)) for q in range(3)
    ]
    after = [Operation("RX", (q,), (0.7 * q + 0.2,)) for q in range(3)] + [
        Operation("RY", (q,), (0.5,)) for q in range(3)
    ]
    middle = Operation(name, (2, 0, 1)[: gate.qubits], (0.3, -1.1, 2.2)[: gate.angles])
    return Circuit(3, [*before, Operation("CX", (0, 1)), middle, *after])


@pytest.mark.parametrize("gateset", GATESETS)
@pytest.mark.parametrize("sdk", SDKS)
def test_every_gate_in_one_job(services, sdk, gateset):
    requests = [ExecutionRequest(lopsided(name)) for name in GATES]
    found = answers(services(sdk, gateset=gateset), requests)
    for name, mine, theirs in zip(GATES, exact.run(requests), found, strict=True):
        np.testing.assert_allclose(theirs.probabilities, mine.probabilities, atol=1e-9, err_msg=name)
        assert np.ptp(mine.probabilities) > 0.05  # the qubits can be told apart


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("qubit", range(3))
def test_qubit_0_is_the_left_most_bit(services, sdk, qubit):
    request = ExecutionRequest(Circuit(3, [Operation("X", (qubit,))]), shots=10, seed=1)
    (found,) = answers(services(sdk), [request])
    assert found.counts[0].by_bitstring() == {"".join("1" if q == qubit else "0" for q in range(3)): 10}


@settings(derandomize=True, deadline=None, max_examples=8)
@given(seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=6), data=st.data())
@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("gateset", GATESETS)
def test_random_circuits(services, random_circuit, tally, sdk, gateset, seeds, data):
    tally[f"random circuits through IonQ's SDK for {sdk.title()}, by their probabilities"] += len(seeds)
    requests = [ExecutionRequest(random_circuit(seed, data.draw(st.integers(1, 4)), 8)) for seed in seeds]
    found = answers(services(sdk, gateset=gateset), requests)
    for mine, theirs in zip(exact.run(requests), found, strict=True):
        np.testing.assert_allclose(theirs.probabilities, mine.probabilities, atol=1e-9)


@pytest.mark.parametrize("sdk", SDKS)
def test_samples_come_in_the_order_of_the_data(services, sdk):
    circuit = Circuit(2, [Operation("RY", (0,), (Data(0) + Weight(0),)), Operation("CRX", (0, 1), (Data(1) * 2.0,))])
    requests = [
        ExecutionRequest(circuit, weights=[0.3], data=np.arange(10.0).reshape(5, 2)),
        ExecutionRequest(circuit, weights=[-0.3], data=[[1.0, 2.0]]),
        ExecutionRequest(Circuit(1, [])),
        ExecutionRequest(circuit, weights=[0.1], data=np.ones((3, 2)), shots=100, seed=4),
    ]
    found = answers(services(sdk), requests)
    mine = exact.run(requests)
    for place in range(3):
        np.testing.assert_allclose(found[place].probabilities, mine[place].probabilities, atol=1e-12)
    assert [one.shots for one in found[3].counts] == [100] * 3
    assert [one.by_bitstring() for one in found[3].counts] == [one.by_bitstring() for one in mine[3].counts]


@pytest.mark.parametrize("sdk", SDKS)
def test_shots_of_a_device_follow_the_probabilities(services, sdk):
    circuits = [lopsided("CX"), lopsided("CRY"), Circuit(2, [Operation("H", (0,)), Operation("RY", (1,), (1.0,))])]
    requests = [ExecutionRequest(circuit, shots=4_000) for circuit in circuits]
    for target in ("qpu.aria-1", "qpu.forte-1"):
        found = answers(services(sdk, "ionq_qpu", target=target), requests)
        for request, one in zip(requests, found, strict=True):
            (chances,) = exact.run([ExecutionRequest(request.circuit)])[0].probabilities
            assert one.counts[0].shots == 4_000
            assert chisquare(one.counts[0].dense(), 4_000 * chances).pvalue > 1e-4
            wrong = chances.reshape((2,) * request.circuit.n_qubits).T.reshape(-1)  # qubits the other way round
            assert chisquare(one.counts[0].dense(), 4_000 * wrong).pvalue < 1e-6


@pytest.mark.parametrize("sdk", SDKS)
def test_noise_models_give_counts(services, sdk):
    service = services(sdk, noise_model="forte-1")
    assert service.capabilities.readings == {Reading.COUNTS}
    assert service.capabilities.max_qubits == 29  # fewer than the device that is modelled has
    request = ExecutionRequest(lopsided("CX"), shots=2_000)
    (found,) = answers(service, [request])
    (chances,) = exact.run([ExecutionRequest(request.circuit)])[0].probabilities
    assert chisquare(found.counts[0].dense(), 2_000 * chances).pvalue > 1e-4


@pytest.mark.parametrize("sdk", SDKS)
def test_shots_of_the_ideal_simulator_are_those_of_their_seed(services, sdk):
    service = services(sdk)
    circuit = lopsided("CZ")
    seeded = ExecutionRequest(circuit, shots=1_000, seed=3)
    free = ExecutionRequest(circuit, shots=1_000)
    job = service.send([seeded, free, free], tag="seeds", timeout_seconds=TIME)
    found = service.fetch(job, [seeded, free, free], timeout_seconds=TIME)
    again = service.fetch(job, [seeded, free, free], timeout_seconds=TIME)
    assert [one.counts[0].by_bitstring() for one in found] == [one.counts[0].by_bitstring() for one in again]
    assert found[0].counts[0].by_bitstring() == exact.run([seeded])[0].counts[0].by_bitstring()
    assert found[1].counts[0].by_bitstring() != found[2].counts[0].by_bitstring()
    (other,) = answers(service, [free])
    assert other.counts[0].by_bitstring() != found[1].counts[0].by_bitstring()


@pytest.mark.parametrize("sdk", SDKS)
def test_one_job_is_one_request_to_send_it(services, emulator, sdk):
    before = len(emulator.requests)
    service = services(sdk)
    requests = [ExecutionRequest(lopsided(name)) for name in ("H", "CX")]
    job = service.send(requests, tag="one", timeout_seconds=TIME)
    assert [method for method, _ in emulator.requests[before:]] == ["POST"]
    service.fetch(job, requests, timeout_seconds=TIME)
    assert [method for method, _ in emulator.requests[before:]] == ["POST", "GET", "GET"]


@pytest.mark.parametrize("sdk", SDKS)
def test_what_a_job_says_of_itself(services, emulator, sdk):
    def shown(service, **request):
        job = service.send([ExecutionRequest(lopsided("H"), **request)], tag="shown", timeout_seconds=TIME)
        asked = urllib.request.Request(f"{emulator.url}/jobs/{job}", headers={"Authorization": "apiKey emulated"})
        with urllib.request.urlopen(asked) as answer:
            return json.load(answer)

    device = shown(services(sdk, "ionq_qpu", target="qpu.aria-2"), shots=123)
    assert (device["name"], device["metadata"]["qstore_tag"]) == ("shown", "shown")
    assert (device["backend"], device["shots"]) == ("qpu.aria-2", 123)
    assert device["settings"] == {"error_mitigation": {"debiasing": False}}
    simulated = shown(services(sdk, noise_model="aria-2"), shots=45)
    assert (simulated["backend"], simulated["noise"], simulated["shots"]) == ("simulator", {"model": "aria-2"}, 45)
    assert simulated["settings"] == {}
    assert shown(services(sdk))["noise"] == {"model": "ideal"}


@pytest.mark.parametrize("sdk", SDKS)
def test_jobs_are_found_by_their_tag_on_every_page(services, sdk):
    with IonqEmulator(clock=lambda: 5.0) as emulator:  # all at the same moment: the order is that of the list
        service = connected(emulator, sdk)
        request = [ExecutionRequest(Circuit(1, [Operation("X", (0,))]))]
        first = service.send(request, tag="wanted", timeout_seconds=TIME)
        for number in range(60):
            service.send(request, tag=f"other-{number}", timeout_seconds=TIME)
        last = service.send(request, tag="wanted", timeout_seconds=TIME)
        assert service.find("wanted", timeout_seconds=TIME) == (first, last)
        assert service.find("wante", timeout_seconds=TIME) == ()
        pages = [path for method, path in emulator.requests if method == "GET" and path.startswith("/v0.4/jobs")]
        assert len(pages) == 6  # 62 jobs are three pages, asked twice


@pytest.mark.parametrize("sdk", SDKS)
def test_cancelling(sdk):
    moment = [0.0]
    with IonqEmulator(compile_seconds=1, run_seconds=5, clock=lambda: moment[0]) as emulator:
        service = connected(emulator, sdk)
        request = [ExecutionRequest(Circuit(1, [Operation("X", (0,))]))]
        jobs = [service.send(request, tag=f"c{number}", timeout_seconds=TIME) for number in range(3)]
        assert service.state(jobs[0], timeout_seconds=TIME) is JobState.WAITING
        moment[0] = 2.0
        states = [service.state(job, timeout_seconds=TIME) for job in jobs]
        assert states == [JobState.RUNNING, JobState.WAITING, JobState.WAITING]
        assert service.cancel(jobs[2], timeout_seconds=TIME)
        assert service.state(jobs[2], timeout_seconds=TIME) is JobState.CANCELLED
        with pytest.raises(BackendFailedError, match="cancelled"):
            service.fetch(jobs[2], request, timeout_seconds=TIME)
        with pytest.raises(BackendFailedError, match="running") as waiting:
            service.fetch(jobs[0], request, timeout_seconds=TIME)
        assert waiting.value.retryable
        # What runs has to be paid for, and goes on.
        assert not service.cancel(jobs[0], timeout_seconds=TIME)
        assert service.state(jobs[0], timeout_seconds=TIME) is JobState.RUNNING
        moment[0] = 100.0
        # The provider would cancel a completed job, and its results would be lost.
        assert not service.cancel(jobs[0], timeout_seconds=TIME)
        assert service.fetch(jobs[0], request, timeout_seconds=TIME)[0].probabilities.tolist() == [[0.0, 1.0]]
        assert not service.cancel("1234", timeout_seconds=TIME)
        with pytest.raises(NotFoundError):
            service.state("1234", timeout_seconds=TIME)
        with pytest.raises(NotFoundError, match="no id"):
            service.state("../backends", timeout_seconds=TIME)


@pytest.mark.parametrize("sdk", SDKS)
def test_a_job_that_begins_while_it_is_cancelled_is_not_said_to_be_free(sdk, monkeypatch):
    moment = [0.0]
    with IonqEmulator(compile_seconds=1, run_seconds=5, clock=lambda: moment[0]) as emulator:
        service = connected(emulator, sdk, "ionq_qpu")
        request = [ExecutionRequest(Circuit(1, [Operation("X", (0,))]), shots=10)]
        job = service.send(request, tag="race", timeout_seconds=TIME)
        real = type(service._sdk).cancel

        def late(self, job_id, call):
            moment[0] = 3.0
            return real(self, job_id, call)

        monkeypatch.setattr(type(service._sdk), "cancel", late)
        assert not service.cancel(job, timeout_seconds=TIME)
        assert service.state(job, timeout_seconds=TIME) is JobState.CANCELLED
        assert emulator.counters().billed == 1


def up_to_turns_about_z(one, other):
    """How far one is from the other, up to phases of the outcomes."""
    between = one @ other.conj().T
    return np.abs(between - np.diag(np.diag(between))).max()


@settings(derandomize=True, deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 3))
@pytest.mark.parametrize("target", ["qpu.aria-1", "qpu.forte-1"])
@pytest.mark.parametrize("sdk", SDKS)
def test_native_circuits_are_the_circuits(services, random_circuit, tally, sdk, target, seed, n):
    tally[f"random circuits compiled to native gates by IonQ's SDK for {sdk.title()}, by their unitaries"] += 1
    circuit = random_circuit(seed, n, 6)
    service = services(sdk, "ionq_qpu", target=target, gateset="native")
    (compiled,) = service.compiled(ExecutionRequest(circuit, shots=10))
    entangler = "MS" if target == "qpu.aria-1" else "RZZ"
    assert {operation.gate for operation in compiled.circuit.operations} <= {"GPI", "GPI2", entangler}
    assert up_to_turns_about_z(unitary(compiled.circuit), unitary(circuit)) < 1e-6
    assert compiled.before.gates == 6
    assert compiled.after.gates == len(compiled.circuit.operations)
    assert compiled.after.depth == compiled.circuit.depth


@pytest.mark.parametrize("sdk", SDKS)
def test_what_is_native_already_is_sent_as_it_is(services, sdk):
    written = Circuit(2, [Operation("GPI2", (0,), (0.3,)), Operation("MS", (1, 0), (0.1, 0.4, 1.2))] * 3)
    service = services(sdk, "ionq_qpu", target="qpu.aria-1", gateset="native")
    (compiled,) = service.compiled(ExecutionRequest(written, shots=10))
    assert [operation.gate for operation in compiled.circuit.operations] == ["GPI2", "MS"] * 3
    np.testing.assert_allclose(unitary(compiled.circuit), unitary(written), atol=1e-12)
    (other,) = services(sdk, "ionq_qpu", target="qpu.forte-1", gateset="native").compiled(
        ExecutionRequest(written, shots=10)
    )
    assert "RZZ" in other.after.by_name  # that device has no MS


@pytest.mark.parametrize("sdk", SDKS)
def test_a_circuit_is_compiled_once(emulator, sdk, monkeypatch):
    device = connected(emulator, sdk, "ionq_qpu", target="qpu.aria-1", gateset="native")
    compiled = []
    real = type(device._sdk).compile
    monkeypatch.setattr(type(device._sdk), "compile", lambda self, one: compiled.append(one) or real(self, one))
    requests = [ExecutionRequest(lopsided("CX"), shots=50), ExecutionRequest(lopsided("CZ"), shots=50)]
    device.price(requests)
    answers(device, requests)
    assert len(compiled) == 2


@pytest.mark.parametrize(("target", "entangler"), [("qpu.aria-1", "MS"), ("qpu.forte-1", "RZZ")])
@pytest.mark.parametrize("sdk", SDKS)
def test_folded_gates_are_sent(services, sdk, target, entangler):
    folded = ExecutionRequest(Circuit(2, [Operation("CX", (0, 1))] * 3), shots=10)
    (sent,) = services(sdk, "ionq_qpu", target=target).compiled(folded)
    assert sent.after.by_name == {"CX": 3}
    (native,) = services(sdk, "ionq_qpu", target=target, gateset="native").compiled(folded)
    assert native.after.by_name[entangler] == 3


@pytest.mark.parametrize("sdk", SDKS)
def test_what_cannot_be_sent_is_not_sent(services, emulator, sdk):
    device = services(sdk, "ionq_qpu", target="qpu.aria-1")
    one = Circuit(1, [Operation("H", (0,))])
    before = emulator.counters().posts
    for requests in (
        [ExecutionRequest(one)],  # probabilities
        [ExecutionRequest(one, shots=10_001)],
        [ExecutionRequest(one, shots=10, seed=1)],
        [ExecutionRequest(one, shots=10), ExecutionRequest(one, shots=11)],
        [ExecutionRequest(one, shots=10)] * (CIRCUITS_PER_JOB + 1),
        [ExecutionRequest(one, shots=10, amplitudes=[[0.0, 1.0]])],
    ):
        with pytest.raises(UnsupportedRequestError):
            device.send(requests, tag="no", timeout_seconds=TIME)
    good = [ExecutionRequest(one, shots=10)]
    for tag in ("", "a b", "x" * 41, "a/b"):
        with pytest.raises(InvalidArgumentError, match="tag"):
            device.send(good, tag=tag, timeout_seconds=TIME)
        with pytest.raises(InvalidArgumentError, match="tag"):
            device.find(tag, timeout_seconds=TIME)
    with pytest.raises(InvalidArgumentError, match="timeout"):
        device.send(good, tag="no", timeout_seconds=0)
    with pytest.raises(InvalidArgumentError, match="without requests"):
        device.send([], tag="no", timeout_seconds=TIME)
    assert emulator.counters().posts == before


@pytest.mark.parametrize("sdk", SDKS)
def test_it_is_a_remote_service(services, emulator, sdk):
    service = services(sdk, "ionq_qpu", target="qpu.aria-1", gateset="native")
    assert isinstance(service, RemoteService)
    assert (service.name, service.target, service.sdk) == ("ionq_qpu", "qpu.aria-1", sdk)
    assert service.capabilities.max_qubits == 25
    assert service.targets(timeout_seconds=TIME) == tuple(TARGETS)
    others = [
        services(sdk, "ionq_qpu", target="qpu.forte-1", gateset="native"),
        services(sdk, "ionq_qpu", target="qpu.aria-1"),
        services(sdk),
        services(sdk, noise_model="aria-1"),
    ]
    assert len({service.identity, *(other.identity for other in others)}) == 5
    service.close()
    service.close()


@pytest.mark.parametrize("sdk", SDKS)
def test_prices_follow_the_list(services, emulator, sdk):
    circuit = Circuit(3, [Operation("H", (0,)), Operation("CX", (0, 1)), Operation("RZZ", (1, 2), (0.3,))])
    requests = [ExecutionRequest(circuit, shots=1_000)] * 2
    device = services(sdk, "ionq_qpu", target="qpu.forte-1")
    expected = 2 * (Decimal("12.4166") + 1_000 * (Decimal("0.000220") + 2 * Decimal("0.000975")))
    assert device.price(requests).dollars == expected
    assert services(sdk).price(requests).dollars == 0
    own = Rates(Decimal("0.001"), Decimal("0.01"), Decimal(0))
    assert connected(emulator, sdk, "ionq_qpu", rates=own).price(requests).dollars == 2 * (1 + 20)
    assert own != PUBLISHED


@pytest.mark.parametrize("gateset", GATESETS)
@pytest.mark.parametrize("sdk", SDKS)
def test_what_is_estimated_is_what_the_emulator_bills(services, emulator, random_circuit, sdk, gateset):
    device = services(sdk, "ionq_qpu", target="qpu.forte-1", gateset=gateset)
    requests = [ExecutionRequest(random_circuit(seed, 3, 10), shots=200) for seed in range(3)]
    before = emulator.counters()
    estimated = device.price(requests).dollars
    answers(device, requests)
    assert emulator.counters().dollars - before.dollars == estimated


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("ionq", {}, "backend"),
        ("ionq_qpu", {"target": "simulator"}, "target"),
        ("ionq_qpu", {"target": "qpu.harmony"}, "target"),
        ("ionq_simulator", {"target": "qpu.aria-1"}, "target"),
        ("ionq_qpu", {"noise_model": "aria-1"}, "noise"),
        ("ionq_simulator", {"noise_model": "perfect"}, "noise"),
        ("ionq_simulator", {"gateset": "other"}, "gateset"),
        ("ionq_simulator", {"sdk": "braket"}, "SDK"),
        ("ionq_simulator", {"url": "http://example.com/v0.4"}, "unprotected"),
        ("ionq_simulator", {"url": "ftp://127.0.0.1"}, "address"),
        ("ionq_simulator", {"api_key": ""}, "API key"),
        ("ionq_simulator", {"api_key": "a b"}, "API key"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(name, options, named):
    with pytest.raises(InvalidArgumentError, match=named):
        ionq_service(name, **{"api_key": "k", **options})


class TestHistograms:
    def test_counts_sum_to_the_shots_whatever_was_rounded(self):
        counts = counts_from({"0": 0.3333, "1": 0.3333, "2": 0.3333, "3": 0.0001}, 2, 1_000)
        assert counts.shots == 1_000
        assert counts.by_bitstring() == {"00": 334, "01": 333, "10": 333}

    @settings(derandomize=True, deadline=None, max_examples=50)
    @given(st.lists(st.integers(0, 5_000), min_size=4, max_size=4).filter(any))
    def test_shares_of_shots_are_exact(self, numbers):
        shots = sum(numbers)
        histogram = {str(outcome): number / shots for outcome, number in enumerate(numbers)}
        assert counts_from(histogram, 2, shots).dense()[[0, 2, 1, 3]].tolist() == numbers  # 01 and 10 change places

    def test_few_outcomes_of_many_qubits_take_little_room(self):
        counts = counts_from({"1": 0.25, "8388608": 0.75}, 24, 8)
        assert counts.by_bitstring() == {"0" * 23 + "1": 6, "1" + "0" * 23: 2}

    @pytest.mark.parametrize(
        "wrong", [{"4": 1.0}, {"-1": 1.0}, {"x": 1.0}, {"0": 0.5}, {"0": -0.5, "1": 1.5}, {"0": "1"}, {"0": True}, {}]
    )
    def test_what_is_no_histogram(self, wrong):
        with pytest.raises(BackendFailedError):
            probabilities_of(wrong, 2)

    def test_children_decide_the_order(self):
        answer = {"b": {"1": 1.0}, "a": {"0": 1.0}}
        assert histograms_of(answer, ["a", "b"], 2) == [{"0": 1.0}, {"1": 1.0}]
        assert histograms_of(answer, [], 2) == [{"1": 1.0}, {"0": 1.0}]
        for children, circuits in ((["a", "c"], 2), (["a"], 2), ([], 3)):
            with pytest.raises(BackendFailedError):
                histograms_of(answer, children, circuits)


@pytest.mark.parametrize("sdk", SDKS)
def test_the_list_of_backends_says_what_the_services_can(services, sdk):
    for name in ("ionq_simulator", "ionq_qpu"):
        assert services(sdk, name).capabilities == BACKENDS[name].capabilities


@pytest.mark.parametrize("sdk", SDKS)
def test_writing_a_job_takes_nothing_of_the_time_to_send_it(emulator, sdk, monkeypatch):
    device = connected(emulator, sdk, "ionq_qpu", target="qpu.aria-1")
    real = type(device._sdk)._written

    def slowly(self, one):
        time.sleep(1.6)
        return real(self, one)

    monkeypatch.setattr(type(device._sdk), "_written", slowly)
    request = ExecutionRequest(Circuit(1, [Operation("H", (0,))]), shots=10)
    job = device.send([request], tag=f"slow-{sdk}", timeout_seconds=1.5)
    assert device.find(f"slow-{sdk}", timeout_seconds=TIME) == (job,)


@pytest.mark.parametrize("said", [[], 3, {"status": "completed"}, {"id": "another", "status": "completed"}])
@pytest.mark.parametrize("sdk", SDKS)
def test_an_answer_that_is_about_something_else_is_asked_again(sdk, said):
    request = ExecutionRequest(Circuit(1), shots=10)
    with LoopbackServer(lambda _: Answer(200, said)) as server:
        service = ionq_service("ionq_simulator", sdk=sdk, url=server.url, api_key="k-1")
        for ask in (
            lambda: service.state("job-1", timeout_seconds=TIME),
            lambda: service.fetch("job-1", [request], timeout_seconds=TIME),
            lambda: service.cancel("job-1", timeout_seconds=TIME),
        ):
            with pytest.raises(BackendFailedError, match="job-1") as caught:
                ask()
            assert caught.value.retryable


@pytest.mark.parametrize("began", [None, "2026-01-01T00:00:00Z"])
@pytest.mark.parametrize("sdk", SDKS)
def test_a_job_that_was_cancelled_before_it_began_is_known_to_be_free(sdk, began):
    said = {"id": "job-1", "status": "canceled", "started_at": began}
    with LoopbackServer(lambda request: Answer(200, said) if request.method == "GET" else Answer(500)) as server:
        service = ionq_service("ionq_simulator", sdk=sdk, url=server.url, api_key="k-1")
        assert service.cancel("job-1", timeout_seconds=TIME) is (began is None)


@pytest.mark.parametrize("url", ["https://[bad", "https://ionq.example:999999", "https://:443", "ftp://ionq.example"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InvalidArgumentError, match="no address"):
        ionq_service("ionq_simulator", url=url, api_key="k-1")


@pytest.mark.parametrize("url", ["https://me:hunter2@ionq.example", "http://ionq.example/?key=hunter2"])
def test_no_message_about_an_address_shows_a_secret_in_it(url):
    with pytest.raises(InvalidArgumentError) as caught:
        ionq_service("ionq_simulator", url=url, api_key="hunter2")
    with pytest.raises(InvalidArgumentError) as other:
        ionq_service("ionq_simulator", url=url.replace("http:", "gopher:"), api_key="k-1" if "@" in url else "hunter2")
    assert "hunter2" not in f"{caught.value}{caught.value.value}{other.value}{other.value.value}"


def test_an_outcome_of_endless_digits_is_none():
    with pytest.raises(BackendFailedError, match="holds"):
        shares_of({"1" * 5000: 1.0}, 2)


@pytest.mark.parametrize("sdk", SDKS)
def test_an_answer_nested_without_end_may_have_been_a_job_taken(sdk):
    with LoopbackServer(lambda _: Answer(200, b"[" * 200_000)) as server:
        service = ionq_service("ionq_simulator", sdk=sdk, url=server.url, api_key="k-1")
        with pytest.raises(SubmissionUnknownError, match="no JSON"):
            service.send([ExecutionRequest(Circuit(1))], tag="nested", timeout_seconds=TIME)


def test_a_path_that_would_not_be_asked_is_refused():
    for url in ("https://ionq.example", "https://ionq.example/", "https://ionq.example/v0.3/"):
        assert "https://ionq.example/v0.4" in ionq_service("ionq_simulator", url=url, api_key="k-1").identity
    with pytest.raises(InvalidArgumentError, match="/gateway"):
        ionq_service("ionq_simulator", url="https://ionq.example/gateway/v0.4", api_key="k-1")
