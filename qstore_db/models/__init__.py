"""Trainable models: a specification, a fitted reduction of the features, and the function of parameters they make."""
