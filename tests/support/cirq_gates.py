"""Every gate as Cirq has it; what Cirq lacks is written out here as a matrix, not taken from our gates."""

import cirq
import numpy as np

_FIXED = {
    "H": cirq.H, "X": cirq.X, "Y": cirq.Y, "Z": cirq.Z, "S": cirq.S, "SDG": cirq.S**-1, "T": cirq.T, "TDG": cirq.T**-1,
    "CX": cirq.CNOT, "CZ": cirq.CZ, "SWAP": cirq.SWAP, "ISWAP": cirq.ISWAP, "ISWAPDG": cirq.ISWAP**-1,
    "CCX": cirq.CCX, "CSWAP": cirq.CSWAP,
}  # fmt: skip
_TURNED = {
    "RX": cirq.rx, "RY": cirq.ry, "RZ": cirq.rz, "P": lambda t: cirq.ZPowGate(exponent=t / np.pi),
    "RXX": lambda t: cirq.XXPowGate(exponent=t / np.pi, global_shift=-0.5),
    "RYY": lambda t: cirq.YYPowGate(exponent=t / np.pi, global_shift=-0.5),
    "RZZ": lambda t: cirq.ZZPowGate(exponent=t / np.pi, global_shift=-0.5),
    "CRX": lambda t: cirq.ControlledGate(cirq.rx(t)), "CRY": lambda t: cirq.ControlledGate(cirq.ry(t)),
    "CRZ": lambda t: cirq.ControlledGate(cirq.rz(t)), "CP": lambda t: cirq.CZPowGate(exponent=t / np.pi),
    "U": lambda theta, phi, lam: cirq.MatrixGate(
        np.diag([1, np.exp(1j * phi)]) @ cirq.unitary(cirq.ry(theta)) @ np.diag([1, np.exp(1j * lam)])
    ),
    "GPI": lambda p: cirq.MatrixGate(np.array([[0, np.exp(-1j * p)], [np.exp(1j * p), 0]])),
    "GPI2": lambda p: cirq.MatrixGate(np.array([[1, -1j * np.exp(-1j * p)], [-1j * np.exp(1j * p), 1]]) / np.sqrt(2)),
    "MS": lambda p, q, t: cirq.MatrixGate(
        np.cos(t / 2) * np.eye(4)
        - 1j * np.sin(t / 2) * np.fliplr(np.diag(np.exp(1j * np.array([-p - q, q - p, p - q, p + q]))))
    ),
}  # fmt: skip


def cirq_gate(name, *angles):
    """A gate of ours by its name and its angles in radians."""
    return _TURNED[name](*angles) if angles else _FIXED[name]
