"""The provider's devices by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from qstore_db.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class Target:
    """One device, or the provider's simulator.

    Args:
        name: As the provider calls it.
        qubits: That a circuit may have there.
        entangler: Its native gate on two qubits: ``"ms"`` or ``"zz"``; of the simulator the noise model decides.
        noise_model: Name of the noise model that stands for it; empty for the simulator, which takes any.
    """

    name: str
    qubits: int
    entangler: Literal["ms", "zz"]
    noise_model: str = ""


TARGETS: Final[Mapping[str, Target]] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target("simulator", 29, "ms"),
            Target("qpu.aria-1", 25, "ms", "aria-1"),
            Target("qpu.aria-2", 25, "ms", "aria-2"),
            Target("qpu.forte-1", 36, "zz", "forte-1"),
            Target("qpu.forte-enterprise-1", 36, "zz", "forte-enterprise-1"),
        )
    }
)
"""Source: docs.ionq.com, API v0.4, "Create job" and "Backends", read in 2026. The provider retires devices: ask
:meth:`~qstore_db.backends.ionq.service.IonqService.targets` for those it has now."""

SHOTS_PER_CIRCUIT: Final = 10_000
"""Of one circuit on a device or with noise, at most; the same as in qiskit-ionq."""

NOISE_MODELS: Final = ("ideal", "aria-1", "aria-2", "forte-1", "forte-enterprise-1")
"""Of the simulator. Source: docs.ionq.com, "Simulation with noise models"."""

DEFAULTS: Final[Mapping[str, str]] = MappingProxyType({"ionq_simulator": "simulator", "ionq_qpu": "qpu.forte-1"})
"""Names of our backends to the target that is taken when none is named."""


def target_of(backend: str, target: str | None) -> Target:
    """The device of one of our backends.

    Args:
        backend: ``"ionq_simulator"`` or ``"ionq_qpu"``.
        target: The provider's name; ``None`` takes the default.

    Raises:
        InvalidArgumentError: There is no such backend or no such target, or the two do not belong together.
    """
    if backend not in DEFAULTS:
        raise InvalidArgumentError(
            f"IonQ has no backend {backend!r}", fix=f"Use {' or '.join(map(repr, DEFAULTS))}.", value=backend
        )
    name = DEFAULTS[backend] if target is None else target
    fitting = [known for known in TARGETS if (known == "simulator") == (backend == "ionq_simulator")]
    if name not in fitting:
        raise InvalidArgumentError(
            f"{backend} has no target {name!r}", fix=f"Use {', '.join(map(repr, fitting))}.", value=name
        )
    return TARGETS[name]


def checked_noise(target: Target, noise_model: str | None) -> str:
    """The noise model that a job names, ``"ideal"`` if none is asked for.

    Raises:
        InvalidArgumentError: The provider has none of that name, or the target is a device and has its own noise.
    """
    if noise_model is not None and target.name != "simulator":
        raise InvalidArgumentError(
            f"{target.name} takes no noise model: it has noise of its own",
            fix='Leave noise_model out, or use "ionq_simulator".',
            value=noise_model,
        )
    name = "ideal" if noise_model is None else noise_model
    if name not in NOISE_MODELS:
        raise InvalidArgumentError(
            f"there is no noise model {name!r}", fix=f"Use {', '.join(map(repr, NOISE_MODELS))}.", value=name
        )
    return name


def entangler_of(target: Target, noise_model: str) -> Literal["ms", "zz"]:
    """The native gate on two qubits: of the simulator that of the device that its noise model stands for, else MS."""
    modelled = TARGETS.get(f"qpu.{noise_model}", target)
    return modelled.entangler


def qubits_of(target: Target, noise_model: str) -> int:
    """Qubits that a circuit may have; under a noise model no more than the device that it stands for has."""
    return min(target.qubits, TARGETS.get(f"qpu.{noise_model}", target).qubits)
