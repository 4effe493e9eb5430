"""System tables that this floor knows by itself: what is in the storage floor, seen as rows."""
