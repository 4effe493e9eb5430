import doctest
import importlib
import pkgutil

import pytest

import qstore_db.circuits

MODULES = [module.name for module in pkgutil.walk_packages(qstore_db.circuits.__path__, "qstore_db.circuits.")]


@pytest.mark.parametrize("name", [*MODULES, "qstore_db.simulation.unitary"])
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(bool(test.examples) for module in modules for test in finder.find(module)) > 25
