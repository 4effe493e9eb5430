"""Compiles the kernels ahead of the first run."""

from __future__ import annotations

from collections.abc import Sequence

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import PauliString
from qstore_db.simulation.plan import Precision, compile_circuit
from qstore_db.simulation.state_vector import probabilities, states


def warm_up(dtypes: Sequence[Precision] = ("float32",)) -> None:
    """Compiles the kernel of each dtype, or loads it from the cache on disk: about 10 s, or 0.2 s, of one core each.

    Raises:
        InvalidArgumentError: Another word than ``float32`` or ``float64``.
    """
    plan = compile_circuit(Circuit(1), [PauliString("Z")])
    for dtype in dtypes:
        plan.expectations(dtype=dtype)
        states(Circuit(1), dtype=dtype)
        probabilities(Circuit(1), dtype=dtype)
