"""What every backend owes. A new one joins by one row in ROWS: how to make it, and how to check it by other means."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import cirq
import numpy as np
import pytest

from qstore_db.backends.aer import aer_backend
from qstore_db.backends.backend import Backend, JobState, Price
from qstore_db.backends.handover import auto_backend
from qstore_db.backends.ionq.connect import ionq_service
from qstore_db.backends.job_ledger import MemoryLedger
from qstore_db.backends.lightning import lightning_backend
from qstore_db.backends.local import local_backend
from qstore_db.backends.local_noisy import local_noisy_backend
from qstore_db.backends.named import BACKENDS
from qstore_db.backends.qsim import qsim_backend
from qstore_db.backends.remote import RemoteBackend
from qstore_db.backends.remote_options import RemoteOptions
from qstore_db.backends.request import ExecutionRequest, Reading
from qstore_db.backends.trajectories import trajectory_backend
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.interop.to_cirq import to_cirq
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.emulators.ionq.emulator import IonqEmulator
from qstore_db.errors import InvalidArgumentError, NotFoundError, UnsupportedRequestError
from qstore_db.executor.batching import BatchOptions
from qstore_db.executor.executor import Executor
from qstore_db.executor.options import ExecutorOptions
from qstore_db.simulation import density_matrix
from qstore_db.simulation.noise_presets import ionq_aria_like


@dataclass(frozen=True)
class Row:
    name: str
    make: Callable[..., Any]  # make(threads=1)
    values: Callable[[ExecutionRequest], np.ndarray]  # (samples, observables), by other means
    chances: Callable[[ExecutionRequest], np.ndarray]  # (samples, 2^n), by other means
    tolerance: float = 1e-6
    package: str | None = None  # that it needs; without it the row is skipped
    several_types: bool = True
    answers: str | None = None  # who computes small circuits, where it is a choice
    is_remote: bool = False  # then it works on threads of its own, through cirq-ionq


def states_by_cirq(request):
    n = request.circuit.n_qubits
    for sample in range(request.samples):
        numbers = [
            Operation(
                gate.gate,
                gate.qubits,
                [float(angle.value(request.weights, request.data[sample : sample + 1])[0]) for angle in gate.angles],
            )
            for gate in request.circuit.operations
        ]
        start = np.zeros(1 << n, np.complex128)
        if request.amplitudes is None:
            start[0] = 1.0
        else:
            start[: request.amplitudes.shape[1]] = request.amplitudes[sample]
        circuit = to_cirq(Circuit(n, numbers))
        yield circuit.final_state_vector(initial_state=start, qubit_order=cirq.LineQubit.range(n), dtype=np.complex128)


def chances_by_cirq(request):
    return np.array([np.abs(state) ** 2 for state in states_by_cirq(request)])


def values_by_cirq(request):
    places = {qubit: qubit.x for qubit in cirq.LineQubit.range(request.circuit.n_qubits)}
    strings = [cirq.DensePauliString(one.letters).on(*places) for one in request.observables]
    return np.array(
        [
            [string.expectation_from_state_vector(state, places).real for string in strings]
            for state in states_by_cirq(request)
        ]
    )


ARIA = ionq_aria_like()


def rho(request):
    return density_matrix.density_matrix(
        request.circuit, ARIA, request.weights, request.data, request.amplitudes
    )  # other arithmetic than the backend's


@cache
def emulator():
    """IonQ's API on the loopback interface, with perfect devices; one for all rows, it ends with the process."""
    return IonqEmulator(seed=3, noise=dict.fromkeys(("aria-1", "forte-1")))


def ionq(name):
    """A remote backend with a ledger, over the emulator."""

    def make():
        service = ionq_service(name, url=emulator().url, api_key=emulator().api_key)
        return RemoteBackend(service, MemoryLedger(), options=RemoteOptions(first_poll_seconds=0.005))

    return make


