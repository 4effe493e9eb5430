"""Q-Store: an embedded vector database that trains quantum models inside the database."""
