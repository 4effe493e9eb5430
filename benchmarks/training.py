"""Forward and gradient of a batch of circuits: our plan call, alone or beside other libraries in one run, on one core.

    python benchmarks/training.py [--peers] [--torchquantum PYTHON] [--case TEXT] [--seconds S] [--json PATH]

A step is what training needs: the values of all readouts of all samples, then the gradient of all weights and all
inputs for a given cotangent. W(n, d, B) turns each of n qubits by its input (RY), then d layers of RY and RZ weights
on every qubit and a chain of CNOTs; all ⟨Z⟩ are read for B samples. Before anything is timed, values and gradients of
all sides are compared. Figures are medians of CPU time over interleaved rounds, everybody held to one core; other work
on the machine moves them (caches, clock), so read the ratios, which stand beside their targets.

Columns: ``plan`` is one call of a compiled plan in float32, ``Plan.gradients``; ``public`` what a loop with a loss of
its own writes: ``compile_circuit``, which looks the plan up at every step, then ``forward`` and the pullback; then the
plan in float64, its values alone, and the engine without Numba in float32. ``--peers`` needs what
``benchmarks/peers.txt`` lists: ``make bench-peers``. ``--torchquantum`` names the Python of the environment that
``make bench-torchquantum`` makes; that side runs in a process of its own, on the same core, and times itself.
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before NumPy is imported: one core for everybody
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import circuit_peers
import numpy as np
from figures import Figure, write
from numpy.typing import NDArray

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import Observable
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.circuits.readouts import pauli_pairs, single_z
from qstore_db.simulation import reference
from qstore_db.simulation.plan import Plan, compile_circuit

Array = NDArray[np.float64]
Step = Callable[[], tuple[Array, Array, Array]]


@dataclass(frozen=True)
class Case:
    name: str
    circuit: Circuit
    observables: tuple[Observable, ...]
    batch: int
    amplitudes: bool = False
    layers: int = 0  # of W circuits, which all peers take
    targets: tuple[tuple[str, float], ...] = ()  # at least so many times a peer, or the "best" of them

    def inputs(self) -> tuple[Array | None, Array, Array | None, Array]:
        rng = np.random.default_rng(0)
        columns = self.circuit.number_of_data
        data = rng.uniform(0, np.pi, (self.batch, columns)) if columns else None
        weights = rng.uniform(-np.pi, np.pi, self.circuit.number_of_weights)
        start = rng.normal(size=(self.batch, 1 << self.circuit.n_qubits)) if self.amplitudes else None
        return data, weights, start, rng.normal(size=(self.batch, len(self.observables))) / self.batch


TARGETS = {
    (4, 2, 32): (("best", 20),),
    (8, 4, 256): (
        ("TensorCircuit-NG jax", 30),
        ("TorchQuantum", 150),
        ("default.qubit torch", 250),
        ("lightning adjoint", 2000),
    ),
    (10, 4, 64): (("best", 22),),
    (12, 6, 32): (("best", 35),),
    (16, 4, 8): (("best", 12),),
}


def chain(n: int, layers: int, batch: int) -> Case:
    circuit = angle_encoding(n).compose(hardware_efficient(n, layers))
    targets = TARGETS.get((n, layers, batch), ())
    return Case(f"W({n},{layers},{batch})", circuit, single_z(n), batch, layers=layers, targets=targets)


def strong(n: int, layers: int, batch: int, observables: tuple[Observable, ...]) -> Case:
    ansatz = hardware_efficient(n, layers, rotations="rx_ry_rz", entanglement="full")
    name = f"RX·RY·RZ, all pairs ({n},{layers},{batch}), {len(observables)} readouts"
    targets = (("TensorCircuit-NG jax", 150.0),) if len(observables) > n else ()
    return Case(name, angle_encoding(n).compose(ansatz), observables, batch, targets=targets)


def zz_map(n: int, layers: int, batch: int) -> Case:
    """ZZ feature map of the same data before every layer; products of inputs are columns of their own."""
    operations: list[Operation] = []
    for layer in range(layers):
        operations += [Operation("H", (q,)) for q in range(n)]
        operations += [Operation("P", (q,), (Data(q, 2.0),)) for q in range(n)]
        operations += [Operation("RZZ", pair, (Data(n + k, 2.0),)) for k, pair in enumerate(combinations(range(n), 2))]
        operations += [Operation("RY", (q,), (Weight(layer * n + q),)) for q in range(n)]
        operations += [Operation("CX", (q, q + 1)) for q in range(n - 1)]
    targets = (("TensorCircuit-NG jax", 60.0),)
    return Case(f"ZZ map, {layers} times ({n},{batch})", Circuit(n, operations), single_z(n), batch, targets=targets)


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


def our_step(case: Case, dtype: str, engine: str = "lanes") -> Step:
    # One plan for all columns of the engine: where its working memory lies moves a step by a few per cent.
    lanes = engine == "lanes"
    chosen = (case.circuit, case.observables)
    plan = (
        compile_circuit(*chosen, amplitude_input=case.amplitudes) if lanes else Plan(*chosen, case.amplitudes, engine)
    )
    data, weights, start, cotangent = case.inputs()

    def step() -> tuple[Array, Array, Array]:
        values, gradients = plan.gradients(data, weights, start, cotangent=cotangent, dtype=dtype)
        return values, gradients.weights, gradients.amplitudes if case.amplitudes else gradients.data

    return step


def public_step(case: Case) -> Step:
    data, weights, start, cotangent = case.inputs()

    def step() -> tuple[Array, Array, Array]:
        plan = compile_circuit(case.circuit, case.observables, amplitude_input=case.amplitudes)
        values, pullback = plan.forward(data, weights, start)
        gradients = pullback(cotangent)
        return values, gradients.weights, gradients.amplitudes if case.amplitudes else gradients.data

    return step


def our_forward(case: Case) -> Callable[[], object]:
    plan = compile_circuit(case.circuit, case.observables, amplitude_input=case.amplitudes)
    data, weights, start, _ = case.inputs()
    return lambda: plan.expectations(data, weights, start)


class OtherProcess:
    """A side that runs under another Python: called, it gives the results of one step; timed, its own CPU seconds."""

    def __init__(self, python: Path, case: Case) -> None:
        file = Path(__file__).with_name("torchquantum_peer.py")
        self._child = subprocess.Popen(
            [python, "-W", "ignore", file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        data, weights, _, cotangent = case.inputs()
        operations = [
            (
                operation.gate,
                operation.qubits,
                [
                    [("weight" if isinstance(term, Weight) else "data", term.index, term.scale) for term in angle.terms]
                    for angle in operation.angles
                ],
            )
            for operation in case.circuit.operations
        ]
        inputs = {"data": data.tolist(), "weights": weights.tolist(), "cotangent": cotangent.tolist()}
        answer = self._ask(json.dumps({"qubits": case.circuit.n_qubits, "operations": operations, **inputs}))
        values, of_weights, of_data = (np.array(one) for one in json.loads(answer))
        self._results = values, of_weights, of_data

    def __call__(self) -> tuple[Array, Array, Array]:
        return self._results

    def timed(self) -> float:
        return float(self._ask("step"))

    def close(self) -> None:
        self._child.communicate()

    def _ask(self, line: str) -> str:
        print(line, file=self._child.stdin, flush=True)
        return self._child.stdout.readline()


def torchquantum_step(python: Path, case: Case) -> OtherProcess | None:
    """W circuits only: it reads ⟨Z⟩ of every qubit and is given gates by name."""
    return OtherProcess(python, case) if case.layers else None


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
    """Median CPU time of each side in ms; rounds go through all sides, a quick side running several times a round."""

    def seconds_of(step: Callable[[], object]) -> float:
        if isinstance(step, OtherProcess):
            return step.timed()
        begin = time.process_time()
        step()
        return time.process_time() - begin

    repeats, times = {}, {name: [] for name in sides}
    for name, step in sides.items():
        repeats[name] = max(1, int(0.02 / max(seconds_of(step), 1e-6)))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(sides))]) < 3:
        for name, step in sides.items():
            times[name] += [seconds_of(step) for _ in range(repeats[name])]
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def verdicts(case: Case, found: dict[str, float], peers: list[str]) -> list[dict[str, object]]:
    """Each target of the case whose peer was timed: what was wanted and what was found."""
    times = {name: found[name] for name in peers if name in found}
    out: list[dict[str, object]] = []
    for name, wanted in case.targets:
        theirs = min(times.values(), default=None) if name == "best" else times.get(name)
        if theirs is not None:
            against = min(times, key=times.__getitem__) if name == "best" else name
            out.append({"peer": against, "wanted": wanted, "found": theirs / found["plan"]})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="beside the libraries of benchmarks/peers.txt")
    parser.add_argument("--torchquantum", type=Path, metavar="PYTHON", help="the Python of its environment")
    parser.add_argument("--only", default="", help="only peers whose name contains this")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--seconds", type=float, default=2.0, help="time per case")
    parser.add_argument("--json", type=Path, help="write one JSON object a figure to this file")
    options = parser.parse_args()
    peers = (
        {name: maker for name, maker in circuit_peers.installed().items() if options.only in name}
        if options.peers
        else {}
    )
    if options.torchquantum:
        peers["TorchQuantum"] = partial(torchquantum_step, options.torchquantum)
    print("ms a step (forward + all gradients); a peer's column: ms, and how many times the plan's")
    print(f"{'':44s} {'plan':>9s} {'public':>9s} {'float64':>9s} {'forward':>9s} {'numpy':>9s}", end="")
    print("".join(f" {name:>22s} {'×':>6s}" for name in peers))
    figures: list[Figure] = []
    for case in (case for case in cases() if options.case in case.name):
        sides = {"plan": our_step(case, "float32"), "public": public_step(case), "float64": our_step(case, "float64")}
        sides["numpy"] = our_step(case, "float32", "numpy")
        made = {name: make(case) for name, make in peers.items()}
        sides |= {name: step for name, step in made.items() if step is not None}
        check(case, sides)
        found = interleaved({**sides, "forward": our_forward(case)}, options.seconds)
        for side in made.values():
            if isinstance(side, OtherProcess):
                side.close()
        line = f"{case.name:44s} " + " ".join(
            f"{found[name]:9.3f}" for name in ("plan", "public", "float64", "forward", "numpy")
        )
        for name in peers:
            there = name in found
            line += f" {found[name]:22.2f} {found[name] / found['plan']:6.0f}" if there else f" {'–':>22s} {'':>6s}"
        print(line, flush=True)
        judged = verdicts(case, found, list(peers))
        for one in judged:
            word = "reached" if one["found"] >= one["wanted"] else "missed"
            print(f"{'':44s} target ≥ {one['wanted']:g} × {one['peer']}: {one['found']:.0f} ×, {word}", flush=True)
        ours = ("plan", "public", "float64", "numpy", "forward")
        figures += [
            Figure(f"q-store {name}" if name in ours else name, case.name, "step", value, "ms")
            for name, value in found.items()
        ]
        figures += [Figure("q-store plan", case.name, f"times {one['peer']}", one["found"], "x") for one in judged]
    write(options.json, "training", figures)


if __name__ == "__main__":
    main()
