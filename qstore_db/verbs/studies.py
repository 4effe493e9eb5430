"""The verbs of a database about hyperparameter searches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from storage_engine.engine import Engine

if TYPE_CHECKING:
    from qstore_db.collection import Collection
    from qstore_db.hits import Hits
    from qstore_db.training.options import TrainingOptions
    from qstore_db.training.progress import TrainingProgress
    from qstore_db.training.studies import StudyReport


class StudyVerbs(ABC):
    """Each verb is a few lines over functions of ``qstore_db.training``."""

    _engine: Engine

    @abstractmethod
    def collection(self, name: str) -> Collection:
        """Open a collection."""

    @abstractmethod
    def _training_progress(self) -> TrainingProgress | None:
        """What watches a run that starts now."""

    def search_hyperparameters(
        self,
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
    ) -> StudyReport:
        """Train variants of a model, each an ordinary run, and find the one that validates best.

        Rows to validate on are held out of the training split; no other split is read. The variants are versions of a
        model that is named like the study; ``report.best_model``, such as ``clothes.study1@best``, stands for the best.

        Args:
            model: Whose specification is varied. It is not changed.
            dataset: A stored data set.
            trials: How many variants; those that fail or are pruned count.
            space: What is varied, such as ``{"layers": [1, 2, 4], "learning_rate": {"low": 0.001, "high": 0.3, "log":
                True}}``; ``None`` is layers, rotations, entanglement, learning rate and batch size.
            sampler: ``tpe`` (needs Optuna), ``random``, ``grid``, ``gp`` (needs Optuna and PyTorch) or ``annealing`` (a
                QUBO surrogate, annealed classically).
            pruner: ``median`` or ``halving``, which stop trials that fall behind; ``None`` for none.
            objective: ``validation_accuracy`` (the default for classifiers) or ``validation_loss``.
            options: How variants are trained where the space says nothing; a fifth of the rows is held out unless
                ``validation_fraction`` says otherwise. ``max_cost_usd`` is the ceiling of all trials together.
            seed: Of the suggestions and of every run; ``None`` takes that of ``options``.
            study: A new name; ``None`` is the model's with ``.study1``, ``.study2``, ….
            warm_start: Try first what was best in the most similar studies of this database.
            workers: Threads that train.

        Raises:
            InvalidArgumentError: The space or another argument is wrong; nothing was run.
            AlreadyExistsError: The name of the study is taken.
            UnknownModelError, UnknownDatasetError: A name is not there.
            MissingDependencyError: The sampler needs a package that is not installed.
            BudgetExceededError: The next step would exceed ``max_cost_usd``; :meth:`resume_search` goes on with more.
            TrainingInterruptedError: Ctrl-C was pressed; :meth:`resume_search` goes on.
        """
        from qstore_db.training.hyperparameter_search import search_hyperparameters

        return search_hyperparameters(
            self._engine,
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
            workers=workers,
            progress=self._training_progress,
        )

    def resume_search(
        self, study: str, *, trials: int | None = None, max_cost_usd: float | None = None, workers: int = 1
    ) -> StudyReport:
        """Go on with a study, also after a crash; with one worker it becomes what it would have been without.

        Args:
            study: Its name.
            trials: How many there are to be from now on; ``None`` leaves it.
            max_cost_usd: What all of them together may cost from now on; ``None`` leaves it.
            workers: Threads that train.

        Raises:
            UnknownStudyError: There is none of that name.
            UnknownModelError: The study's model was dropped.
            InvalidArgumentError: Another thread carries it on.
        """
        from qstore_db.training.hyperparameter_search import resume_search

        return resume_search(
            self._engine,
            study,
            trials=trials,
            max_cost_usd=max_cost_usd,
            workers=workers,
            progress=self._training_progress,
        )

    def trials_like(self, run_id: int, top_k: int = 10, *, where: str | None = None) -> Hits:
        """The past trials whose data, model and options are most like those of a run, nearest first.

        A query on the collection ``past_trials``; docs/training.md says what near means.

        Args:
            run_id: Any training run.
            top_k: 1 to 10,000.
            where: A condition on the columns ``study``, ``trial``, ``run_id``, ``kind``, ``dataset``, ``objective``,
                ``value`` and ``settings``.

        Raises:
            UnknownRunError: There is no such run.
            UnknownModelError, UnknownDatasetError: Its model or its data set is gone.
            UnknownCollectionError: No search has finished a trial yet.
        """
        from qstore_db.training.past_trials import PAST_TRIALS, vector_of_run

        return cast("Hits", self.collection(PAST_TRIALS).query(vector_of_run(self._engine, run_id), top_k, where=where))

    def study(self, name: str) -> StudyReport:
        """A study and its trials: ``trials``, ``best``, ``best_model``, ``is_complete``, and ``study`` itself.

        Raises:
            UnknownStudyError: There is none of that name.
        """
        from qstore_db.training.studies import report_of

        return report_of(self._engine.snapshot(), name)

    def studies(self) -> list[StudyReport]:
        """All studies, in order of creation."""
        from qstore_db.training.studies import all_studies, report_of

        snapshot = self._engine.snapshot()
        return [report_of(snapshot, study.name) for study in all_studies(snapshot)]
