"""Manifests: which immutable files make up the database, and from where the log continues."""
