"""The verbs of a database by what they are about; :class:`qstore_db.database.QuantumDatabase` puts them together."""
