"""Predicate values: what may be made, and one text per tree."""

from __future__ import annotations

import datetime

import pytest

from storage_engine.errors import InvalidArgumentError
from storage_engine.filters.expression import (
    And,
    Between,
    Comparison,
    Constant,
    InSet,
    IsNull,
    Like,
    Not,
    Or,
    canonical_text,
    columns_of,
)


def test_texts_of_different_types_differ():
    values = (1, 1.0, True, "1", None, b"1", datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1), "null", "i1")
    texts = {canonical_text(Comparison("a", "=", value)) for value in values}
    assert len(texts) == len(values)


def test_quotes_in_names_and_values_cannot_forge_another_tree():
    forged = Comparison('a"=i1,"b', "=", 1)
    honest = And((Comparison("a", "=", 1), Comparison("b", "=", 1)))
    assert canonical_text(forged) not in canonical_text(honest)
    assert canonical_text(InSet("a", ("x','y",))) != canonical_text(InSet("a", ("x", "y")))


def test_order_and_nesting_of_and_do_not_matter():
    a, b, c = Comparison("a", "<", 1), IsNull("b"), Like("c", "x%")
    assert canonical_text(And((a, And((b, c))))) == canonical_text(And((c, b, a, a)))
    assert canonical_text(And((a, Or((b, c))))) != canonical_text(And((a, b, c)))
    assert canonical_text(InSet("a", (2, 1, 2))) == canonical_text(InSet("a", (1, 2)))


def test_columns_in_order_of_appearance():
    tree = Or((Not(Comparison("b", "=", 1)), And((IsNull("a"), Between("b", 1, 2))), Constant(True)))
    assert columns_of(tree) == ("b", "a")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Comparison("a", "==", 1),
        lambda: Comparison("", "=", 1),
        lambda: Comparison("a", "=", [1]),
        lambda: Comparison("a", "=", float("nan")),
        lambda: InSet("a", (1, object())),
        lambda: Like("a", 5),
        lambda: Like("a", "x", escape="ab"),
        lambda: Like("a", "x\\", escape="\\"),
    ],
)
def test_what_is_no_predicate_is_refused(make):
    with pytest.raises(InvalidArgumentError):
        make()
