"""The SQL procedures of hyperparameter search: ``CALL search_hyperparameters(…)`` and ``CALL resume_search(…)``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from qstore_db.errors import InvalidArgumentError
from qstore_db.sql.arguments import given_arguments
from qstore_db.sql.study_tables import STUDIES, study_rows
from qstore_db.sql.training_procedures import OPTION_PARAMETERS, ProgressFactory
from qstore_db.training.hyperparameter_search import resume_search, search_hyperparameters
from qstore_db.training.options import TrainingOptions, option_name
from qstore_db.training.studies import StudyReport
from query.ports import Parameter, Procedure
from storage_engine.engine import Engine

_SEARCH_PARAMETERS = (
    Parameter("trials", "integer"),
    Parameter("space", "any"),
    Parameter("sampler", "text"),
    Parameter("pruner", "text"),
    Parameter("objective", "text"),
    Parameter("study", "text"),
    Parameter("warm_start", "boolean"),
    Parameter("workers", "integer"),
)


@dataclass(frozen=True, slots=True)
class SearchHyperparameters:
    """``CALL search_hyperparameters(model => 'm', dataset => 'd', trials => 20, …)``: one row as in ``studies``.

    Args:
        engine: The database.
        progress: Makes what watches a run, or ``None``.
    """

    engine: Engine
    progress: ProgressFactory | None = None

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "search_hyperparameters"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """Model and data set, those of the search, and the options of ``CALL train`` for what is not varied.

        ``space`` is a JSON text, or a parameter ``$space`` that holds a mapping.
        """
        return (
            Parameter("model", "text", required=True),
            Parameter("dataset", "text", required=True),
            *_SEARCH_PARAMETERS,
            *OPTION_PARAMETERS,
        )

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Search; see :func:`qstore_db.training.hyperparameter_search.search_hyperparameters` for the errors."""
        given = given_arguments(arguments)
        model, dataset = given.pop("model"), given.pop("dataset")
        options = {name: given.pop(name) for name in list(given) if option_name(name) is not None}
        if "space" in given:
            given["space"] = _space(given["space"])
        report = search_hyperparameters(
            self.engine,
            model,
            dataset,
            options=TrainingOptions.from_options(options),
            progress=self.progress,
            **given,
        )
        return _row(self.engine, report)


@dataclass(frozen=True, slots=True)
class ResumeSearch:
    """``CALL resume_search(study => 'm.study1')``: one row as in ``studies``.

    Args:
        engine: The database.
        progress: Makes what watches a run, or ``None``.
    """

    engine: Engine
    progress: ProgressFactory | None = None

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "resume_search"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The study, how many trials there are to be and what they may cost, and how many threads train."""
        return (
            Parameter("study", "text", required=True),
            Parameter("trials", "integer"),
            Parameter("max_cost_usd", "number"),
            Parameter("workers", "integer"),
        )

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Go on; see :func:`qstore_db.training.hyperparameter_search.resume_search` for the errors."""
        given = given_arguments(arguments)
        return _row(self.engine, resume_search(self.engine, given.pop("study"), progress=self.progress, **given))


def study_procedures(engine: Engine, *, progress: ProgressFactory | None = None) -> tuple[Procedure, ...]:
    """The procedures that searches add to SQL."""
    return (SearchHyperparameters(engine, progress), ResumeSearch(engine, progress))


def _row(engine: Engine, report: StudyReport) -> pa.Table:
    return pa.Table.from_pylist(list(study_rows(engine.snapshot(), report.name)), schema=STUDIES)


def _space(given: object) -> object:
    """A space from its JSON text; what is no text comes back as it is.

    Raises:
        InvalidArgumentError: The text is no JSON.
    """
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError as error:
        raise InvalidArgumentError(
            f"The space is no JSON: {error}",
            fix='Write space => \'{"layers": [1, 2, 4], "learning_rate": {"low": 0.001, "high": 0.3, "log": true}}\'.',
            value=given,
        ) from error
