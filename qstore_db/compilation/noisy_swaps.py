"""SWAP removal for a device with noise: the channels follow the qubits they struck, or it is refused."""

from __future__ import annotations

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.compilation.optimised import Optimised
from qstore_db.compilation.remove_swaps import remove_swaps
from qstore_db.errors import InvalidCircuitError
from qstore_db.simulation.noise_model import NoiseModel, NoiseRule, ReadoutError


def remove_swaps_with_noise(circuit: Circuit, noise: NoiseModel) -> tuple[Optimised, NoiseModel]:
    """:func:`remove_swaps`, and the noise model under which the new circuit does exactly what the old one did.

    A rule for certain places moves with the qubits that stood there, a readout error with the qubit that is read. The
    mean of every relabelled observable and the probabilities in the original order stay the same.

    Args:
        circuit: With SWAP gates that no rule follows.
        noise: Of the original circuit.

    Raises:
        InvalidCircuitError: A channel follows a SWAP, which would be lost with it; or a rule for certain places cannot
            be written for the new circuit, because a place is struck before a SWAP and not after it.

    Example:
        >>> from qstore_db.simulation.channels import bit_flip
        >>> swapped = Circuit(2, (Operation("SWAP", (0, 1)), Operation("X", (0,))))
        >>> model = NoiseModel([NoiseRule(bit_flip(0.1), gates=["X"], places=[(0,)])])
        >>> remove_swaps_with_noise(swapped, model)[1].rules[0].places
        frozenset({(1,)})
    """
    kept = [operation for operation in circuit.operations if operation.gate != "SWAP"]
    for operation in circuit.operations:
        if operation.gate == "SWAP" and noise.after(operation):
            channel, struck = noise.after(operation)[0]
            raise InvalidCircuitError(
                f"the channel {channel.name} follows the SWAP on {operation.qubits} and would be lost with it",
                fix="Leave the SWAP gates in, or name the gates that each rule follows without SWAP.",
                value=struck,
            )
    found = remove_swaps(circuit)
    pairs = list(zip(kept, found.circuit.operations, strict=True))
    rules = [_moved(rule, pairs) for rule in noise.rules]
    errors: dict[int, ReadoutError] = {}
    for qubit, place in enumerate(found.output_permutation):
        error = noise.readout_error(qubit)
        if error is not None:
            errors[place] = error
    return found, NoiseModel(rules, readout=errors or None, name=noise.name, source=noise.source)


def _moved(rule: NoiseRule, pairs: list[tuple[Operation, Operation]]) -> NoiseRule:
    """The rule for the new circuit: it strikes after a gate where the old one struck after the same gate."""
    if rule.places is None:
        return rule
    wanted = [_relocated(rule, old, new) for old, new in pairs]
    places = frozenset(place for one in wanted for place in one)
    moved = NoiseRule(rule.channel, gates=rule.gates, arity=rule.arity, places=places)
    for (_, new), struck in zip(pairs, wanted, strict=True):
        if moved.strikes(new) != struck:
            where = next(place for place in moved.strikes(new) if place not in struck)
            raise InvalidCircuitError(
                f"after the SWAPs are gone, {rule.channel.name} would strike {new.gate} on {where} only sometimes",
                fix="Leave the SWAP gates in, or give the rule for all places.",
                value=where,
            )
    return moved


def _relocated(rule: NoiseRule, old: Operation, new: Operation) -> tuple[tuple[int, ...], ...]:
    there = dict(zip(old.qubits, new.qubits, strict=True))
    return tuple(tuple(there[qubit] for qubit in place) for place in rule.strikes(old))
