"""What backends can do. Nothing that computes is imported here, so that asking costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qstore_db.backends.request import MAX_SHOTS, ExecutionRequest, Reading
from qstore_db.circuits.circuit import MAX_QUBITS
from qstore_db.circuits.gates import GATES
from qstore_db.errors import UnsupportedRequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do.

    Args:
        readings: What can be read.
        gradients: Ways to differentiate that need less than the circuits themselves, such as ``"adjoint"``.
        seeded: Whether equal seeds give equal counts.
        gates: Names of the gates it takes.
        max_qubits: Of one circuit.
        max_shots: Of one sample.
        max_batch: Requests in one job.
        max_jobs: Jobs that make progress at the same time.
        amplitudes: Whether a request may bring start states.
    """

    readings: frozenset[Reading]
    gradients: tuple[str, ...] = ()
    seeded: bool = True
    gates: frozenset[str] = frozenset(GATES)
    max_qubits: int = MAX_QUBITS
    max_shots: int = MAX_SHOTS
    max_batch: int = 1024
    max_jobs: int = 1
    amplitudes: bool = True


LOCAL: Final = Capabilities(readings=frozenset(Reading), gradients=("adjoint",))
"""Of the exact simulator of this process."""

_NOISY_GATES: Final = frozenset(name for name, gate in GATES.items() if gate.qubits <= 2)
"""Published error rates are those of gates on one and two qubits; a gate on three would pass as perfect."""

LOCAL_NOISY: Final = Capabilities(
    readings=frozenset(Reading), gradients=("adjoint",), gates=_NOISY_GATES, max_qubits=12
)
"""Of the exact simulator of noisy circuits: a state takes 4^n numbers."""

TRAJECTORIES: Final = Capabilities(readings=frozenset({Reading.EXPECTATIONS}), gates=_NOISY_GATES)
"""Of noise by trajectories: estimates of expectation values."""

SIMULATOR: Final = Capabilities(readings=frozenset(Reading))
"""Of simulators of pure states from other libraries; shots are drawn here, from their probabilities."""

IONQ_SIMULATOR: Final = Capabilities(
    readings=frozenset({Reading.COUNTS, Reading.PROBABILITIES}),
    max_qubits=29,
    max_batch=300,
    max_jobs=32,
    amplitudes=False,
)
"""Of IonQ's ideal simulator: its probabilities are exact, shots are drawn from them here."""

IONQ_QPU: Final = Capabilities(
    readings=frozenset({Reading.COUNTS}),
    seeded=False,
    max_qubits=36,
    max_shots=10_000,
    max_batch=300,
    max_jobs=32,
    amplitudes=False,
)
"""Of IonQ's Forte; others have fewer qubits."""


def require_supported(name: str, capabilities: Capabilities, request: ExecutionRequest) -> None:
    """Checks a request against what a backend can do.

    Args:
        name: Of the backend, for the message.
        capabilities: Of the backend.
        request: What is to be sent.

    Raises:
        UnsupportedRequestError: It is beyond them; the message says in what.
    """
    if request.reading not in capabilities.readings:
        can = ", ".join(sorted(capabilities.readings))
        raise _unsupported(name, f"gives no {request.reading}", f"It gives {can}.", request.reading.value)
    qubits = request.circuit.n_qubits
    if qubits > capabilities.max_qubits:
        raise _unsupported(
            name, f"has no room for {qubits} qubits", f"Use at most {capabilities.max_qubits} qubits.", qubits
        )
    unknown = sorted({operation.gate for operation in request.circuit.operations} - capabilities.gates)
    if unknown:
        raise _unsupported(
            name,
            f"has no gate {unknown[0]}",
            f"Its gates are {', '.join(sorted(capabilities.gates))}; circuits.composite writes some in parts.",
            unknown[0],
        )
    if request.shots is not None and request.shots > capabilities.max_shots:
        raise _unsupported(
            name, f"takes no {request.shots} shots", f"Use at most {capabilities.max_shots} shots.", request.shots
        )
    if request.seed is not None and not capabilities.seeded:
        raise _unsupported(name, f"cannot be seeded with {request.seed}", "Leave the seed out.", request.seed)
    if request.amplitudes is not None and not capabilities.amplitudes:
        raise _unsupported(
            name,
            "starts every circuit in |0…0⟩",
            "Prepare the state by gates: qstore_db.circuits.encodings.amplitude.state_preparation.",
            request.amplitudes.shape,
        )


def check_reading(name: str, capabilities: Capabilities, shots: int | None) -> None:
    """Check that a backend can give expectation values, exactly or by that many shots.

    Raises:
        UnsupportedRequestError: It cannot.
    """
    if shots is None and Reading.EXPECTATIONS not in capabilities.readings:
        raise UnsupportedRequestError(
            f"the backend {name!r} gives no exact expectation values", fix="Give shots.", value=name
        )
    if shots is not None and (Reading.COUNTS not in capabilities.readings or shots > capabilities.max_shots):
        raise UnsupportedRequestError(
            f"the backend {name!r} takes no {shots} shots",
            fix=f"Use at most {capabilities.max_shots}."
            if Reading.COUNTS in capabilities.readings
            else "Leave shots out: its values are exact.",
            value=shots,
        )


def _unsupported(name: str, what: str, fix: str, value: object) -> UnsupportedRequestError:
    return UnsupportedRequestError(f"the backend {name!r} {what}", fix=fix, value=value)
