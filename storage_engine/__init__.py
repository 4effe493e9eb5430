"""The storage floor: durable collections of vectors and keyed tables in one directory.

Internal to Q-Store; the documented interface is :mod:`qstore_db`. This floor knows nothing of SQL text or of quantum.
"""
