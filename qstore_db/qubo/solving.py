"""Solvers of QUBOs: every assignment compared, path-integral annealing, or QAOA on an executor.

Path-integral Monte Carlo samples the thermal state of a spin system in a transverse field by adding an imaginary time
axis (Suzuki 1976); lowering the field is simulated quantum annealing (Kadowaki and Nishimori 1998, doi
10.1103/PhysRevE.58.5355; Santoro et al. 2002, doi 10.1126/science.1068774). It is a classical algorithm: no speed-up is
claimed, and on small problems simulated annealing or comparing everything is quicker. QAOA: :mod:`qstore_db.qubo.qaoa`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError, MissingDependencyError
from qstore_db.qubo.problem import Qubo

if TYPE_CHECKING:
    from qstore_db.executor.executor import Executor

Method = Literal["brute_force", "path_integral", "qaoa"]
METHODS: Mapping[str, str] = {
    "brute_force": "compares all 2^m assignments; at most 20 variables",
    "path_integral": "path-integral annealing by dwave-samplers",
    "qaoa": "the quantum approximate optimisation algorithm on a backend of an executor, one qubit a variable",
}
MAX_BRUTE_FORCE = 20

_TAKES: Final[Mapping[str, frozenset[str]]] = {
    "brute_force": frozenset(),
    "path_integral": frozenset({"tunneling_strength", "temperature", "reads", "sweeps", "seed"}),
    "qaoa": frozenset({"executor", "backend", "layers", "shots", "rounds", "seed"}),
}
_BLOCK = 1 << 14
_FIELD = 20.0  # temperatures: the transverse field at the start for a tunneling strength of 1
_SEED_BELOW = 1 << 32


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The best assignment that a solver found.

    Args:
        bits: int8 (m,), 0 or 1.
        energy: Its energy, computed anew from the problem.
        method: What found it.
        optimal: Whether it is proven to be the best: only where everything was compared.
        circuits: How many were run; 0 but for QAOA.
    """

    bits: NDArray[np.int8]
    energy: float
    method: str
    optimal: bool
    circuits: int = 0


def solve_qubo(
    problem: Qubo,
    method: Method = "path_integral",
    *,
    tunneling_strength: float | None = None,
    temperature: float | None = None,
    reads: int | None = None,
    sweeps: int | None = None,
    executor: Executor | None = None,
    backend: str | None = None,
    layers: int | None = None,
    shots: int | None = None,
    rounds: int | None = None,
    seed: int | None = None,
) -> Solution:
    """Find an assignment of low energy.

    Args:
        problem: What is minimised.
        method: ``brute_force`` compares everything. ``path_integral`` anneals: over ``sweeps`` the problem's weight
            rises from 0 to 1 and the transverse field falls to 0, both linearly, at one temperature; then single
            variables are flipped while that lowers the energy. ``qaoa`` measures circuits and takes the best bitstring
            seen, as it was measured.
        tunneling_strength: Γ ≥ 0: the transverse field on spins ±1 at the start is 20·Γ·``temperature``; 0 leaves a
            classical walk. The time taken grows with it. 1 if not given. Only for annealing.
        temperature: k·T in the problem's own units, above 0: differences of energy far below it are not told apart
            before the flips at the end. ``problem.scale`` / 20 if not given. Only for annealing.
        reads: How many annealings there are, at least 1; the best is kept. 8 if not given. Only for annealing.
        sweeps: Updates of every variable in each, at least 2. 500 if not given. Only for annealing.
        executor: What runs the circuits. Only for QAOA, which needs one.
        backend: One of the executor's; its first if not given. Only for QAOA.
        layers: At least 1; 2 if not given. Only for QAOA.
        shots: Of each circuit, at least 1; 1,000 if not given. Only for QAOA.
        rounds: Of the search for angles, from 0 on; 25 if not given. Only for QAOA.
        seed: 0 to 2³² − 1; 0 if not given. The same seed and release of the solver give the same answer, on backends
            that can be seeded. Not for brute force.

    Returns:
        Ties: by brute force the assignment that is smallest as a number whose highest bit is the first variable;
        otherwise the first one found.

    Raises:
        InvalidArgumentError: The method is unknown, an argument is out of its range or of another method, or
            ``brute_force`` would have to compare more than 2^20 assignments.
        MissingDependencyError: ``path_integral`` without dwave-samplers.
        ExecutionError: A backend cannot run QAOA's circuits.
    """
    if method not in METHODS:
        raise InvalidArgumentError(
            f"There is no method {method!r}", fix=f"Methods are {', '.join(METHODS)}.", value=method
        )
    given = {
        "tunneling_strength": tunneling_strength,
        "temperature": temperature,
        "reads": reads,
        "sweeps": sweeps,
        "executor": executor,
        "backend": backend,
        "layers": layers,
        "shots": shots,
        "rounds": rounds,
        "seed": seed,
    }
    for name, value in given.items():
        if value is not None and name not in _TAKES[method]:
            raise InvalidArgumentError(f"{method} takes no {name}", fix="Leave it out.", value=value)
    if method == "brute_force":
        return _brute_force(problem)
    chosen = 0 if seed is None else seed
    if not 0 <= chosen < _SEED_BELOW:
        raise InvalidArgumentError(f"seed {seed!r} is out of range", fix="Give 0 to 2**32 - 1.", value=seed)
    if method == "qaoa":
        return _qaoa(problem, executor, backend, layers, shots, rounds, chosen)
    strength = 1.0 if tunneling_strength is None else tunneling_strength
    if not np.isfinite(strength) or strength < 0:
        raise InvalidArgumentError(
            f"tunneling_strength is {tunneling_strength!r}", fix="Give at least 0.", value=tunneling_strength
        )
    energy = problem.scale / _FIELD if temperature is None else temperature
    if not np.isfinite(energy) or energy <= 0:
        raise InvalidArgumentError(f"temperature is {energy!r}", fix="Give a number above 0.", value=energy)
    return _path_integral(
        problem, strength, energy, _at_least("reads", reads, 8, 1), _at_least("sweeps", sweeps, 500, 2), chosen
    )


