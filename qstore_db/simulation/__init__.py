"""The exact simulator: expectation values and their gradients for whole batches."""
