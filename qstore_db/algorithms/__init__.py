"""Algorithms that run circuits to an end: each beside the classical answer it is compared with."""
