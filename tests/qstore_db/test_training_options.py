from decimal import Decimal

import pytest

from qstore_db.errors import InvalidArgumentError, UnknownBackendError
from qstore_db.training.options import TrainingOptions


def test_the_json_form_round_trips():
    options = TrainingOptions(epochs=7, learning_rate=0.125, validation_split="test", shuffle=False, seed=2**63 - 1)
    assert TrainingOptions.from_options(options.to_json()) == options


def test_aliases_and_any_letter_case_are_accepted():
    options = TrainingOptions.from_options(
        {"N_EPOCHS": 3, "gradient_method": "adaptive", "checkpoint_interval": 2, "Learning_Rate": Decimal("0.25")}
    )
    assert options == TrainingOptions(epochs=3, gradient="auto", checkpoint_every=2, learning_rate=0.25)
    assert isinstance(options.learning_rate, float)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 2.0},
        {"epochs": True},
        {"batch_size": 0},
        {"batch_size": "32"},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": "fast"},
        {"optimizer": "lion"},
        {"gradient": "magic"},
        {"seed": -1},
        {"seed": 2**63},
        {"shuffle": "yes"},
        {"split": ""},
        {"validation_fraction": 1.0},
        {"validation_fraction": -0.1},
        {"validation_fraction": 0.2, "validation_split": "test"},
        {"validation_split": "train"},
        {"checkpoint_every": 0},
    ],
)
def test_what_is_out_of_range_is_named(wrong):
    with pytest.raises(InvalidArgumentError) as caught:
        TrainingOptions(**wrong)
    assert str(next(iter(wrong.values()))) in str(caught.value)
    assert caught.value.fix


def test_unknown_and_doubled_options_are_refused():
    with pytest.raises(InvalidArgumentError, match="no training option 'shorts'"):
        TrainingOptions.from_options({"shorts": 100})
    with pytest.raises(InvalidArgumentError, match="given twice"):
        TrainingOptions.from_options({"epochs": 1, "n_epochs": 1})


def test_an_unknown_backend_names_what_exists():
    with pytest.raises(UnknownBackendError, match=r"'nowhere'.*'local'.*'ionq_simulator'"):
        TrainingOptions(backend="nowhere")
