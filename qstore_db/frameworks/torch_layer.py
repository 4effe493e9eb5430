"""A circuit as a PyTorch module.

The states are computed by Q-Store's own simulator on the processor, whatever the device of the tensors. CPU tensors
are handed over without a copy (the simulator makes its own), those of another device are copied to the host, and values
and gradients are copied back to it.
"""

# mypy: disable-error-code="import-not-found", allow-subclassing-any, allow-untyped-decorators
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable
from qstore_db.errors import InvalidArgumentError, MissingDependencyError
from qstore_db.frameworks.circuit_function import SECOND_DERIVATIVE, SECOND_DERIVATIVE_FIX, CircuitFunction
from qstore_db.simulation.plan import Precision

try:
    import torch
except ImportError as error:
    raise MissingDependencyError("PyTorch is not installed", fix="pip install 'qstore-db[torch]'") from error

_PRECISIONS: Final[dict[torch.dtype, Precision]] = {torch.float32: "float32", torch.float64: "float64"}


class QuantumLayer(torch.nn.Module):
    """Expectation values of a circuit, differentiable by its weights and by its inputs.

    ``layer(data)``, ``layer(amplitudes)``, ``layer(data, amplitudes)`` or ``layer()``: one tensor (…, columns) where
    the circuit has data columns, in radians, then one (…, width) where ``amplitude_input`` is set, padded with zeros
    and divided by its norm, through which the gradient goes. The result is (…, readouts), with the same leading axes,
    on the inputs' device, in the widest dtype among weights and inputs (the real one of complex amplitudes). The
    simulation is in float64 where that is float64, else in float32.

    Without a gradient (``torch.no_grad()``) nothing is kept for a backward pass. Second derivatives are refused with an
    ``InvalidArgumentError``. ``torch.compile`` leaves its graph here and enters it again behind. Forward-mode and
    ``torch.func`` transforms are not supported. ``copy.deepcopy`` copies the weights and shares the compiled circuit; a
    module is kept by its ``state_dict()``, pickling it whole is refused.

    Args:
        circuit: Any circuit.
        observables: What is read, at least one, each for the circuit's qubits.
        amplitude_input: Whether each sample brings its start state.
        seed: Start of the weights, uniform in [−π, π): an integer gives the same numbers as in Keras and JAX; None
            draws from PyTorch's own generator (``torch.manual_seed``).
        dtype: Of the weights, a floating type; PyTorch's default when None.
        device: Of the weights.

    Raises:
        InvalidArgumentError: ``dtype`` is not a floating type.
        InvalidCircuitError: No observables, or one for another number of qubits.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> from qstore_db.circuits.encodings.angle import angle_encoding
        >>> from qstore_db.circuits.readouts import readout
        >>> circuit = angle_encoding(4).compose(hardware_efficient(4, 2))
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 4), QuantumLayer(circuit, readout("z", 4), seed=0))
        >>> net(torch.zeros(5, 8)).shape
        torch.Size([5, 4])
    """

    weights: torch.Tensor

    def __init__(
        self,
        circuit: Circuit,
        observables: Sequence[Observable],
        *,
        amplitude_input: bool = False,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        kind = torch.get_default_dtype() if dtype is None else dtype
        if not kind.is_floating_point:
            raise InvalidArgumentError(
                f"weights of type {kind} cannot be trained", fix="Use torch.float32 or torch.float64.", value=kind
            )
        self.function = CircuitFunction(circuit, observables, amplitude_input=amplitude_input)
        self.seed = seed
        size = self.function.number_of_weights
        self.weights = torch.nn.Parameter(torch.empty(size, dtype=kind, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the weights to their start values; with ``seed=None`` to newly drawn ones."""
        with torch.no_grad():
            if self.seed is None:
                self.weights.uniform_(-torch.pi, torch.pi)
            else:
                self.weights.copy_(torch.from_numpy(self.function.initial_weights(self.seed)))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The expectation values, (…, readouts); see the class.

        Raises:
            InvalidArgumentError: Another number of inputs, another width of the data, leading axes or devices that
                differ, or a weight that is not finite.
            InvalidVectorError: Data that are not finite, or amplitudes that are zero, not finite or too wide.
            NotEnoughMemoryError: The states do not fit.
        """
        return expectations(self.function, self.weights, inputs)

    def extra_repr(self) -> str:
        """What stands in the brackets of the module's text."""
        function = self.function
        return (
            f"qubits={function.circuit.n_qubits}, weights={function.number_of_weights},"
            f" inputs={'+'.join(function.inputs) or None}, readouts={function.number_of_readouts}"
        )


@torch.compiler.disable
def expectations(function: CircuitFunction, weights: torch.Tensor, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """The values of a circuit by weights and inputs; what :class:`QuantumLayer` computes, without a module.

    Args:
        function: The circuit and its readouts.
        weights: Shape (weights,).
        inputs: As the layer takes them.

    Returns:
        Shape (…, readouts); errors as of ``QuantumLayer.forward``.
    """
    function.leading_shape(tuple(weights.shape), [tuple(given.shape) for given in inputs])
    devices = {given.device for given in (weights, *inputs)}
    if len(devices) > 1:
        raise InvalidArgumentError(
            f"weights and inputs lie on {len(devices)} devices: {', '.join(sorted(map(str, devices)))}",
            fix="Move the layer and its inputs to one device.",
            value=tuple(sorted(map(str, devices))),
        )
    out = weights.dtype
    for given in inputs:
        out = torch.promote_types(out, given.dtype.to_real())
    real = torch.float64 if out == torch.float64 else torch.float32
    cast = [given.to(real.to_complex() if given.is_complex() else real) for given in (weights, *inputs)]
    kept = torch.is_grad_enabled() and any(given.requires_grad for given in cast)
    values: torch.Tensor = _Expectations.apply(function, kept, *cast)
    return values.to(out)


class _Expectations(torch.autograd.Function):
    """All tensors have one real precision; complex amplitudes that of the same width."""

    @staticmethod
    def forward(
        ctx: Any, function: CircuitFunction, kept: bool, weights: torch.Tensor, *inputs: torch.Tensor
    ) -> torch.Tensor:
        arrays = [_array(given) for given in inputs]
        precision = _PRECISIONS[weights.dtype]
        if kept:
            wanted = any(ctx.needs_input_grad[3:])
            values, ctx.pull = function.forward(_array(weights), arrays, precision, input_gradients=wanted)
        else:
            values = function.values(_array(weights), arrays, precision)
        ctx.dtype = weights.dtype
        ctx.save_for_backward(weights, *inputs)
        return torch.from_numpy(values).to(weights.device, weights.dtype)

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        found = ctx.pull(_array(cotangent))
        wanted = ctx.needs_input_grad[2:]
        gradients = [
            _tensor(one, ctx.dtype, cotangent.device) if needed and one is not None else None
            for one, needed in zip(found, wanted, strict=True)
        ]
        if torch.is_grad_enabled():  # create_graph=True
            gradients = [None if one is None else _FirstOnly.apply(one, *ctx.saved_tensors) for one in gradients]
        return (None, None, *gradients)


class _FirstOnly(torch.autograd.Function):
    """Passes on a gradient that depends on weights and inputs; whoever differentiates it further is told so.

    Without this link in the graph the term would be left out of a second derivative, and nobody would see it.
    """

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor, *origins: torch.Tensor) -> torch.Tensor:
        del ctx, origins
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> NoReturn:
        del ctx
        raise InvalidArgumentError(SECOND_DERIVATIVE, fix=SECOND_DERIVATIVE_FIX, value=tuple(cotangent.shape))


def _array(given: torch.Tensor) -> NDArray[Any]:
    # Without a copy for tensors on the processor that are no conjugate views.
    array: NDArray[Any] = given.numpy(force=True)
    return array


def _tensor(array: NDArray[Any], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    kind = dtype.to_complex() if np.iscomplexobj(array) else dtype
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, kind)
