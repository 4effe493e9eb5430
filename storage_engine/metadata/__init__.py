"""Metadata columns: how their types grow, and where their values lie."""
