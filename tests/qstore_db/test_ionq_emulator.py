"""The emulator, asked by the two SDKs as their users use them, and by plain HTTP."""

import http.client
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from set_clock import SetClock

from qstore_db.circuits.interop.to_ionq import to_ionq
from qstore_db.circuits.templates.entangled_states import ghz
from qstore_db.emulators.ionq.emulator import IonqEmulator
from qstore_db.emulators.ionq.faults import Fault, FaultKind
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.channels import depolarizing
from qstore_db.simulation.density_matrix import density_matrix, probabilities
from qstore_db.simulation.noise_model import NoiseModel, NoiseRule


def ask(emulator, method, path, body=None, key="emulated"):
    connection = http.client.HTTPConnection("127.0.0.1", int(emulator.origin.rsplit(":", 1)[1]), timeout=20)
    headers = {} if key is None else {"Authorization": f"apiKey {key}"}
    connection.request(method, f"/v0.4{path}", None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text)


def job(circuit=None, *, backend="simulator", shots=100, **fields):
    made = to_ionq(ghz(3) if circuit is None else circuit)
    return {"type": "ionq.circuit.v1", "backend": backend, "shots": shots, "input": made, **fields}


@pytest.fixture
def emulator():
    with IonqEmulator(seed=5) as made:
        yield made


def test_states_follow_the_queue():
    clock = SetClock(1_000_000.0)
    with IonqEmulator(compile_seconds=2, run_seconds=10, clock=clock) as emulator:
        _, first = ask(emulator, "POST", "/jobs", job(backend="qpu.forte-1"))
        _, second = ask(emulator, "POST", "/jobs", job(backend="qpu.forte-1"))
        _, other = ask(emulator, "POST", "/jobs", job(backend="qpu.aria-1"))
        seen = []
        for moment in (1, 3, 11, 13, 21, 23):
            clock.now = 1_000_000.0 + moment
            states = [ask(emulator, "GET", f"/jobs/{one['id']}")[1]["status"] for one in (first, second, other)]
            seen.append((moment, *states))
        assert seen == [
            (1, "submitted", "submitted", "submitted"),
            (3, "started", "ready", "started"),
            (11, "started", "ready", "started"),
            (13, "completed", "started", "completed"),
            (21, "completed", "started", "completed"),
            (23, "completed", "completed", "completed"),
        ]
        assert ask(emulator, "GET", f"/jobs/{first['id']}/results/probabilities")[0] == 200


def test_results_are_not_there_before_the_end():
    with IonqEmulator(run_seconds=1e6) as emulator:
        _, taken = ask(emulator, "POST", "/jobs", job())
        assert ask(emulator, "GET", f"/jobs/{taken['id']}/results/probabilities")[0] == 404


def test_the_list_has_pages_newest_first(emulator):
    taken = [ask(emulator, "POST", "/jobs", job(name=f"n{number}"))[1]["id"] for number in range(7)]
    seen, token = [], ""
    while token is not None:
        _, page = ask(emulator, "GET", f"/jobs?limit=3{token and '&next=' + token}")
        seen.append([one["id"] for one in page["jobs"]])
        token = page.get("next")
    assert [len(page) for page in seen] == [3, 3, 1]
    assert [one for page in seen for one in page] == taken[::-1]
    ask(emulator, "PUT", f"/jobs/{taken[2]}/status/cancel")
    assert [one["id"] for one in ask(emulator, "GET", "/jobs?status=canceled")[1]["jobs"]] == [taken[2]]
    assert ask(emulator, "GET", "/jobs?limit=0")[0] == 400
    assert ask(emulator, "GET", "/jobs?next=nothing")[0] == 400


