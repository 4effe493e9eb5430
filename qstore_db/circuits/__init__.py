"""Circuits as values: gates, angles, observables, encodings and ansätze. Nothing here runs anything."""
