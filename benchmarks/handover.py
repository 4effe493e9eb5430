"""Exact values of one circuit by every exact simulator at hand: where another one than ours is the quicker.

    python benchmarks/handover.py [--qubits 16 18 20] [--samples N] [--json PATH]

CPU milliseconds on one core, the best of three rounds; the circuit turns every qubit by an input and has four layers of
RY, RZ and a chain of CNOTs; all ⟨Z⟩ are read. ``states`` reads them from one vector of amplitudes at a time, ``lanes``
is the batched engine; lightning, Aer and qsim come with ``pip install 'qstore-db[sim]'``.
"""

from __future__ import annotations

# ruff: noqa: E402 - threads are limited before NumPy is imported: one core for everybody
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from figures import Figure, write

from qstore_db.backends.batched import BatchedSimulator
from qstore_db.backends.named import BACKENDS
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.readouts import single_z
from qstore_db.simulation.plan import compile_circuit
from qstore_db.simulation.state_vector import expectations

ROUNDS = 3


def milliseconds(work: Callable[[], object]) -> float:
    best = np.inf
    for _ in range(ROUNDS):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return 1e3 * best


def sides(n: int, samples: int) -> dict[str, Callable[[], object]]:
    circuit, read = angle_encoding(n).compose(hardware_efficient(n, 4)), single_z(n)
    rng = np.random.default_rng(n)
    weights = rng.uniform(-np.pi, np.pi, circuit.number_of_weights)
    data = rng.uniform(0, np.pi, (samples, n))
    plan = compile_circuit(circuit, read)
    out: dict[str, Callable[[], object]] = {
        "states float64": lambda: expectations(circuit, read, weights, data),
        "states float32": lambda: expectations(circuit, read, weights, data, dtype="float32"),
        "lanes float64": lambda: plan.expectations(data, weights, dtype="float64"),
        "lanes float32": lambda: plan.expectations(data, weights),
    }
    request = ExecutionRequest(circuit, read, weights=weights, data=data)
    for name, engine in others().items():
        out[name] = partial(BatchedSimulator(engine).run, [request])
    return out


def others() -> dict[str, object]:
    from qstore_db.backends.aer import AerEngine
    from qstore_db.backends.lightning import LightningEngine
    from qstore_db.backends.qsim import QsimEngine

    there = {name for name in ("lightning", "aer", "qsim") if not BACKENDS[name].missing}
    made = {
        "lightning float64": ("lightning", LightningEngine),
        "lightning float32": ("lightning", lambda: LightningEngine(dtype="float32")),
        "aer float64": ("aer", AerEngine),
        "qsim float32": ("qsim", QsimEngine),
    }
    return {label: make() for label, (name, make) in made.items() if name in there}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qubits", type=int, nargs="+", default=[14, 16, 17, 18, 19, 20, 22])
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--json", help="write one JSON object a figure to this file")
    options = parser.parse_args()
    figures: list[Figure] = []
    for n in options.qubits:
        work = f"{n} qubits, {options.samples} sample(s)"
        found = {name: milliseconds(side) for name, side in sides(n, options.samples).items()}
        figures += [Figure(name, work, "all values of Z", value, "ms") for name, value in found.items()]
        if n == options.qubits[0]:
            print(f"{'qubits':>6}" + "".join(f"{name:>19}" for name in found))
        print(f"{n:6d}" + "".join(f"{value:19.1f}" for value in found.values()), flush=True)
    write(options.json, "handover", figures)


if __name__ == "__main__":
    main()