ROWS = [
    Row("local", local_backend, values_by_cirq, chances_by_cirq),
    Row(
        "local_noisy",
        local_noisy_backend,
        lambda request: density_matrix.expectations(rho(request), request.observables, ARIA),
        lambda request: density_matrix.probabilities(rho(request), ARIA),
    ),
    Row(
        "trajectories",
        trajectory_backend,
        lambda request: density_matrix.expectations(rho(request), request.observables, ARIA),
        lambda request: density_matrix.probabilities(rho(request), ARIA),
        tolerance=5 / np.sqrt(1024),
    ),
    Row("lightning", lightning_backend, values_by_cirq, chances_by_cirq, package="pennylane_lightning"),
    Row("aer", aer_backend, values_by_cirq, chances_by_cirq, package="qiskit_aer"),
    Row(
        "qsim",
        qsim_backend,
        values_by_cirq,
        chances_by_cirq,
        tolerance=2e-5,
        package="qsimcirq",
        several_types=False,
    ),
    Row("auto", auto_backend, values_by_cirq, chances_by_cirq, tolerance=2e-5, several_types=False, answers="local"),
    *(
        Row(
            name,
            ionq(name),
            values_by_cirq,
            chances_by_cirq,
            package="cirq_ionq",
            several_types=False,
            is_remote=True,
        )
        for name in ("ionq_simulator", "ionq_qpu")
    ),
]

QUBITS = 3
MODEL = angle_encoding(QUBITS).compose(hardware_efficient(QUBITS, 2))
OTHER = Circuit(
    QUBITS,
    (
        Operation("H", (1,)),
        Operation("U", (0,), (Data(0, 0.5) + 0.2, Weight(0), 0.7)),
        Operation("CRZ", (1, 2), (Weight(1) + Weight(0),)),
        Operation("CX", (2, 0)),
        Operation("RXX", (0, 2), (Data(1) + Data(2, -1.5),)),
        Operation("T", (2,)),
    ),
)
READ = tuple(PauliString(letters) for letters in ("ZII", "IXY", "YYX", "ZZZ", "IIX"))


@pytest.fixture(params=ROWS, ids=[row.name for row in ROWS])
def row(request):
    if request.param.package is not None:
        pytest.importorskip(request.param.package, reason="pip install 'qstore-db[sim,ionq]' runs this row")
    return request.param


@pytest.fixture
def counting(row):
    if Reading.COUNTS not in BACKENDS[row.name].capabilities.readings:
        pytest.skip(f"{row.name} gives expectation values only")
    return row


def possible(row, requests):
    """Those that the backend can run; the test is skipped where it can run none."""
    can = BACKENDS[row.name].capabilities
    found = [
        one
        for one in requests
        if one.reading in can.readings
        and (one.amplitudes is None or can.amplitudes)
        and (one.seed is None or can.seeded)
    ]
    if not found:
        pytest.skip(f"{row.name} can run none of these requests")
    return found


def some(row, number):
    """Six requests, or four without start states, for what the backend reads; exact wherever possible."""
    can = BACKENDS[row.name].capabilities
    if Reading.EXPECTATIONS in can.readings:
        return requests_of(number)
    return possible(row, requests_of(number, (), shots=None if Reading.PROBABILITIES in can.readings else 50))


def requests_of(number, observables=READ, **arguments):
    """Six requests over two circuits with different numbers, samples and starts."""
    rng = np.random.default_rng(number)
    made = []
    for circuit, samples in ((MODEL, 1), (OTHER, 4), (MODEL, 17), (OTHER, 1), (MODEL, 3), (OTHER, 2)):
        start = None
        if len(made) in (4, 5):
            start = rng.normal(size=(samples, 5 + len(made) % 2)) + (1j * rng.normal() if len(made) == 5 else 0)
        made.append(
            ExecutionRequest(
                circuit,
                observables,
                weights=rng.normal(size=circuit.number_of_weights),
                data=rng.normal(size=(samples, circuit.number_of_data)),
                amplitudes=start,
                **arguments,
            )
        )
    return made


