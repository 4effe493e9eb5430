"""What executors count beside jobs: time by width, failures by type."""

import pytest
from executor_scripting import ONE_BY_ONE, ScriptedBackend, turn

from qstore_db.backends.local import local_backend
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.errors import NotEnoughMemoryError, QStoreError
from qstore_db.executor.executor import Executor
from qstore_db.executor.options import ExecutorOptions


def wide(qubits, seed):
    return ExecutionRequest(Circuit(qubits, [Operation("H", (qubit,)) for qubit in range(qubits)]), shots=10, seed=seed)


def test_seconds_are_shared_out_by_width():
    with Executor(local_backend()) as executor:
        executor.run_batch([wide(qubits, seed) for qubits in (2, 5) for seed in range(3)])
        usage = executor.usage()["local"]
    assert set(usage.seconds_by_qubits) == {2, 5}
    assert sum(usage.seconds_by_qubits.values()) == pytest.approx(usage.seconds)
    assert min(usage.seconds_by_qubits.values()) > 0
    assert usage.failures_by_type == {}


def test_failures_are_counted_by_their_type():
    broken = [QStoreError("it broke"), NotEnoughMemoryError("too large"), QStoreError("again")]
    with Executor(ScriptedBackend(failures=broken), options=ExecutorOptions(batch=ONE_BY_ONE)) as executor:
        for number, error in enumerate(broken):
            with pytest.raises(QStoreError, match=str(error)):
                executor.run(turn(number))
        usage = executor.usage()["scripted"]
    assert usage.failures_by_type == {"QStoreError": 2, "NotEnoughMemoryError": 1}
    assert usage.seconds_by_qubits == {}
