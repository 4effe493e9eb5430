"""Every example in the docstrings of gradients and optimizers runs."""

import doctest
import importlib
import pkgutil

import pytest

import qstore_db.gradients
import qstore_db.optimizers

MODULES = [
    module.name
    for package in (qstore_db.gradients, qstore_db.optimizers)
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(examples) >= 15
