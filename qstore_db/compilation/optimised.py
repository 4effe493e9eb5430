"""What a pass returns: a circuit, and where each qubit of the original one has gone at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from qstore_db.circuits.circuit import Circuit


@dataclass(frozen=True, slots=True)
class Optimised:
    """A rewritten circuit.

    With U of the original, V of the rewritten circuit, and R the relabelling that moves qubit q to
    ``output_permutation[q]``, V = e^{iφ} R U for all values of weights and data, where φ may depend on them. Both start
    from the same state, and an observable of the original is read from the rewritten circuit as
    ``relabel(observable, output_permutation)``.

    Args:
        circuit: The rewritten circuit. Weights and data columns keep their numbers; where the last ones cancel, its
            ``number_of_weights`` or ``number_of_data`` is smaller, and the first so many values are to be given.
        output_permutation: For every qubit of the original, the qubit of ``circuit`` that ends with its contents.
    """

    circuit: Circuit
    output_permutation: tuple[int, ...]

    @classmethod
    def in_place(cls, circuit: Circuit) -> Optimised:
        """A rewritten circuit whose qubits have stayed where they were."""
        return cls(circuit, tuple(range(circuit.n_qubits)))

    def followed_by(self, rewrite: Pass) -> Optimised:
        """This circuit after one more pass, with the two permutations joined."""
        after = rewrite(self.circuit)
        return Optimised(after.circuit, tuple(after.output_permutation[place] for place in self.output_permutation))


Pass: TypeAlias = Callable[[Circuit], Optimised]
"""A pure function; see :data:`qstore_db.compilation.optimise.PASSES`."""
