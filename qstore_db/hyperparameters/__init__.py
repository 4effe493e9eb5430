"""Hyperparameter search: spaces, what is suggested next, and when to stop a trial; knows no database and no model."""
