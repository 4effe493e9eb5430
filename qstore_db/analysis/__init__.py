"""Numbers about circuits and states: size, light cones, entanglement, expressibility, vanishing gradients."""
