"""What the simulators of this process do beyond the contract of every backend."""

import numpy as np
import pytest

from qstore_db.backends import batched, named
from qstore_db.backends.batched import BatchedSimulator
from qstore_db.backends.bounded_cache import CacheLimits
from qstore_db.backends.capabilities import LOCAL_NOISY, Capabilities, require_supported
from qstore_db.backends.local import StateVectorEngine, local_backend
from qstore_db.backends.local_noisy import NoisyEngine
from qstore_db.backends.named import BACKENDS, backend_entry, backend_named
from qstore_db.backends.request import ExecutionRequest, Reading
from qstore_db.backends.shots import counts_of
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.readouts import readout
from qstore_db.errors import (
    InvalidArgumentError,
    MissingDependencyError,
    NotEnoughMemoryError,
    UnknownBackendError,
    UnsupportedRequestError,
)
from qstore_db.executor.executor import Executor
from qstore_db.gradients.finite_difference import finite_difference
from qstore_db.gradients.parameter_shift import parameter_shift
from qstore_db.simulation import noisy_plan
from qstore_db.simulation.channels import bit_flip
from qstore_db.simulation.noise_model import NoiseModel, NoiseRule
from qstore_db.simulation.plan import compile_circuit

MODEL = angle_encoding(4).compose(hardware_efficient(4, 2))
READ = readout("z", 4)


class CountingEngine(StateVectorEngine):
    """The true engine, which says how many rows each of its computations had."""

    def __init__(self):
        super().__init__()
        self.batches = []
        self.compiled = 0

    def expectations(self, circuit, observables, *, from_amplitudes):
        self.compiled += 1
        made = super().expectations(circuit, observables, from_amplitudes=from_amplitudes)

        def compute(rows, start):
            self.batches.append(len(rows))
            return made.compute(rows, start)

        return batched.Compiled(compute, made.size_bytes)


def test_circuits_that_differ_in_numbers_run_as_one_batch():
    rng = np.random.default_rng(0)
    engine = CountingEngine()
    simulator = BatchedSimulator(engine)
    weights, data = rng.normal(size=MODEL.number_of_weights), rng.normal(size=(3, 4))
    shifts = parameter_shift(MODEL)
    simulator.run([ExecutionRequest(one, READ, weights=weights, data=data) for one in shifts.circuits])
    assert engine.batches == [3 * len(shifts.circuits)]
    assert engine.compiled == 1
    simulator.run([ExecutionRequest(MODEL, READ, weights=-weights, data=data[:1])])
    assert (engine.batches[1:], engine.compiled) == ([1], 1)
    simulator.run([ExecutionRequest(MODEL, READ[:1], weights=weights, data=data)])
    assert engine.compiled == 2
    assert simulator.caches()["plans"].hits == 1


def test_gradients_by_parameter_shift_on_an_executor():
    rng = np.random.default_rng(1)
    weights, data = rng.normal(size=MODEL.number_of_weights), rng.normal(size=(3, 4))
    cotangent = rng.normal(size=(3, 4))
    _, pullback = compile_circuit(MODEL, READ).forward(data, weights, dtype="float64")
    adjoint = pullback(cotangent)
    with Executor.named("local") as executor:
        for method, accuracy in ((parameter_shift(MODEL), 1e-12), (finite_difference(MODEL), 1e-7)):
            results = executor.run_batch(
                ExecutionRequest(one, READ, weights=weights, data=data) for one in method.circuits
            )
            jacobian = method.combine([result.values for result in results])
            np.testing.assert_allclose(
                np.einsum("br,brw->w", cotangent, jacobian.weights), adjoint.weights, atol=accuracy
            )
            np.testing.assert_allclose(np.einsum("br,brd->bd", cotangent, jacobian.data), adjoint.data, atol=accuracy)


def test_a_small_plan_cache_changes_nothing_but_time():
    request = ExecutionRequest(MODEL, READ, weights=np.ones(MODEL.number_of_weights), data=np.ones((1, 4)))
    kept = BatchedSimulator(StateVectorEngine())
    none = BatchedSimulator(
        StateVectorEngine(),
        plan_cache=CacheLimits(entries=0, size_bytes=0),
        angle_cache=CacheLimits(entries=0, size_bytes=0),
    )
    first, again = none.run([request])[0], none.run([request])[0]
    assert (first.values == again.values).all()
    assert (first.values == kept.run([request])[0].values).all()
    assert (none.caches()["plans"].hits, none.caches()["plans"].refusals) == (0, 2)


def test_states_in_blocks_are_states(monkeypatch):
    rng = np.random.default_rng(2)
    request = ExecutionRequest(
        MODEL, weights=rng.normal(size=MODEL.number_of_weights), data=rng.normal(size=(11, 4)),
        amplitudes=rng.normal(size=(11, 9)),
    )  # fmt: skip
    (whole,) = BatchedSimulator(StateVectorEngine()).run([request])
    monkeypatch.setattr(batched, "CHANCE_BYTES", 8 * 16 * 3)
    (parts,) = BatchedSimulator(StateVectorEngine()).run([request])
    assert (whole.probabilities == parts.probabilities).all()


