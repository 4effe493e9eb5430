"""Templates: circuits with a name of their own, from Bell pairs to phase estimation."""
