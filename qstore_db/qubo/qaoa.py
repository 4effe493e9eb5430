"""The quantum approximate optimisation algorithm for QUBOs, on any backend that counts bitstrings.

With x = (1 − z)/2, E(x) = C(z) = Σ_i h_i z_i + Σ_{i<j} J_ij z_i z_j + const, where h_i = −Q_ii/2 − Σ_j Q_ij/4 and
J_ij = Q_ij/4. From |+…+⟩, layer l applies e^{−iγ_l C/u} and e^{+iβ_l ΣX}; u is the root mean square, over the
variables, of the field √(h_i² + Σ_j J_ij²) that one of them feels, so that angles are pure numbers of the order of 1
for every problem.

Angles: a linear ramp, γ_l = Γ·(l + ½)/p and β_l = Β·(1 − (l + ½)/p), which is annealing in p steps (Sack and Serbyn
2021, doi 10.22331/q-2021-07-01-491); the best of a grid of (Γ, Β), then SPSA, both by the mean energy of the shots. Of
all bitstrings seen on the way the one of lowest energy is the answer. Source of the algorithm: Farhi, Goldstone and
Gutmann 2014, arXiv:1411.4028.

No advantage is claimed: for few variables so many shots see most assignments by chance alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Weight
from qstore_db.executor.executor import Executor
from qstore_db.optimizers.search import minimize
from qstore_db.optimizers.spsa import Spsa
from qstore_db.qubo.problem import Qubo

_RAMPS: Final = tuple((gamma, beta) for gamma in (0.3, 0.6, 0.9, 1.2) for beta in (0.3, 0.6, 0.9))


@dataclass(frozen=True, slots=True, eq=False)
class Ising:
    """A QUBO over spins z = 1 − 2x, each ±1.

    Args:
        fields: h, float64 (m,).
        couplings: J, float64 (m, m): only entries with i < j are not 0.
        offset: The constant.
    """

    fields: NDArray[np.float64]
    couplings: NDArray[np.float64]
    offset: float

    @property
    def unit(self) -> float:
        """The u of the module; 1 where nothing depends on the spins."""
        squares = float(np.sum(self.fields**2) + 2.0 * np.sum(self.couplings**2))
        return float(np.sqrt(squares / len(self.fields))) if squares > 0 else 1.0

    def energy(self, spins: NDArray[np.float64]) -> NDArray[np.float64]:
        """C of assignments: shape (…, m) of ±1 gives shape (…)."""
        pairs = np.einsum("...i,ij,...j->...", spins, self.couplings, spins)
        return np.asarray(spins @ self.fields + pairs + self.offset)


def ising_of(problem: Qubo) -> Ising:
    """The same energies over spins."""
    couplings = problem.quadratic / 4.0
    touching = couplings.sum(axis=0) + couplings.sum(axis=1)
    return Ising(
        -problem.linear / 2.0 - touching,
        couplings,
        problem.offset + float(problem.linear.sum()) / 2.0 + float(couplings.sum()),
    )


def qaoa_circuit(problem: Qubo, layers: int) -> Circuit:
    """The circuit of the module; weights are γ_0 β_0 γ_1 β_1 …, qubit i is variable i.

    Args:
        problem: With at least one variable; terms that are 0 take no gate.
        layers: p ≥ 1.
    """
    ising = ising_of(problem)
    unit, m = ising.unit, problem.variables
    operations = [Operation("H", (qubit,)) for qubit in range(m)]
    pairs = [(int(i), int(j)) for i, j in zip(*np.nonzero(ising.couplings), strict=True)]
    for layer in range(layers):
        gamma, beta = Weight(2 * layer), Weight(2 * layer + 1)
        operations += [
            Operation("RZ", (i,), (gamma * (2.0 * float(ising.fields[i]) / unit),))
            for i in np.flatnonzero(ising.fields).tolist()
        ]
        operations += [
            Operation("RZZ", (i, j), (gamma * (2.0 * float(ising.couplings[i, j]) / unit),)) for i, j in pairs
        ]
        operations += [Operation("RX", (qubit,), (beta * -2.0,)) for qubit in range(m)]
    return Circuit(m, operations)


@dataclass(slots=True, eq=False)
class QaoaSampler:
    """Runs the circuit at angles, and remembers the best bitstring that was ever measured.

    Args:
        problem: What is minimised.
        circuit: Of :func:`qaoa_circuit`.
        executor: Where it runs.
        backend: One of the executor's; ``None`` is its first.
        shots: For each point.
        seed: The n-th circuit is measured with a seed drawn from it and n, where the backend can be seeded.
    """

    problem: Qubo
    circuit: Circuit
    executor: Executor
    backend: str | None
    shots: int
    seed: int
    circuits: int = 0
    best_energy: float = np.inf
    best_bits: NDArray[np.int8] = field(init=False)
    chosen: NDArray[np.float64] = field(init=False)
    """The angles that were chosen, (2p,)."""

    def __post_init__(self) -> None:
        self.best_bits = np.zeros(self.problem.variables, np.int8)
        self.chosen = np.zeros(self.circuit.number_of_weights)

    def mean_energies(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean energy of the shots at each point of angles (points, 2p), as one batch: shape (points,)."""
        requests = [
            ExecutionRequest(self.circuit, weights=point, shots=self.shots, seed=self._seed(number))
            for number, point in enumerate(points, start=self.circuits)
        ]
        self.circuits += len(requests)
        means = np.empty(len(points))
        shifts = np.arange(self.problem.variables - 1, -1, -1)
        for place, result in enumerate(self.executor.run_batch(requests, backend=self.backend)):
            for counts in result.counts or ():
                bits = (counts.outcomes[:, None] >> shifts) & 1
                energies = self.problem.energy(bits)
                means[place] = float(counts.numbers @ energies) / counts.shots
                lowest = int(energies.argmin())
                if energies[lowest] < self.best_energy:
                    self.best_energy, self.best_bits = float(energies[lowest]), bits[lowest].astype(np.int8)
        return means

    def _seed(self, number: int) -> int | None:
        if not self.executor.capabilities(self.backend).seeded:
            return None
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def sample_by_qaoa(
    problem: Qubo, executor: Executor, *, backend: str | None, layers: int, shots: int, rounds: int, seed: int
) -> QaoaSampler:
    """Choose angles, and measure at them; the sampler that is returned holds the best bitstring.

    Args:
        problem: One qubit a variable; the backend bounds them.
        executor: Where circuits run.
        backend: One of the executor's; ``None`` is its first.
        layers: p, at least 1.
        shots: Of each circuit, at least 1.
        rounds: Of SPSA, two circuits each, from 0 on.
        seed: From 0 on: of SPSA's directions and of the shots.

    Raises:
        ExecutionError: The backend cannot run such circuits or count their bitstrings.
    """
    sampler = QaoaSampler(problem, qaoa_circuit(problem, layers), executor, backend, shots, seed)
    steps = (np.arange(layers) + 0.5) / layers
    ramps = np.array([np.column_stack([g * steps, b * (1.0 - steps)]).reshape(-1) for g, b in _RAMPS])
    sampler.chosen = ramps[int(sampler.mean_energies(ramps).argmin())]
    if rounds:
        spread = ising_of(problem).unit * np.sqrt(problem.variables / 2.0)
        search = Spsa(gain=0.1, perturbation=0.1, stability=rounds / 10.0, seed=seed)
        found = minimize(search, lambda points: sampler.mean_energies(points) / spread, sampler.chosen, rounds=rounds)
        sampler.chosen = found.point
    sampler.mean_energies(sampler.chosen[None])
    return sampler