def test_what_was_cancelled_before_it_ran_is_not_billed():
    clock = SetClock(1_000_000.0)
    with IonqEmulator(run_seconds=10, clock=clock) as emulator:
        jobs = [ask(emulator, "POST", "/jobs", job(backend="qpu.forte-1"))[1]["id"] for _ in range(3)]
        emulator.inject(Fault(FaultKind.JOB_FAILS))
        ask(emulator, "POST", "/jobs", job(backend="qpu.forte-1"))
        clock.now += 12  # the second is running
        assert ask(emulator, "PUT", f"/jobs/{jobs[2]}/status/cancel")[1]["status"] == "canceled"
        clock.now += 100
        ask(emulator, "PUT", f"/jobs/{jobs[0]}/status/cancel")  # completed long ago
        assert ask(emulator, "GET", f"/jobs/{jobs[0]}")[1]["status"] == "canceled"
        counters = emulator.counters()
        assert (counters.posts, counters.taken, counters.billed) == (4, 4, 2)
        assert ask(emulator, "GET", f"/jobs/{jobs[1]}/cost")[1]["cost"]["value"] == float(counters.dollars) / 2
        assert ask(emulator, "GET", f"/jobs/{jobs[2]}/cost")[1]["cost"]["value"] == 0
        assert ask(emulator, "DELETE", f"/jobs/{jobs[1]}")[1]["status"] == "deleted"
        assert ask(emulator, "GET", f"/jobs/{jobs[1]}")[0] == 404
        assert emulator.counters().billed == 2


