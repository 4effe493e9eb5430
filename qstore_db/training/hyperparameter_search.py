"""Hyperparameter search: a study of trials, each an ordinary training run.

A study has a model of its own, named like the study. Each trial adds a version with its specification to that model,
trains it as ``CALL train`` would, and thereby adds a second, trained one; the alias ``best`` follows the best of these.
All trials read the data set at one version, which the study pins, hold out the same rows of the training split, and
start from the same seed: what differs between two of them is what the space varies.

What is tried next follows from the tables ``studies`` and ``trials``. A search that stopped, for whatever reason, goes
on with :func:`resume_search`: the run that was under way continues bit for bit, and with one worker everything after it
is what it would have been.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from decimal import Decimal

import pyarrow.compute as pc

from qstore_db.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidInputError,
    NotEnoughMemoryError,
    QStoreError,
    TrainingInterruptedError,
    UnknownModelError,
    UnsupportedRequestError,
)
from qstore_db.hyperparameters.observation import Outcome
from qstore_db.hyperparameters.pruning import pruner_named
from qstore_db.hyperparameters.sampling import sampler_named
from qstore_db.training.active_runs import in_search
from qstore_db.training.aliases import Alias
from qstore_db.training.metrics import EPOCH_STEP, read_metrics
from qstore_db.training.options import TrainingOptions
from qstore_db.training.past_trials import trial_vector
from qstore_db.training.registration import creation
from qstore_db.training.registry import Run, RunStatus, all_runs, find_model
from qstore_db.training.studies import (
    BEST,
    Study,
    StudyReport,
    Trial,
    all_trials,
    find_study,
    observation_of,
    report_of,
)
from qstore_db.training.study_beginning import begin_study, check_trials
from qstore_db.training.trainer import resume, train
from qstore_db.training.trial_watch import MakeProgress, TrialWatch
from storage_engine.batch import Operation, WriteBatch
from storage_engine.engine import Engine

_ATTEMPTS = 16
_MAX_WORKERS = 64
_LISTEN_SECONDS = 0.1
_UNTRAINABLE = (InvalidInputError, NotEnoughMemoryError, UnsupportedRequestError)
"""What is wrong with the settings of a trial, not with the search."""


def search_hyperparameters(
    engine: Engine,
    model: str,
    dataset: str,
    *,
    trials: int = 20,
    space: Mapping[str, object] | None = None,
    sampler: str = "tpe",
    pruner: str | None = None,
    objective: str | None = None,
    options: TrainingOptions | None = None,
    seed: int | None = None,
    study: str | None = None,
    warm_start: bool = False,
    workers: int = 1,
    progress: MakeProgress | None = None,
) -> StudyReport:
    """Train variants of a model and find the one that validates best.

    No split but the training split is read. Nothing is written until all of this is checked.

    Args:
        engine: The database.
        model: Whose specification is varied, or a reference such as ``clothes@3``. It is not changed.
        dataset: A stored data set.
        trials: How many variants, 1 to 100,000; those that fail or are pruned count.
        space: What is varied; see :mod:`qstore_db.hyperparameters.space`, and ``MODEL_FIELDS`` and ``OPTION_FIELDS`` of
            :mod:`qstore_db.training.studies` for the names. ``None`` is ``DEFAULT_SPACE``.
        sampler: ``tpe``, ``random``, ``grid``, ``gp`` or ``annealing``; see :mod:`qstore_db.hyperparameters.sampling`.
        pruner: ``median`` or ``halving``, which stop trials that fall behind; see
            :mod:`qstore_db.hyperparameters.pruning`. ``None`` for none.
        objective: ``validation_accuracy`` (the default for classifiers) or ``validation_loss``, after the last epoch.
        options: How variants are trained where the space says nothing. Without a ``validation_fraction`` a fifth of the
            rows is held out; a ``validation_split`` is refused. Its ``max_cost_usd`` is the ceiling of all trials
            together; a trial that would exceed it ends the search, which :func:`resume_search` continues with more.
        seed: Of the suggestions, the rows held out, the parameters and the orders of all trials; ``None`` takes that of
            ``options``.
        study: A new name; ``None`` is the model's with ``.study1``, ``.study2``, ….
        warm_start: Try first what was best in the studies that are most like this one; see
            :mod:`qstore_db.training.past_trials`.
        workers: Threads that train. With more than one, what is suggested depends on who is ready first.
        progress: Makes what watches each run.

    Raises:
        InvalidArgumentError: The space names what cannot be varied or a value that no variant can have, or another
            argument is out of its range.
        AlreadyExistsError: The name of the study is taken.
        UnknownModelError, UnknownDatasetError, EmptyDatasetError, InvalidLabelError: As in training.
        MissingDependencyError: The sampler needs a package that is not installed.
        BudgetExceededError: The next step of a trial would exceed ``max_cost_usd``.
        TrainingInterruptedError: Ctrl-C was pressed; :func:`resume_search` goes on.
    """
    _check_workers(workers, options or TrainingOptions())
    begun = begin_study(
        engine,
        model,
        dataset,
        trials=trials,
        space=space,
        sampler=sampler,
        pruner=pruner,
        objective=objective,
        options=options,
        seed=seed,
        study=study,
        warm_start=warm_start,
    )
    return _carried_on(engine, begun.name, workers, progress)


def resume_search(
    engine: Engine,
    study: str,
    *,
    trials: int | None = None,
    max_cost_usd: float | None = None,
    workers: int = 1,
    progress: MakeProgress | None = None,
) -> StudyReport:
    """Go on with a study until it has all its trials; a complete one comes back as it is.

    Args:
        engine: The database.
        study: Its name.
        trials: How many there are to be from now on; ``None`` leaves it.
        max_cost_usd: What all of them together may cost from now on, what was spent before included; ``None`` leaves
            it.
        workers: As in :func:`search_hyperparameters`.
        progress: As there.

    Raises:
        UnknownStudyError: There is none of that name.
        UnknownModelError: The study's model was dropped.
        UnknownVersionError: The version that its trials read was unpinned and given up.
        InvalidArgumentError: Another thread carries it on, or an argument is out of its range.
        TrainingInterruptedError: Ctrl-C was pressed.
    """
    engine.refuse_transaction("a hyperparameter search")
    known = find_study(engine.snapshot(), study)
    changed = known
    if trials is not None:
        check_trials(trials)
        changed = replace(changed, trials=trials)
    if max_cost_usd is not None:
        changed = replace(changed, options=replace(changed.options, max_cost_usd=max_cost_usd))
    _check_workers(workers, changed.options)
    if changed != known:
        with in_search(engine, study):
            engine.commit(WriteBatch([changed.put()]))
    return _carried_on(engine, study, workers, progress)


def _carried_on(engine: Engine, name: str, workers: int, progress: MakeProgress | None) -> StudyReport:
    with in_search(engine, name):
        search = _Search(engine, find_study(engine.snapshot(), name), progress)
        try:
            if workers == 1:
                search.work()
            else:
                search.work_together(workers)
        except (TrainingInterruptedError, KeyboardInterrupt) as error:
            raise TrainingInterruptedError(
                f"Study {name!r} was stopped after {search.ended()} of {search.study.most_trials} trials",
                fix=f"Continue with CALL resume_search(study => '{name}') or db.resume_search({name!r}).",
                value=name,
            ) from error
    return report_of(engine.snapshot(), name)


class _Search:
    """A study while it is carried on by this process.

    Args:
        engine: The database.
        study: What is searched.
        progress: Makes what watches each run.
    """

    def __init__(self, engine: Engine, study: Study, progress: MakeProgress | None) -> None:
        self.study = study
        self._engine = engine
        self._progress = progress
        self._sampler = sampler_named(study.sampler)
        self._pruner = pruner_named(study.pruner)
        self._sampler.check(study.space)
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._stop = threading.Event()

    def ended(self) -> int:
        """How many trials are over."""
        return sum(trial.outcome is not Outcome.RUNNING for trial in self._trials())

    def work(self) -> None:
        """Train trial after trial until there is none left."""
        while not self._stop.is_set() and (trial := self._next()) is not None:
            self._try(trial)

    def work_together(self, workers: int) -> None:
        """The same with several threads; where one fails, the others stop between two steps."""
        with ThreadPoolExecutor(workers, "trial") as pool:
            working = {pool.submit(self.work) for _ in range(workers)}
            try:
                while working:
                    # Woken again and again: Ctrl-C that another thread receives does not end a wait by itself.
                    ended, working = wait(working, timeout=_LISTEN_SECONDS, return_when=FIRST_COMPLETED)
                    for one in ended:
                        one.result()
            except BaseException:
                self._stop.set()
                raise

    # -- which trial -----------------------------------------------------------------------------------------------

    def _next(self) -> Trial | None:
        # One that was left behind, or else a new one, already committed; None where all were begun.
        with self._lock:
            while True:
                trials = self._trials()
                left = [one for one in trials if one.outcome is Outcome.RUNNING and one.number not in self._taken]
                if not left and len(trials) >= self.study.most_trials:
                    return None
                trial = left[0] if left else self._begun(trials)
                if trial.outcome is Outcome.RUNNING:
                    self._taken.add(trial.number)
                    return trial

    def _begun(self, trials: Sequence[Trial]) -> Trial:
        number = len(trials) + 1
        study = self.study
        if number <= len(study.enqueued):
            settings = study.enqueued[number - 1]
        else:
            seen = [observation_of(study, trial) for trial in trials]
            settings = self._sampler.suggest(study.space, seen, number, study.seed)
        now = self._engine.clock()
        trial = Trial(study=study.name, number=number, settings=settings, started_at=now)
        try:
            spec = study.spec_of(settings)
            study.options_of(settings)
        except InvalidInputError as error:
            trial = replace(trial, outcome=Outcome.FAILED, error=_told(error), finished_at=now)
            self._engine.commit(WriteBatch([trial.put(new=True)]))
            return trial
        for _ in range(_ATTEMPTS):
            snapshot = self._engine.snapshot()
            if find_model(snapshot, study.name).uuid != study.uuid:
                raise UnknownModelError(
                    f"The model {study.name!r} of the study was dropped", fix="Begin a new study.", value=study.name
                )
            operations, version = creation(snapshot, study.name, spec, at=now, or_replace=True, if_not_exists=False)
            trial = replace(trial, version=version.version)
            try:
                self._engine.commit(WriteBatch([trial.put(new=True), *operations]))
            except AlreadyExistsError:
                continue  # a run that finished took the version's number
            return trial
        raise AlreadyExistsError(
            f"No version number of model {study.name!r} was free in {_ATTEMPTS} attempts",
            fix=f"Continue with db.resume_search({study.name!r}).",
            value=study.name,
        )

    # -- one trial -------------------------------------------------------------------------------------------------

    def _try(self, trial: Trial) -> None:
        study = self.study
        seen = [
            observation_of(study, one)
            for one in self._trials()
            if one.outcome is not Outcome.RUNNING and one.number != trial.number
        ]
        run = self._run_of(trial)
        watch = TrialWatch(study, self._pruner, seen, self._progress, self._stop, self._values(run))
        error: str | None = None
        try:
            ceiling = self._ceiling(run)
            if run is None:
                train(
                    self._engine,
                    f"{study.name}@{trial.version}",
                    study.dataset,
                    replace(study.options_of(trial.settings), max_cost_usd=ceiling),
                    dataset_version=study.dataset_version,
                    progress=watch,
                )
            elif run.status is not RunStatus.FINISHED and not watch.has_fallen_behind(run.options.epochs):
                resume(self._engine, run.id, progress=watch, max_cost_usd=ceiling)
            outcome = Outcome.PRUNED if watch.fell_behind else Outcome.FINISHED
        except TrainingInterruptedError:
            if not watch.fell_behind:
                raise
            outcome = Outcome.PRUNED
        except _UNTRAINABLE as refusal:
            outcome, error = Outcome.FAILED, _told(refusal)
        self._end(trial, outcome, error)

    def _end(self, trial: Trial, outcome: Outcome, error: str | None) -> None:
        study, run = self.study, self._run_of(trial)
        values = self._values(run)
        value = values[-1] if values else None
        if run is not None and outcome is Outcome.FINISHED:
            value = getattr(run.scores, study.objective)  # of the version that came out
            if value is None or not math.isfinite(value):
                outcome, error, value = Outcome.FAILED, f"{study.objective} of the run is {value}", None
        ended = replace(
            trial,
            outcome=outcome,
            error=error,
            run_id=None if run is None else run.id,
            trained_version=None if run is None or outcome is not Outcome.FINISHED else run.version,
            value=None if outcome is Outcome.FAILED else value,
            epoch_values=tuple(values),
            finished_at=self._engine.clock(),
        )
        with self._lock:
            operations: list[Operation] = [ended.put()]
            if run is not None and outcome is Outcome.FINISHED:
                now = self._engine.clock()
                operations += trial_vector(self._engine.snapshot(), study, ended, now)
                trials = [ended if one.number == ended.number else one for one in self._trials()]
                if StudyReport(study, tuple(trials)).best == ended:
                    operations.append(_best(study, run, ended, now))
            self._engine.commit(WriteBatch(operations))

    def _trials(self) -> list[Trial]:
        return all_trials(self._engine.snapshot(), self.study.name)

    def _ceiling(self, run: Run | None) -> float | None:
        # What one run may cost: what the others have left of the study's ceiling.
        ceiling = self.study.options.max_cost_usd
        if ceiling is None:
            return None
        others = [one for one in all_runs(self._engine.snapshot()) if one.model == self.study.name and one != run]
        spent = sum(Decimal(str(one.cost_usd or 0)) for one in others)
        return float(max(Decimal(0), Decimal(str(ceiling)) - spent))

    def _run_of(self, trial: Trial) -> Run | None:
        # The first run of the trial's version: it begins right after the version is there.
        runs = all_runs(self._engine.snapshot())
        return next((run for run in runs if run.model == self.study.name and run.parent_version == trial.version), None)

    def _values(self, run: Run | None) -> list[float]:
        # The objective after each epoch that the run's newest checkpoint has seen.
        if run is None:
            return []
        rows = read_metrics(self._engine, self._engine.snapshot(), run.id)
        ends = rows.filter(
            pc.and_(pc.equal(rows["step"], EPOCH_STEP), pc.less_equal(rows["epoch"], run.epochs_done))
        ).sort_by("epoch")
        return [value for value in ends[self.study.objective].to_pylist() if value is not None]


def _best(study: Study, run: Run, trial: Trial, now: float) -> Operation:
    return Alias(
        model=study.name,
        alias=BEST,
        version=trial.trained_version or 0,
        accuracy=run.scores.validation_accuracy,
        measured_on="validation",
        promoted_at=now,
    ).put()


def _told(error: QStoreError) -> str:
    return f"{type(error).__name__}: {error}"


def _check_workers(workers: object, options: TrainingOptions) -> None:
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= _MAX_WORKERS:
        raise InvalidArgumentError(f"workers is {workers!r}", fix=f"Give 1 to {_MAX_WORKERS}.", value=workers)
    if workers > 1 and options.max_cost_usd is not None:
        raise InvalidArgumentError(
            f"{workers} workers cannot keep one ceiling of ${options.max_cost_usd} between them",
            fix="Use workers = 1 where trials cost money.",
            value=workers,
        )
