"""When the background seals: not in the middle of a burst, unless the log has grown too far."""

import time

import numpy as np
import pytest

from storage_engine import background, writable
from storage_engine.batch import CreateCollection, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, Metric


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setattr(writable, "SEAL_ROWS", 50)
    with Engine.open(None) as engine:
        engine._source.background.stop()  # the test takes its steps
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, 2, Metric.L2))]))
        yield engine


def put(engine, rows):
    first = len(engine.snapshot().collection("c"))
    ids = [str(number) for number in range(first, first + rows)]
    engine.commit(WriteBatch([PutRows("c", ids, np.ones((rows, 2), np.float32))]))


def step(engine):
    """One step of the background; how many manifests it has written."""
    before = engine._source.database.manifest.number
    engine._source.background._step()
    return engine._source.database.manifest.number - before


def test_a_seal_waits_while_commits_come(engine):
    put(engine, 60)
    assert engine._source.database.needs_seal()
    assert step(engine) == 0
    time.sleep(background.QUIET_SECONDS + 0.05)
    assert step(engine) == 1
    assert not engine._source.database.needs_seal()


def test_a_seal_no_longer_waits_beyond_twice_the_limit(engine):
    put(engine, 60)
    put(engine, 50)
    assert step(engine) == 1


def test_below_the_limit_nothing_is_sealed(engine):
    put(engine, 40)
    time.sleep(background.QUIET_SECONDS + 0.05)
    assert step(engine) == 0