def _at_least(name: str, given: int | None, default: int, least: int) -> int:
    value = default if given is None else given
    if value < least:
        raise InvalidArgumentError(f"{name} is {value}", fix=f"Give at least {least}.", value=value)
    return value


def _qaoa(
    problem: Qubo,
    executor: Executor | None,
    backend: str | None,
    layers: int | None,
    shots: int | None,
    rounds: int | None,
    seed: int,
) -> Solution:
    from qstore_db.circuits.circuit import MAX_QUBITS
    from qstore_db.qubo.qaoa import sample_by_qaoa

    if problem.variables > MAX_QUBITS:
        raise InvalidArgumentError(
            f"{problem.variables} variables need as many qubits",
            fix=f"Use method='path_integral'; qaoa takes at most {MAX_QUBITS} variables.",
            value=problem.variables,
        )
    if executor is None:
        raise InvalidArgumentError("qaoa runs circuits", fix="Give executor=Executor.named('local').", value=executor)
    sampler = sample_by_qaoa(
        problem,
        executor,
        backend=backend,
        layers=_at_least("layers", layers, 2, 1),
        shots=_at_least("shots", shots, 1000, 1),
        rounds=_at_least("rounds", rounds, 25, 0),
        seed=seed,
    )
    bits = sampler.best_bits
    return Solution(bits, float(problem.energy(bits)), "qaoa", optimal=False, circuits=sampler.circuits)


def _sampler_seed(seed: int) -> int:
    """One for dwave-samplers, which takes 1 … 2^31 − 1, and means by 0 a new one each time."""
    return 1 + int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] % np.uint64((1 << 31) - 1))


def _brute_force(problem: Qubo) -> Solution:
    m = problem.variables
    if m > MAX_BRUTE_FORCE:
        raise InvalidArgumentError(
            f"{m} variables have 2^{m} assignments",
            fix=f"Use method='path_integral'; brute_force takes at most {MAX_BRUTE_FORCE} variables.",
            value=m,
        )
    shifts = np.arange(m - 1, -1, -1)
    best, lowest = 0, np.inf
    for start in range(0, 1 << m, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, 1 << m))
        energies = problem.energy((numbers[:, None] >> shifts) & 1)
        index = int(energies.argmin())
        if energies[index] < lowest:
            best, lowest = int(numbers[index]), float(energies[index])
    bits = ((best >> shifts) & 1).astype(np.int8)
    return Solution(bits, float(problem.energy(bits)), "brute_force", optimal=True)


def _path_integral(problem: Qubo, strength: float, temperature: float, reads: int, sweeps: int, seed: int) -> Solution:
    try:
        import dimod
        from dwave.samplers import PathIntegralAnnealingSampler
    except ImportError as error:
        raise MissingDependencyError(
            "dwave-samplers is not installed", fix="pip install 'qstore-db[anneal]', or use method='brute_force'."
        ) from error
    m = problem.variables
    linear = {i: float(problem.linear[i]) for i in range(m)}
    rows, columns = np.nonzero(problem.quadratic)
    quadratic = {(int(i), int(j)): float(problem.quadratic[i, j]) for i, j in zip(rows, columns, strict=True)}
    model = dimod.BinaryQuadraticModel(linear, quadratic, problem.offset, dimod.BINARY)
    # Fields are given in units of the temperature.
    progress = np.linspace(0.0, 1.0, sweeps)
    found = PathIntegralAnnealingSampler().sample(
        model,
        beta_schedule_type="custom",
        Hp_field=progress / temperature,
        Hd_field=_FIELD * strength * (1.0 - progress),
        num_sweeps_per_beta=1,
        num_reads=reads,
        seed=_sampler_seed(seed),
    )
    order = np.argsort(np.asarray(list(found.variables), dtype=np.int64))
    samples = np.asarray(found.record.sample, dtype=np.int8)[:, order]
    candidates = np.stack([problem.descended(sample) for sample in samples])
    energies = problem.energy(candidates)
    best = int(energies.argmin())
    return Solution(candidates[best], float(energies[best]), "path_integral", optimal=False)