def test_too_large_a_request_fails_alone(monkeypatch):
    from qstore_db.simulation import state_vector

    def small(size):
        if size > 1 << 16:
            raise NotEnoughMemoryError("too large", value=size)

    monkeypatch.setattr(state_vector, "require", small)
    fine, large = (
        ExecutionRequest(circuit, weights=np.ones(circuit.number_of_weights))
        for circuit in (hardware_efficient(4, 1), hardware_efficient(12, 1))
    )
    with Executor.named("local") as executor:
        futures = executor._send(executor._lane(None), [fine, large, fine], 0, None, True)
        assert futures[0].result(20).probabilities.shape == (1, 16)
        assert futures[2].result(20).probabilities.shape == (1, 16)
        with pytest.raises(NotEnoughMemoryError):
            futures[1].result(20)


def test_float32_is_close_and_kept_apart():
    request = ExecutionRequest(MODEL, READ, weights=np.ones(MODEL.number_of_weights), data=np.ones((1, 4)))
    with Executor(local_backend(dtype="float32")) as fast, Executor(local_backend()) as exact:
        one, other = fast.run(request).values, exact.run(request).values
    assert (one != other).any()
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_noise_is_part_of_the_identity():
    noises = [NoiseModel(), NoiseModel([NoiseRule(bit_flip(0.1))]), NoiseModel([NoiseRule(bit_flip(0.2))])]
    assert len({NoisyEngine(noise).identity for noise in noises}) == 3
    request = ExecutionRequest(Circuit(1, (Operation("X", (0,)),)), [PauliString("Z")])
    for noise, value in zip(noises, (-1.0, -0.8, -0.6), strict=True):
        (result,) = BatchedSimulator(NoisyEngine(noise)).run([request])
        np.testing.assert_allclose(result.values, [[value]], atol=1e-12)


def test_rare_outcomes_keep_their_place():
    chances = np.zeros((2, 8))
    chances[0, 5] = 1.0
    chances[1, [0, 7]] = 0.5
    first, second = counts_of(chances, 40, 0)
    assert first.by_bitstring() == {"101": 40}
    assert first.dense().tolist() == [0, 0, 0, 0, 0, 40, 0, 0]
    assert set(second.by_bitstring()) == {"000", "111"}
    assert (second.shots, second.n_qubits) == (40, 3)


# --- names and capabilities --------------------------------------------------------------------------------------


def test_an_unknown_name_says_what_there_is():
    for call in (backend_entry, backend_named, Executor.named):
        with pytest.raises(UnknownBackendError, match=r"'nowhere'.*'local', 'local_noisy'.*'ionq_simulator'"):
            call("nowhere")
    assert list(BACKENDS) == [
        *("local", "local_noisy", "trajectories", "lightning", "aer", "qsim", "auto"),
        *("ionq_simulator", "ionq_qpu"),
    ]
    assert LOCAL_NOISY.max_qubits == noisy_plan.MAX_NOISY_QUBITS


def test_a_backend_whose_package_is_missing_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(named, "find_spec", lambda name: None)
    assert named.BACKENDS["qsim"].missing == ("qsimcirq",)
    for call in (backend_named, Executor.named):
        with pytest.raises(MissingDependencyError, match=r"'qsim' needs qsimcirq.*qstore-db\[sim\].*'local'"):
            call("qsim")
    assert backend_named("local").name == "local"


@pytest.mark.parametrize(
    ("limits", "arguments", "message"),
    [
        ({"readings": frozenset([Reading.COUNTS])}, {"observables": [PauliString("ZZ")]}, "expectations.*counts"),
        ({"max_qubits": 1}, {}, "2 qubits.*at most 1"),
        ({"gates": frozenset(["H"])}, {}, "no gate CX.*H"),
        ({"max_shots": 10}, {"shots": 11}, "11 shots.*10"),
        ({"seeded": False}, {"shots": 1, "seed": 4}, "seeded with 4"),
        ({"amplitudes": False}, {"amplitudes": np.eye(4)[:1]}, "state_preparation"),
    ],
)
def test_requests_beyond_the_capabilities(limits, arguments, message):
    capabilities = Capabilities(**({"readings": frozenset(Reading)} | limits))
    request = ExecutionRequest(Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1)))), **arguments)
    with pytest.raises(UnsupportedRequestError, match=f"'somewhere'.*{message}"):
        require_supported("somewhere", capabilities, request)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_threads_are_counted(threads):
    with pytest.raises(InvalidArgumentError):
        local_backend(threads=threads)
