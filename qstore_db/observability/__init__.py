"""Watching from outside: MLflow, Prometheus, structured logs."""
