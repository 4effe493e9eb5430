"""The same steps by other libraries: values of all readouts, then the gradient by weights and inputs.

Every maker takes a case of ``training.py`` and returns a step, or None where the library is not meant for the case. All
angles of a circuit are parameters of the library's own circuit; the derivative by an angle goes to weights and data by
the chain rule where the library differentiates by angles only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.angle_rows import AngleRows
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable, terms_of
from qstore_db.circuits.parameters import Weight

Array = NDArray[np.float64]
Step = Callable[[], tuple[Array, Array, Array]]


class Case(Protocol):
    """What a step needs; see ``training.py``."""

    circuit: Circuit
    observables: tuple[Observable, ...]
    batch: int
    amplitudes: bool
    layers: int

    def inputs(self) -> tuple[Array | None, Array, Array | None, Array]: ...


Maker = Callable[[Case], Step | None]


def letters_of(observable: Observable) -> dict[int, str]:
    ((coefficient, string),) = terms_of(observable)
    assert coefficient == 1.0
    return dict(string.on_qubits)


def by_symbols(circuit: Circuit, slopes: Array) -> tuple[Array, Array]:
    """Derivatives by the angles of every sample, (samples, angles), as those by weights and data."""
    weights, data = np.zeros(circuit.number_of_weights), np.zeros((len(slopes), circuit.number_of_data))
    place = 0
    for operation in circuit.operations:
        for angle in operation.angles:
            for term in angle.terms:
                if isinstance(term, Weight):
                    weights[term.index] += term.scale * slopes[:, place].sum()
                else:
                    data[:, term.index] += term.scale * slopes[:, place]
            place += 1
    return weights, data


def pennylane_gates(qml: Any, circuit: Circuit, value: Callable[[Any], Any]) -> None:
    for operation in circuit.operations:
        angles = [value(angle) for angle in operation.angles]
        name = {"CX": "CNOT", "H": "Hadamard", "P": "PhaseShift", "RZZ": "IsingZZ"}.get(operation.gate, operation.gate)
        getattr(qml, name)(*angles, wires=list(operation.qubits))


def pennylane_readouts(qml: Any, case: Case) -> list[Any]:
    read = []
    for observable in case.observables:
        factors = [getattr(qml, f"Pauli{letter}")(qubit) for qubit, letter in letters_of(observable).items()]
        read.append(qml.expval(qml.prod(*factors) if len(factors) > 1 else factors[0]))
    return read


def linear(x: Any, w: Any) -> Callable[[Any], Any]:
    """An angle of ours as a sum of the library's numbers; x has data columns on its last axis."""
    return lambda angle: sum(
        (term.scale * (w[term.index] if isinstance(term, Weight) else x[..., term.index]) for term in angle.terms),
        angle.constant,
    )


def torch_step(case: Case) -> Step | None:
    """PennyLane's default.qubit, the batch by broadcasting, gradients by torch's backpropagation, float32."""
    if case.amplitudes or not case.layers:
        return None
    import pennylane as qml
    import torch

    torch.set_num_threads(1)
    data, weights, _, cotangent = case.inputs()

    @qml.qnode(qml.device("default.qubit", wires=case.circuit.n_qubits), interface="torch", diff_method="backprop")
    def node(x: Any, w: Any) -> list[Any]:
        pennylane_gates(qml, case.circuit, linear(x, w))
        return pennylane_readouts(qml, case)

    def step() -> tuple[Array, Array, Array]:
        x = torch.tensor(data, dtype=torch.float32, requires_grad=True)
        w = torch.tensor(weights, dtype=torch.float32, requires_grad=True)
        values = torch.stack(list(node(x, w)), -1).to(torch.float32)
        (values * torch.tensor(cotangent, dtype=torch.float32)).sum().backward()
        return values.detach().numpy(), w.grad.numpy(), x.grad.numpy()

    return step


