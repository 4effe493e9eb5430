"""A study on a backend that costs money: one ceiling for all its trials."""

from decimal import Decimal

import pytest
from scripted_provider import CENT
from scripted_training import NAME, provider_at
from small_runs import rows

from qstore_db.errors import BudgetExceededError, InvalidArgumentError
from qstore_db.models.specification import ModelSpec
from qstore_db.training.dataset import store_training_data
from qstore_db.training.hyperparameter_search import resume_search, search_hyperparameters
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registration import create_model
from qstore_db.training.registry import all_runs
from qstore_db.training.studies import report_of
from storage_engine.engine import Engine

TRIALS = 3


@pytest.fixture
def engine():
    with Engine.open(None) as engine:
        store_training_data(engine, "d", *rows(12, 0))
        create_model(engine, "m", ModelSpec(qubits=2, classes=2, layers=1))
        yield engine


def search(engine, ceiling, **arguments):
    options = TrainingOptions(
        epochs=1, batch_size=4, gradient="spsa", backend=NAME, shots=50, max_cost_usd=ceiling, validation_fraction=0.25
    )
    space = {"learning_rate": [0.01, 0.1, 0.2]}
    return search_hyperparameters(
        engine, "m", "d", trials=TRIALS, space=space, sampler="grid", options=options, **arguments
    )


def test_all_trials_together_stay_below_the_ceiling_and_more_can_be_allowed(engine, tmp_path):
    with provider_at(tmp_path / "nobody"), provider_at(tmp_path / "whole"):
        whole = search(engine, 100.0)
        cost = sum(Decimal(str(run.cost_usd)) for run in all_runs(engine.snapshot()))
    ceiling = cost * 2 / 3 + CENT  # for two of three trials, and a little
    with provider_at(tmp_path / "nobody"), provider_at(tmp_path / "short"):
        with pytest.raises(BudgetExceededError):
            search(engine, float(ceiling))
        report = report_of(engine.snapshot(), "m.study2")
        assert [one.outcome for one in report.trials] == ["finished", "finished", "running"]
        spent = sum(Decimal(str(run.cost_usd)) for run in all_runs(engine.snapshot()) if run.model == "m.study2")
        assert spent <= ceiling
        with pytest.raises(BudgetExceededError):
            resume_search(engine, "m.study2")
        resumed = resume_search(engine, "m.study2", max_cost_usd=float(cost))
    assert resumed.study.options.max_cost_usd == float(cost)
    values = [(one.settings, one.outcome, one.value, one.epoch_values) for one in resumed.trials]
    assert values == [(one.settings, one.outcome, one.value, one.epoch_values) for one in whole.trials]


def test_one_ceiling_is_not_shared_by_workers(engine, tmp_path):
    version = engine.snapshot().version
    with pytest.raises(InvalidArgumentError, match="2 workers cannot keep one ceiling"):
        search_hyperparameters(engine, "m", "d", options=TrainingOptions(max_cost_usd=1.0), workers=2)
    assert engine.snapshot().version == version
