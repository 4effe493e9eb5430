"""Data re-uploading: the same inputs enter again and again, with trainable layers between.

Source: Pérez-Salinas et al., Quantum 4, 226 (2020). As a function of one input the expectation values are Fourier sums;
r uploads by RX, RY or RZ of scale 1 reach frequency r (Schuld, Sweke and Meyer, Physical Review A 103, 032430 (2021)).
"""

from __future__ import annotations

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.repetitions import checked_repetitions


def data_reuploading(encoding: Circuit, layer: Circuit, repetitions: int, *, closing_encoding: bool = False) -> Circuit:
    """encoding, layer, encoding, layer, …: every repetition reads the same data columns and has weights of its own.

    With w_e and w_l the weights of encoding and layer, weight i of the encoding in repetition r becomes r·(w_e + w_l)
    + i, and weight i of the layer r·(w_e + w_l) + w_e + i. Data columns keep their numbers.

    Args:
        encoding: A circuit with data, such as :func:`~qstore_db.circuits.encodings.angle.angle_encoding`.
        layer: A circuit with weights on as many qubits.
        repetitions: 1 or more.
        closing_encoding: Whether one more encoding stands at the end.

    Raises:
        InvalidCircuitError: The numbers of qubits differ, or repetitions below 1.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> from qstore_db.circuits.encodings.angle import angle_encoding
        >>> circuit = data_reuploading(angle_encoding(3), hardware_efficient(3, 1), 4)
        >>> circuit.number_of_data, circuit.number_of_weights
        (3, 24)
    """
    block = encoding.compose(layer, weight_offset=encoding.number_of_weights)
    per_block = encoding.number_of_weights + layer.number_of_weights
    circuit = block
    for repetition in range(1, checked_repetitions(repetitions)):
        circuit = circuit.compose(block, weight_offset=repetition * per_block)
    if closing_encoding:
        circuit = circuit.compose(encoding, weight_offset=repetitions * per_block)
    return circuit