def lightning_step(case: Case) -> Step | None:
    """PennyLane's lightning.qubit, adjoint products straight on the device: no interface in between, float64."""
    if case.amplitudes or not case.layers:
        return None
    import pennylane as qml

    n = case.circuit.n_qubits
    data, weights, _, cotangent = case.inputs()
    device = qml.device("lightning.qubit", wires=n)
    config = device.setup_execution_config(
        qml.devices.ExecutionConfig(
            gradient_method="adjoint", use_device_gradient=True, use_device_jacobian_product=True
        )
    )

    def step() -> tuple[Array, Array, Array]:
        tapes = []
        for sample in data:
            with qml.queuing.AnnotatedQueue() as queue:
                pennylane_gates(qml, case.circuit, linear(sample, weights))
                pennylane_readouts(qml, case)
            tapes.append(qml.tape.QuantumScript.from_queue(queue))
        values, products = device.execute_and_compute_vjp(tapes, [tuple(row) for row in cotangent], config)
        return np.asarray(values), *by_symbols(case.circuit, np.asarray(products))

    return step


def tensorcircuit_step(case: Case) -> Step | None:
    """TensorCircuit-NG on jax: vmap over samples, vjp, jit; float32. Compiling is not timed."""
    if case.amplitudes:
        return None
    import jax

    jax.config.update("jax_platforms", "cpu")
    import jax.numpy as jnp
    import tensorcircuit as tc

    tc.set_backend("jax")
    tc.set_dtype("complex64")
    data, weights, _, cotangent = case.inputs()
    names = {"CX": "cnot", "P": "phase"}

    def sample(x: Any, w: Any) -> Any:
        circuit = tc.Circuit(case.circuit.n_qubits)
        value = linear(x, w)
        for operation in case.circuit.operations:
            name = names.get(operation.gate, operation.gate.lower())
            angles = {"theta": value(operation.angles[0])} if operation.angles else {}
            getattr(circuit, name)(*operation.qubits, **angles)
        places = [letters_of(observable) for observable in case.observables]
        return jnp.stack(
            [
                jnp.real(circuit.expectation_ps(**{k: [q for q in one if one[q] == k.upper()] for k in "xyz"}))
                for one in places
            ]
        )

    @jax.jit
    def both(x: Any, w: Any, c: Any) -> Any:
        values, back = jax.vjp(jax.vmap(sample, (0, None)), x, w)
        of_data, of_weights = back(c)
        return values, of_weights, of_data

    given = [jnp.asarray(one, jnp.float32) for one in (data, weights, cotangent)]

    def step() -> tuple[Array, Array, Array]:
        return tuple(np.asarray(one) for one in both(*given))

    return step


def qulacs_step(case: Case) -> Step | None:
    """Qulacs: its parametric circuit, values and ``backprop`` of the weighted observable, sample by sample; float64."""
    if case.amplitudes or not case.layers:
        return None
    import qulacs

    n = case.circuit.n_qubits
    data, weights, _, cotangent = case.inputs()
    rows = AngleRows.of(case.circuit)
    circuit = qulacs.ParametricQuantumCircuit(n)
    for operation in case.circuit.operations:
        if operation.angles:
            getattr(circuit, f"add_parametric_{operation.gate}_gate")(*operation.qubits, 0.0)
        else:
            circuit.add_CNOT_gate(*operation.qubits)
    strings = [" ".join(f"{p} {q}" for q, p in letters_of(observable).items()) for observable in case.observables]

    def one(angles: Array, factors: Array) -> tuple[list[float], list[float]]:
        # Its rotations turn the other way: exp(+iθ/2 P).
        for place, angle in enumerate(angles):
            circuit.set_parameter(place, -angle)
        state, values, total = qulacs.QuantumState(n), [], qulacs.Observable(n)
        circuit.update_quantum_state(state)
        for string, factor in zip(strings, factors, strict=True):
            term = qulacs.Observable(n)
            term.add_operator(1.0, string)
            values.append(term.get_expectation_value(state))
            total.add_operator(factor, string)
        return values, circuit.backprop(total)

    def step() -> tuple[Array, Array, Array]:
        found = [one(angles, factors) for angles, factors in zip(rows.rows(weights, data), cotangent, strict=True)]
        values, slopes = np.array([value for value, _ in found]), -np.array([slope for _, slope in found])
        return values, *by_symbols(case.circuit, slopes)

    return step


