"""A page in the browser over one database: read-only, on this machine only."""
