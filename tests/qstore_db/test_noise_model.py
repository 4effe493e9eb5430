"""Which channel follows which gate, and how outcomes are misread."""

import json

import numpy as np
import pytest

from qstore_db.circuits.circuit import Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.channels import bit_flip, depolarizing, kraus_channel, phase_flip
from qstore_db.simulation.noise_model import NoiseModel, NoiseRule, ReadoutError
from qstore_db.simulation.noise_presets import ionq_aria_2_like, ionq_aria_like, ionq_forte_like

CX, RY = Operation("CX", (2, 0)), Operation("RY", (1,), (0.3,))


def test_a_rule_strikes_where_its_channel_fits_and_its_places_allow():
    one, two = bit_flip(0.1), depolarizing(0.1, 2)
    assert NoiseRule(one).strikes(CX) == ((2,), (0,))
    assert NoiseRule(one, arity=1).strikes(CX) == ()
    assert NoiseRule(one, arity=2).strikes(RY) == ()
    assert NoiseRule(one, gates=["RY"]).strikes(RY) == ((1,),)
    assert NoiseRule(one, gates=["RY"]).strikes(CX) == ()
    assert NoiseRule(one, places=[(0,)]).strikes(CX) == ((0,),)
    assert NoiseRule(two).strikes(CX) == ((2, 0),)
    assert NoiseRule(two).strikes(RY) == ()
    assert NoiseRule(two, places=[(0, 2)]).strikes(CX) == ()
    model = NoiseModel([NoiseRule(two), NoiseRule(one, places=[(2,)]), NoiseRule(phase_flip(0.2))])
    assert [(channel.name, place) for channel, place in model.after(CX)] == [
        ("depolarizing", (2, 0)),
        ("bit_flip", (2,)),
        ("phase_flip", (2,)),
        ("phase_flip", (0,)),
    ]


def test_models_survive_json_and_compare_by_value():
    swap = kraus_channel(np.eye(4)[[0, 2, 1, 3]][None])
    model = NoiseModel(
        [NoiseRule(swap, gates=["CX", "CZ"], places=[(0, 1)]), NoiseRule(bit_flip(0.1), arity=2)],
        readout={3: ReadoutError(0.1, 0.2), 0: ReadoutError(0.05)},
        name="mine",
    )
    for one in (model, NoiseModel(), ionq_aria_like(), ionq_aria_2_like(), ionq_forte_like()):
        again = NoiseModel.from_json(json.loads(json.dumps(one.to_json())))
        assert again == one and hash(again) == hash(one)
    assert NoiseModel.from_json(model.to_json()) != ionq_aria_like()
    with pytest.raises(InvalidArgumentError, match="noise model"):
        NoiseModel.from_json({"rules": []})
    with pytest.raises(InvalidArgumentError, match="noise rule"):
        NoiseModel.from_json({"name": "", "source": "", "readout": [], "rules": [{}]})


def test_presets_name_their_source_and_hold_its_numbers():
    aria = ionq_aria_like()
    assert "docs.ionq.com" in aria.source
    assert aria.after(RY) == ((depolarizing(0.0005), (1,)),)
    assert aria.after(CX) == ((depolarizing(0.0133, 2), (2, 0)),)
    assert aria.readout_error(7) == ReadoutError(0.0039)
    assert ionq_forte_like().readout_error(0) is None


def test_readout_errors_are_stochastic_and_change_strings_letter_by_letter():
    error = ReadoutError.from_matrix([[0.9, 0.2], [0.1, 0.8]])
    assert error == ReadoutError(0.1, 0.2)
    assert np.allclose(error.matrix.sum(axis=0), 1)
    assert np.isclose(error.scale, 0.7) and np.isclose(error.offset, 0.1)
    model = NoiseModel(readout={1: error})
    terms = {string.letters: factor for factor, string in model.reported(2.0 * PauliString("XYI")).terms}
    assert terms == pytest.approx({"XYI": 1.4, "XII": 0.2})
    assert model.reported(PauliString("XIZ")).terms == ((1.0, PauliString("XIZ")),)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReadoutError(1.1),
        lambda: ReadoutError.from_matrix([[0.9, 0.2], [0.2, 0.8]]),
        lambda: NoiseRule(bit_flip(0.1), gates=["NOPE"]),
        lambda: NoiseRule(depolarizing(0.1, 2), gates=["RX"]),
        lambda: NoiseRule(depolarizing(0.1, 2), arity=1),
        lambda: NoiseRule(bit_flip(0.1), places=[(0, 1)]),
        lambda: NoiseModel(readout={-1: ReadoutError(0.1)}),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(InvalidArgumentError):
        make()
