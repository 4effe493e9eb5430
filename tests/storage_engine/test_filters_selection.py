"""Selections: dead rows never, the caller's array left alone, memory bounded."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from storage_engine.batch import CreateCollection, DeleteRows, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import InvalidArgumentError
from storage_engine.filters import selection as module
from storage_engine.filters.selection import Selection, Selections
from storage_engine.schema import CollectionSchema, Metric


def test_a_selection_leaves_out_dead_rows_and_leaves_the_mask_alone():
    mask = np.array([True, False, True, True])
    plain = Selection(mask)
    assert (plain.count, plain.within(1, 2)[1], plain.within(0, 4)[1]) == (3, 1, 3)
    mask[1] = True  # still the caller's own
    with pytest.raises(ValueError, match="read-only"):
        plain.mask[0] = False
    lived = Selection(mask, np.array([True, True, False, True]))
    assert (lived.count, lived.mask.tolist()) == (3, [True, True, False, True])


def test_memory_is_bounded_in_number_and_in_bytes(monkeypatch):
    kept = Selections()
    for n in range(module.KEPT_SELECTIONS + 1):
        kept.get(str(n), lambda: Selection(np.ones(10, np.bool_)))
    made = []

    def make():
        made.append(1)
        return Selection(np.ones(10, np.bool_))

    assert kept.get("0", make).count == 10
    kept.get("1", make)  # the oldest but one was dropped for "0"
    kept.get(str(module.KEPT_SELECTIONS), make)
    assert len(made) == 2
    monkeypatch.setattr(module, "KEPT_BYTES", 9 * 25)
    for n in range(4):
        kept.get(f"small {n}", make)
    assert len(kept._kept) == 2
    large = kept.get("large", lambda: Selection(np.ones(26, np.bool_)))
    assert kept.get("large", lambda: Selection(np.ones(26, np.bool_))) is not large


def test_threads_share_what_one_of_them_made():
    kept = Selections()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(kept.get("x", lambda: Selection(np.ones(5, np.bool_)))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.get("x", lambda: Selection(np.zeros(5, np.bool_))) in found


def test_a_search_takes_a_selection_of_its_own_rows_only():
    with Engine.open(None) as engine:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, 2, Metric.L2))]))
        rows = np.arange(40, dtype=np.float32).reshape(20, 2)
        engine.commit(WriteBatch([PutRows("c", [f"r{n}" for n in range(20)], rows)]))
        engine.commit(WriteBatch([DeleteRows("c", ["r0"])]))
        view = engine.snapshot().collection("c")
        even = view.selection("even", lambda: np.arange(20) % 2 == 0)
        assert even.count == 9  # r0 is dead
        assert view.selection("even", lambda: np.ones(20, np.bool_)) is even
        first = view.search(rows[0], 3, mask=even)
        assert first.slots.tolist() == [2, 4, 6]
        assert view.search(rows[0], 3, mask=even).slots.tolist() == [2, 4, 6]  # by what the first prepared
        assert view.search(rows[0], 3, mask=even.mask).slots.tolist() == [2, 4, 6]
        assert (first.strategy, first.reason) == ("exact_rows", "there is no graph yet")
        engine.commit(WriteBatch([DeleteRows("c", ["r4"])]))
        assert engine.snapshot().collection("c").search(rows[0], 3, mask=even).slots.tolist() == [2, 6, 8]
        assert view.search(rows[0], 3, mask=even).slots.tolist() == [2, 4, 6]
        engine.commit(WriteBatch([PutRows("c", ["more"], rows[:1])]))
        later = engine.snapshot().collection("c")
        with pytest.raises(InvalidArgumentError, match="20 slots"):
            later.search(rows[0], 3, mask=even)
        engine.commit(WriteBatch([DeleteRows("c", ["r2"])]))
        gone = view.selection("none", lambda: np.zeros(20, np.bool_))
        assert [len(one.slots) for one in view.search_many(rows[:3], 2, mask=gone)] == [0, 0, 0]
