"""Noise models with numbers that a maker of devices has published.

They are assumptions named after their source, not a description of a device: real gates have coherent errors,
crosstalk, drift and noise on waiting qubits, and the gates that a device runs are not those of the circuit written
here. They do not predict whether a circuit succeeds on that device.
"""

from __future__ import annotations

from typing import Final

from qstore_db.simulation.channels import depolarizing
from qstore_db.simulation.noise_model import NoiseModel, NoiseRule, ReadoutError

_GATES: Final = (
    "Depolarizing after every gate, p·1/d convention, rates r_1q and r_2q of IonQ's own simulator noise models: "
    "docs.ionq.com/guides/simulation-with-noise-models."
)
_ARIA_READOUT: Final = (
    " Readout: 1 - 0.9961, the SPAM fidelity of IonQ Aria at learn.microsoft.com/azure/quantum/provider-ionq; assumed "
    "to be wholly in the readout and the same for 0 and 1."
)


def _ionq(name: str, one_qubit: float, two_qubits: float, misread: float, source: str) -> NoiseModel:
    return NoiseModel(
        [NoiseRule(depolarizing(one_qubit), arity=1), NoiseRule(depolarizing(two_qubits, 2))],
        readout=ReadoutError(misread) if misread else None,
        name=name,
        source=source,
    )


def ionq_aria_like() -> NoiseModel:
    """Depolarizing p = 0.0005 after gates on one qubit and 0.0133 on two, outcomes misread with probability 0.0039.

    Not claimed: that IonQ Aria behaves so. The gate rates are those of IonQ's simulator for ``aria-1``, a snapshot; the
    readout is derived from a published fidelity that also holds state preparation.
    """
    return _ionq("ionq_aria_like", 0.0005, 0.0133, 0.0039, _GATES + _ARIA_READOUT)


def ionq_aria_2_like() -> NoiseModel:
    """Depolarizing p = 0.00065733… and 0.01856, misread outcomes 0.0039; see :func:`ionq_aria_like`."""
    return _ionq("ionq_aria_2_like", 0.0006573333333333332, 0.01856, 0.0039, _GATES + _ARIA_READOUT)


def ionq_forte_like() -> NoiseModel:
    """Depolarizing p = 0.00026666… and 0.00494933…; outcomes are read without error, for want of a published number.

    See :func:`ionq_aria_like` for what is not claimed.
    """
    return _ionq("ionq_forte_like", 0.0002666666666666667, 0.004949333333333333, 0.0, _GATES + " No readout error.")