def deepquantum_step(case: Case) -> Step | None:
    """DeepQuantum on torch: all angles as encoded data of the batch, backpropagation; float32."""
    if case.amplitudes or not case.layers:
        return None
    import deepquantum
    import torch

    torch.set_num_threads(1)
    data, weights, _, cotangent = case.inputs()
    circuit = deepquantum.QubitCircuit(case.circuit.n_qubits)
    for operation in case.circuit.operations:
        if operation.angles:
            getattr(circuit, operation.gate.lower())(*operation.qubits, encode=True)
        else:
            circuit.cnot(*operation.qubits)
    for observable in case.observables:
        on = letters_of(observable)
        circuit.observable(list(on), "".join(on.values()).lower())
    angles = [angle for operation in case.circuit.operations for angle in operation.angles]

    def step() -> tuple[Array, Array, Array]:
        x = torch.tensor(data, dtype=torch.float32, requires_grad=True)
        w = torch.tensor(weights, dtype=torch.float32, requires_grad=True)
        value = linear(x, w)
        circuit(data=torch.stack([value(angle).expand(case.batch) for angle in angles], -1))
        values = circuit.expectation()
        (values * torch.tensor(cotangent, dtype=torch.float32)).sum().backward()
        return values.detach().numpy(), w.grad.numpy(), x.grad.numpy()

    return step


def qsim_step(case: Case) -> Step | None:
    """qsim with parameter shift, the only exact gradient it has: two circuits an angle and sample. Four qubits only."""
    if case.amplitudes or not case.layers or case.circuit.n_qubits > 4:
        return None
    import cirq
    import qsimcirq

    n = case.circuit.n_qubits
    data, weights, _, cotangent = case.inputs()
    rows, qubits = AngleRows.of(case.circuit), cirq.LineQubit.range(n)
    simulator = qsimcirq.QSimSimulator({"t": 1})
    strings = [
        cirq.PauliString({qubits[q]: getattr(cirq, letter) for q, letter in letters_of(observable).items()})
        for observable in case.observables
    ]

    def values_of(angles: Sequence[float]) -> Array:
        place, gates = iter(angles), []
        for operation in case.circuit.operations:
            on = [qubits[q] for q in operation.qubits]
            kind = getattr(cirq, operation.gate.lower())(next(place)) if operation.angles else cirq.CNOT
            gates.append(kind(*on))
        found = simulator.simulate_expectation_values(cirq.Circuit(gates), strings, qubit_order=qubits)
        return np.real(found)

    def step() -> tuple[Array, Array, Array]:
        values, slopes = [], []
        for angles, factors in zip(rows.rows(weights, data), cotangent, strict=True):
            values.append(values_of(angles))
            moves = np.pi / 2 * np.eye(angles.size)
            slopes.append([factors @ (values_of(angles + move) - values_of(angles - move)) / 2 for move in moves])
        return np.array(values), *by_symbols(case.circuit, np.array(slopes))

    return step


PEERS: dict[str, tuple[str, Maker]] = {
    "TensorCircuit-NG jax": ("tensorcircuit", tensorcircuit_step),
    "default.qubit torch": ("pennylane", torch_step),
    "lightning adjoint": ("pennylane_lightning", lightning_step),
    "DeepQuantum": ("deepquantum", deepquantum_step),
    "qulacs": ("qulacs", qulacs_step),
    "qsim + shift": ("qsimcirq", qsim_step),
}
"""Name to the module that must be installed, and what makes the step."""


def installed() -> dict[str, Maker]:
    """The peers that are there; what is missing is said once."""
    missing = [name for name, (module, _) in PEERS.items() if find_spec(module) is None]
    if missing:
        print(f"not installed, and left out: {', '.join(missing)}")
    return {name: maker for name, (_, maker) in PEERS.items() if name not in missing}
