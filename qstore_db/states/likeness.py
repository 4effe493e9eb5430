"""How alike superposed records are when they are asked in one superposed context.

Asked in |χ⟩ = Σ_c √q_c e^{−iφ_c}|c⟩, a record ρ = λ|ψ⟩⟨ψ| + (1 − λ)·Σ_c p_c |c⟩⟨c|⊗|v_c⟩⟨v_c| leaves on the vectors

    σ = ⟨χ|ρ|χ⟩ = λ|w⟩⟨w| + (1 − λ)·Σ_c p_c q_c |v_c⟩⟨v_c|,        w = Σ_c √(p_c q_c) e^{iφ_c} v_c.

⟨q|σ|q⟩ is the coherent overlap by which queries rank. Two records are alike by the cosine of their operators,
Tr(σσ') / √(Tr σ² · Tr σ'²): in [0, 1], and |⟨w|w'⟩|² of unit vectors where nothing has dephased.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qstore_db.states.contexts import ContextSuperposition
from qstore_db.states.superposition import Superposition


def asked_parts(state: Superposition, context: ContextSuperposition, coherent_weight: float) -> NDArray[np.complex128]:
    """Vectors x_a with σ = Σ_a |x_a⟩⟨x_a|: √λ·w first, then √((1 − λ) p_c q_c)·v_c of each named context.

    Args:
        state: The record; contexts that are not named play no part.
        context: χ.
        coherent_weight: λ in [0, 1].

    Returns:
        complex128 (1 + named contexts, dimension).
    """
    places = [state.contexts.index(name) for name in context.contexts if name in state.contexts]
    named = [context.contexts.index(state.contexts[place]) for place in places]
    sizes = np.sqrt(np.asarray(state.probabilities)[places] * np.asarray(context.weights)[named])
    branches = sizes[:, None] * state.unit_vectors[places]
    turned = np.exp(1j * np.asarray(context.phases)[named])
    coherent = np.sqrt(coherent_weight) * (turned @ branches)
    return np.concatenate([coherent[None], np.sqrt(1.0 - coherent_weight) * branches])


def asked_overlaps(parts: Sequence[NDArray[np.complex128]], unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """⟨q|σ|q⟩ of each record from its :func:`asked_parts`: float64 (records,)."""
    return np.array([float(np.sum(np.abs(part @ unit) ** 2)) for part in parts])


def operator_likeness(parts: Sequence[NDArray[np.complex128]]) -> NDArray[np.float64]:
    """Tr(σ_i σ_j) / √(Tr σ_i² · Tr σ_j²) of records from their :func:`asked_parts`.

    Returns:
        float64 (records, records), symmetric, in [0, 1]; 0 beside a record whose σ is 0. Cost: one product of all parts
        with each other.
    """
    together = np.concatenate(parts)
    starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
    products = np.abs(together @ together.conj().T) ** 2
    traces = np.add.reduceat(np.add.reduceat(products, starts, axis=0), starts, axis=1)
    sizes = np.sqrt(np.diagonal(traces))
    scale = np.outer(sizes, sizes)
    found = np.divide(traces, scale, out=np.zeros_like(traces), where=scale > 0)
    return np.asarray(np.minimum((found + found.T) / 2.0, 1.0))
