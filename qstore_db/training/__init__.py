"""Training inside the database: data sets, runs, checkpoints, metrics, and the registry of models."""
