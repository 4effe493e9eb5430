"""Q-Store: an embedded vector database that trains quantum models inside the database.

    from qstore_db import QuantumDatabase

    db = QuantumDatabase.open("clothes.qdb")

This package is the documented interface; errors are in :mod:`qstore_db.errors`.
"""

from qstore_db.collection import Collection
from qstore_db.database import QuantumDatabase
from qstore_db.errors import QStoreError
from qstore_db.hits import Hit, Hits
from qstore_db.record import Record

__version__ = "0.1.0"
__all__ = ["Collection", "Hit", "Hits", "QStoreError", "QuantumDatabase", "Record", "__version__"]
