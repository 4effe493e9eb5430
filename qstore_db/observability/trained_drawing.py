"""The drawing of a model's circuit at a moment of its training: weights as numbers, data as symbols."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.drawing import draw
from qstore_db.circuits.parameters import Angle, Data
from qstore_db.models.circuit_model import circuit_of
from qstore_db.models.specification import ModelSpec

LINE_CHARACTERS = 120


def trained_drawing(spec: ModelSpec, weights: NDArray[np.float64]) -> str:
    """The circuit as text, in blocks of 120 characters; see :func:`qstore_db.circuits.drawing.draw`.

    Args:
        spec: Of the model.
        weights: Shape (number of weights of its circuit,), radians.
    """
    circuit = circuit_of(spec)
    operations = tuple(
        dataclasses.replace(operation, angles=tuple(_with_numbers(angle, weights) for angle in operation.angles))
        for operation in circuit.operations
    )
    return draw(Circuit(circuit.n_qubits, operations), width=LINE_CHARACTERS)


def _with_numbers(angle: Angle, weights: NDArray[np.float64]) -> Angle:
    known = sum(float(weights[term.index]) * term.scale for term in angle.terms if not isinstance(term, Data))
    return Angle(tuple(term for term in angle.terms if isinstance(term, Data)), angle.constant + known)
