"""Sealed segments: immutable files of rows, their ids, metadata and deletions, and the keyed tables of a snapshot."""
