"""Molecules as qubit Hamiltonians: integrals over s orbitals, Hartree-Fock, Jordan-Wigner."""
