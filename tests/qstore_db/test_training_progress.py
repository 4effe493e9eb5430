import io
from dataclasses import replace

import pytest
from rich.console import Console

from qstore_db.training.metrics import MetricRow
from qstore_db.training.options import TrainingOptions
from qstore_db.training.progress import ProgressBar, StepReport, duration, run_line, step_line
from qstore_db.training.registry import Run, RunStatus, Scores

RUN = Run(
    id=7,
    model="clothes",
    model_uuid="c" * 32,
    parent_version=1,
    dataset="d",
    dataset_version=3,
    dataset_digest="",
    options=TrainingOptions(epochs=5),
    started_at=0.0,
    heartbeat_at=0.0,
    host="h",
    process_id=1,
)
REPORT = StepReport(
    epoch=2,
    epochs=5,
    steps=60,
    total_steps=200,
    loss=0.51234,
    accuracy=0.875,
    circuits=1920,
    samples_per_second=20543.2,
    seconds_left=125.0,
)


def test_the_line_under_the_bar_says_it_all():
    assert step_line(REPORT) == ("epoch 2/5  loss 0.5123  accuracy 0.875  1,920 circuits  20,543 samples/s  2:05 left")


def test_durations_are_short():
    assert [duration(seconds) for seconds in (0, 4.4, 59.6, 61, 3725)] == ["0 s", "4 s", "1:00", "1:01", "1:02:05"]


@pytest.mark.parametrize("terminal", [True, False])
def test_the_last_state_stays_drawn_on_a_terminal_and_is_one_line_elsewhere(terminal):
    stream = io.StringIO()
    bar = ProgressBar(Console(file=stream, width=100, force_terminal=terminal))
    bar.started(RUN, 200)
    bar.stepped(REPORT)
    row = MetricRow(
        run_id=7,
        epoch=2,
        step=-1,
        time=0.0,
        train_loss=0.5,
        train_accuracy=0.9,
        rows=1,
        circuits=1,
        validation_accuracy=0.75,
    )
    bar.epoch_finished(row)
    bar.epoch_finished(replace(row, validation_accuracy=0.8125))
    finished = replace(
        RUN,
        status=RunStatus.FINISHED,
        epochs_done=5,
        circuits=4800,
        seconds=12.0,
        scores=Scores(train_loss=0.25, train_accuracy=0.9375),
    )
    bar.finished(finished)
    bar.finished(finished)
    text = stream.getvalue()
    assert "clothes, run 7  validation accuracy 0.812" in text
    assert "finished after 5 of 5 epochs  loss 0.2500  accuracy 0.938  4,800 circuits  12 s" in text
    assert ("30%" in text) == terminal
    assert terminal or text.count("\n") == 1


def test_an_end_before_the_beginning_draws_nothing():
    stream = io.StringIO()
    ProgressBar(Console(file=stream)).finished(RUN)
    assert stream.getvalue() == ""


def test_a_run_that_was_stopped_early_says_so():
    assert run_line(replace(RUN, status=RunStatus.INTERRUPTED)) == "interrupted after 0 of 5 epochs  0 circuits  0 s"
