"""Watching a run: the port that is called while a model trains, and a bar on the terminal behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from qstore_db.training.metrics import MetricRow
from qstore_db.training.registry import Run

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live


@dataclass(frozen=True, slots=True)
class StepReport:
    """Where a run stands after a step.

    Args:
        epoch: From 1.
        epochs: Of the run.
        steps: Taken in the whole run.
        total_steps: Of the whole run.
        loss: Mean over the rows of the epoch so far.
        accuracy: Share of those rows that were classified rightly; ``None`` for a model without classes.
        circuits: Evaluated in the whole run.
        samples_per_second: Over the epoch so far.
        seconds_left: At that pace, validation left out.
        cost_usd: What the jobs of the whole run count for, in dollars; ``None`` where nothing is sent away.
    """

    epoch: int
    epochs: int
    steps: int
    total_steps: int
    loss: float
    accuracy: float | None
    circuits: int
    samples_per_second: float
    seconds_left: float
    cost_usd: float | None = None


class TrainingProgress(Protocol):
    """A callback: called by the thread that trains, between steps.

    Raising ``KeyboardInterrupt`` stops the run like Ctrl-C. Any other error fails the run; it is checkpointed where it
    stands first, so that ``resume`` goes on after the last step. Subclass :class:`Silence` to write some methods only.
    """

    def started(self, run: Run, total_steps: int) -> None:
        """The run is about to take its next step; ``run.steps_done`` were taken before."""
        ...

    def stepped(self, report: StepReport) -> None:
        """A step was taken."""
        ...

    def epoch_finished(self, row: MetricRow) -> None:
        """An epoch was finished and validated; ``row`` is its row of the table ``metrics``."""
        ...

    def finished(self, run: Run) -> None:
        """The run ended: finished, interrupted or failed, as ``run.status`` says."""
        ...


@dataclass(frozen=True, slots=True)
class Several:
    """Several callbacks as one, called in order.

    Args:
        members: Each is called once the ones before it have returned.
    """

    members: tuple[TrainingProgress, ...]

    def started(self, run: Run, total_steps: int) -> None:
        """See :class:`TrainingProgress`."""
        for member in self.members:
            member.started(run, total_steps)

    def stepped(self, report: StepReport) -> None:
        """See :class:`TrainingProgress`."""
        for member in self.members:
            member.stepped(report)

    def epoch_finished(self, row: MetricRow) -> None:
        """See :class:`TrainingProgress`."""
        for member in self.members:
            member.epoch_finished(row)

    def finished(self, run: Run) -> None:
        """See :class:`TrainingProgress`."""
        for member in self.members:
            member.finished(run)


class Silence:
    """Shows nothing."""

    def started(self, run: Run, total_steps: int) -> None:
        """See :class:`TrainingProgress`."""

    def stepped(self, report: StepReport) -> None:
        """See :class:`TrainingProgress`."""

    def epoch_finished(self, row: MetricRow) -> None:
        """See :class:`TrainingProgress`."""

    def finished(self, run: Run) -> None:
        """See :class:`TrainingProgress`."""


class ProgressBar:
    """Two lines on the terminal: a bar, and under it epoch, loss, accuracy, circuits, samples per second, time left.

    Where the console is no terminal, the last state is printed at the end.

    Args:
        console: Where to draw; ``None`` means standard error.
        redraws_per_second: How often.
    """

    def __init__(self, console: Console | None = None, *, redraws_per_second: float = 10.0) -> None:
        self._console = console
        self._redraws_per_second = redraws_per_second
        self._live: Live | None = None
        self._drawn_on: Console | None = None
        self._title = ""
        self._steps = 0
        self._total_steps = 1
        self._line: StepReport | str = ""

    def started(self, run: Run, total_steps: int) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.live import Live

        self._title = f"{run.model}, run {run.id}"
        self._steps, self._total_steps, self._line = run.steps_done, total_steps, ""
        self._drawn_on = self._console or Console(stderr=True)
        if not self._drawn_on.is_terminal:
            return
        self._live = Live(
            console=self._drawn_on,
            get_renderable=self._drawn,
            refresh_per_second=self._redraws_per_second,
        )
        self._live.start()

    def stepped(self, report: StepReport) -> None:
        """Move the bar; it is drawn by a thread of its own."""
        self._steps, self._line = report.steps, report

    def epoch_finished(self, row: MetricRow) -> None:
        """Show the validation accuracy from now on."""
        if row.validation_accuracy is not None:
            name = self._title.partition("  ")[0]
            self._title = f"{name}  validation accuracy {row.validation_accuracy:.3f}"

    def finished(self, run: Run) -> None:
        """Stop drawing; the last state stays. Where there is no terminal, print one line."""
        self._line = run_line(run)
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._drawn_on is not None:
            self._drawn_on.print(f"{self._title}: {self._line}", markup=False, highlight=False, soft_wrap=True)
        self._drawn_on = None

    def _drawn(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar as Bar
        from rich.table import Table
        from rich.text import Text

        line = self._line if isinstance(self._line, str) else step_line(self._line)
        share = Text(f"{self._steps / self._total_steps:.0%}")
        first = Table.grid(padding=(0, 1))
        first.add_row(Text(self._title), Bar(total=self._total_steps, completed=self._steps, width=24), share)
        return Group(first, Text(line))


def step_line(report: StepReport) -> str:
    """The numbers under the bar while a run trains."""
    accuracy = "" if report.accuracy is None else f"  accuracy {report.accuracy:.3f}"
    cost = "" if report.cost_usd is None else f"  {money(report.cost_usd)}"
    return (
        f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.4f}{accuracy}"
        f"  {report.circuits:,} circuits{cost}  {report.samples_per_second:,.0f} samples/s"
        f"  {duration(report.seconds_left)} left"
    )


def run_line(run: Run) -> str:
    """The numbers under the bar when a run has ended."""
    scores = run.scores
    parts = [f"{run.status} after {run.epochs_done} of {run.options.epochs} epochs"]
    if scores.train_loss is not None:
        parts.append(f"loss {scores.train_loss:.4f}")
    if scores.train_accuracy is not None:
        parts.append(f"accuracy {scores.train_accuracy:.3f}")
    parts.append(f"{run.circuits:,} circuits")
    if run.cost_usd is not None:
        parts.append(money(run.cost_usd))
    return "  ".join([*parts, duration(run.seconds)])


def money(dollars: float) -> str:
    """Dollars as a short text, to the cent, small ones to a hundredth of it: ``$12.42``, ``$0.0031``."""
    return f"${dollars:,.2f}" if dollars >= 1 or not dollars else f"${dollars:,.4f}"


def duration(seconds: float) -> str:
    """Seconds as a short text: ``4 s``, ``2:05``, ``1:02:05``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
