"""Forward and gradient of a batch of circuits: our plan call, alone or beside PennyLane in one run, on one core.

    python benchmarks/training.py [--peers] [--case TEXT] [--seconds S] [--json PATH]

A step is what training needs: the values of all readouts of all samples, then the gradient of all weights and all
inputs for a given cotangent. W(n, d, B) turns each of n qubits by its input (RY), then d layers of RY and RZ weights
on every qubit and a chain of CNOTs; all ⟨Z⟩ are read for B samples. Before anything is timed, values and gradients of
all sides are compared. Figures are medians over interleaved rounds; other work on the machine moves them, so read the
ratios.

``--peers`` needs what ``benchmarks/peers.txt`` lists: ``make bench-peers``.
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before NumPy is imported: one core for everybody
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import Observable
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.circuits.readouts import pauli_pairs, single_z
from qstore_db.simulation import reference
from qstore_db.simulation.plan import compile_circuit

Array = NDArray[np.float64]
Step = Callable[[], tuple[Array, Array, Array]]


@dataclass(frozen=True)
class Case:
    name: str
    circuit: Circuit
    observables: tuple[Observable, ...]
    batch: int
    amplitudes: bool = False
    layers: int = 0  # W circuits: what the peers rebuild

    def inputs(self) -> tuple[Array | None, Array, Array | None, Array]:
        rng = np.random.default_rng(0)
        columns = self.circuit.number_of_data
        data = rng.uniform(0, np.pi, (self.batch, columns)) if columns else None
        weights = rng.uniform(-np.pi, np.pi, self.circuit.number_of_weights)
        start = rng.normal(size=(self.batch, 1 << self.circuit.n_qubits)) if self.amplitudes else None
        return data, weights, start, rng.normal(size=(self.batch, len(self.observables))) / self.batch


def chain(n: int, layers: int, batch: int) -> Case:
    circuit = angle_encoding(n).compose(hardware_efficient(n, layers))
    return Case(f"W({n},{layers},{batch})", circuit, single_z(n), batch, layers=layers)


def strong(n: int, layers: int, batch: int, observables: tuple[Observable, ...]) -> Case:
    ansatz = hardware_efficient(n, layers, rotations="rx_ry_rz", entanglement="full")
    name = f"RX·RY·RZ, all pairs ({n},{layers},{batch}), {len(observables)} readouts"
    return Case(name, angle_encoding(n).compose(ansatz), observables, batch)


def zz_map(n: int, layers: int, batch: int) -> Case:
    """ZZ feature map of the same data before every layer; products of inputs are columns of their own."""
    operations: list[Operation] = []
    for layer in range(layers):
        operations += [Operation("H", (q,)) for q in range(n)]
        operations += [Operation("P", (q,), (Data(q, 2.0),)) for q in range(n)]
        operations += [Operation("RZZ", pair, (Data(n + k, 2.0),)) for k, pair in enumerate(combinations(range(n), 2))]
        operations += [Operation("RY", (q,), (Weight(layer * n + q),)) for q in range(n)]
        operations += [Operation("CX", (q, q + 1)) for q in range(n - 1)]
    return Case(f"ZZ map, {layers} times ({n},{batch})", Circuit(n, operations), single_z(n), batch)


def cases() -> list[Case]:
    pairs = pauli_pairs(8)
    return [
        *(chain(*shape) for shape in ((4, 2, 32), (8, 4, 32), (8, 4, 256), (10, 4, 64), (12, 6, 32), (16, 4, 8))),
        Case("amplitudes (6,3,32), 63 readouts", hardware_efficient(6, 3), pauli_pairs(6), 32, amplitudes=True),
        Case("amplitudes (8,4,256)", hardware_efficient(8, 4), single_z(8), 256, amplitudes=True),
        strong(8, 4, 256, single_z(8)),
        strong(8, 4, 256, (*single_z(8), *pairs[24:])),
        zz_map(8, 3, 256),
    ]


def our_step(case: Case, dtype: str) -> Step:
    plan = compile_circuit(case.circuit, case.observables, amplitude_input=case.amplitudes)
    data, weights, start, cotangent = case.inputs()

    def step() -> tuple[Array, Array, Array]:
        values, pullback = plan.forward(data, weights, start, dtype=dtype)
        gradients = pullback(cotangent)
        return values, gradients.weights, gradients.amplitudes if case.amplitudes else gradients.data

    return step


def our_forward(case: Case) -> Callable[[], object]:
    plan = compile_circuit(case.circuit, case.observables, amplitude_input=case.amplitudes)
    data, weights, start, _ = case.inputs()
    return lambda: plan.expectations(data, weights, start)


def torch_step(case: Case) -> Step:
    """PennyLane's default.qubit, the batch by broadcasting, gradients by torch's backpropagation, float32."""
    import pennylane as qml
    import torch

    torch.set_num_threads(1)
    n = case.circuit.n_qubits
    data, weights, _, cotangent = case.inputs()

    @qml.qnode(qml.device("default.qubit", wires=n), interface="torch", diff_method="backprop")
    def node(x, w):  # type: ignore[no-untyped-def]
        _pennylane_gates(qml, case, x, w)
        return [qml.expval(qml.PauliZ(q)) for q in range(n)]

    def step() -> tuple[Array, Array, Array]:
        x = torch.tensor(data, dtype=torch.float32, requires_grad=True)
        w = torch.tensor(weights, dtype=torch.float32, requires_grad=True)
        values = torch.stack(list(node(x, w)), -1).to(torch.float32)
        (values * torch.tensor(cotangent, dtype=torch.float32)).sum().backward()
        return values.detach().numpy(), w.grad.numpy(), x.grad.numpy()

    return step


def lightning_step(case: Case) -> Step:
    """PennyLane's lightning.qubit, adjoint products straight on the device: no interface in between, float64."""
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
                _pennylane_gates(qml, case, sample, weights)
                for q in range(n):
                    qml.expval(qml.PauliZ(q))
            tapes.append(qml.tape.QuantumScript.from_queue(queue))
        values, products = device.execute_and_compute_vjp(tapes, [tuple(row) for row in cotangent], config)
        slopes = np.asarray(products)
        return np.asarray(values), slopes[:, n:].sum(axis=0), slopes[:, :n]

    return step


