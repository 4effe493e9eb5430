# ruff: noqa: E402 - what needs the library is imported behind the skip
import copy
import io
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.amplitude import amplitudes
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Weight
from qstore_db.circuits.readouts import readout
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, InvalidVectorError
from qstore_db.frameworks import torch_layer
from qstore_db.frameworks.torch_encodings import AmplitudeEncoding, AngleEncoding
from qstore_db.frameworks.torch_layer import QuantumLayer
from qstore_db.simulation.state_vector import states

CIRCUIT = angle_encoding(3).compose(hardware_efficient(3, 2))
DOUBLE = {"dtype": torch.float64, "seed": 0}


def layer(**options):
    return QuantumLayer(CIRCUIT, readout("pauli_pairs", 3), **(DOUBLE | options))


def draw(*shape, seed=1, dtype=torch.float64, grad=True):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_(grad)


def by_weights_and_inputs(module, *inputs):
    weights = module.weights.detach().clone().requires_grad_()

    def run(weights, *inputs):
        return torch_layer.expectations(module.function, weights, inputs)

    return torch.autograd.gradcheck(run, (weights, *inputs), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (0,), (2, 1, 2)])
def test_gradients_by_weights_and_data(lead):
    assert by_weights_and_inputs(layer(), draw(*lead, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("width", [1, 5, 8])
def test_gradients_by_amplitudes_go_through_the_norm(dtype, width):
    module = QuantumLayer(hardware_efficient(3, 2), readout("pauli_pairs", 3), amplitude_input=True, **DOUBLE)
    start = draw(4, width, dtype=dtype)
    assert by_weights_and_inputs(module, start)
    gradient = torch.autograd.grad(module(start).square().sum(), start)[0]
    assert (gradient.conj() * start).sum(-1).real.abs().max() < 1e-12  # the length of a vector changes nothing
    torch.testing.assert_close(module(3.0 * start), module(start))


def test_gradients_by_data_and_amplitudes_together():
    assert by_weights_and_inputs(layer(amplitude_input=True), draw(2, 2, 3), draw(2, 2, 6, dtype=torch.complex128))


def test_gradients_through_sums_scales_and_shared_weights(random_circuit):
    for seed in range(6):
        circuit = random_circuit(seed, 3, 12, symbols=True)
        module = QuantumLayer(circuit, [PauliString("XYZ") * 0.3 + PauliString("ZIZ"), PauliString("IYI")], **DOUBLE)
        given = (draw(3, circuit.number_of_data),) if circuit.number_of_data else ()
        assert by_weights_and_inputs(module, *given)


def test_a_circuit_without_inputs_is_a_function_of_its_weights():
    circuit = Circuit(2, (Operation("RX", (0,), (Weight(0) * 2.0,)), Operation("CX", (0, 1))))
    module = QuantumLayer(circuit, readout("z", 2), **DOUBLE)
    values = module()
    torch.testing.assert_close(values, torch.cos(2 * module.weights).expand(2).detach(), check_dtype=False)
    (gradient,) = torch.autograd.grad(values.sum(), module.weights)
    torch.testing.assert_close(gradient, -4 * torch.sin(2 * module.weights.detach()))


def test_only_what_is_asked_for_is_differentiated():
    module, rows = layer(), draw(4, 3)
    module.weights.requires_grad_(False)
    module(rows).sum().backward()
    assert module.weights.grad is None
    wanted = rows.grad.clone()
    module.weights.requires_grad_()
    module(rows.detach()).sum().backward()
    assert module.weights.grad is not None
    both = draw(4, 3)
    module(both).sum().backward()
    torch.testing.assert_close(both.grad, wanted, rtol=0, atol=0)


def test_gradients_of_inputs_cost_nothing_where_they_are_not_wanted(monkeypatch):
    module, asked = layer(), []
    plain = module.function.forward

    def watched(*given, input_gradients):
        asked.append(input_gradients)
        return plain(*given, input_gradients=input_gradients)

    monkeypatch.setattr(module.function, "forward", watched)
    module(draw(4, 3, grad=False)).sum().backward()
    module(draw(4, 3)).sum().backward()
    assert asked == [False, True]


def test_nothing_is_kept_without_a_gradient(monkeypatch):
    module, rows = layer(), draw(4, 3)
    wanted = module(rows).detach()
    monkeypatch.setattr(module.function, "forward", None)
    with torch.no_grad():
        torch.testing.assert_close(module(rows), wanted, rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(module(rows), wanted, rtol=0, atol=0)
    module.weights.requires_grad_(False)
    assert not module(rows.detach()).requires_grad


def test_the_gradient_is_that_of_the_numbers_of_the_forward_pass():
    module, rows = layer(), draw(4, 3)
    values = module(rows)
    wanted = torch.autograd.grad(layer()(rows).sum(), rows)[0]
    with torch.no_grad():
        module.weights.add_(1.0)
    got = torch.autograd.grad(values.sum(), rows, retain_graph=True)[0]
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    torch.testing.assert_close(torch.autograd.grad(values.sum(), rows)[0], wanted, rtol=0, atol=0)


@pytest.mark.parametrize("of_inputs", [False, True])
def test_a_second_derivative_is_refused_and_never_left_out(of_inputs):
    module, rows = layer(), draw(4, 3)
    target = rows if of_inputs else module.weights
    values = module(rows)
    (gradient,) = torch.autograd.grad(values.sum(), target, create_graph=True)
    with pytest.raises(InvalidArgumentError, match="differentiated again"):
        torch.autograd.grad((gradient.square().sum() + target.square().sum()), target)
    torch.testing.assert_close(gradient.detach(), torch.autograd.grad(module(rows).sum(), target)[0])


@pytest.mark.parametrize(
    ("weights", "data", "out"),
    [
        (torch.float32, torch.float32, torch.float32),
        (torch.float64, torch.float32, torch.float64),
        (torch.float32, torch.float64, torch.float64),
        (torch.float32, torch.int64, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float16, torch.float16),
        (torch.float16, torch.float32, torch.float32),
    ],
)
def test_types_are_those_of_the_caller(weights, data, out):
    module = layer(dtype=weights)
    rows = torch.tensor([[0.5, 1.0, 2.0]] * 4).to(data)
    values = module(rows)
    assert values.dtype == out
    exact = layer(dtype=torch.float64)
    with torch.no_grad():
        exact.weights.copy_(module.weights)
    torch.testing.assert_close(
        values.double(), exact(rows.double()), rtol=0, atol={2: 1e-2, 4: 2e-6, 8: 1e-15}[out.itemsize]
    )
    values.double().sum().backward()
    assert module.weights.grad.dtype == weights


def test_the_precision_follows_the_type():
    rows = draw(64, 3, grad=False)
    fine, coarse = layer()(rows), layer(dtype=torch.float32)(rows.float())
    assert 1e-9 < (fine - coarse).abs().max() < 1e-5
    start = draw(4, 8, dtype=torch.complex64, grad=False)
    module = QuantumLayer(hardware_efficient(3, 1), readout("z", 3), amplitude_input=True, dtype=torch.float32)
    assert module(start).dtype == torch.float32
    assert module(start.to(torch.complex128)).dtype == torch.float64


def test_tensors_of_the_processor_are_not_copied():
    rows = draw(4, 3)
    assert np.shares_memory(torch_layer._array(rows), rows.detach().numpy())
    start = draw(2, 4, dtype=torch.complex128)
    np.testing.assert_array_equal(torch_layer._array(start.conj()), start.detach().numpy().conj())


def test_layouts_of_all_kinds_are_read_right():
    module, rows = layer(), draw(3, 6, grad=False)
    torch.testing.assert_close(module(rows.T[::2].expand(5, 3, 3)), module(rows.T[::2].contiguous()).expand(5, 3, 18))
    broad = rows[:, :1].expand(3, 3).clone().T.requires_grad_()
    module(broad).sum().backward()
    assert broad.grad.shape == (3, 3)


def test_devices_must_agree():
    with pytest.raises(InvalidArgumentError, match="2 devices: cpu, meta"):
        layer()(torch.empty(4, 3, device="meta"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
def test_values_and_gradients_come_back_to_the_accelerator():
    module, rows = layer(), draw(4, 3)
    module(rows).square().sum().backward()
    there = copy.deepcopy(module).cuda()
    there.zero_grad()
    copied = rows.detach().cuda().requires_grad_()
    values = there(copied)
    assert values.device == copied.device
    values.square().sum().backward()
    assert copied.grad.device == copied.device
    assert there.weights.grad.device == copied.device
    torch.testing.assert_close(copied.grad.cpu(), rows.grad)
    torch.testing.assert_close(there.weights.grad.cpu(), module.weights.grad)


def test_seeds():
    np.testing.assert_array_equal(layer().weights.detach().numpy(), layer().function.initial_weights(0))
    assert (layer(seed=1).weights != layer().weights).all()
    torch.manual_seed(3)
    one = layer(seed=None).weights
    torch.manual_seed(3)
    other = layer(seed=None)
    assert (one == other.weights).all()
    assert one.abs().max() <= math.pi
    before = other.weights.detach().clone()
    other.reset_parameters()
    assert (other.weights != before).all()
    with torch.no_grad():
        module = layer()
        module.weights.zero_()
    module.reset_parameters()
    assert (module.weights == layer().weights).all()


def test_weights_are_kept_by_their_state():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3).double(), layer())
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = torch.nn.Sequential(torch.nn.Linear(2, 3).double(), layer(seed=7))
    rows = draw(4, 2)
    assert (module(rows) != other(rows)).any()
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(other(rows), module(rows), rtol=0, atol=0)
    assert set(module.state_dict()) == {"0.weight", "0.bias", "1.weights"}


def test_copies_have_weights_of_their_own_and_pickling_is_refused():
    module = layer()
    twin = copy.deepcopy(module)
    assert twin.function is module.function
    with torch.no_grad():
        twin.weights.add_(1.0)
    assert (twin.weights != module.weights).all()
    with pytest.raises(InvalidArgumentError, match="state_dict"):
        torch.save(module, io.BytesIO())


def test_modules_are_moved_and_described_as_others():
    module = layer().float()
    assert module(draw(2, 3).float()).dtype == torch.float32
    assert repr(module) == "QuantumLayer(qubits=3, weights=12, inputs=data, readouts=18)"
    assert [name for name, _ in module.named_parameters()] == ["weights"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_a_compiled_net_leaves_its_graph_here():
    net = torch.nn.Sequential(torch.nn.Linear(2, 3).double(), layer(), torch.nn.Linear(18, 2).double())
    rows = draw(4, 2)
    wanted = torch.autograd.grad(net(rows).square().sum(), [rows, *net.parameters()])
    compiled = torch.compile(net, backend="aot_eager")
    got = torch.autograd.grad(compiled(rows).square().sum(), [rows, *net.parameters()])
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(Exception, match=r"torch\.compiler\.disable"):
        torch.compile(net, backend="eager", fullgraph=True)(rows)


def test_what_does_not_fit():
    module = layer()
    for given in ((), (draw(4, 2),), (draw(4, 3), draw(4, 8))):
        with pytest.raises(InvalidArgumentError):
            module(*given)
    with pytest.raises(InvalidVectorError, match="row 1"):
        module(torch.tensor([[0.0, 0, 0], [0, math.nan, 0]]))
    with torch.no_grad():
        module.weights[2] = math.inf
    with pytest.raises(InvalidArgumentError, match="weight 2"):
        module(draw(4, 3))
    start = QuantumLayer(hardware_efficient(2, 1), readout("z", 2), amplitude_input=True)
    with pytest.raises(InvalidVectorError, match="vector 1 is zero"):
        start(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(InvalidArgumentError, match=r"torch\.int64"):
        layer(dtype=torch.int64)
    with pytest.raises(InvalidCircuitError):
        QuantumLayer(CIRCUIT, [])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_amplitude_encoding(dtype):
    rows = draw(2, 3, 5, dtype=dtype)
    module = AmplitudeEncoding(3)
    found = module(rows)
    assert found.shape == (2, 3, 8)
    wanted = amplitudes(rows.detach().numpy().reshape(6, 5), 3).reshape(2, 3, 8)
    np.testing.assert_allclose(found.detach().numpy(), wanted, atol=1e-15)
    assert torch.autograd.gradcheck(module, (rows,))
    tiny = rows.detach() * 1e-200
    np.testing.assert_allclose(module(tiny).numpy(), wanted, atol=1e-12)
    for wrong in (torch.zeros(2, 4), torch.tensor([[math.nan, 1.0]]), torch.ones(2, 9), torch.ones(())):
        with pytest.raises(InvalidVectorError):
            module(wrong)


@pytest.mark.parametrize("axis", ["X", "Y"])
def test_angle_encoding(axis):
    rows = draw(2, 3, 4)
    module = AngleEncoding(4, axis=axis, scale=1.5)
    found = module(rows)
    circuit = angle_encoding(4, axis=axis, scale=1.5)
    wanted = states(circuit, data=rows.detach().numpy().reshape(6, 4), dtype="float64").reshape(2, 3, 16)
    np.testing.assert_allclose(found.detach().numpy(), wanted, atol=1e-12)
    assert found.is_complex() == (axis == "X")
    assert torch.autograd.gradcheck(module, (rows,))
    assert module(rows.float()).dtype in (torch.float32, torch.complex64)
    with pytest.raises(InvalidVectorError):
        module(draw(2, 3))
    with pytest.raises(InvalidArgumentError):
        module(draw(2, 4, dtype=torch.complex64))


def test_an_encoding_before_a_layer_is_the_encoding_inside_it():
    rows = draw(5, 3)
    ansatz = hardware_efficient(3, 2)
    apart = QuantumLayer(ansatz, readout("pauli_pairs", 3), amplitude_input=True, **DOUBLE)
    outside = apart(AngleEncoding(3)(rows))
    inside = layer()(rows)
    torch.testing.assert_close(outside, inside)
    one, other = (torch.autograd.grad(values.square().sum(), rows)[0] for values in (outside, inside))
    torch.testing.assert_close(one, other)


def test_encodings_that_are_none():
    for wrong in (0, 25, 2.0, True):
        with pytest.raises(InvalidCircuitError):
            AmplitudeEncoding(wrong)
        with pytest.raises(InvalidCircuitError):
            AngleEncoding(wrong)
    with pytest.raises(InvalidCircuitError, match="axis 'Z'"):
        AngleEncoding(2, axis="Z")
    assert repr(AngleEncoding(2)) == "AngleEncoding(n_qubits=2, axis='Y', scale=1)"
    assert repr(AmplitudeEncoding(2)) == "AmplitudeEncoding(n_qubits=2)"
