"""Searches beyond the nearest k rows: ranges, groups, pages, diversity, text, several vectors, several collections."""
