"""Gradients spread over workers: the same bits for any number of them."""

from importlib.util import find_spec

import numpy as np
import pytest

from qstore_db.distributed.micro_batches import InThisProcess, MicroBatch, ModelDescription, spread_gradient
from qstore_db.distributed.ray_workers import RayWorkers
from qstore_db.errors import InvalidArgumentError, MissingDependencyError, WorkerLostError
from qstore_db.models.named import model_of
from qstore_db.models.reduction import fit_reduction
from qstore_db.models.specification import ModelSpec
from qstore_db.models.target_scaling import TargetScaling

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
ROWS = 45


def classifier(rng):
    spec = ModelSpec(kind="classifier", qubits=3, layers=2, classes=3, encoding="amplitude", dtype="float64")
    rows = rng.normal(size=(ROWS, 8))
    return model_of(spec, fit_reduction(spec, rows)), rows, rng.integers(0, 3, ROWS)


def regressor(rng):
    spec = ModelSpec(kind="regressor", qubits=2, layers=2, outputs=2, encoding="angle", dtype="float64")
    rows, targets = rng.normal(size=(ROWS, 2)), rng.normal(size=(ROWS, 2))
    return model_of(spec, fit_reduction(spec, rows), TargetScaling.fitted(targets)), rows, targets


def case(kind):
    rng = np.random.default_rng(3)
    model, rows, targets = {"classifier": classifier, "regressor": regressor}[kind](rng)
    return model, model.initial_parameters(0), model.features(rows), targets


class Reversed(InThisProcess):
    """Computes the last part first."""

    def gradients(self, parameters, parts):
        return list(reversed(super().gradients(parameters, list(reversed(parts)))))


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
@pytest.mark.parametrize("rows", [1, 16, ROWS, 1000])
def test_parts_add_up_to_the_minibatch(kind, rows):
    model, parameters, features, targets = case(kind)
    whole = model.loss_and_gradient_of_features(parameters, features, targets)
    description = ModelDescription.of(model, None)
    found = spread_gradient(InThisProcess(description), rows, parameters, features, targets)
    assert found.loss == pytest.approx(whole.loss, rel=1e-12)
    assert (found.correct, found.circuits) == (whole.correct, whole.circuits)
    assert found.gradients.keys() == whole.gradients.keys()
    for name, gradient in whole.gradients.items():
        np.testing.assert_allclose(found.gradients[name], gradient, atol=1e-12)


def test_who_computes_changes_no_bit():
    model, parameters, features, targets = case("classifier")
    description = ModelDescription.of(model, "hinge")
    one, other = (
        spread_gradient(make(description), 7, parameters, features, targets) for make in (InThisProcess, Reversed)
    )
    assert one.loss == other.loss
    for name, gradient in one.gradients.items():
        np.testing.assert_array_equal(gradient, other.gradients[name])


def test_what_workers_cannot_compute_is_refused():
    model, parameters, features, targets = case("classifier")
    with pytest.raises(InvalidArgumentError, match=r"'custom'.*cross_entropy"):
        ModelDescription.of(model, "custom")
    with pytest.raises(InvalidArgumentError, match="0 rows"):
        spread_gradient(InThisProcess(ModelDescription.of(model, None)), 0, parameters, features, targets)
    with pytest.raises(InvalidArgumentError, match="without rows"):
        spread_gradient(InThisProcess(ModelDescription.of(model, None)), 2, parameters, features[:0], targets[:0])
    with pytest.raises(InvalidArgumentError, match="0 workers"):
        RayWorkers(ModelDescription.of(model, None), 0)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_error_says_how_to_get_it():
    model, *_ = case("classifier")
    with pytest.raises(MissingDependencyError, match=r"qstore-db\[ray\]"):
        RayWorkers(ModelDescription.of(model, None), 1)


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_workers_give_the_bits_of_this_process_and_say_when_one_is_lost():
    import ray

    model, parameters, features, targets = case("classifier")
    description = ModelDescription.of(model, None)
    here = spread_gradient(InThisProcess(description), 8, parameters, features, targets)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    try:
        for count in (1, 2):
            workers = RayWorkers(description, count)
            found = spread_gradient(workers, 8, parameters, features, targets)
            assert found.loss == here.loss
            for name, gradient in here.gradients.items():
                np.testing.assert_array_equal(found.gradients[name], gradient)
            workers.close()
            workers.close()
            with pytest.raises(WorkerLostError, match="closed"):
                workers.gradients(parameters, [MicroBatch(features, targets)])
        with pytest.raises(InvalidArgumentError, match="3 workers"):
            RayWorkers(description, 3)
        lost = RayWorkers(description, 1)
        ray.kill(lost._workers[0])
        with pytest.raises(WorkerLostError, match="a worker ended"):
            spread_gradient(lost, 8, parameters, features, targets)
        lost.close()
        assert ray.is_initialized()  # it was there before
    finally:
        ray.shutdown()