def test_an_estimate_is_the_price_of_the_job(emulator):
    query = "backend=qpu.forte-1&1q_gates=1&2q_gates=2&shots=200&qubits=3"
    _, quoted = ask(emulator, "GET", f"/jobs/estimate?{query}")
    ask(emulator, "POST", "/jobs", job(backend="qpu.forte-1", shots=200))  # a GHZ state: one H and two CX
    assert quoted["estimated_cost"] == pytest.approx(float(emulator.counters().dollars))
    assert ask(emulator, "GET", "/jobs/estimate?backend=simulator")[1]["estimated_cost"] == 0
    assert ask(emulator, "GET", "/jobs/estimate?backend=nothing")[0] == 400
    assert ask(emulator, "GET", "/jobs/estimate?backend=simulator&shots=-1")[0] == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"backend": "qpu.nothing"},
        {"type": "ionq.qasm3.v1"},
        {"shots": 0},
        {"shots": "many"},
        {"shots": 10_001, "backend": "qpu.forte-1"},
        {"input": None},
        {"input": {"qubits": 3, "circuit": [{"gate": "h", "target": 3}]}},
        {"input": {"qubits": 25, "circuit": []}},
        {"noise": {"model": "perfect"}},
        {"type": "ionq.multi-circuit.v1"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_not_taken(emulator, wrong):
    status, answer = ask(emulator, "POST", "/jobs", {**job(), **wrong})
    assert (status, answer["statusCode"]) == (400, 400)
    counters = emulator.counters()
    assert (counters.posts, counters.taken) == (1, 0)


def test_a_key_is_asked_for_where_the_provider_asks(emulator):
    assert ask(emulator, "GET", "/jobs", key="other")[0] == 401
    assert ask(emulator, "POST", "/jobs", job(), key=None)[0] == 401
    assert ask(emulator, "GET", "/backends/qpu.aria-1", key=None)[1]["qubits"] == 25
    assert ask(emulator, "GET", "/nothing")[0] == 404
    assert emulator.counters().taken == 0


def test_equal_seeds_give_equal_shots_and_other_seeds_others():
    def shots(seed, noise=None):
        with IonqEmulator(seed=seed) as emulator:
            asked = job(shots=50, noise={"model": "aria-1", **(noise or {})})
            return [
                ask(emulator, "GET", f"/jobs/{ask(emulator, 'POST', '/jobs', asked)[1]['id']}/results/shots")[1]
                for _ in range(2)
            ]

    first = shots(1)
    assert first == shots(1)
    assert first != shots(2)
    assert first[0] != first[1]  # two jobs
    same = shots(1, {"seed": 7})
    assert same[0] == same[1]  # the seed of the job's noise


def test_noise_is_that_of_the_model():
    strong = NoiseModel([NoiseRule(depolarizing(0.3), arity=1), NoiseRule(depolarizing(0.4, 2), arity=2)])
    with IonqEmulator(noise={"aria-1": strong}) as emulator:
        _, taken = ask(emulator, "POST", "/jobs", job(shots=10_000, noise={"model": "aria-1"}))
        _, found = ask(emulator, "GET", f"/jobs/{taken['id']}/results/probabilities")
    (expected,) = probabilities(density_matrix(ghz(3), strong), strong)
    # Little-endian decimals; each share has a standard error of at most 0.005.
    drawn = np.array([found[str(int(format(outcome, "03b")[::-1], 2))] for outcome in range(8)])
    assert np.abs(drawn - expected).max() < 0.02
    assert expected[0b010] > 0.03  # without noise it is 0


def test_unknown_noise_and_negative_times_are_refused():
    with pytest.raises(InvalidArgumentError, match="perfect"):
        IonqEmulator(noise={"perfect": None})
    with pytest.raises(InvalidArgumentError, match="-1"):
        IonqEmulator(run_seconds=-1)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_it_listens_on_the_loopback_interface_only(emulator):
    port = int(emulator.origin.rsplit(":", 1)[1])
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, hexadecimal = local.split(":")
            if state == "0A" and int(hexadecimal, 16) == port:
                listening.add(address)
    assert listening == {"0100007F"}


def test_it_survives_a_program_that_is_killed(emulator):
    emulator.inject(Fault(FaultKind.LATE_ANSWER))
    program = (
        "import cirq, cirq_ionq, sys\n"
        "service = cirq_ionq.Service(remote_host=sys.argv[1], api_key='emulated', default_target='simulator')\n"
        "qubit = cirq.LineQubit(0)\n"
        "service.create_job(cirq.Circuit(cirq.X(qubit), cirq.measure(qubit, key='m')), 10, name='lost')\n"
    )
    pytest.importorskip("cirq_ionq")
    running = subprocess.Popen([sys.executable, "-c", program, emulator.origin])
    arrived = threading.Event()
    while not arrived.wait(0.05):
        if emulator.counters().taken:
            arrived.set()
        assert running.poll() is None
    running.kill()
    running.wait()
    (lost,) = ask(emulator, "GET", "/jobs")[1]["jobs"]
    assert lost["name"] == "lost"
    assert ask(emulator, "GET", f"/jobs/{lost['id']}/results/probabilities") == (200, {"1": 1.0})


def test_closing_ends_what_is_still_being_answered():
    emulator = IonqEmulator()
    emulator.inject(Fault(FaultKind.SILENT, method="GET"))
    port = int(emulator.origin.rsplit(":", 1)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/v0.4/jobs", headers={"Authorization": "apiKey emulated"})
    emulator.close()
    emulator.close()
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.getresponse()
    connection.close()


class TestCirq:
    @pytest.fixture
    def cirq(self):
        pytest.importorskip("cirq_ionq")
        return pytest.importorskip("cirq")

    @pytest.fixture
    def service(self, cirq, emulator):
        import cirq_ionq

        return cirq_ionq.Service(
            remote_host=emulator.origin, api_key=emulator.api_key, default_target="simulator", max_retry_seconds=1
        )

    def test_jobs_batches_lists_and_cancellation(self, cirq, service, emulator):
        q = cirq.LineQubit.range(3)
        lopsided = cirq.Circuit(cirq.X(q[0]), cirq.Z(q[1]), cirq.ry(1.0)(q[2]), cirq.measure(*q, key="m"))
        found = service.create_job(lopsided, 10).results(polling_seconds=0.01).probabilities("m")
        assert found == {0b100: pytest.approx(np.cos(0.5) ** 2), 0b101: pytest.approx(np.sin(0.5) ** 2)}
        plain = cirq.Circuit(cirq.X(q[1]), cirq.measure(*q, key="m"))
        several = service.create_batch_job([lopsided, plain], 10).results(polling_seconds=0.01)
        assert several[1].probabilities("m") == {0b010: 1.0}
        assert len(service.list_jobs(limit=5)) == 2
        cancelled = service.create_job(plain, 10)
        cancelled.cancel()
        assert cancelled.status() == "canceled"
        assert service.get_current_calibration().num_qubits() == 36
        cancelled.delete()
        assert emulator.counters().taken == 3

    def test_native_gates(self, cirq, service):
        import cirq_ionq

        q = cirq.LineQubit.range(2)
        body = cirq.Circuit(cirq.ry(1.0)(q[0]), cirq.CNOT(q[0], q[1]), cirq.measure(*q, key="m"))
        for gateset in (cirq_ionq.AriaNativeGateset(), cirq_ionq.ForteNativeGateset()):
            compiled = cirq.optimize_for_target_gateset(body, gateset=gateset)
            clean = cirq.Circuit(
                step for step in compiled.all_operations() if not isinstance(step.gate, cirq.GlobalPhaseGate)
            )
            found = service.create_job(clean, 10).results(polling_seconds=0.01).probabilities("m")
            assert found[0b11] == pytest.approx(np.sin(0.5) ** 2)


@pytest.mark.filterwarnings("ignore::UserWarning")  # qiskit-ionq warns of a default that is not used
class TestQiskit:
    @pytest.fixture
    def provider(self, emulator, monkeypatch):
        pytest.importorskip("qiskit_ionq")
        from qiskit_ionq import IonQProvider

        monkeypatch.setenv("IONQ_API_URL", emulator.url)
        return IonQProvider(emulator.api_key, url=emulator.url)

    def lopsided(self):
        from qiskit import QuantumCircuit

        circuit = QuantumCircuit(3, 3)
        circuit.x(0)
        circuit.ry(1.0, 2)
        circuit.cp(0.3, 0, 1)
        circuit.csx(0, 2)
        circuit.ccx(0, 1, 2)
        circuit.measure(range(3), range(3))
        return circuit

    def expected(self, circuit):
        from qiskit.quantum_info import Statevector

        bare = circuit.remove_final_measurements(inplace=False)
        return {key: value for key, value in Statevector(bare).probabilities_dict().items() if value > 1e-12}

    def test_jobs_several_circuits_and_memory(self, provider, emulator):
        backend = provider.get_backend("simulator")
        assert backend.num_qubits == 29
        circuit = self.lopsided()
        job = backend.run(circuit, shots=4000)
        job.result(wait=0.01)
        assert job.get_probabilities() == pytest.approx(self.expected(circuit))
        several = backend.run([circuit, circuit], shots=100).result(wait=0.01)
        assert sum(several.get_counts(1).values()) == 100
        device = provider.get_backend("qpu.forte-1")
        ran = device.run(circuit, shots=60, memory=True).result(wait=0.01)
        assert len(ran.get_memory()) == 60
        assert device.status() and device.calibration().qubits == 36
        estimate = backend.client.estimate_job(backend="qpu.forte-1", oneq_gates=3, twoq_gates=3, qubits=3, shots=60)
        assert estimate.cost > 12
        cancelled = backend.run(circuit)
        cancelled.cancel()
        with pytest.warns(UserWarning, match="cancelled"):
            assert cancelled.status().name == "CANCELLED"

    @pytest.mark.parametrize("target", ["qpu.aria-1", "qpu.forte-1"])
    def test_native_gates(self, provider, emulator, target):
        from qiskit import transpile

        backend = provider.get_backend(target, gateset="native")
        circuit = self.lopsided()
        compiled = transpile(circuit, backend, optimization_level=1)
        ran = backend.run(compiled, shots=10_000).result(wait=0.01).get_counts()
        for bits, share in self.expected(circuit).items():
            assert ran[bits] / 10_000 == pytest.approx(share, abs=0.25)  # noise of the device is in it
