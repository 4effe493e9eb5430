"""A training step of a hybrid net in PyTorch: our layer beside PennyLane's, in one run on one core.

    python benchmarks/frameworks.py [--case TEXT] [--seconds S] [--json PATH]

The net is Linear(16, n) · tanh · circuit · Linear(n, 2), the step its cross-entropy of B samples, all gradients and
Adam. The circuit of H(n, d, B) turns each of n qubits by its input (RY), then d layers of RY and RZ weights and a chain
of CNOTs; all ⟨Z⟩ are read. ``QuantumLayer`` is ours, in float32 and in float64; ``TorchLayer`` is PennyLane's, on
default.qubit by backpropagation with the batch by broadcasting, and on lightning.qubit by the adjoint method, where
PennyLane takes the batch apart. Before anything is timed, losses and gradients of all nets are compared. Figures are
medians of CPU time over interleaved rounds, everybody held to one core; other work on the machine moves them, so read
the ratios. It needs PyTorch; PennyLane's columns are left out, and said so, where it is missing: ``make bench-peers``
makes an environment with both.
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before NumPy is imported: one core for everybody
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import Figure, write

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.interop.to_pennylane import to_pennylane
from qstore_db.circuits.readouts import single_z
from qstore_db.frameworks.torch_layer import QuantumLayer

FEATURES = 16


@dataclass(frozen=True)
class Case:
    qubits: int
    layers: int
    batch: int

    @property
    def name(self) -> str:
        return f"H({self.qubits},{self.layers},{self.batch})"

    @property
    def circuit(self) -> Circuit:
        return angle_encoding(self.qubits).compose(hardware_efficient(self.qubits, self.layers))


CASES = (Case(4, 2, 32), Case(6, 3, 32), Case(8, 4, 64), Case(10, 4, 32))


def ours(case: Case, kind: torch.dtype) -> torch.nn.Module:
    return QuantumLayer(case.circuit, single_z(case.qubits), seed=0, dtype=kind)


def theirs(case: Case, device: str, method: str) -> torch.nn.Module:
    import pennylane as qml

    run = to_pennylane(case.circuit)

    @qml.qnode(qml.device(device, wires=case.qubits), interface="torch", diff_method=method)
    def node(inputs: Any, weights: Any) -> list[Any]:
        run(weights, inputs)
        return [qml.expval(qml.PauliZ(qubit)) for qubit in range(case.qubits)]

    made = qml.qnn.TorchLayer(node, {"weights": case.circuit.number_of_weights})
    with torch.no_grad():
        made.weights.copy_(ours(case, torch.float64).weights)
    return made


class Hybrid(torch.nn.Module):
    def __init__(self, case: Case, layer: torch.nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(FEATURES, case.qubits).to(kind)
        self.layer = layer
        self.last = torch.nn.Linear(case.qubits, 2).to(kind)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        values = self.layer(torch.tanh(self.first(rows)))
        return self.last(values.to(self.last.weight.dtype))


def nets(case: Case) -> dict[str, Hybrid]:
    single, double = torch.float32, torch.float64
    made = {
        "QuantumLayer": Hybrid(case, ours(case, single), single),
        "QuantumLayer, float64": Hybrid(case, ours(case, double), double),
    }
    if find_spec("pennylane"):
        made["TorchLayer, default.qubit"] = Hybrid(case, theirs(case, "default.qubit", "backprop"), single)
    if find_spec("pennylane_lightning"):
        made["TorchLayer, lightning"] = Hybrid(case, theirs(case, "lightning.qubit", "adjoint"), single)
    return made


def step_of(case: Case, net: Hybrid) -> tuple[Callable[[], float], Callable[[], float]]:
    """A whole step, and loss with gradients alone, for the comparison."""
    rng = np.random.default_rng(1)
    kind = net.first.weight.dtype
    rows = torch.tensor(rng.normal(size=(case.batch, FEATURES)), dtype=kind)
    labels = torch.tensor(rng.integers(0, 2, case.batch))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

    def differentiate() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(rows), labels)
        loss.backward()
        return loss.item()

    def step() -> float:
        loss = differentiate()
        optimizer.step()
        return loss

    return step, differentiate


def check(made: dict[str, Hybrid], differentiate: dict[str, Callable[[], float]]) -> None:
    losses = {name: run() for name, run in differentiate.items()}
    wanted = list(made["QuantumLayer, float64"].parameters())
    for name, net in made.items():
        np.testing.assert_allclose(losses[name], losses["QuantumLayer, float64"], atol=1e-5, err_msg=name)
        for one, other in zip(net.parameters(), wanted, strict=True):
            np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), atol=2e-5, err_msg=name)


def interleaved(steps: dict[str, Callable[[], float]], seconds: float) -> dict[str, float]:
    """Median CPU time of each in ms; a quick one runs several times a round."""
    repeats, times = {}, {name: [] for name in steps}
    for name, step in steps.items():
        begin = time.process_time()
        step()
        repeats[name] = max(1, int(0.02 / max(time.process_time() - begin, 1e-6)))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["QuantumLayer"]) < 3:
        for name, step in steps.items():
            for _ in range(repeats[name]):
                begin = time.process_time()
                step()
                times[name].append(time.process_time() - begin)
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--seconds", type=float, default=4.0, help="time per case")
    parser.add_argument("--json", type=Path, help="also write the figures to this file, one JSON object a line")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of PennyLane and PyTorch about each other
    missing = [name for name in ("pennylane", "pennylane_lightning") if not find_spec(name)]
    if missing:
        print(f"left out, not installed: {', '.join(missing)}")
    print("ms a step (forward, backward, Adam), and how many times QuantumLayer's in float32")
    figures: list[Figure] = []
    for case in (case for case in CASES if options.case in case.name):
        made = nets(case)
        runs = {name: step_of(case, net) for name, net in made.items()}
        check(made, {name: differentiate for name, (_, differentiate) in runs.items()})
        found = interleaved({name: step for name, (step, _) in runs.items()}, options.seconds)
        print(case.name)
        for name, value in found.items():
            ratio = value / found["QuantumLayer"]
            print(f"    {name:28s} {value:10.3f} ms {ratio:8.1f} x", flush=True)
            figures.append(Figure(name, case.name, "step", value, "ms"))
            if name != "QuantumLayer":
                figures.append(Figure("QuantumLayer", case.name, f"times quicker than {name}", ratio, "x"))
    write(options.json, "frameworks", figures)


if __name__ == "__main__":
    main()
