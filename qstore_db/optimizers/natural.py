"""The natural gradient: steepest descent in the distance of states instead of that of parameters.

u = (g + λ 1)⁻¹ ∇L with the Fubini–Study metric g of :mod:`qstore_db.gradients.metric_tensor`. Source: Stokes, Izaac,
Killoran and Carleo, Quantum 4, 269 (2020). The quantum Fisher information is 4 g: to use it instead divides every
step by four, and asks for four times the damping.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.settings import check_positive


def without_negative_part(metric: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest matrix (in the sum of squares) without negative eigenvalues: for a metric estimated from shots.

    Args:
        metric: Shape (n, n), finite; its symmetric part counts.

    Example:
        >>> without_negative_part(np.diag([0.25, -0.1])).tolist()
        [[0.25, 0.0], [0.0, 0.0]]
    """
    values, vectors = np.linalg.eigh((metric + metric.T) / 2.0)
    out: NDArray[np.float64] = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return out


def natural_direction(
    gradient: NDArray[np.float64],
    metric: NDArray[np.float64],
    *,
    damping: float = 1e-3,
    trained: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """The direction u, by a damped solve over the trained parameters.

    Args:
        gradient: ∇L, shape (n,).
        metric: g, shape (n, n), symmetric and without negative eigenvalues; for data-dependent circuits its mean over
            the batch.
        damping: λ > 0, in the unit of g: bounds u by ∇L / λ where states do not depend on a parameter.
        trained: Which parameters may move, shape (n,); the others get 0 and do not enter the solve. All, if left out.

    Returns:
        Shape (n,). Cost n³/3.

    Raises:
        InvalidArgumentError: Shapes do not fit, a number is not finite, or the damping is not above 0.

    Example:
        >>> natural_direction(np.array([1.0, 1.0]), np.diag([0.25, 0.0]), damping=0.25).tolist()
        [2.0, 4.0]
    """
    check_positive("The natural gradient", "damping", damping)
    size = gradient.size
    if gradient.ndim != 1 or metric.shape != (size, size):
        raise InvalidArgumentError(
            f"A metric of shape {metric.shape} does not fit a gradient of shape {gradient.shape}",
            fix=f"Give the metric of the same parameters, shape ({size}, {size}).",
            value=metric.shape,
        )
    if not (np.isfinite(metric).all() and np.isfinite(gradient).all()):
        raise InvalidArgumentError(
            "The metric or the gradient is not finite", fix="Use a smaller learning rate.", value=None
        )
    chosen = np.arange(size) if trained is None else np.flatnonzero(trained)
    direction = np.zeros(size)
    if chosen.size:
        damped = metric[np.ix_(chosen, chosen)] + damping * np.eye(chosen.size)
        direction[chosen] = np.linalg.solve(damped, gradient[chosen])
    return direction