def _pennylane_gates(qml, case: Case, x, w) -> None:  # type: ignore[no-untyped-def]
    n, place = case.circuit.n_qubits, 0
    for q in range(n):
        qml.RY(x[..., q], wires=q)
    for _ in range(case.layers):
        for q in range(n):
            qml.RY(w[place], wires=q)
            qml.RZ(w[place + 1], wires=q)
            place += 2
        for q in range(n - 1):
            qml.CNOT(wires=[q, q + 1])


PEERS = {"default.qubit torch": torch_step, "lightning adjoint": lightning_step}


def check(case: Case, sides: dict[str, Step]) -> None:
    """All sides give the same values and gradients; ours also those of the plain state vector."""
    data, weights, start, _ = case.inputs()
    some = slice(0, 2)
    if start is not None:
        start = (start / np.linalg.norm(start, axis=1, keepdims=True))[some]
    state = reference.state_vector(case.circuit, weights, None if data is None else data[some], start)
    wanted = sides["float64"]()
    np.testing.assert_allclose(wanted[0][some], reference.expectations(state, case.observables), atol=1e-11)
    for name, step in sides.items():
        for got, want in zip(step(), wanted, strict=True):
            np.testing.assert_allclose(got, want, atol=5e-5, err_msg=f"{name} on {case.name}")


def interleaved(sides: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median time of each side in ms; rounds go through all sides, a quick side running several times a round."""
    repeats, times = {}, {name: [] for name in sides}
    for name, step in sides.items():
        begin = time.perf_counter()
        step()
        repeats[name] = max(1, int(0.02 / max(time.perf_counter() - begin, 1e-6)))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(sides))]) < 3:
        for name, step in sides.items():
            for _ in range(repeats[name]):
                begin = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="beside PennyLane on the W cases")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--seconds", type=float, default=2.0, help="time per case")
    parser.add_argument("--json", type=Path, help="also write the rows to this file, one JSON object a line")
    options = parser.parse_args()
    peers = PEERS if options.peers else {}
    print(f"{'ms a step (forward + all gradients)':44s} {'float32':>9s} {'float64':>9s} {'forward':>9s}", end="")
    print("".join(f" {name:>22s} {'×':>6s}" for name in peers))
    rows = []
    for case in (case for case in cases() if options.case in case.name):
        sides = {dtype: our_step(case, dtype) for dtype in ("float32", "float64")}
        if case.layers and case.circuit.n_qubits <= 12:
            sides |= {name: make(case) for name, make in peers.items()}
        check(case, sides)
        found = interleaved({**sides, "forward": our_forward(case)}, options.seconds)
        line = f"{case.name:44s} {found['float32']:9.3f} {found['float64']:9.3f} {found['forward']:9.3f}"
        for name in peers:
            if name in found:
                line += f" {found[name]:22.2f} {found[name] / found['float32']:6.0f}"
        print(line, flush=True)
        rows.append({"case": case.name, "ms": found})
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
