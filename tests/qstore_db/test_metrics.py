import threading

import pyarrow as pa
import pytest

from qstore_db.errors import DamagedError, WriteFailedError
from qstore_db.training import metrics
from qstore_db.training.metrics import MetricRow, MetricsWriter, compaction, parts_of, read_metrics
from storage_engine.batch import WriteBatch
from storage_engine.engine import Engine


@pytest.fixture
def engine():
    with Engine.open(None) as engine:
        yield engine


def row(step, *, run_id=1, epoch=1):
    return MetricRow(
        run_id=run_id,
        epoch=epoch,
        step=step,
        time=1000.25 + step,
        train_loss=1 / (abs(step) + 1),
        train_accuracy=0.5,
        rows=8,
        circuits=8,
    )


def steps(table):
    return table["step"].to_pylist()


def test_rows_come_back_in_order_with_the_fixed_schema(engine):
    with MetricsWriter(engine, 1, rows_per_part=3) as writer:
        for step in range(1, 9):
            writer.append(row(step))
    table = read_metrics(engine, engine.snapshot())
    assert table.schema.equals(metrics.SCHEMA)
    assert steps(table) == list(range(1, 9))
    assert table["time"][0].as_py().timestamp() == 1001.25
    assert table["train_loss"].to_pylist() == [1 / (step + 1) for step in range(1, 9)]
    assert table["shots"].null_count == 8
    assert [part.rows for part in parts_of(engine.snapshot(), 1)] == [3, 3, 2]
    assert read_metrics(engine, engine.snapshot(), 2).num_rows == 0


def test_a_flushed_row_is_committed_and_an_unflushed_one_is_not(engine):
    writer = MetricsWriter(engine, 1)
    writer.append(row(1))
    writer.flush()
    writer.append(row(2))
    assert steps(read_metrics(engine, engine.snapshot())) == [1]
    writer.close()
    assert steps(read_metrics(engine, engine.snapshot())) == [1, 2]
    writer.close()


def test_a_part_that_is_old_enough_is_handed_over(engine):
    now = [0.0]
    with MetricsWriter(engine, 1, seconds_per_part=5.0, monotonic=lambda: now[0]) as writer:
        writer.append(row(1))
        now[0] = 4.9
        writer.append(row(2))
        assert not writer._waiting
        now[0] = 5.0
        writer.append(row(3))
        assert writer._waiting
        writer.flush()
        assert [part.rows for part in parts_of(engine.snapshot())] == [3]


def test_a_part_that_cannot_be_written_is_raised_again_and_again(engine, monkeypatch):
    writer = MetricsWriter(engine, 1, rows_per_part=1)
    writer.append(row(1))
    writer.flush()

    def refuse(*_):
        raise WriteFailedError("the disk is full")

    monkeypatch.setattr(engine, "commit", refuse)
    writer.append(row(2))
    for _ in range(2):
        with pytest.raises(WriteFailedError):
            writer.flush()
    monkeypatch.undo()
    with pytest.raises(WriteFailedError):
        for step in range(3, 100):
            writer.append(row(step))
    with pytest.raises(WriteFailedError):
        writer.close()
    assert steps(read_metrics(engine, engine.snapshot())) == [1]


def test_nothing_is_written_behind_a_gap(engine, monkeypatch):
    gate, commit, calls = threading.Event(), engine.commit, []

    def first_fails(batch):
        gate.wait(30)
        calls.append(batch)
        if len(calls) == 1:
            raise WriteFailedError("the disk is full")
        return commit(batch)

    monkeypatch.setattr(engine, "commit", first_fails)
    writer = MetricsWriter(engine, 1, rows_per_part=1)
    writer.append(row(1))
    writer.append(row(2))
    gate.set()
    with pytest.raises(WriteFailedError):
        writer.close()
    assert len(calls) == 1
    assert parts_of(engine.snapshot()) == []


