"""The verbs of a database about data sets, models and runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from qstore_db.errors import InvalidArgumentError
from qstore_db.row_input import MetadataInput
from qstore_db.verbs.predictions import PredictionVerbs

if TYPE_CHECKING:
    from qstore_db.models.losses import Loss
    from qstore_db.training.aliases import Alias
    from qstore_db.training.dataset import DatasetInfo
    from qstore_db.training.loader import Loader
    from qstore_db.training.options import TrainingOptions
    from qstore_db.training.progress import TrainingProgress
    from qstore_db.training.registry import ModelVersion, Run
    from qstore_db.training.stepper import Stepper
    from qstore_db.training_run import TrainingRun
    from query.result import QueryResult


class ModelVerbs(PredictionVerbs):
    """Each verb is a few lines over a function of ``qstore_db.training``."""

    @abstractmethod
    def _check_name(self, name: str) -> None:
        """Refuse what may not name a collection."""

    @abstractmethod
    def _training_progress(self) -> TrainingProgress | None:
        """What watches a run that starts now."""

    def _held(self, run: Run) -> TrainingRun:
        from qstore_db.training_run import TrainingRun

        return TrainingRun(run, self._plugins().session, self._engine)

    def store_training_data(
        self,
        name: str,
        data: ArrayLike,
        labels: ArrayLike | Sequence[int | None] | None = None,
        split: str = "train",
        metadata: MetadataInput = None,
        *,
        targets: ArrayLike | None = None,
        append: bool = False,
        metric: str = "l2",
    ) -> DatasetInfo:
        """Store rows as a split of a data set; :func:`qstore_db.training.dataset.store_training_data`."""
        from qstore_db.training.dataset import store_training_data

        self._check_name(name)
        return store_training_data(
            self._engine,
            name,
            data,
            labels,
            split=split,
            metadata=metadata,
            targets=targets,
            append=append,
            metric=metric,
        )

    def data_loader(
        self,
        name: str,
        *,
        split: str = "train",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        epochs: int = 1,
        drop_last: bool = False,
        prefetch: int = 0,
        balanced: bool = False,
        outputs: int | None = None,
        coherent_only: bool = False,
    ) -> Loader:
        """Minibatches of a stored split, reading only the rows of each; :class:`qstore_db.training.loader.Loader`."""
        from qstore_db.training.loader import data_loader

        return data_loader(
            self._engine,
            name,
            split=split,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            epochs=epochs,
            drop_last=drop_last,
            prefetch=prefetch,
            balanced=balanced,
            outputs=outputs,
            coherent_only=coherent_only,
        )

    def create_model(
        self,
        name: str,
        kind: str = "classifier",
        *,
        qubits: int,
        classes: int | None = None,
        layers: int = 2,
        encoding: str = "amplitude",
        reduce: str | None = None,
        rotations: str = "ry_rz",
        entanglement: str = "linear",
        readout: str = "pauli_pairs",
        dtype: str = "float32",
        train_circuit: bool = True,
        outputs: int | None = None,
        latent: int | None = None,
        or_replace: bool = False,
    ) -> ModelVersion:
        """Register a model, untrained; :class:`qstore_db.models.specification.ModelSpec` explains each option.

        Raises:
            AlreadyExistsError: The name is taken and ``or_replace`` is not set.
            InvalidModelError: An option is out of its range, or the name is malformed.
        """
        from qstore_db.models.specification import ModelSpec
        from qstore_db.training.registration import create_model

        spec = ModelSpec.from_options(
            {
                "kind": kind,
                "qubits": qubits,
                "classes": classes,
                "layers": layers,
                "encoding": encoding,
                "reduce": reduce,
                "rotations": rotations,
                "entanglement": entanglement,
                "readout": readout,
                "dtype": dtype,
                "train_circuit": train_circuit,
                "outputs": outputs,
                "latent": latent,
            }
        )
        return create_model(self._engine, name, spec, or_replace=or_replace)

    def train(
        self,
        model: str,
        dataset: str,
        options: TrainingOptions | None = None,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        optimizer: str | None = None,
        learning_rate: float | None = None,
        gradient: str | None = None,
        backend: str | None = None,
        shots: int | None = None,
        seed: int | None = None,
        shuffle: bool | None = None,
        split: str | None = None,
        validation_split: str | None = None,
        validation_fraction: float | None = None,
        checkpoint_every: int | None = None,
        early_stopping: int | None = None,
        keep_best: bool | None = None,
        balanced: bool | None = None,
        sdk: str | None = None,
        target: str | None = None,
        max_cost_usd: float | None = None,
        loss: str | Loss | None = None,
        callbacks: Sequence[TrainingProgress] = (),
    ) -> TrainingRun:
        """Train a model on a data set.

        Args:
            model: A registered model.
            dataset: A stored data set with what the kind of model learns: labels, targets, or neither.
            options: Every option as one value; :class:`~qstore_db.training.options.TrainingOptions` explains each.
            epochs: Passes over the training rows. This and what follows are the options used most, instead of
                ``options``; what is left out keeps its default there.
            batch_size: Rows per step.
            optimizer: By name.
            learning_rate: Step size.
            gradient: How to differentiate.
            backend: Where circuits run.
            shots: Measurements of each circuit; exact values if left out.
            seed: Of parameters, validation rows and every order.
            shuffle: Whether each epoch has an order of its own.
            split: What is trained on.
            validation_split: A split to validate on after each epoch.
            validation_fraction: Share of the rows held out for validation instead.
            checkpoint_every: Epochs between checkpoints.
            early_stopping: Epochs without improvement after which the run ends; it keeps the best epoch's parameters.
            keep_best: Whether to keep them without ending early.
            balanced: Whether each epoch visits every class equally often.
            sdk: The library that speaks with a remote provider, such as ``"cirq"``.
            target: The provider's name of the device.
            max_cost_usd: What the run may cost, in dollars, on a backend that costs money: it runs on no other terms.
            loss: By name, or a function ``(outputs, targets) -> (losses, derivative)``, see
                :class:`qstore_db.models.losses.Loss`; it may stand beside ``options``, and is not stored:
                :meth:`resume` needs it again.
            callbacks: Called between steps, see :class:`qstore_db.training.progress.TrainingProgress`; they may stand
                beside ``options``.

        Returns:
            The finished run; the model has a new version.

        Raises:
            UnknownModelError, UnknownDatasetError, UnknownBackendError: A name is not there.
            EmptyDatasetError: The split has no rows.
            InvalidLabelError: A row has no label, or one that the model does not know.
            InvalidTargetError: A row has no target, or one that does not fit the model.
            InvalidModelError: The rows do not fit the model.
            InvalidArgumentError: An option is out of its range, or options are given in both ways.
            TrainingInterruptedError: Ctrl-C was pressed; :meth:`resume` continues.
            BudgetExceededError: The first step alone, or the next one, would exceed ``max_cost_usd``; in the second
                case :meth:`resume` continues with more.
        """
        from qstore_db.training.trainer import train

        given = {
            "epochs": epochs,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "gradient": gradient,
            "backend": backend,
            "shots": shots,
            "seed": seed,
            "shuffle": shuffle,
            "split": split,
            "validation_split": validation_split,
            "validation_fraction": validation_fraction,
            "checkpoint_every": checkpoint_every,
            "early_stopping": early_stopping,
            "keep_best": keep_best,
            "balanced": balanced,
            "sdk": sdk,
            "target": target,
            "max_cost_usd": max_cost_usd,
            "loss": loss if isinstance(loss, str) else None,
        }
        chosen = _options(options, given)
        function = None if isinstance(loss, str) else loss
        run = train(
            self._engine,
            model,
            dataset,
            chosen,
            progress=self._training_progress(),
            callbacks=callbacks,
            loss=function,
        )
        return self._held(run)

    def fine_tune(
        self,
        model: str,
        dataset: str,
        options: TrainingOptions | None = None,
        *,
        freeze: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        seed: int | None = None,
        split: str | None = None,
        validation_split: str | None = None,
        validation_fraction: float | None = None,
    ) -> TrainingRun:
        """Train a version on from the parameters that it has; the model gets a new version.

        Args:
            model: Name of the model, or a reference such as ``clothes@champion`` or ``clothes@3``.
            dataset: A stored data set with labels.
            options: Every option as one value; the others are those used most, instead of it.
            freeze: Weights that stay as they are: names, indices or layers, such as ``"circuit"``.
            epochs: As in :meth:`train`, like all that follow.
            batch_size: Rows per step.
            learning_rate: Step size.
            seed: Of validation rows and every order.
            split: What is trained on.
            validation_split: A split to validate on after each epoch.
            validation_fraction: Share of the rows held out for validation instead.

        Raises:
            InvalidModelError: The version is not trained, or the rows do not fit it.
            QStoreError: As in :meth:`train`.
        """
        from qstore_db.training.trainer import fine_tune

        given = {
            "freeze": freeze,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
            "split": split,
            "validation_split": validation_split,
            "validation_fraction": validation_fraction,
        }
        chosen = _options(options, given)
        return self._held(fine_tune(self._engine, model, dataset, chosen, progress=self._training_progress()))

    def stepper(
        self, model: str, dataset: str, options: TrainingOptions | None = None, *, loss: Loss | None = None
    ) -> Stepper:
        """The parts of a training run for a loop of one's own: ``batches``, ``forward``, ``gradient``, ``step``.

        The same numbers as :meth:`train`'s, to the last bit; :meth:`~qstore_db.training.stepper.Stepper.register` makes
        the result a version. See :func:`qstore_db.training.stepper.stepper`.
        """
        from qstore_db.training.stepper import stepper

        return stepper(self._engine, model, dataset, options, loss=loss)

    def resume(
        self,
        run_id: int,
        *,
        loss: Loss | None = None,
        callbacks: Sequence[TrainingProgress] = (),
        max_cost_usd: float | None = None,
    ) -> TrainingRun:
        """Continue an interrupted run to the same bits as if it had never stopped; a finished one comes back as it is.

        It reads the data set as it was when the run began: that version is pinned.

        Args:
            run_id: Its number.
            loss: The function that it was begun with, if it was one.
            callbacks: Called between steps, as in :meth:`train`.
            max_cost_usd: What the whole run may cost from now on, what was spent before included; as it was, if left
                out.

        Raises:
            UnknownRunError: There is no such run.
            BudgetExceededError: The next step would exceed ``max_cost_usd``.
            InvalidArgumentError: It is being trained; or its version was unpinned and given up, and the data set has
                changed since.
        """
        from qstore_db.training.trainer import resume

        progress = self._training_progress()
        run = resume(self._engine, run_id, progress=progress, callbacks=callbacks, loss=loss, max_cost_usd=max_cost_usd)
        return self._held(run)

    def jobs(self, run_id: int | None = None) -> QueryResult:
        """The table ``jobs``: every job that was sent to a remote provider, oldest first.

        Args:
            run_id: Only those of this run.
        """
        session = self._plugins().session
        if run_id is None:
            return session.execute("SELECT * FROM jobs")
        return session.execute("SELECT * FROM jobs WHERE run_id = $run", {"run": run_id})

    def run(self, run_id: int) -> TrainingRun:
        """A run by its number.

        Raises:
            UnknownRunError: There is no such run.
        """
        from qstore_db.training.registry import find_run

        return self._held(find_run(self._engine.snapshot(), run_id))

    def runs(self) -> list[TrainingRun]:
        """All runs, oldest first."""
        from qstore_db.training.registry import all_runs

        return [self._held(run) for run in all_runs(self._engine.snapshot())]

    def promote(
        self,
        model: str,
        alias: str = "champion",
        *,
        version: int | None = None,
        min_accuracy: float | None = None,
        dataset: str | None = None,
        split: str = "test",
    ) -> Alias:
        """Name a trained version, if it is good enough; the name then stands for it, as ``clothes@champion``.

        Args:
            model: Name of the model, or a reference such as ``clothes@challenger``.
            alias: The name; it moves from the version that had it.
            version: Which one; the newest if ``None``.
            min_accuracy: In [0, 1]; measured on ``split`` of ``dataset``, or else the run's validation accuracy.
            dataset: What to measure on.
            split: Of ``dataset``.

        Raises:
            PromotionRefusedError: The accuracy is below ``min_accuracy``. Nothing is written.
            UnknownModelError: There is no such model, version or alias.
            InvalidModelError: The version is not trained, or has no validation accuracy though it is asked for.
            InvalidArgumentError: The alias is malformed, or ``min_accuracy`` is outside [0, 1].
        """
        from qstore_db.training.promotion import promote

        return promote(
            self._engine,
            self._plugins().trained_models,
            model,
            alias,
            version=version,
            min_accuracy=min_accuracy,
            dataset=dataset,
            split=split,
        )

    def demote(self, model: str, alias: str = "champion") -> Alias:
        """Take an alias away; the version stays.

        Raises:
            UnknownModelError: There is no such model, or no version of it has the alias.
        """
        from qstore_db.training.promotion import demote

        return demote(self._engine, model, alias)

    def aliases(self, model: str | None = None) -> list[Alias]:
        """Aliases of one model, or of all: ``model``, ``alias``, ``version``, what was measured and when."""
        from qstore_db.training.aliases import aliases_of

        return aliases_of(self._engine.snapshot(), model)


def _options(options: TrainingOptions | None, given: Mapping[str, object]) -> TrainingOptions:
    """One value from the two ways of giving options.

    Raises:
        InvalidArgumentError: They are given in both.
    """
    from qstore_db.training.options import TrainingOptions

    named = {name: value for name, value in given.items() if value is not None}
    if options is not None and named:
        raise InvalidArgumentError(
            f"options were given, and {', '.join(named)} beside them",
            fix="put everything into TrainingOptions(…), or leave options out",
            value=sorted(named),
        )
    return TrainingOptions.from_options(named) if options is None else options
