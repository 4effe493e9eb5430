"""Encodings as PyTorch modules: rows to start states of a ``QuantumLayer`` with ``amplitude_input=True``.

Plain tensor operations without weights, on the caller's device and in its dtype, differentiable as often as wanted.
"""

# mypy: disable-error-code="import-not-found", allow-subclassing-any
from __future__ import annotations

from typing import Literal

from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, InvalidVectorError, MissingDependencyError
from qstore_db.frameworks.encoding_shapes import checked_qubits, checked_width

try:
    import torch
except ImportError as error:
    raise MissingDependencyError("PyTorch is not installed", fix="pip install 'qstore-db[torch]'") from error


class AmplitudeEncoding(torch.nn.Module):
    """Rows of up to 2^n numbers, padded with zeros and divided by their norm: (…, width) to (…, 2^n).

    The same states as :func:`qstore_db.circuits.encodings.amplitude.amplitudes`. A layer with ``amplitude_input=True``
    does this by itself; as a module it stands where the state is wanted, or other start states follow.

    Args:
        n_qubits: 1 … 24.

    Raises:
        InvalidCircuitError: Another number of qubits.

    Example:
        >>> AmplitudeEncoding(2)(torch.tensor([3.0, 4.0, 0.0]))
        tensor([0.6000, 0.8000, 0.0000, 0.0000])
    """

    def __init__(self, n_qubits: int) -> None:
        super().__init__()
        self.n_qubits = checked_qubits(n_qubits)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The states, real or complex as the rows are.

        Raises:
            InvalidVectorError: A row is zero, not finite, or longer than 2^n. Looking at the rows waits for their
                device.
        """
        width = checked_width(tuple(rows.shape), 1, 1 << self.n_qubits)
        # A direction does not change with the length, so the largest part may count as a constant.
        largest = rows.detach().abs().amax(dim=-1, keepdim=True)
        wrong = torch.nonzero(~(torch.isfinite(largest) & (largest > 0)).reshape(-1))
        if len(wrong):
            raise InvalidVectorError(
                f"row {int(wrong[0])} is zero or not finite and so has no direction",
                fix="Remove it or give it finite values that are not all zero.",
                value=int(wrong[0]),
            )
        scaled = rows / largest
        states = scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
        return torch.nn.functional.pad(states, (0, (1 << self.n_qubits) - width))

    def extra_repr(self) -> str:
        """What stands in the brackets of the module's text."""
        return f"n_qubits={self.n_qubits}"


class AngleEncoding(torch.nn.Module):
    """Each number turns a qubit: (…, n) to the amplitudes (…, 2^n) of ⊗_q R(scale · x_q)|0⟩.

    The same states as the circuit :func:`qstore_db.circuits.encodings.angle.angle_encoding` prepares: RY's are real,
    RX's complex. Cost 2^n numbers a row: to turn many qubits put the encoding's gates into the layer's circuit.

    Args:
        n_qubits: 1 … 24.
        axis: ``"Y"`` or ``"X"``; RZ on |0⟩ is but a phase.
        scale: Radians per unit of the input.

    Raises:
        InvalidCircuitError: Another number of qubits, or another axis.

    Example:
        >>> AngleEncoding(2, scale=torch.pi)(torch.tensor([1.0, 0.0])).round(decimals=3).abs()
        tensor([0., 0., 1., 0.])
    """

    def __init__(self, n_qubits: int, *, axis: Literal["X", "Y"] = "Y", scale: float = 1.0) -> None:
        super().__init__()
        if axis not in ("X", "Y"):
            raise InvalidCircuitError(f"an encoding about the axis {axis!r}", fix="Use 'X' or 'Y'.", value=axis)
        self.n_qubits, self.axis, self.scale = checked_qubits(n_qubits), axis, scale

    def forward(self, angles: torch.Tensor) -> torch.Tensor:
        """The states.

        Raises:
            InvalidArgumentError: The angles are complex.
            InvalidVectorError: Another width than n.
        """
        checked_width(tuple(angles.shape), self.n_qubits, self.n_qubits)
        if angles.is_complex():
            raise InvalidArgumentError(
                f"angles of type {angles.dtype}", fix="Give real numbers.", value=str(angles.dtype)
            )
        half = angles * (self.scale / 2)
        cosine, sine = torch.cos(half), torch.sin(half)
        if self.axis == "X":
            cosine, sine = torch.complex(cosine, torch.zeros_like(sine)), torch.complex(torch.zeros_like(sine), -sine)
        turned = torch.stack((cosine, sine), dim=-1)
        states = turned[..., 0, :]
        for qubit in range(1, self.n_qubits):  # earlier qubits are the higher bits
            states = (states.unsqueeze(-1) * turned[..., qubit, None, :]).flatten(-2)
        return states

    def extra_repr(self) -> str:
        """What stands in the brackets of the module's text."""
        return f"n_qubits={self.n_qubits}, axis={self.axis!r}, scale={self.scale:g}"
