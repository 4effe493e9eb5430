"""The query floor: SQL text and filters become plans over the storage floor.

Internal to Q-Store; the documented interface is :mod:`qstore_db`. This floor knows nothing of quantum: what speaks of
models or states is plugged in through :mod:`query.ports`.
"""
