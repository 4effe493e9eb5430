"""Texts read by compiled code and by Python: the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine import compiled_code
from storage_engine.metadata.texts import Texts

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=30)


def texts_of(strings, kind):
    encoded = [one.encode() for one in strings]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(kind)
    return Texts(offsets, memoryview(b"".join(encoded)))


@pytest.mark.parametrize("kind", [np.int32, np.uint64])
@settings(derandomize=True, deadline=None, max_examples=60)
@given(strings=TEXTS, seed=st.integers(0, 9))
def test_compiled_code_reads_what_python_reads(kind, strings, seed):
    assert compiled_code.process.load()
    rows = np.random.default_rng(seed).integers(0, len(strings), 12)
    assert texts_of(strings, kind).at(rows) == [strings[row] for row in rows]


@pytest.mark.parametrize("strings", [["a\0b", "c"], [""], ["", ""], ["x" * 5000, "é", ""]], ids=repr)
def test_zero_bytes_empty_and_long_texts(strings):
    rows = np.arange(len(strings))
    assert texts_of(strings, np.int32).at(rows) == strings
    assert texts_of(strings, np.int32).at(rows[:0]) == []


@pytest.mark.parametrize("row", [-1, 3, 2**40])
def test_rows_outside_are_refused(row):
    with pytest.raises(IndexError):
        texts_of(["a", "b", "c"], np.uint64).at(np.array([0, row]))