def run(backend, requests):
    async def job():
        try:
            return await backend.result(await backend.submit(requests))
        finally:
            await backend.close()

    return asyncio.run(job())


def test_it_is_listed_with_what_it_can_do(row, monkeypatch):
    backend = row.make()
    assert isinstance(backend, Backend)
    assert backend.name == row.name
    assert backend.capabilities == BACKENDS[row.name].capabilities
    monkeypatch.setenv("IONQ_API_KEY", "nobody's")
    assert type(BACKENDS[row.name].make()) is type(backend)
    other = {"dtype": "float64"} if "float32" in backend.identity else {"dtype": "float32"}
    assert not row.several_types or backend.identity != row.make(**other).identity
    price = backend.price(some(row, 0))
    assert isinstance(price, Price)
    assert isinstance(price.dollars, Decimal)
    assert price.dollars >= 0


def test_every_listed_backend_is_in_this_suite():
    assert {row.name for row in ROWS} == set(BACKENDS)


def test_expectations_agree_with_other_means(row):
    requests = possible(row, requests_of(1))
    for request, result in zip(requests, run(row.make(), requests), strict=True):
        assert result.backend == (row.answers or row.name)
        assert (result.probabilities, result.counts) == (None, None)
        assert result.values.dtype == np.float64
        np.testing.assert_allclose(result.values, row.values(request), atol=row.tolerance)


def test_probabilities_agree_with_other_means(counting):
    row = counting
    requests = possible(row, requests_of(2, ()))
    for request, result in zip(requests, run(row.make(), requests), strict=True):
        assert (result.values, result.counts) == (None, None)
        np.testing.assert_allclose(result.probabilities, row.chances(request), atol=row.tolerance)
        np.testing.assert_allclose(result.probabilities.sum(axis=1), 1.0, atol=1e-12)
        assert (result.probabilities >= 0).all()


def test_shots_follow_the_probabilities(counting):
    row = counting
    can = BACKENDS[row.name].capabilities
    shots = min(20_000, can.max_shots)
    requests = possible(row, requests_of(3, (), shots=shots, seed=11 if can.seeded else None))
    for request, result in zip(requests, run(row.make(), requests), strict=True):
        assert len(result.counts) == request.samples
        for counts, chances in zip(result.counts, row.chances(request), strict=True):
            assert counts.shots == shots
            assert counts.numbers.min() >= 1
            expected = chances * shots
            rare = expected < 5
            seen = np.append(counts.dense()[~rare], counts.dense()[rare].sum())
            wanted = np.append(expected[~rare], max(expected[rare].sum(), 1e-9))
            degrees = len(seen) - 1
            assert ((seen - wanted) ** 2 / np.maximum(wanted, 1.0)).sum() < degrees + 5 * np.sqrt(2 * degrees) + 5


def test_equal_seeds_give_equal_counts_and_others_do_not(counting):
    row = counting

    def bits(seed):
        (result,) = run(row.make(), possible(row, requests_of(4, (), shots=300, seed=seed)[2:3]))
        return [counts.by_bitstring() for counts in result.counts]

    assert bits(5) == bits(5)
    assert bits(5) != bits(6)
    assert bits(None) != bits(None)
    assert bits(5)[0] != bits(5)[1]
    assert all(len(bitstring) == QUBITS for bitstring in bits(5)[0])


def test_the_first_letter_is_the_first_qubit(counting):
    row = counting
    circuit = Circuit(2, (Operation("X", (0,)),))
    asked = possible(row, [ExecutionRequest(circuit, shots=1000), ExecutionRequest(circuit)])
    counts, *chances = run(row.make(), asked)
    assert max(counts.counts[0].by_bitstring().items(), key=lambda one: one[1])[0] == "10"
    assert all(one.probabilities[0].argmax() == 2 for one in chances)


