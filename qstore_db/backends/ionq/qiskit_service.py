"""IonQ through qiskit-ionq 1.1: its serializer, its client and its native gate sets."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from qstore_db.backends.ionq.sdk import NO_KEY, TAG_KEY, Setting
from qstore_db.backends.ionq.transport import Answer, Call, with_transport
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.interop.from_ionq import TURN, from_ionq
from qstore_db.circuits.interop.to_ionq import numbers
from qstore_db.circuits.interop.to_qiskit import to_qiskit
from qstore_db.errors import BackendFailedError, InvalidCircuitError, MissingDependencyError

_QUIET = threading.Lock()
"""``warnings.catch_warnings`` changes the whole process: one thread at a time."""


class QiskitSdk:
    """See :class:`~qstore_db.backends.ionq.sdk.Sdk`.

    The SDK asks forever where it reads, up to five times where it sends a job, and its provider asks the public host
    for the number of qubits before anything else. Here its backend is made without asking, and every request is made
    once.

    Args:
        setting: Where circuits run.

    Raises:
        MissingDependencyError: qiskit-ionq is not installed.
    """

    __slots__ = ("_backend", "_client", "_helpers", "_ionq", "_job", "_qiskit", "_setting", "_shorten")
    name: Final = "qiskit"

    def __init__(self, setting: Setting) -> None:
        try:
            self._qiskit: Any = import_module("qiskit")
            self._ionq: Any = import_module("qiskit_ionq")
            self._client: Any = import_module("qiskit_ionq.ionq_client").IonQClient
            self._job: Any = import_module("qiskit_ionq.ionq_job").IonQJob
            self._helpers: Any = import_module("qiskit_ionq.helpers")
        except ImportError as error:
            raise MissingDependencyError(
                "qiskit-ionq is not installed", fix="pip install 'qstore-db[ionq]'", value="qiskit_ionq"
            ) from error
        self._setting = setting
        self._shorten: Any = import_module("qiskit_ionq.rewrite_rules").CompactMoreThanThreeSingleQubitGates
        self._backend: Any = self._made_backend()

    def post(self, circuits: Sequence[Circuit], shots: int, tag: str, call: Call) -> Mapping[str, object]:
        """One job, of several circuits where there are several."""
        simulated = self._setting.target == "simulator"
        mitigation = None if simulated else self._ionq.ErrorMitigation.NO_DEBIASING
        written = [self._written(circuit) for circuit in circuits]
        client = self._speaking(call)
        job = self._job(
            self._backend,
            client=client,
            circuit=written if len(written) > 1 else written[0],
            passed_args={
                "shots": shots,
                "name": tag,
                "sampler_seed": None,
                "noise_model": self._setting.noise_model,
                # Off: what was measured comes back, and is mitigated here if at all.
                "error_mitigation": mitigation,
                "extra_metadata": {TAG_KEY: tag},
            },
        )
        answer: Mapping[str, object] = _once(client.submit_job, call)(client, job)
        return answer

    def job(self, job_id: str, call: Call) -> Mapping[str, object]:
        """``GET /jobs/{id}``."""
        client = self._speaking(call)
        job: Mapping[str, object] = _once(client.retrieve_job, call)(client, job_id)
        return job

    def results(self, job: Mapping[str, object], circuits: int, call: Call) -> object:
        """Gets the address that the job names for its probabilities."""
        del circuits  # the job knows
        found = job.get("results")
        entry = found.get("probabilities") if isinstance(found, Mapping) else None
        url = entry.get("url") if isinstance(entry, Mapping) else None
        if not isinstance(url, str):
            raise BackendFailedError(
                f"the job {job.get('id')} is completed but names no results", fix="Fetch them again.", retryable=True
            )
        client = self._speaking(call)
        return _once(client.get_results, call)(client, url)

    def cancel(self, job_id: str, call: Call) -> Mapping[str, object]:
        """``PUT /jobs/{id}/status/cancel``."""
        client = self._speaking(call)
        answer: Mapping[str, object] = _once(client.cancel_job, call)(client, job_id)
        return answer

    def compile(self, circuit: Circuit) -> Circuit:
        """By Qiskit's transpiler for the SDK's native backend, and the SDK's pass that makes long runs of pulses short.

        Equal up to a global phase. Above level 0 the transpiler would cancel gates on two qubits, folded ones too.
        """
        n = circuit.n_qubits
        compiled = self._qiskit.transpile(
            self._measured(to_qiskit(circuit)),
            self._backend,
            optimization_level=0,
            initial_layout=list(range(n)),
            seed_transpiler=0,
        )
        short = self._shorten()(compiled)
        gates, _, measured = self._helpers.qiskit_circ_to_ionq_circ(short, "native")
        if measured != list(range(n)):
            raise InvalidCircuitError(
                f"Qiskit moved the qubits to {measured}", fix='Use gateset="qis".', value=measured
            )
        return from_ionq({"gateset": "native", "qubits": n, "circuit": gates})

    def _made_backend(self) -> Any:
        backend = import_module("qiskit_ionq.ionq_backend").IonQBackend
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a default level of optimization that is not used here
            return backend(
                provider=None,
                name=f"ionq_{self._setting.target}",
                description="IonQ",
                gateset=self._setting.gateset,
                num_qubits=self._setting.max_qubits,
                simulator=self._setting.target == "simulator",
                noise_model=self._setting.noise_model,
            )

    def _speaking(self, call: Call) -> Any:
        client = self._client(NO_KEY, self._setting.url)

        def get(path: str, params: Any = None, headers: Any = None, timeout: float = 30) -> Answer:
            del timeout  # the call has its own
            return call.get(path, params=params, headers=headers)

        client.get_with_retry = get
        return client

    def _written(self, circuit: Circuit) -> Any:
        return self._measured(self._of_ion_gates(circuit) if self._setting.gateset == "native" else to_qiskit(circuit))

    def _measured(self, circuit: Any) -> Any:
        circuit.add_register(self._qiskit.ClassicalRegister(circuit.num_qubits))
        circuit.measure(range(circuit.num_qubits), range(circuit.num_qubits))
        return circuit

    def _of_ion_gates(self, circuit: Circuit) -> Any:
        written = self._qiskit.QuantumCircuit(circuit.n_qubits)
        kinds = {"GPI": "GPIGate", "GPI2": "GPI2Gate", "MS": "MSGate", "RZZ": "ZZGate"}
        for operation in circuit.operations:
            gate = getattr(self._ionq, kinds[operation.gate])
            written.append(gate(*(angle / TURN for angle in numbers(operation))), list(operation.qubits))
        return written


def _once(method: Any, call: Call) -> Any:
    """The method without its retries, and with the call in place of ``requests``; the client is its first argument."""
    return with_transport(method.__func__.__wrapped__, call)
