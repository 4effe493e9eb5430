"""States as values: superposition over contexts, dephasing in time, measurement. Pure mathematics, no storage.

A record with contexts c denotes |ψ⟩ = Σ_c √p_c |c⟩⊗|v_c⟩: orthonormal context labels, probabilities p_c with Σ p_c = 1,
and one real unit vector v_c a context, its branch.
"""
