"""IonQ through cirq-ionq 1.7: its serializer, its client and its native gate sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

import numpy as np

from qstore_db.backends.ionq.sdk import NO_KEY, TAG_KEY, Setting
from qstore_db.backends.ionq.transport import Call, with_transport
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES, Matrix
from qstore_db.circuits.interop.from_ionq import TURN, from_ionq
from qstore_db.circuits.interop.to_cirq import to_cirq
from qstore_db.circuits.interop.to_ionq import numbers
from qstore_db.errors import InvalidCircuitError, MissingDependencyError

GATES_KEPT: Final = 4096
"""Gates with their angles whose native form is kept."""

_IDENTITY: Final[Matrix] = np.eye(2, dtype=np.complex128)

_NOTHING: Final = 1e-9
"""By how much gates on one qubit may differ from nothing and are left out."""


class CirqSdk:
    """See :class:`~qstore_db.backends.ionq.sdk.Sdk`.

    The SDK retries for up to an hour, without a timeout, and remembers in the client whether its *last* job was a
    batch. Here its client lives for one call, and every request of it is made once.

    Args:
        setting: Where circuits run.

    Raises:
        MissingDependencyError: cirq-ionq is not installed.
    """

    __slots__ = ("_cirq", "_client", "_gateset", "_ionq", "_parts", "_setting")
    name: Final = "cirq"

    def __init__(self, setting: Setting) -> None:
        try:
            self._cirq: Any = import_module("cirq")
            self._ionq: Any = import_module("cirq_ionq")
            self._client: Any = import_module("cirq_ionq.ionq_client")._IonQClient
        except ImportError as error:
            raise MissingDependencyError(
                "cirq-ionq is not installed", fix="pip install 'qstore-db[ionq]'", value="cirq_ionq"
            ) from error
        self._setting = setting
        gatesets = {"ms": self._ionq.AriaNativeGateset, "zz": self._ionq.ForteNativeGateset}
        self._gateset: Any = gatesets[setting.entangler]()
        self._parts = lru_cache(GATES_KEPT)(self._parts_of)

    def post(self, circuits: Sequence[Circuit], shots: int, tag: str, call: Call) -> Mapping[str, object]:
        """One job, of several circuits where there are several."""
        serializer = self._ionq.Serializer()
        several = len(circuits) > 1
        serialize = serializer.serialize_many_circuits if several else serializer.serialize_single_circuit
        written = [self._written(circuit) for circuit in circuits]
        simulated = self._setting.target == "simulator"
        program = serialize(
            written if several else written[0],
            noise={"model": self._setting.noise_model} if simulated else None,
            # Off: what was measured comes back, and is mitigated here if at all.
            error_mitigation=None if simulated else {"debiasing": False},
            metadata={TAG_KEY: tag},
        )
        answer: Mapping[str, object] = self._speaking(call).create_job(
            program, repetitions=shots, target=self._setting.target, name=tag, batch_mode=several
        )
        return answer

    def job(self, job_id: str, call: Call) -> Mapping[str, object]:
        """``GET /jobs/{id}``."""
        job: Mapping[str, object] = self._speaking(call).get_job(job_id)
        return job

    def results(self, job: Mapping[str, object], circuits: int, call: Call) -> object:
        """``GET /jobs/{id}/results/probabilities``, aggregated for several circuits."""
        client = self._speaking(call)
        client.batch_mode = circuits > 1
        return client.get_results(job["id"])

    def cancel(self, job_id: str, call: Call) -> Mapping[str, object]:
        """``PUT /jobs/{id}/status/cancel``."""
        answer: Mapping[str, object] = self._speaking(call).cancel_job(job_id)
        return answer

    def compile(self, circuit: Circuit) -> Circuit:
        """By ``AriaNativeGateset`` or ``ForteNativeGateset``; equal up to a global phase.

        Each gate on two qubits is compiled by itself and kept, so that equal ones are compiled once and folded ones
        stay; what stands between them on one qubit becomes three pulses.
        """
        line = self._cirq.LineQubit
        steps: list[Any] = []
        turns: dict[int, Matrix] = {}  # of each qubit, since its last gate on two

        def release(qubit: int) -> None:
            matrix = turns.pop(qubit, _IDENTITY)
            if not self._cirq.equal_up_to_global_phase(matrix, _IDENTITY, atol=_NOTHING):
                steps.extend(gate(line(qubit)) for gate in self._gateset.single_qubit_matrix_to_native_gates(matrix))

        for operation in circuit.operations:
            for gate, places, matrix in self._parts(operation.gate, tuple(numbers(operation))):
                on = [operation.qubits[place] for place in places]
                if len(on) == 1:
                    turns[on[0]] = matrix @ turns.get(on[0], _IDENTITY)
                else:
                    for qubit in on:
                        release(qubit)
                    steps.append(gate(*map(line, on)))
        for qubit in sorted(turns):
            release(qubit)
        measured = self._cirq.Circuit(steps, self._cirq.measure(*line.range(circuit.n_qubits)))
        return from_ionq(self._ionq.Serializer().serialize_single_circuit(measured).input)

    def _parts_of(self, name: str, angles: tuple[float, ...]) -> list[tuple[Any, tuple[int, ...], Matrix]]:
        """A gate as Cirq gates on its qubits 0 and 1 with their matrices; those on two qubits are native."""
        cirq = self._cirq
        kind = GATES[name]
        if kind.qubits == 1:
            return [(None, (0,), kind.matrices(*(np.array([angle]) for angle in angles))[0])]
        alone = to_cirq(Circuit(2, [Operation(name, (0, 1), angles)]))
        compiled = cirq.optimize_for_target_gateset(alone, gateset=self._gateset)
        # A global phase is nothing to a device, and the serializer refuses it.
        steps = [step for step in compiled.all_operations() if not isinstance(step.gate, cirq.GlobalPhaseGate)]
        if not all(step in self._gateset for step in steps):
            raise InvalidCircuitError(
                f"cirq-ionq left gates that {self._setting.target} does not have", fix='Use gateset="qis".', value=name
            )
        return [(step.gate, tuple(qubit.x for qubit in step.qubits), cirq.unitary(step)) for step in steps]

    def _speaking(self, call: Call) -> Any:
        client = self._client(self._setting.url, NO_KEY)
        client._make_request = lambda request, _json: with_transport(request, call)()
        return client

    def _written(self, circuit: Circuit) -> Any:
        cirq = self._cirq
        qubits = cirq.LineQubit.range(circuit.n_qubits)
        if self._setting.gateset == "native":
            steps = [self._ion_gate(one)(*(qubits[q] for q in one.qubits)) for one in circuit.operations]
        else:
            # A circuit without gates would count as native, and a job has one kind of gates.
            steps = self._standard(circuit) or [cirq.rz(0.0)(qubits[0])]
        return cirq.Circuit(steps, cirq.measure(*qubits, key="m"))

    def _standard(self, circuit: Circuit) -> list[Any]:
        identity = self._cirq.IdentityGate  # on qubits without a gate; the serializer does not know it
        return [step for step in to_cirq(circuit).all_operations() if not isinstance(step.gate, identity)]

    def _ion_gate(self, operation: Operation) -> Any:
        turns = [angle / TURN for angle in numbers(operation)]
        match operation.gate:
            case "GPI":
                return self._ionq.GPIGate(phi=turns[0])
            case "GPI2":
                return self._ionq.GPI2Gate(phi=turns[0])
            case "MS":
                return self._ionq.MSGate(phi0=turns[0], phi1=turns[1], theta=turns[2])
            case _:
                return self._ionq.ZZGate(theta=turns[0])
