"""Specifications: round trip, other names of options, and every refusal."""

from __future__ import annotations

import dataclasses
import json

import pytest

from qstore_db.errors import InvalidModelError
from qstore_db.models.specification import ALIASES, MAX_CLASSES, MAX_LAYERS, MAX_QUBITS, ModelSpec

FULL = ModelSpec(
    qubits=3,
    classes=4,
    layers=5,
    encoding="angle",
    reduce="pca",
    rotations="rx_ry_rz",
    entanglement="full",
    readout="z",
    dtype="float64",
    train_circuit=False,
)


@pytest.mark.parametrize("spec", [FULL, ModelSpec(qubits=1, classes=2)])
def test_json_round_trip(spec):
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_json_names_every_field_but_the_sizes_of_other_kinds():
    fields = {field.name for field in dataclasses.fields(ModelSpec)}
    assert set(FULL.to_json()) == fields - {"outputs", "latent"}
    assert set(ModelSpec(kind="regressor", qubits=2).to_json()) == fields - {"classes", "latent"}
    assert set(ModelSpec(kind="autoencoder", qubits=2, latent=1).to_json()) == fields - {"classes", "outputs"}
    assert FULL.to_json()["entanglement"] == "full"
    assert FULL.to_json()["reduce"] == "pca"


def test_defaults_fill_absent_fields():
    assert ModelSpec.from_json({"qubits": 6, "classes": 10}) == ModelSpec(qubits=6, classes=10)


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_each_alias_means_its_field(alias, name):
    value = "full" if name == "entanglement" else 7
    sizes = {"outputs": {"kind": "regressor"}, "latent": {"kind": "autoencoder"}}
    options = {"qubits": 8, **sizes.get(name, {"classes": 10})}
    options.pop(name, None)
    assert getattr(ModelSpec.from_options({**options, alias.upper(): value}), name) == value


def test_aliases_are_the_documented_ones():
    assert ALIASES == {
        "n_qubits": "qubits",
        "circuit_depth": "layers",
        "depth": "layers",
        "entanglement_pattern": "entanglement",
        "n_classes": "classes",
        "n_outputs": "outputs",
        "latent_qubits": "latent",
    }


def test_an_option_under_two_names_is_refused():
    with pytest.raises(InvalidModelError, match="'depth' and 'LAYERS' both set the model's layers"):
        ModelSpec.from_options({"qubits": 2, "classes": 2, "depth": 1, "LAYERS": 1})


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(InvalidModelError, match=r"no option 'qbits'.*qubits") as caught:
        ModelSpec.from_options({"qbits": 2, "classes": 2})
    assert caught.value.value == "qbits"


def test_aliases_are_for_users_not_for_stored_records():
    with pytest.raises(InvalidModelError, match="no option 'n_qubits'"):
        ModelSpec.from_json({"n_qubits": 2, "classes": 2})


@pytest.mark.parametrize("name", ["qubits", "classes"])
def test_a_missing_field_is_named(name):
    with pytest.raises(InvalidModelError, match=f"{name} is not given"):
        ModelSpec.from_options({key: 2 for key in ("qubits", "classes") if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("qubits", 0),
        ("qubits", MAX_QUBITS + 1),
        ("qubits", 2.0),
        ("qubits", True),
        ("qubits", "6"),
        ("classes", 1),
        ("classes", MAX_CLASSES + 1),
        ("layers", 0),
        ("layers", -1),
        ("layers", MAX_LAYERS + 1),
        ("layers", None),
        ("kind", "transformer"),
        ("outputs", 2),
        ("latent", 1),
        ("kind", None),
        ("encoding", "basis"),
        ("reduce", "mean"),
        ("reduce", ["pca"]),
        ("rotations", "ry"),
        ("entanglement", "star"),
        ("readout", "xyz"),
        ("dtype", "float16"),
        ("train_circuit", 1),
        ("train_circuit", "no"),
    ],
)
def test_each_invalid_value_is_named_with_its_field(name, value):
    with pytest.raises(InvalidModelError, match=name) as caught:
        ModelSpec.from_options({"qubits": 2, "classes": 2, **{name: value}})
    assert repr(value) in caught.value.what
    assert caught.value.fix
    assert caught.value.value == value


@pytest.mark.parametrize(("encoding", "capacity"), [("amplitude", 32), ("angle", 5)])
def test_capacity(encoding, capacity):
    assert ModelSpec(qubits=5, classes=2, encoding=encoding).capacity == capacity


def test_limits_are_accepted():
    spec = ModelSpec(qubits=MAX_QUBITS, classes=MAX_CLASSES, layers=MAX_LAYERS)
    assert spec.qubits == MAX_QUBITS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "regressor", "outputs": 0}, "outputs is 0"),
        ({"kind": "regressor", "classes": 2}, "classes is 2, which models of kind 'regressor' do not have"),
        ({"kind": "autoencoder"}, "latent is not given"),
        ({"kind": "autoencoder", "latent": 4}, "nothing would be compressed"),
        ({"kind": "autoencoder", "latent": 1, "encoding": "angle"}, "could not give rows back"),
        ({"kind": "autoencoder", "latent": 1, "train_circuit": False}, "nothing to train"),
        ({"kind": "autoencoder", "latent": 1, "readout": "z"}, "reads the fidelity"),
        ({"kind": "autoencoder", "latent": 1, "qubits": 12}, "leaves 11 trash qubits"),
    ],
)
def test_each_kind_has_its_own_sizes(options, message):
    with pytest.raises(InvalidModelError, match=message) as caught:
        ModelSpec.from_options({"qubits": 4, **options})
    assert caught.value.fix


def test_kinds_and_their_widths():
    assert ModelSpec(qubits=2, classes=3).width == 3
    assert (ModelSpec(kind="regressor", qubits=2).outputs, ModelSpec(kind="regressor", qubits=2).width) == (1, 1)
    assert ModelSpec(kind="regressor", qubits=2, outputs=4).width == 4
    encoder = ModelSpec(kind="autoencoder", qubits=3, latent=1)
    assert encoder.width == 1 and ModelSpec.from_json(encoder.to_json()) == encoder


def test_records_of_classifiers_are_what_earlier_versions_wrote():
    assert "outputs" not in FULL.to_json() and "latent" not in FULL.to_json()
