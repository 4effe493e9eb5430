"""Quadratic unconstrained binary optimisation: problems, solvers, and the selection of relevant and diverse rows."""
