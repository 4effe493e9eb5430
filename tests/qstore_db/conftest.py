import math
from collections import Counter

import numpy as np
import pytest

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.parameters import Data, Weight

lines: list[str] = []
tallies: Counter[str] = Counter()


def pytest_terminal_summary(terminalreporter):
    if lines or tallies:
        terminalreporter.section("random circuits that were compared")
        for line in (*lines, *(f"{number:,} {what}" for what, number in sorted(tallies.items()))):
            terminalreporter.write_line(line)


@pytest.fixture
def compared():
    """Add a line to what is printed at the end."""
    return lines.append


@pytest.fixture(scope="session")
def tally():
    """Counts by what was compared, printed at the end; for tests that hypothesis runs many times."""
    return tallies


@pytest.fixture(scope="session")
def random_circuit():
    """Seed to circuit: any gates on qubits in any order; with symbols, angles hold weights and data too."""

    def build(seed: int, n_qubits: int, length: int, *, symbols: bool = False) -> Circuit:
        rng = np.random.default_rng(seed)
        kinds = [gate for gate in GATES.values() if gate.qubits <= n_qubits]

        def angle():
            value = rng.uniform(-2 * math.pi, 2 * math.pi)
            if not symbols:
                return value
            weight = Weight(int(rng.integers(3)), rng.normal())
            return [value, weight, weight + value, Data(int(rng.integers(2))) * 2.0 - weight + value][rng.integers(4)]

        operations = []
        for _ in range(length):
            kind = kinds[rng.integers(len(kinds))]
            qubits = tuple(rng.permutation(n_qubits)[: kind.qubits])
            operations.append(Operation(kind.name, qubits, [angle() for _ in range(kind.angles)]))
        return Circuit(n_qubits, operations)

    return build
