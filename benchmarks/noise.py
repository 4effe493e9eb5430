"""Noise and shots beside peers, in one run on one core.

    python benchmarks/noise.py [--peers] [--seconds S] [--json PATH]

Exact values: n qubits turned by their input (RY), d layers of RY and RZ weights and a chain of CNOTs, depolarizing
after every gate on each of its qubits, all ⟨Z⟩ read, forward, microseconds a sample; a block of 16 samples for us, one
sample at a time for a density matrix of Cirq (when installed), Aer or PennyLane's default.mixed (``--peers`` and
installed). Values are compared before anything is timed. Figures are medians of CPU time, everybody held to one core;
other work on the machine moves them (caches, clock), so read the ratios.
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before NumPy is imported: one core for everybody
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from figures import Figure, write
from numpy.typing import NDArray

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.readouts import single_z
from qstore_db.simulation.channels import amplitude_damping, depolarizing
from qstore_db.simulation.noise_model import NoiseModel, NoiseRule
from qstore_db.simulation.noisy_plan import compile_noisy
from qstore_db.simulation.sampling import sample_counts
from qstore_db.simulation.trajectories import estimate_by_trajectories

LAYERS, P, SAMPLES, TRAJECTORIES = 4, 0.01, 16, 1024
TARGET = {"aer": {8: 200}}  # at least so many times a peer's density matrix, by qubits
Array = NDArray[np.float64]


def microseconds(call: Callable[[], object], seconds: float) -> float:
    call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times) * 1e6


def chain(n: int) -> tuple[Circuit, Array, Array]:
    circuit = angle_encoding(n).compose(hardware_efficient(n, LAYERS))
    rng = np.random.default_rng(0)
    return circuit, rng.uniform(-np.pi, np.pi, circuit.number_of_weights), rng.uniform(0, np.pi, (SAMPLES, n))


def angles_of(circuit: Circuit, weights: Array, row: Array) -> list[tuple[str, tuple[int, ...], list[float]]]:
    return [
        (step.gate, step.qubits, [float(one.value(weights, row[None])[0]) for one in step.angles])
        for step in circuit.operations
    ]


def cirq_run(circuit: Circuit, weights: Array, row: Array) -> Callable[[], Array]:
    import cirq

    qubits = cirq.LineQubit.range(circuit.n_qubits)
    kinds = {"RY": cirq.ry, "RZ": cirq.rz}
    steps = []
    for gate, where, angles in angles_of(circuit, weights, row):
        steps.append((kinds[gate](*angles) if angles else cirq.CNOT).on(*(qubits[q] for q in where)))
        steps += [cirq.depolarize(0.75 * P).on(qubits[q]) for q in where]
    simulator, built = cirq.DensityMatrixSimulator(), cirq.Circuit(steps)
    strings = [cirq.Z(qubit) for qubit in qubits]
    return lambda: np.array(simulator.simulate_expectation_values(built, strings, qubit_order=qubits)).real


def aer_run(circuit: Circuit, weights: Array, row: Array) -> Callable[[], Array]:
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel as AerNoise
    from qiskit_aer.noise import depolarizing_error

    n = circuit.n_qubits
    built, one = QuantumCircuit(n), depolarizing_error(P, 1)
    for gate, where, angles in angles_of(circuit, weights, row):
        getattr(built, gate.lower())(*angles, *where)
    for q in range(n):
        label = "".join("Z" if k == q else "I" for k in range(n))[::-1]
        built.save_expectation_value(SparsePauliOp(label), list(range(n)), label=f"z{q}")
    noise = AerNoise()
    noise.add_all_qubit_quantum_error(one, ["ry", "rz"])
    noise.add_all_qubit_quantum_error(one.tensor(one), ["cx"])
    simulator = AerSimulator(method="density_matrix", noise_model=noise, max_parallel_threads=1)

    def run() -> Array:
        data = simulator.run(built, shots=1).result().data()
        return np.array([data[f"z{q}"] for q in range(n)])

    return run


def pennylane_run(circuit: Circuit, weights: Array, row: Array) -> Callable[[], Array]:
    import pennylane as qml

    n = circuit.n_qubits
    steps = angles_of(circuit, weights, row)

    @qml.qnode(qml.device("default.mixed", wires=n))
    def node() -> list[object]:
        for gate, where, angles in steps:
            getattr(qml, {"CX": "CNOT"}.get(gate, gate))(*angles, wires=list(where))
            for qubit in where:
                qml.DepolarizingChannel(0.75 * P, wires=qubit)
        return [qml.expval(qml.PauliZ(qubit)) for qubit in range(n)]

    return lambda: np.array(node())


PEERS = {
    "cirq": ("cirq", cirq_run),
    "aer": ("qiskit_aer", aer_run),
    "pennylane": ("pennylane", pennylane_run),
}
"""Name to the module that must be installed, and what makes the run; Cirq needs no ``--peers``."""


def exact_rows(n: int, peers: bool, seconds: float) -> dict[str, object]:
    circuit, weights, data = chain(n)
    noise = NoiseModel([NoiseRule(depolarizing(P))])
    start = time.perf_counter()
    plan = compile_noisy(circuit, single_z(n), noise)
    row: dict[str, object] = {"n": n, "compile_ms": (time.perf_counter() - start) * 1e3}
    values, pullback = plan.forward(data, weights)
    cotangent = np.ones(values.shape)
    row["exact_us"] = microseconds(lambda: plan.expectations(data, weights), seconds) / SAMPLES
    row["gradient_us"] = microseconds(lambda: pullback(cotangent), seconds) / SAMPLES
    damped = NoiseModel([NoiseRule(amplitude_damping(P), arity=1), NoiseRule(depolarizing(P, 2))])
    mixed = compile_noisy(circuit, single_z(n), damped)
    row["damping_us"] = microseconds(lambda: mixed.expectations(data, weights), seconds) / SAMPLES
    one = {"weights": weights, "data": data[:1], "seed": 0, "trajectories": TRAJECTORIES}
    drawn = microseconds(lambda: estimate_by_trajectories(circuit, single_z(n), noise, **one), seconds)
    row["trajectory_us"] = drawn / TRAJECTORIES
    for name, (module, build) in PEERS.items():
        if importlib.util.find_spec(module) is None or not (peers or name == "cirq"):
            continue
        run = build(circuit, weights, data[0])
        difference = float(np.abs(run() - values[0]).max())
        if difference > 1e-4:
            raise SystemExit(f"{name} disagrees by {difference} at n = {n}")
        row[f"{name}_us"] = microseconds(run, seconds)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="Aer and PennyLane as well, if installed")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each figure")
    parser.add_argument("--json", type=Path, help="write one JSON object a figure to this file")
    given = parser.parse_args()
    rows = [exact_rows(n, given.peers, given.seconds) for n in (4, 6, 8)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    print(f"depolarizing({P}) after every gate, depth {LAYERS}; microseconds a sample, or a trajectory")
    print("".join(f"{name:>15}" for name in names))
    for row in rows:
        print("".join(f"{row[name]:>15.1f}" if name != "n" else f"{row[name]:>15}" for name in names))
    for row in rows:
        ratios = {name: row[f"{name}_us"] / row["exact_us"] for name in PEERS if f"{name}_us" in row}
        said = [
            f"{name} {ratio:.0f} ×"
            + (f" (target ≥ {wanted} ×)" if (wanted := TARGET.get(name, {}).get(row["n"])) else "")
            for name, ratio in ratios.items()
        ]
        print(f"n = {row['n']}: time of a peer's density matrix over ours: {', '.join(said) or 'no peer installed'}")
    shots = {}
    for n in (8, 12, 16):
        rng = np.random.default_rng(n)
        chances = rng.random(1 << n)
        chances /= chances.sum()
        shots[n] = microseconds(lambda chances=chances, rng=rng: sample_counts(chances, 1024, rng), given.seconds)
    print("1,024 shots from prepared probabilities: " + ", ".join(f"n = {n}: {t:.1f} µs" for n, t in shots.items()))
    figures = [
        Figure(
            name.removesuffix("_us") if name.removesuffix("_us") in PEERS else "q-store",
            f"n={row['n']}",
            name,
            value,
            unit,
        )
        for row in rows
        for name, value in row.items()
        for unit in ("us" if name.endswith("_us") else "ms",)
        if name != "n"
    ]
    figures += [Figure("q-store", f"n={n}", "1,024 shots", value, "us") for n, value in shots.items()]
    write(given.json, "noise", figures)


if __name__ == "__main__":
    main()