def test_a_full_queue_makes_the_caller_wait_and_drops_nothing(engine, monkeypatch):
    gate = threading.Event()
    commit = engine.commit
    monkeypatch.setattr(engine, "commit", lambda batch: (gate.wait(30), commit(batch))[1])
    writer = MetricsWriter(engine, 1, rows_per_part=1, queued_parts=2)
    done = threading.Event()

    def fill():
        for step in range(1, 7):
            writer.append(row(step))
        done.set()

    thread = threading.Thread(target=fill)
    thread.start()
    assert not done.wait(0.2)
    assert len(writer._waiting) == 2
    gate.set()
    thread.join(30)
    assert done.is_set()
    writer.close()
    assert steps(read_metrics(engine, engine.snapshot())) == [1, 2, 3, 4, 5, 6]


def fill(engine, run_id, epochs=3, per_epoch=4, rows_per_part=3):
    with MetricsWriter(engine, run_id, rows_per_part=rows_per_part) as writer:
        for epoch in range(1, epochs + 1):
            for step in range((epoch - 1) * per_epoch + 1, epoch * per_epoch + 1):
                writer.append(row(step, run_id=run_id, epoch=epoch))
            writer.append(row(-1, run_id=run_id, epoch=epoch))


def test_compaction_leaves_one_part_with_the_same_rows(engine):
    fill(engine, 1)
    fill(engine, 2, epochs=1)
    before = read_metrics(engine, engine.snapshot(), 1)
    engine.commit(WriteBatch(compaction(engine, 1, steps_done=12, epochs_done=3)))
    assert len(parts_of(engine.snapshot(), 1)) == 1
    assert len(parts_of(engine.snapshot(), 2)) == 2
    assert read_metrics(engine, engine.snapshot(), 1).equals(before)
    assert len(engine.snapshot().files("metrics")) == 3
    assert compaction(engine, 1, steps_done=12, epochs_done=3) == []


def test_rows_made_after_a_checkpoint_are_left_out(engine):
    fill(engine, 1)
    engine.commit(WriteBatch(compaction(engine, 1, steps_done=6, epochs_done=1)))
    assert steps(read_metrics(engine, engine.snapshot(), 1)) == [1, 2, 3, 4, -1, 5, 6]


def test_the_row_of_an_unfinished_epoch_is_left_out_though_its_steps_stay(engine):
    fill(engine, 1)
    engine.commit(WriteBatch(compaction(engine, 1, steps_done=8, epochs_done=1)))
    assert steps(read_metrics(engine, engine.snapshot(), 1)) == [1, 2, 3, 4, -1, 5, 6, 7, 8]


def test_nothing_may_be_left(engine):
    fill(engine, 1)
    engine.commit(WriteBatch(compaction(engine, 1, steps_done=0, epochs_done=0)))
    assert read_metrics(engine, engine.snapshot(), 1).num_rows == 0
    assert engine.snapshot().files("metrics") == ()


def test_an_old_snapshot_reads_the_compacted_part(engine):
    fill(engine, 1)
    snapshot = engine.snapshot()
    before = read_metrics(engine, snapshot)
    engine.commit(WriteBatch(compaction(engine, 1, steps_done=12, epochs_done=3)))
    assert read_metrics(engine, snapshot).equals(before)


def test_a_file_that_is_not_what_its_record_says_is_damaged(engine, monkeypatch):
    fill(engine, 1, epochs=1)
    monkeypatch.setattr(engine, "read_file", lambda *_: b"PAR1 no")
    with pytest.raises(DamagedError):
        read_metrics(engine, engine.snapshot())
    empty = pa.BufferOutputStream()
    import pyarrow.parquet as pq

    pq.write_table(metrics.SCHEMA.empty_table(), empty)
    monkeypatch.setattr(engine, "read_file", lambda *_: empty.getvalue().to_pybytes())
    with pytest.raises(DamagedError, match="0 rows"):
        read_metrics(engine, engine.snapshot())
