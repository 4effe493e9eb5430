"""Q-Store: an embedded vector database that trains quantum models inside the database.

    from qstore_db import QuantumDatabase

    db = QuantumDatabase.open("clothes.qdb")

This package is the documented interface; errors are in :mod:`qstore_db.errors`.
"""

from typing import TYPE_CHECKING

from qstore_db.collection import Collection
from qstore_db.database import QuantumDatabase
from qstore_db.errors import QStoreError
from qstore_db.hits import Hit, Hits
from qstore_db.record import Record

if TYPE_CHECKING:
    from qstore_db.async_database import AsyncQuantumDatabase

__version__ = "0.1.0"
__all__ = [
    "AsyncQuantumDatabase",
    "Collection",
    "Hit",
    "Hits",
    "QStoreError",
    "QuantumDatabase",
    "Record",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name == "AsyncQuantumDatabase":  # asyncio is imported by those who use it
        from qstore_db.async_database import AsyncQuantumDatabase

        return AsyncQuantumDatabase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
