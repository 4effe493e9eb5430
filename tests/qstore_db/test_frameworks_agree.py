"""A classical–quantum–classical net, trained in PyTorch and in JAX: the same numbers."""

# ruff: noqa: E402 - what needs the library is imported behind the skip
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")
jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.readouts import readout
from qstore_db.frameworks.jax_function import quantum_function
from qstore_db.frameworks.torch_layer import QuantumLayer

CIRCUIT = angle_encoding(3).compose(hardware_efficient(3, 2))
READOUTS = readout("pauli_pairs", 3)
STEPS, RATE = 8, 0.2


def data():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(24, 5))
    return rows, (rows[:, 0] * rows[:, 1] > 0).astype(np.int64)


def start():
    rng = np.random.default_rng(1)
    shapes = {"in": (3, 5), "in_bias": (3,), "out": (2, 18), "out_bias": (2,)}
    parameters = {name: rng.normal(size=shape) * 0.5 for name, shape in shapes.items()}
    return parameters | {"circuit": rng.uniform(-np.pi, np.pi, CIRCUIT.number_of_weights)}


def by_torch():
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 3),
        torch.nn.Tanh(),
        QuantumLayer(CIRCUIT, READOUTS, seed=0),
        torch.nn.Linear(18, 2),
    ).double()
    parameters = start()
    order = ["in", "in_bias", "circuit", "out", "out_bias"]
    with torch.no_grad():
        for one, name in zip(net.parameters(), order, strict=True):
            one.copy_(torch.from_numpy(parameters[name]))
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    rows, labels = map(torch.from_numpy, data())
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(rows), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, dict(zip(order, (one.detach().numpy() for one in net.parameters()), strict=True))


def by_jax():
    circuit = quantum_function(CIRCUIT, READOUTS)
    rows, labels = map(jnp.asarray, data())

    def loss_of(p):
        hidden = jnp.tanh(rows @ p["in"].T + p["in_bias"])
        scores = jax.vmap(circuit, (None, 0))(p["circuit"], hidden) @ p["out"].T + p["out_bias"]
        return -jax.nn.log_softmax(scores)[jnp.arange(len(rows)), labels].mean()

    step = jax.jit(jax.value_and_grad(loss_of))
    parameters = {name: jnp.asarray(one) for name, one in start().items()}
    losses = []
    for _ in range(STEPS):
        loss, gradient = step(parameters)
        parameters = jax.tree.map(lambda one, slope: one - RATE * slope, parameters, gradient)
        losses.append(float(loss))
    return losses, parameters, loss_of


def test_both_frameworks_learn_the_same():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        ours, parameters = by_torch()
        theirs, trained, loss_of = by_jax()
        assert ours[-1] < ours[0] - 0.05
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        for name, one in parameters.items():
            np.testing.assert_allclose(one, trained[name], atol=1e-6, err_msg=name)
        # and both are the slope of the loss
        slope = jax.grad(loss_of)(trained)
        for name, place in (("in", (1, 2)), ("circuit", (4,)), ("out", (1, 7))):
            moved = [loss_of(trained | {name: trained[name].at[place].add(step)}) for step in (1e-5, -1e-5)]
            np.testing.assert_allclose(slope[name][place], (moved[0] - moved[1]) / 2e-5, atol=1e-8)
    finally:
        jax.config.update("jax_enable_x64", before)