def same(one, other):
    assert one.values is None or (one.values == other.values).all()
    assert one.probabilities is None or (one.probabilities == other.probabilities).all()
    for mine, others in zip(one.counts or (), other.counts or (), strict=True):
        assert mine.by_bitstring() == others.by_bitstring()


def test_a_result_does_not_depend_on_its_company(row):
    requests = possible(row, requests_of(5) + requests_of(6, ()) + requests_of(7, (), shots=50, seed=3))
    together = run(row.make(), requests)
    backwards = run(row.make(), requests[::-1])[::-1]
    alone = [run(row.make(), [request])[0] for request in requests]
    for results in (backwards, alone):
        for one, other in zip(together, results, strict=True):
            same(one, other)
    # One row of a request is what that row gives by itself.
    long, whole = requests[2], together[2]
    for sample in range(3):
        single = ExecutionRequest(MODEL, long.observables, weights=long.weights, data=long.data[sample : sample + 1])
        (alone,) = run(row.make(), [single])
        assert long.samples > sample
        read = "values" if long.observables else "probabilities"
        assert (getattr(alone, read)[0] == getattr(whole, read)[sample]).all()


@pytest.mark.parametrize(("threads", "batch"), [(1, 1), (1, 1000), (4, 3)])
def test_a_result_does_not_depend_on_threads_and_batches(row, threads, batch):
    mixed = [one for seed in range(4) for one in requests_of(seed) + requests_of(seed, (), shots=9, seed=seed)]
    requests = possible(row, mixed)
    expected = run(row.make(), requests)
    options = ExecutorOptions(batch=BatchOptions(minimum=batch, maximum=batch))
    made = row.make() if row.is_remote else row.make(threads=threads)
    with Executor(made, options=options) as executor:
        assert row.is_remote or executor.backends[row.name].max_jobs == threads
        for one, other in zip(expected, executor.run_batch(requests), strict=True):
            same(one, other)


def test_results_cannot_be_written_to(counting):
    row = counting
    asked = possible(row, [requests_of(0)[0], requests_of(0, ())[0], requests_of(0, (), shots=5)[0]])
    found = run(row.make(), asked)
    for result in found:
        arrays = [array for array in (result.values, result.probabilities) if array is not None]
        for counts in result.counts or ():
            arrays += [counts.outcomes, counts.numbers]
        assert result.nbytes == sum(array.nbytes for array in arrays)
        for array in arrays:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    assert len(found) == len(asked)


def test_the_life_of_a_job(row):
    async def life():
        backend = row.make()
        asked = some(row, 0)
        job = await backend.submit(asked)
        assert (job.backend, job.requests) == (row.name, len(asked))
        other = await backend.submit(some(row, 1))
        assert other.id != job.id
        assert await backend.poll(job) in JobState
        assert len(await backend.result(other)) == len(asked)
        while await backend.poll(job) is not JobState.DONE:
            await asyncio.sleep(0.001)
        assert len(await backend.result(job)) == len(asked)
        for gone in (job, other):
            with pytest.raises(NotFoundError):
                await backend.result(gone)
            with pytest.raises(NotFoundError):
                await backend.poll(gone)
            assert not await backend.cancel(gone)
        many = [await backend.submit(some(row, seed)) for seed in range(20)]
        await asyncio.gather(*(backend.cancel(one) for one in many))
        with pytest.raises(NotFoundError):
            await backend.result(many[-1])
        await backend.close()
        await backend.close()

    asyncio.run(life())


def test_what_is_beyond_it_is_refused(row):
    async def refusals():
        backend = row.make()
        with pytest.raises(InvalidArgumentError):
            await backend.submit([])
        most = backend.capabilities.max_qubits
        if most < 24:
            large = ExecutionRequest(Circuit(most + 1), [PauliString("Z" * (most + 1))])
            with pytest.raises(UnsupportedRequestError, match=f"at most {most} qubits"):
                await backend.submit([*some(row, 0), large])
        assert backend.capabilities.readings <= set(Reading)
        await backend.close()

    asyncio.run(refusals())
