"""What differs between the two SDKs: how circuits are written and compiled, and the client that speaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from qstore_db.backends.ionq.transport import Call
from qstore_db.circuits.circuit import Circuit

Gateset = Literal["qis", "native"]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where circuits run, and how they are written.

    Args:
        url: The provider's API with its version.
        target: The provider's name of the device.
        gateset: ``"qis"`` sends standard gates, which the provider compiles; ``"native"`` sends gates of the device.
        entangler: The native gate on two qubits.
        noise_model: Of the simulator.
        max_qubits: Of a circuit.
    """

    url: str
    target: str
    gateset: Gateset
    entangler: Literal["ms", "zz"]
    noise_model: str
    max_qubits: int


class Sdk(Protocol):
    """One SDK with its setting. Its client asks the provider through the call that it is given, and in no other way."""

    @property
    def name(self) -> str:
        """``"cirq"`` or ``"qiskit"``."""
        ...

    def post(self, circuits: Sequence[Circuit], shots: int, tag: str, call: Call) -> Mapping[str, object]:
        """Sends one job.

        Args:
            circuits: In the gates of :data:`~qstore_db.backends.ionq.translation.PLAIN`, or in native ones where the
                gateset is native.
            shots: Of each.
            tag: Becomes the job's name, and its metadatum ``qstore_tag``.
            call: The way.

        Returns:
            The provider's answer.
        """
        ...

    def job(self, job_id: str, call: Call) -> Mapping[str, object]:
        """What the provider says of a job."""
        ...

    def results(self, job: Mapping[str, object], circuits: int, call: Call) -> object:
        """The histograms of a completed job, as the provider sends them."""
        ...

    def cancel(self, job_id: str, call: Call) -> Mapping[str, object]:
        """Asks to stop a job."""
        ...

    def compile(self, circuit: Circuit) -> Circuit:
        """The circuit in native gates, by the SDK's own compiler.

        Args:
            circuit: In the gates of :data:`~qstore_db.backends.ionq.translation.PLAIN`.

        Returns:
            In GPI, GPI2 and the native gate on two qubits (MS, or RZZ): equal up to a global phase and turns about Z at
            the end.

        Raises:
            InvalidCircuitError: The SDK left other gates, or moved qubits.
        """
        ...


TAG_KEY: Final = "qstore_tag"
"""Name of the metadatum that holds the tag."""

NO_KEY: Final = "in-the-transport"
"""Given to the SDKs in place of the key, which the transport adds: no message of theirs can hold it."""


def is_native(circuit: Circuit, entangler: str) -> bool:
    """Whether a circuit is already written in gates of the device; it is then sent as it is."""
    gates = {operation.gate for operation in circuit.operations}
    return gates <= {"GPI", "GPI2", "MS" if entangler == "ms" else "RZZ"}
